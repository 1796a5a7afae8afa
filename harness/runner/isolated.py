"""A run of code of the user's own in a process of its own: a case that ends the process is an error of that case."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from harness.backends import backend_named
from harness.isolation import isolated_cases
from harness.runner.kept import Row
from harness.runner.run import (
    Finished,
    Progress,
    Selection,
    Skipped,
    Started,
    environment,
    events,
    failed_row,
)


def run_isolated(
    selection: Selection, folder: Path, progress: Progress | None = None
) -> tuple[list[Row], dict[str, str]]:
    """`run` in another process, begun anew behind a case that ends it; the rows, and the `environment` there.

    ``selection`` names its backends. Raises what `run` raises, and HarnessError where the process ends while
    no case runs.
    """
    progress = progress or Progress()
    rows: list[Row] = []
    facts: dict[str, str] = {}
    skipped: set[Skipped] = set()
    for kind, value in isolated_cases(_work, selection, folder, lost=_lost):
        if kind == "environment":
            facts = value
        elif kind == "started":
            progress.tell(Started(value))
        elif kind == "finished":
            rows.append(value["row"])
            progress.tell(Finished(**value))
        elif (left_out := Skipped(**value)) not in skipped:  # a run begun anew says it again
            skipped.add(left_out)
            progress.tell(left_out)
    return rows, facts


def _lost(case: Row, message: str) -> dict[str, Any]:
    return asdict(Finished(failed_row(case, message), False))


def _work(selection: Selection, folder: Path, passed: int) -> Iterator[tuple[str, Any]]:
    """The events of a run, and last its environment, as JSON can say them."""
    # Named once: such a file is run every time it is named.
    sides = backend_named(selection.reference), backend_named(selection.candidate)
    for event in events(replace(selection, reference=sides[0], candidate=sides[1]), folder, passed):
        if isinstance(event, Started):
            yield "started", event.case
        else:
            yield "finished" if isinstance(event, Finished) else "skipped", asdict(event)
    yield "environment", environment(sides)
