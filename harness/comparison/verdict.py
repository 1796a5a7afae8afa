"""Two traces side by side: a row a layer, a verdict a row, one verdict for all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.comparison.floor import MULTIPLE, NoiseFloor, unmeasured
from harness.comparison.metrics import Distance, Statistics, compare_arrays, relative_l2
from harness.comparison.rerun import Rerun
from harness.errors import InvalidInputError
from harness.trace import Trace

if TYPE_CHECKING:
    import pandas

#: Worst first.
VERDICTS = ("error", "divergent", "close", "equivalent", "identical")
#: The field's habit, which "close" reports and nothing rests on.
CLOSE_MAE = 1e-4
CLOSE_PEARSON_R = 0.99

Tolerance = float | Literal["close"] | None


@dataclass(frozen=True)
class Row:
    """One tensor of both sides: what it is, how far apart, and what that means."""

    layer: str
    kind: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    distance: Distance
    reference: Statistics
    candidate: Statistics
    floor: float
    verdict: str

    @property
    def ratio(self) -> float:
        """Relative L2 difference in floors; 0 where the arrays are equal."""
        return self.distance.rel_l2 / self.floor if self.distance.rel_l2 else 0.0


def verdict_of(distance: Distance, floor: float) -> str:
    """The verdict on one tensor, from its distance and its noise floor (both relative L2)."""
    if not distance.same_finite:
        return "error"
    if distance.identical:
        return "identical"
    if distance.rel_l2 <= MULTIPLE * floor:
        return "equivalent"
    if distance.mae < CLOSE_MAE and distance.pearson_r > CLOSE_PEARSON_R:
        return "close"
    return "divergent"


@dataclass(frozen=True)
class Comparison:
    """The result of :func:`compare`.

    ``rows``: relevance per layer in backward order; ``forward``: activation per layer in forward order;
    ``attribution``: the result itself, after post-processing.
    """

    rows: tuple[Row, ...]
    forward: tuple[Row, ...]
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
        return _frame(self.rows)

    @cached_property
    def forward_table(self) -> pandas.DataFrame:
        """Activations, a row a layer in forward order, same columns."""
        return _frame(self.forward)

    @property
    def worst(self) -> Row:
        """The row furthest from the reference in floors; a row with an error comes before any other."""
        return max(self._all(), key=lambda row: (row.verdict == "error", row.ratio))

    def _all(self) -> Iterator[Row]:
        yield from self.rows
        yield from self.forward
        yield self.attribution

    def _row_passed(self, row: Row) -> bool:
        if row.verdict in ("identical", "equivalent"):
            return True
        if self.tolerance == "close":
            return row.verdict == "close"
        if isinstance(self.tolerance, int | float):
            return row.verdict != "error" and row.distance.rel_l2 <= self.tolerance
        return False

    def __repr__(self) -> str:
        worst = self.worst
        return (
            f"Comparison(verdict={self.verdict!r}, first_divergent={self.first_divergent!r}, "
            f"worst {worst.layer}: relative L2 {worst.distance.rel_l2:.2e}, {worst.ratio:.3g} noise floors)"
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
    axes = next(iter(ours.values())).axes if ours else ()
    attribution = (
        "attribution",
        "attribution",
        axes,
        reference_trace.attribution,
        candidate_trace.attribution,
        floor.of_attribution(),
    )
    # NumPy releases the interpreter for the sums, so the tensors are handled side by side.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        relevance_rows = [
            pool.submit(
                _row,
                name,
                ours[name].kind,
                ours[name].axes,
                ours[name].relevance,
                theirs[name].relevance,
                floor.of_relevance(name),
            )
            for name in reversed(shared)
            if ours[name].relevance is not None and theirs[name].relevance is not None
        ]
        activation_rows = [
            pool.submit(
                _row,
                name,
                ours[name].kind,
                ours[name].axes,
                ours[name].activation,
                theirs[name].activation,
                floor.of_activation(name),
            )
            for name in shared
            if ours[name].activation is not None and theirs[name].activation is not None
        ]
        last = pool.submit(_row, *attribution)
        rows = tuple(row.result() for row in relevance_rows) or (last.result(),)
        comparison = Comparison(
            rows,
            tuple(row.result() for row in activation_rows),
            last.result(),
            floor,
            tolerance,
            tuple(notes),
        )
    if rerun and _relevance_parts_alone(comparison):
        return _on_equal_ground(comparison, reference_trace, candidate_trace, rerun)
    return comparison


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


def _row(name: str, kind: str, axes: tuple[str, ...], ours: Any, theirs: Any, floor: float) -> Row:
    if ours.shape != theirs.shape:
        raise InvalidInputError(
            f"{name}: the reference has shape {ours.shape} ({', '.join(axes)}), the candidate {theirs.shape}; "
            "bring the candidate to the canonical layout"
        )
    distance, reference, candidate = compare_arrays(ours, theirs)
    return Row(
        name, kind, axes, ours.shape, distance, reference, candidate, floor, verdict_of(distance, floor)
    )


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


_DISTANCE_COLUMNS = (
    "mae",
    "max_abs",
    "rel_l2",
    "pearson_r",
    "ccc",
    "cosine",
    "best_scale",
    "rel_l2_after_scale",
    "sign_agreement",
)
_STATISTICS_COLUMNS = ("min", "max", "mean", "std", "sum", "negative", "zero", "positive", "nan", "inf")


def _named(index: tuple[int, ...] | None, axes: tuple[str, ...]) -> dict[str, int] | None:
    if index is None:
        return None
    names = axes if len(axes) == len(index) else tuple(f"axis{i}" for i in range(len(index)))
    return dict(zip(names, index, strict=True))


def _frame(rows: tuple[Row, ...]) -> pandas.DataFrame:
    import pandas

    records = []
    for row in rows:
        record: dict[str, Any] = {
            "layer": row.layer,
            "kind": row.kind,
            "shape": row.shape,
        }
        record |= {column: getattr(row.distance, column) for column in _DISTANCE_COLUMNS}
        for side, statistics in (("ref", row.reference), ("cand", row.candidate)):
            record |= {f"{side}_{column}": getattr(statistics, column) for column in _STATISTICS_COLUMNS}
            record |= {
                f"{side}_argmin": _named(statistics.argmin, row.axes),
                f"{side}_argmax": _named(statistics.argmax, row.axes),
            }
        records.append(record | {"floor": row.floor, "verdict": row.verdict})
    return pandas.DataFrame.from_records(records)
