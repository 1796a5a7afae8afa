"""What a night does, step by step: each gives rows for the history, and says what it computed and what it looked up."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.engine import Store
from harness.errors import HarnessError, described
from harness.files import in_sample
from harness.golden import Models, inspect, verify_all
from harness.runner import SUITES, Selection, run
from harness.runner.run import Progress

Row = dict[str, Any]
#: Of what is not computed every night, this share is: another one each night.
SHARE = 0.05
#: A night may not hang.
_LIMIT_S = 4 * 3600


@dataclass(frozen=True)
class Step:
    """``rows``: step, model, method, dtype, verdict, passed, error and floors of each case.

    ``computed``, ``looked_up``: how many of them were run tonight, and how many are known by digest. ``missing``: how
    many were never run with the code as it is. ``problem``: why the step could not be made; empty where it was.
    """

    name: str
    rows: tuple[Row, ...] = ()
    computed: int = 0
    looked_up: int = 0
    missing: int = 0
    seconds: float = 0.0
    problem: str = ""
    notes: tuple[str, ...] = field(default=())


class Resampled(Store):
    """The user's store, but what is in tonight's sample is computed again, and held against what was kept."""

    def __init__(self, night: str, share: float = SHARE) -> None:
        super().__init__()
        self._night, self._share = night, share
        self._kept: dict[str, Any] = {}
        #: Results that are others than those kept under the same digest.
        self.moved: list[str] = []

    def get(self, key: str | None, folder: Path | None = None) -> Any:
        kept = super().get(key, folder)
        is_result = isinstance(kept, dict) and "verdict" in kept
        if not is_result or not in_sample(f"{self._night} {key}", self._share):
            return kept
        self._kept[str(key)] = kept
        return None

    def put(
        self, key: str | None, label: str, document: Any, files: Sequence[str] = (), folder: Path = Path()
    ) -> None:
        kept = self._kept.get(str(key))
        if kept is not None and kept["verdict"] != document["verdict"]:
            self.moved.append(f"{label}: was kept as {kept['verdict']}, is {document['verdict']}")
        super().put(key, label, document, files, folder)


def timed(name: str, step: Callable[[], Step]) -> Step:
    """The step with its time; what it raises is its problem, and the night goes on."""
    started = time.monotonic()
    try:
        done = step()
    except HarnessError as error:
        done = Step(name, problem=str(error))
    except Exception as error:
        done = Step(name, problem=described(error))
    return replace(done, seconds=time.monotonic() - started)


def goldens(root: Path, folder: Path, candidate: str = "torch", models: Models | None = None) -> Step:
    """All goldens under ``root``; a problem of the folder itself is a row like any other."""
    rows = [
        _row("goldens", row, row["status"]) | {"method": row["case"].partition("/")[2].rpartition(".")[0]}
        for row in verify_all(inspect(root), candidate, models or Models(), folder=folder)
    ]
    return Step("goldens", tuple(rows), computed=len(rows))


def quick_suite(folder: Path) -> Step:
    """The smallest model, computed."""
    return _suite("quick suite", SUITES["quick"].models, folder, Store(force=True))


def default_suite(night: str, folder: Path) -> Step:
    """The other models: a sample is computed, the rest is looked up by digest, or computed where it is not known."""
    models = tuple(name for name in SUITES["default"].models if name not in SUITES["quick"].models)
    store = Resampled(night)
    done = _suite("default suite", models, folder, store)
    return replace(done, notes=tuple(store.moved))


def planted_bugs(night: str, folder: Path) -> Step:
    """The planted bugs and, on the smallest model, healthy ports: a sample is run, the rest looked up by digest."""
    command = ["evidence.planted_bugs", "--healthy", "quick", "--json", "--out", str(folder / "mutants.md")]
    ran = _json(command, "--share", str(SHARE), "--seed", night, "--force")
    known = _json(command, "--kept-only")
    rows = [
        {
            "step": "planted bugs",
            "model": each["model"],
            "method": f"{each['mutant']} {each['method']}",
            "dtype": "",
            "verdict": "named" if each["score"]["cause_right"] else "not named",
            "passed": each["score"]["cause_right"],
            "error": float("nan"),
            "floors": float("nan"),
        }
        for each in (*known["cases"], *known["healthy"])
    ]
    computed = len(ran["cases"]) + len(ran["healthy"])
    return Step("planted bugs", tuple(rows), computed, len(rows) - computed, known["missing"])


def certification(night: str, folder: Path) -> Step:
    """The reference against the real libraries: a sample is compared again, the rest looked up by digest."""
    common = ("evidence.certification", "--trust-recordings", "--out", str(folder))
    _ran(common, "--share", str(SHARE), "--seed", night, "--force")
    computed = len(_table(folder / "certification.csv"))
    _ran(common, "--kept-only")
    rows = [
        {
            "step": f"certification {each['library']}",
            "model": each["model"],
            "method": each["method"],
            "dtype": "float32",
            "verdict": each["status"],
            "passed": each["status"] not in ("unexplained", "failed in the reference", "no answer"),
            "error": float(each["worst"] or "nan"),
            "floors": float("nan"),
        }
        for each in _table(folder / "certification.csv")
    ]
    return Step("certification", tuple(rows), computed, len(rows) - computed)


def scoreboard(night: str, folder: Path) -> Step:
    """Other people's libraries: a sample is measured again where the library is installed; the rest is as published."""
    command = ("evidence.scoreboard", "--out", str(folder))
    printed = _ran(command, "--share", str(SHARE), "--seed", night, "--force")
    rows = scoreboard_rows(json.loads((folder / "scoreboard.json").read_text(encoding="utf-8")))
    computed = len(printed.splitlines())
    return Step("scoreboard", tuple(rows), computed, len(rows) - computed)


