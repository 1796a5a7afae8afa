"""Why cases of a run failed: one of those that fail alike is diagnosed, within a budget of time that is stated."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.backends import Backend
from harness.diagnosis import diagnose
from harness.diagnosis.document import diagnosis_document
from harness.engine import Store, result_key
from harness.errors import HarnessError, described, is_interrupt
from harness.files import replacing, write_json
from harness.methods import method, slug
from harness.model_sources import Source
from harness.naming import file_name
from harness.plain import plain
from harness.runner.run import Row, Selection, case_of, chosen_input, keep_row, parts_of_key

Which = Literal["auto", "all", "never"]
#: Seconds after which "auto" begins no further diagnosis.
BUDGET_S = 120.0


@dataclass(frozen=True)
class Diagnosed:
    """What was done: how many cases that failed were diagnosed, of how many groups of them; ``left``: groups that the
    budget left out. ``without``: failed cases of which there is nothing to diagnose, because a side raised.
    """

    cases: int
    groups: int
    left: int
    without: int
    seconds: float
    budget_s: float | None

    @property
    def sentence(self) -> str:
        """For a person; empty where nothing failed."""
        if not self.groups and not self.without:
            return ""
        words = []
        if self.groups:
            words.append(
                f"{self.cases} diagnosed in {self.seconds:.0f} s, of {_of_groups(self.groups)} of cases that fail alike"
            )
        if self.left:
            words.append(
                f"{_of_groups(self.left)} left out, as the budget of {self.budget_s:g} s was used up: "
                "--diagnose all does the rest"
            )
        if self.without:
            words.append(f"{self.without} not diagnosed: a side raised, see the message")
        return "Failed cases: " + "; ".join(words) + "."


def _of_groups(count: int) -> str:
    return f"{count} group{'' if count == 1 else 's'}"


def alike(row: Row, failed: Sequence[Row] = ()) -> tuple[str, ...]:
    """What cases that fail alike have in common: model, input, the first layer that parts, and the method but for its
    parameters where it is not the forward pass that parts.

    ``failed``: where the same case failed in float64 too, the layer that parts there counts. It is a guess from the
    figures: what is said of one of them is not said to hold for the others.
    """
    same = ("model", "input", "method")
    finer = next(
        (
            each
            for each in failed
            if each["dtype"] == "float64" and all(each.get(key) == row.get(key) for key in same)
        ),
        row,
    )
    forward = finer.get("first_divergent_forward") or ""
    layer = forward or finer.get("first_divergent") or ""
    base = "" if forward else str(row["method"]).partition(":")[0]
    return (str(row["model"]), str(row.get("input", "")), layer, base, str(row.get("message") or ""))


def name_causes(
    rows: Sequence[Row],
    which: Which,
    selection: Selection,
    sides: tuple[Backend, Backend],
    folder: Path,
    store: Store,
    started: Callable[[str], None] = lambda case: None,
    budget_s: float = BUDGET_S,
) -> Diagnosed:
    """Give the failed among ``rows`` their ``cause``, ``stage``, ``diagnosed_layer`` and ``diagnosis`` (sentences).

    "auto": of cases that fail alike one is diagnosed, in float64 where it was run in it, the largest groups first, and
    none is begun after ``budget_s`` seconds; the others of the group have its name as ``like``. "all": each, without
    a limit. The diagnosis and its reproducer lie beside the case's other files; see
    `harness.diagnosis.document`. A diagnosis of installed code is kept in ``store``.
    """
    failed = [row for row in rows if not row["passed"]]
    seen = [row for row in failed if row.get("files")]
    begun = time.monotonic()
    groups = _groups(seen, which)
    done = left = 0
    if which != "never":
        models = _Models(selection)
        for group in groups:
            if which == "auto" and time.monotonic() - begun > budget_s:
                left += 1
                continue
            first = group[0]
            started(f"cause of {case_name(first)}")
            _diagnosed(first, models, selection, sides, folder, store)
            done += 1
            for other in group[1:]:
                other["like"] = case_name(first)
                other |= {key: first[key] for key in ("cause", "stage", "diagnosed_layer")}
    limit = budget_s if which == "auto" else None
    return Diagnosed(done, len(groups), left, len(failed) - len(seen), time.monotonic() - begun, limit)


def case_name(row: Row) -> str:
    """``digits-cnn lrp.z float64``"""
    return " ".join(str(row[key]) for key in ("model", "method", "dtype"))


def _groups(failed: Sequence[Row], which: Which) -> list[list[Row]]:
    groups: dict[Any, list[Row]] = {}
    for place, row in enumerate(failed):
        groups.setdefault(place if which == "all" else alike(row, failed), []).append(row)
    for group in groups.values():
        group.sort(key=lambda row: row["dtype"] != "float64")
    return sorted(groups.values(), key=lambda group: -len(group))


class _Models:
    """The models of a run, the last one kept loaded."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._last: tuple[Any, Any, str] = (None, None, "")

    def of(self, row: Row) -> tuple[Any, str]:
        """The model of ``row``, and a digest of the user's code that made it, empty where none has."""
        plain_source: Any = row.get("source")
        if plain_source is None:
            objects: list[Any] = [
                each for each in self._selection.models if not isinstance(each, str | Source)
            ]
            label = str(row["model"])
            named = [each for each in objects if label == each.name]
            by_digest = [each for each in objects if label == f"{each.name}-{each.digest[:8]}"]
            return (by_digest or named)[0], ""
        if self._last[0] != plain_source:
            source = Source(**plain_source)
            model = source.load(self._selection.input)
            self._last = (plain_source, model, source.code_digest())
        return self._last[1:]


