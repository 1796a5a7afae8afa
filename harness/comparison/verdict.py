"""Two traces side by side: a row a layer, one verdict for all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.comparison.floor import MULTIPLE, NoiseFloor, unmeasured
from harness.comparison.metrics import relative_l2
from harness.comparison.rerun import Rerun
from harness.comparison.rows import (
    VERDICTS,
    ForwardRow,
    Row,
    forward_frame,
    forward_row,
    relevance_frame,
    relevance_row,
    row_of_arrays,
)
from harness.errors import InvalidInputError
from harness.trace import Trace

if TYPE_CHECKING:
    import pandas

Tolerance = float | Literal["close"] | None


@dataclass(frozen=True)
class Comparison:
    """The result of :func:`compare`.

    ``rows``: relevance per layer in backward order; ``forward``: activation per layer in forward order;
    ``attribution``: the result itself, after post-processing.
    """

    rows: tuple[Row, ...]
    forward: tuple[ForwardRow, ...]
    attribution: Row
    floor: NoiseFloor
    tolerance: Tolerance = None
    notes: tuple[str, ...] = field(default=())

    @property
    def verdict(self) -> str:
        """The worst verdict of any row: activations, relevances and the attribution."""
        return min((row.verdict for row in self._all()), key=VERDICTS.index)

    @property
    def passed(self) -> bool:
        """True for "identical" and "equivalent", and for what ``tolerance`` explicitly allows beyond."""
        return all(self._row_passed(row) for row in self._all())

    @property
    def first_divergent(self) -> str | None:
        """The first layer in backward order whose relevance is neither identical nor equivalent; None if all are."""
        return next((row.layer for row in self.rows if row.verdict not in ("identical", "equivalent")), None)

    @property
    def first_divergent_forward(self) -> str | None:
        """The first layer in forward order whose activation is neither identical nor equivalent; None if all are."""
        return next(
            (row.layer for row in self.forward if row.verdict not in ("identical", "equivalent")), None
        )

    @cached_property
    def table(self) -> pandas.DataFrame:
        """Relevance, a row a layer in backward order (columns: DESIGN.md section 5)."""
        return relevance_frame(self.rows)

    @cached_property
    def forward_table(self) -> pandas.DataFrame:
        """Activations, a row a layer in forward order, with the figures that the verdict rests on."""
        return forward_frame(self.forward)

    @property
    def worst(self) -> Row | ForwardRow:
        """The row furthest from the reference in floors; a row with an error comes before any other."""
        return max(self._all(), key=lambda row: (row.verdict == "error", row.ratio))

    def _all(self) -> Iterator[Row | ForwardRow]:
        yield from self.rows
        yield from self.forward
        yield self.attribution

    def _row_passed(self, row: Row | ForwardRow) -> bool:
        if row.verdict in ("identical", "equivalent"):
            return True
        if self.tolerance == "close":
            return row.verdict == "close"
        if isinstance(self.tolerance, int | float):
            return row.verdict != "error" and row.rel_l2 <= self.tolerance
        return False

    def __repr__(self) -> str:
        worst = self.worst
        return (
            f"Comparison(verdict={self.verdict!r}, first_divergent={self.first_divergent!r}, "
            f"worst {worst.layer}: relative L2 {worst.rel_l2:.2e}, {worst.ratio:.3g} noise floors)"
        )


def compare(
    reference_trace: Trace,
    candidate_trace: Trace,
    tolerance: Tolerance = None,
    floor: NoiseFloor | None = None,
) -> Comparison:
    """Compare two traces of one method on one model and input, layer by layer.

    ``floor``: the reference's noise floor. Left out, it is measured by running the reference again
    (a trace that came from `explain` can do that); for a trace read from a file it is one unit
    roundoff, and a note says so. ``tolerance`` changes ``passed`` and no verdict: ``"close"``, or a
    bound on the relative L2 difference.

    Where activations agree and relevances do not, the reference is run once more on the candidate's
    activations (see harness.comparison.rerun): a layer that agrees with that run within the floor
    differed because rounding put a unit on the other side of a kink, and its floor becomes what that moved.

    Raises InvalidInputError where the traces are not of the same model, method, dtype, target or shape.
    """
    _check_comparable(reference_trace, candidate_trace)
    if isinstance(tolerance, str) and tolerance != "close":
        raise InvalidInputError(f"tolerance must be None, 'close' or a number, found {tolerance!r}")
    rerun: Rerun | None = reference_trace.rerun
    notes: list[str] = []
    if floor is None:
        floor = rerun.floor(reference_trace) if rerun else unmeasured(reference_trace.dtype)
        if not rerun:
            notes.append("the noise floor was not measured; verdicts allow for one rounding only")
    ours, theirs = reference_trace.layers, candidate_trace.layers
    if ours and not theirs:
        notes.append("the candidate gave no layers; only the attribution was compared")
    shared = [name for name in ours if name in theirs]
    # NumPy releases the interpreter for the sums, so the tensors are handled side by side.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        relevances = [
            pool.submit(relevance_row, ours[name], theirs[name].relevance, floor.of_relevance(name))
            for name in reversed(shared)
            if ours[name].relevance is not None and theirs[name].relevance is not None
        ]
        activations = [
            pool.submit(forward_row, ours[name], theirs[name].activation, floor.of_activation(name))
            for name in shared
            if ours[name].activation is not None and theirs[name].activation is not None
        ]
        attribution = row_of_arrays(
            "attribution",
            "attribution",
            next(iter(ours.values())).axes if ours else (),
            reference_trace.attribution,
            candidate_trace.attribution,
            floor.of_attribution(),
        )
        comparison = Comparison(
            rows=tuple(row.result() for row in relevances) or (attribution,),
            forward=tuple(row.result() for row in activations),
            attribution=attribution,
            floor=floor,
            tolerance=tolerance,
            notes=tuple(notes),
        )
    if rerun and _relevance_parts_alone(comparison):
        return _on_equal_ground(comparison, reference_trace, candidate_trace, rerun)
    return comparison


def _check_comparable(ours: Trace, theirs: Trace) -> None:
    for what, left, right in (
        ("model", ours.model, theirs.model),
        ("method", ours.method.name, theirs.method.name),
        ("dtype", ours.dtype, theirs.dtype),
        ("target", ours.target.tolist(), theirs.target.tolist()),
    ):
        if left != right:
            raise InvalidInputError(
                f"the traces differ in {what}: {left!r} and {right!r}; compare runs of the same case"
            )


def _relevance_parts_alone(comparison: Comparison) -> bool:
    """Whether relevance differs although every activation agrees to within its floor."""
    return (
        bool(comparison.forward)
        and comparison.first_divergent_forward is None
        and comparison.verdict in ("close", "divergent")
    )


def _on_equal_ground(comparison: Comparison, ours: Trace, theirs: Trace, rerun: Rerun) -> Comparison:
    """``comparison`` with the layers as "equivalent" that agree with the reference on the candidate's activations."""
    again = rerun.on_activations_of(theirs)
    if again is None:
        return comparison
    source = next(iter(ours.layers))
    times = theirs.layers[source].activation if ours.method.postprocess == "times_input" else 1
    excused: list[str] = []

    def judged(row: Row, reference: Any, candidate: Any, on_candidate: np.ndarray) -> Row:
        if (
            row.verdict not in ("close", "divergent")
            or relative_l2(on_candidate, candidate) > MULTIPLE * row.floor
        ):
            return row
        excused.append(row.layer)
        return replace(row, floor=max(row.floor, relative_l2(reference, on_candidate)), verdict="equivalent")

    rows = tuple(
        judged(row, ours.layers[row.layer].relevance, theirs.layers[row.layer].relevance, again[row.layer])
        for row in comparison.rows
    )
    attribution = judged(comparison.attribution, ours.attribution, theirs.attribution, again[source] * times)
    if not excused:
        return comparison
    note = (
        f"rounding put units on the other side of a kink: at {len(excused)} layers from {excused[0]} on the reference, "
        "given the candidate's activations, moves as far as the candidate is away, and agrees with it"
    )
    return replace(comparison, rows=rows, attribution=attribution, notes=(*comparison.notes, note))
