"""A table of networks: a row a network, each measured in a process of its own and kept at once, and its page.

A network that has no answer when its time is up is *not finished in time*, which says nothing about it: it is measured
again by the next run. Several runs may write one table at once, each its own rows.

A network is *end to end* where all four methods are equivalent on it, or are refused by name because no rule exists
for a layer while ``gradient`` is equivalent; and where ``gradient`` is what the network's own autograd gives.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.files import cache_folder, write_text

METHODS = ("gradient", "lrp.epsilon:epsilon=0.25", "lrp.alpha_1_beta_0", "lrp.sequential_preset_a")
ROOT = Path(__file__).parents[2]
#: Seconds for one network.
LIMIT_S = 900
#: What says how many threads torch and TensorFlow compute with: one, unless the environment has another number. With as
#: many as there are cores a row took three times as long on two busy cores, because threads wait for each other.
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
#: Largest relative L2 difference of ``gradient`` from the network's own autograd, both in double precision: in single
#: precision rounding puts units of two computations of one network on two sides of a kink.
AUTOGRAD_BOUND = 1e-8


@dataclass(frozen=True)
class Row:
    """One network. ``pixels``: the side of its input, or its steps. ``refusal``: the sentence where it does not load.

    ``double``: it loads in double precision only, because rounding moves its output too far in single. ``twins``: the
    larger relative difference of a twin's output from the network's own. ``verdicts``: by method, or the sentence of
    its refusal after ``refused: ``. ``autograd``: the larger relative difference of a side's ``gradient`` from the
    network's own autograd, all in double precision, and ``bound`` what it may be; ``remark``: why it is not there, or
    how else it was measured. ``memory_gb``: the largest resident set of the process. ``finished``: false where the time
    was up first; then ``seconds`` is all that is known.
    """

    network: str
    pixels: int
    refusal: str = ""
    double: bool = False
    layers: int = 0
    twins: float | None = None
    verdicts: dict[str, str] = field(default_factory=dict)
    autograd: float | None = None
    bound: float = AUTOGRAD_BOUND
    seconds: float = 0.0
    memory_gb: float = 0.0
    finished: bool = True
    remark: str = ""

    @property
    def loads(self) -> bool:
        return self.finished and not self.refusal

    @property
    def end_to_end(self) -> bool:
        """What the module's docstring says."""
        fine = [
            verdict in ("identical", "equivalent")
            or (method != "gradient" and verdict.startswith("refused: "))
            for method, verdict in self.verdicts.items()
        ]
        proven = self.autograd is not None and self.autograd <= self.bound
        return self.loads and len(fine) == len(METHODS) and all(fine) and proven


@dataclass(frozen=True)
class Table:
    """``module``: what ``python -m`` runs, which prints a row for ``--row NAME``. ``groups``: by network, what it is
    listed under; ``pixels``: by network, as in :class:`Row`. ``measured``: the row of a network, measured in this
    process; its second argument, whether loading is all that is measured. ``kept``: the file of rows; ``page``: that
    of the table; ``intro``: the page's first lines.
    """

    module: str
    groups: Mapping[str, str]
    pixels: Mapping[str, int]
    measured: Callable[[str, bool], Row]
    kept: Path
    page: Path
    intro: tuple[str, ...]


def verdicts_on(model: Any, x: Any, dtype: str) -> dict[str, str]:
    """By method, the verdict of the port against the reference on ``x``, or ``refused: `` and why."""
    import harness

    verdicts = {}
    for method in METHODS:
        try:
            reference = harness.explain(model, x, method, dtype=dtype)
            # One target for both: where all outputs are alike, rounding chooses the largest.
            candidate = harness.explain(
                model, x, method, backend="torch", target=reference.target, dtype=dtype
            )
            verdicts[method] = harness.compare(reference, candidate).verdict
        except harness.HarnessError as error:
            verdicts[method] = f"refused: {error}"
        except Exception as error:
            verdicts[method] = f"RAW {type(error).__name__}: {error}"
    return verdicts


def apart(candidate: Any, own: Any) -> float:
    """``|candidate - own| / |own|`` in L2."""
    import numpy as np

    return float(np.linalg.norm(candidate - own) / np.linalg.norm(own))


