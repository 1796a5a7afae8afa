"""The command `python -m evidence.nightly`: one night."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from evidence.kept import commit
from evidence.nightly.page import Night, page, verdict
from evidence.nightly.steps import Step, all_steps, timed
from harness.backends import backend_named
from harness.files import write_text
from harness.history import (
    PATH,
    append,
    last_night,
    last_of_each_step,
    moves,
    read_history,
    versions_moved,
    versions_of_night,
)
from harness.runner import environment

if TYPE_CHECKING:
    import pandas

#: Steps in which every case has to pass; in the others, which have known misses, none may that passed the night before.
STRICT = frozenset({"goldens", "runs"})


def main() -> int:
    """0 where every step was carried out and nothing is red, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m evidence.nightly", description=__doc__)
    parser.add_argument("--goldens", type=Path, default=Path("golden"), help="folder of the goldens")
    parser.add_argument("--out", type=Path, default=Path("reports"), help="folder of nightly.md and the runs")
    parser.add_argument("--history", type=Path, default=PATH, help="the Parquet file of all nights")
    parser.add_argument("--only", action="append", metavar="STEP", help="of the night's steps, only these")
    arguments = parser.parse_args()
    date = datetime.now(UTC).isoformat(timespec="seconds")
    history = read_history(arguments.history)
    steps = []
    planned = all_steps(date, arguments.goldens, arguments.out / "runs" / "nightly")
    unknown = [name for name in arguments.only or () if name not in planned]
    if unknown:
        parser.error(f"there is no step {unknown[0]!r}; there are: {', '.join(planned)}")
    for name in arguments.only or planned:
        step = timed(name, planned[name])
        print(
            f"{step.name}: {len(step.rows)} cases in {step.seconds:.0f} s {step.problem}".rstrip(), flush=True
        )
        steps.append(step)
    left_out = tuple(name for name in planned if name not in (arguments.only or planned))
    night = night_of(date, steps, history, versions(), arguments.history, left_out)
    write_text(arguments.out / "nightly.md", page(night))
    print(f"{verdict(night)}. Report: {arguments.out / 'nightly.md'}")
    return int(bool(night.red) or any(step.problem or step.notes for step in steps))


def night_of(
    date: str,
    steps: Sequence[Step],
    history: pandas.DataFrame,
    now: dict[str, str],
    path: Path,
    left_out: tuple[str, ...] = (),
) -> Night:
    """Tonight, each step held against the last night of ``history`` that had it; its rows are added to ``path``.

    ``left_out``: steps of a night that this one was not asked for.
    """
    rows = [{**row, "night": date, "versions": json.dumps(now)} for step in steps for row in step.rows]
    before = last_of_each_step(history)
    table = append(path, rows)
    # Cases of a step that was not carried out are not gone: nobody looked.
    looked = {row["step"] for row in rows}
    moved = moves(before[before["step"].isin(looked)], table[table["night"] == date])
    return Night(
        date,
        str(before["night"].max()) if len(before) else "",
        tuple(steps),
        tuple(moved) if len(before) else (),
        tuple(versions_moved(versions_of_night(last_night(history)), now)) if len(before) else (),
        now,
        tuple(_red(rows, {move.case for move in moved if move.worse})),
        table,
        left_out,
    )


def versions() -> dict[str, str]:
    """Of everything that computes, and the commit."""
    names = environment([backend_named("tensorflow"), backend_named("torch")])
    short = {name: value for name, value in names.items() if len(value) < 40}
    return {**short, "commit": commit()}


def _red(rows: Iterable[dict[str, object]], worse: set[tuple[str, ...]]) -> Iterable[tuple[str, ...]]:
    for row in rows:
        case = tuple(str(row[name]) for name in ("step", "model", "method", "dtype"))
        if not row["passed"] and (row["step"] in STRICT or case in worse):
            yield case


if __name__ == "__main__":
    sys.exit(main())
