"""Why goldens regressed: the candidate diagnosed against the oracle, which needs no framework."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from harness.backends import ORACLE, Backend
from harness.diagnosis import diagnose
from harness.errors import HarnessError, described, is_interrupt
from harness.golden.inspect import Root, load_entry
from harness.golden.sources import Models

Row = dict[str, Any]


def name_causes(
    rows: Sequence[Row],
    root: Root,
    candidate: Backend,
    models: Models,
    limit: int,
    started: Callable[[str], None] = lambda name: None,
) -> None:
    """Give ``limit`` of the regressed among ``rows``, those of `verify_all`, a ``diagnosis``: a sentence a finding.

    One of each model and layer first. ``causes``: their names (`harness.diagnosis.causes`). The oracle stands for the
    reference that recorded: where it agrees with the candidate, nothing is found, and the diagnosis says so.
    ``started``: is told each entry before it is diagnosed.
    """
    regressed = [row for row in rows if row["status"] == "regressed"]
    for row in _one_of_each(regressed)[:limit]:
        started(f"cause of {row['case']}")
        row["causes"], row["diagnosis"] = _cause(row["case"], root, candidate, models)
        row["cause"] = next(iter(row["causes"]), "no diagnosis")


def _one_of_each(rows: Sequence[Row]) -> list[Row]:
    """``rows``, the first of each model and layer before all others."""
    seen: set[tuple[str, str]] = set()
    first: list[Row] = []
    others: list[Row] = []
    for row in rows:
        place = (row["model"], row["first_divergent_forward"] or row["first_divergent"] or "")
        (others if place in seen else first).append(row)
        seen.add(place)
    return [*first, *others]


def _cause(name: str, root: Root, candidate: Backend, models: Models) -> tuple[list[str], list[str]]:
    try:
        golden = load_entry(root.root, name, root.entries[name], root.manifest.files)
        facts = golden.facts
        model = models.of(golden.trace.model, str(facts["model_digest"]), facts["source"], golden.example)
        diagnosis = diagnose(
            model, golden.x, golden.method, ORACLE, candidate, golden.trace.target, "float64"
        )
    except HarnessError as error:
        return [], [f"no diagnosis: {error}"]
    except BaseException as error:  # the candidate is other people's code
        if is_interrupt(error):
            raise
        return [], [f"no diagnosis: {described(error)}"]
    if not diagnosis.findings:
        return [], [
            "the oracle of today agrees with the candidate: the reference that recorded did otherwise"
        ]
    return [each.cause for each in diagnosis.findings], [each.sentence for each in diagnosis.findings]