def closed(row: Row, start: float) -> Row:
    """``row`` with the seconds since ``start`` and the largest memory of this process."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return replace(row, seconds=round(time.monotonic() - start, 1), memory_gb=round(memory, 2))


def in_a_process(table: Table, name: str, load_only: bool, limit_s: int = LIMIT_S) -> Row:
    """The row of a network, measured in a process of its own that ends after so many seconds."""
    command = [sys.executable, "-m", table.module, "--row", name]
    start = time.monotonic()
    try:
        ended = subprocess.run(
            [*command, *(["--load"] if load_only else [])],
            cwd=ROOT,
            env={"TF_CPP_MIN_LOG_LEVEL": "3", **dict.fromkeys(THREADS, "1"), **os.environ},
            capture_output=True,
            text=True,
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired:
        return Row(name, table.pixels[name], seconds=limit_s, finished=False)
    lines = ended.stdout.strip().splitlines()
    if ended.returncode or not lines:
        last = (ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"])[-1]
        return Row(name, table.pixels[name], f"RAW {last}", seconds=round(time.monotonic() - start, 1))
    return Row(**json.loads(lines[-1]))


def kept_rows(table: Table) -> dict[str, Row]:
    if not table.kept.exists():
        return {}
    rows = json.loads(table.kept.read_text())
    return {name: Row(**rows[name]) for name in table.groups if name in rows}


def keep(table: Table, row: Row) -> None:
    """Add ``row`` to those that are kept, also those that another run has added meanwhile; one of its name gives way.

    A network that was measured before keeps its row where the time was up now.
    """
    with _alone(table):
        rows = kept_rows(table)
        if row.finished or row.network not in rows:
            rows[row.network] = row
        ordered = {name: asdict(rows[name]) for name in table.groups if name in rows}
        write_text(table.kept, json.dumps(ordered, indent=1) + "\n")


@contextmanager
def _alone(table: Table) -> Iterator[None]:
    """No other run writes the rows while the block runs."""
    place = cache_folder() / "locks" / hashlib.sha256(str(table.kept.resolve()).encode()).hexdigest()
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def page(table: Table, rows: dict[str, Row]) -> str:
    """The table as Markdown, groups one after the other; refusals and unequal verdicts below it."""
    lines = list(table.intro)
    for group in dict.fromkeys(table.groups.values()):
        own = [row for name, row in rows.items() if table.groups[name] == group]
        missing = [name for name, each in table.groups.items() if each == group and name not in rows]
        loaded, complete = sum(row.loads for row in own), sum(row.end_to_end for row in own)
        lines += [
            f"## {group}: {loaded} of {len(own)} load, {complete} end to end",
            "",
            "| network | pixels | layers | twins | "
            + " | ".join(f"`{method}`" for method in METHODS)
            + " | autograd | end to end | seconds | GB |",
            "|" + " --- |" * (9 + len(METHODS) - 1),
            *(_line(row) for row in own),
            "",
            *(f"- `{name}` is not measured yet" for name in missing),
            *(
                f"- `{row.network}` is not finished within {row.seconds:g} s, and is run again"
                for row in own
                if not row.finished
            ),
            *(f"- `{row.network}`: {row.refusal}" for row in own if row.refusal),
            *(f"- `{row.network}`: {row.remark}" for row in own if row.remark),
            *(
                f"- `{row.network}`, `{method}`: {verdict}"
                for row in own
                for method, verdict in row.verdicts.items()
                if verdict.startswith(("refused", "RAW"))
            ),
            "",
        ]
    return "\n".join(lines)


def _line(row: Row) -> str:
    name = row.network.partition("/")[2] + (" (in double precision)" if row.double else "")
    if not row.loads:
        cells = ["", "does not load" if row.finished else "not finished in time", *[""] * (len(METHODS) + 1)]
    else:
        verdicts = [row.verdicts.get(method, "").partition(":")[0] for method in METHODS]
        cells = [str(row.layers), _figure(row.twins), *verdicts, _figure(row.autograd)]
    ends = ["yes" if row.end_to_end else "no", f"{row.seconds:g}", f"{row.memory_gb:g}"]
    return "| " + " | ".join([name, str(row.pixels), *cells, *ends]) + " |"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def run(table: Table, description: str | None) -> int:
    """The command line of a table."""
    parser = argparse.ArgumentParser(prog=f"python -m {table.module}", description=description)
    parser.add_argument("--only", action="append", help="networks whose name holds this text")
    parser.add_argument("--again", action="store_true", help="measure what is kept too")
    parser.add_argument("--load", action="store_true", help="measure loading alone")
    parser.add_argument("--only-page", action="store_true", help="measure nothing")
    parser.add_argument("--limit", type=int, default=LIMIT_S, help="seconds for one network")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        print(json.dumps(asdict(table.measured(arguments.row, arguments.load))))
        return 0
    rows = kept_rows(table)
    chosen = [
        name for name in table.groups if not arguments.only or any(word in name for word in arguments.only)
    ]
    for name in [] if arguments.only_page else chosen:
        if name in rows and _is_done(rows[name], arguments.load) and not arguments.again:
            continue
        row = in_a_process(table, name, arguments.load, arguments.limit)
        keep(table, row)
        words = row.refusal or row.verdicts or ("loads" if row.finished else "not finished in time")
        print(f"{row.seconds:6.0f} s  {name}: {words}", flush=True)
    write_text(table.page, page(table, kept_rows(table)))
    return 0


def _is_done(row: Row, load_only: bool) -> bool:
    return bool(row.finished and (load_only or row.verdicts or row.refusal))
