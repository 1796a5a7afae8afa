"""What a run expects of its cases, where this machine was measured before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from harness.backends import Backend, is_installed
from harness.case import Case
from harness.engine import Store
from harness.estimate.machine import Machine, known_machine
from harness.estimate.prediction import estimate


def expectation(reference: Backend, candidate: Backend, store: Store) -> Callable[[Case], float | None]:
    """From a case to the seconds that it will take; None where ``store`` has no figures of this machine.

    `xai-harness estimate` measures them; a run does not, because that takes longer than a small run. None as well where
    a side is code of the user's own, which nothing is asked of before its case.
    """
    installed = is_installed(reference) and is_installed(candidate)
    # Figures of the machine are no results: a run that computes everything again still knows them.
    store = Store(store.folder, store.limit)

    @cache
    def machine(dtype: str) -> Machine | None:
        return known_machine(reference, candidate, dtype, store)

    def seconds(case: Case) -> float | None:
        figures = machine(case.dtype) if installed else None
        if figures is None:
            return None
        return estimate(case.model.graph, case.method, len(case.x), case.dtype, figures).seconds

    return seconds


def how_far_off(rows: Sequence[dict[str, Any]]) -> str:
    """What a run says of its estimate, of the ``rows`` that have one and were computed; empty where there is none."""
    both = [(row.get("seconds_with_files"), row.get("seconds_estimated")) for row in rows]
    known = [(took, estimated) for took, estimated in both if took is not None and estimated]
    if not known:
        return ""
    took, estimated = (sum(each) for each in zip(*known, strict=True))
    return (
        f"Estimated: {estimated:.1f} s for {len(known)} cases, each by itself; "
        f"they took {took:.1f} s, {took / estimated:.2f} times that."
    )