def scoreboard_rows(figures: dict[str, Any]) -> list[Row]:
    """A row for each library, method and network in the ``figures`` of the scoreboard.

    A row passes where the library agrees or every difference is explained, and where it has no such method.
    """
    return [
        {
            "step": f"scoreboard {library}",
            "model": model,
            "method": method,
            "dtype": "",
            "verdict": facts["state"],
            "passed": facts["state"] in ("agree", "one", "several", "none"),
            "error": float("nan") if facts["apart"] is None else float(facts["apart"]),
            "floors": float("nan"),
        }
        for library, entry in figures.items()
        for method, by_model in entry.get("rows", {}).items()
        for model, facts in by_model.items()
        if model != "says"
    ]


def _suite(name: str, models: tuple[str, ...], folder: Path, store: Store) -> Step:
    selection = Selection(models, SUITES["default"].methods, SUITES["default"].dtypes)
    reused: list[bool] = []
    rows = run(selection, folder, Progress(finished=lambda row, again: reused.append(again)), store)
    made = tuple(_row("runs", row, row["verdict"]) for row in rows)
    return Step(name, made, computed=reused.count(False), looked_up=reused.count(True))


def _row(step: str, row: Row, verdict: str) -> Row:
    def figure(name: str) -> float:
        value = row.get(name)
        return float("nan") if value is None else float(value)

    return {
        "step": step,
        **{name: str(row[name]) for name in ("model", "method", "dtype")},
        "verdict": verdict,
        "passed": bool(row["passed"]),
        "error": figure("worst_rel_l2"),
        "floors": figure("worst_ratio"),
    }


def _ran(command: Iterable[str], *more: str) -> str:
    """What ``python -m command`` prints. Raises HarnessError where it could not be carried out."""
    words = [sys.executable, "-m", *command, *more]
    try:
        ended = subprocess.run(words, capture_output=True, text=True, timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise HarnessError(f"{' '.join(words[1:4])} took longer than {_LIMIT_S} s") from None
    if ended.returncode not in (0, 1):
        lines = ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"]
        raise HarnessError(lines[-1])
    return ended.stdout


def _json(command: Iterable[str], *more: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_ran(command, *more))
    return document


def _table(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def all_steps(night: str, root: Path, folder: Path) -> dict[str, Callable[[], Step]]:
    """By name, in order."""
    return {
        "goldens": lambda: goldens(root, folder / "goldens"),
        "quick suite": lambda: quick_suite(folder / "runs"),
        "default suite": lambda: default_suite(night, folder / "runs"),
        "planted bugs": lambda: planted_bugs(night, folder),
        "certification": lambda: certification(night, folder),
        "scoreboard": lambda: scoreboard(night, folder),
    }