def _diagnosed(
    row: Row,
    models: _Models,
    selection: Selection,
    sides: tuple[Backend, Backend],
    folder: Path,
    store: Store,
) -> None:
    stem = folder / file_name(str(row["model"])) / f"{file_name(slug(str(row['method'])))}.{row['dtype']}"
    try:
        model, code = models.of(row)
        x, input_name = chosen_input(model, selection.input)
        wanted = method(str(row["method"]))
        case = case_of(model, x, wanted, str(row["dtype"]), selection.target)
        key = result_key(
            case, *sides, "diagnosis", *parts_of_key(str(row["model"]), input_name, selection, code)
        )
        document = store.get(key, folder)
        if document is None:
            reproducer = Path(f"{stem}.reproducer")
            diagnosis = diagnose(
                model,
                x,
                wanted,
                *sides,
                target=selection.target,
                dtype=str(row["dtype"]),
                reproduce_in=reproducer,
                device=selection.device,
            )
            document = plain(diagnosis_document(diagnosis, input_name, _reproducer(diagnosis, folder)))
            written = Path(f"{stem}.diagnosis.json")
            write_json(written, document)
            files = [written.relative_to(folder).as_posix()]
            if document["reproducer"] is not None:
                files += sorted(path.relative_to(folder).as_posix() for path in reproducer.iterdir())
            document["files"] = files
            store.put(key, f"diagnosis: {case_name(row)}", document, files, folder)
    except HarnessError as error:
        row |= _nothing(str(error))
        return
    except BaseException as error:  # the candidate is other people's code
        if is_interrupt(error):
            raise
        row |= _nothing(described(error))
        return
    findings = document["findings"]
    row["cause"] = document["cause"] or "nothing found"
    row["stage"] = document["stage"] or ""
    row["diagnosed_layer"] = document["layer"] or ""
    row["diagnosis"] = [each["sentence"] for each in findings] or [document["explanation"]]
    if document["dtype"] == row["dtype"] and _add_steps(document["introduced"], Path(f"{stem}.csv")):
        _keep_again(stem, folder, store)
    row["files"] = [*row["files"], *document["files"]]


def _add_steps(introduced: Sequence[Row], path: Path) -> bool:
    """Fill in what each layer introduces and inherits in the table of a case; whether it was not there before."""
    steps = {each["layer"]: each for each in introduced}
    with open(path, encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    before = [dict(line) for line in lines]
    for line in lines:
        for key in ("introduced", "inherited"):
            value = steps.get(line["layer"], {}).get(key)
            line[key] = "" if value is None else repr(value)
    if lines == before:
        return False
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]) if lines else ["layer"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return True


def _keep_again(stem: Path, folder: Path, store: Store) -> None:
    """Keep the row of a case as before, with its table as it is now."""
    try:
        kept = json.loads(Path(f"{stem}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    keep_row(store, kept["key"], kept["row"], stem, folder)


def _nothing(why: str) -> Row:
    return {
        "cause": "no diagnosis",
        "stage": "",
        "diagnosed_layer": "",
        "diagnosis": [f"no diagnosis: {why}"],
    }


def _reproducer(diagnosis: Any, folder: Path) -> Path | None:
    """Its folder, relative to the run's; None where nothing can be shown on its own."""
    try:
        written: Path | None = diagnosis.reproducer
    except HarnessError:
        return None
    return None if written is None else written.relative_to(folder)
