"""Two traces side by side: a row a layer, a verdict a row, one verdict for all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from harness.comparison.floor import MULTIPLE, NoiseFloor, unmeasured
from harness.comparison.metrics import Distance, Statistics, compare_arrays
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
        return next((row.layer for row in self.forward if row.verdict not in ("identical", "equivalent")), None)

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

    Raises InvalidInputError where the traces are not of the same model, method, dtype, target or shape.
    """
    _check_comparable(reference_trace, candidate_trace)
    if isinstance(tolerance, str) and tolerance != "close":
        raise InvalidInputError(f"tolerance must be None, 'close' or a number, found {tolerance!r}")
    notes: list[str] = []
    if floor is None:
        if reference_trace.measure_floor is not None:
            floor = reference_trace.measure_floor()
        else:
            floor = unmeasured(reference_trace.dtype)
            notes.append("the noise floor was not measured; verdicts allow for one rounding only")
    jobs: list[tuple[Any, ...]] = []
    for name in reversed(list(reference_trace.layers)):
        ours, theirs = reference_trace.layers[name], candidate_trace.layers.get(name)
        if ours.relevance is not None and theirs is not None and theirs.relevance is not None:
            jobs.append(("rows", name, ours.kind, ours.axes, ours.relevance, theirs.relevance, floor.of_relevance(name)))
    for name, ours in reference_trace.layers.items():
        theirs = candidate_trace.layers.get(name)
        if ours.activation is not None and theirs is not None and theirs.activation is not None:
            jobs.append(
                ("forward", name, ours.kind, ours.axes, ours.activation, theirs.activation, floor.of_activation(name))
            )
    axes = next(iter(reference_trace.layers.values())).axes if reference_trace.layers else ()
    jobs.append(
        (
            "attribution",
            "attribution",
            "attribution",
            axes,
            reference_trace.attribution,
            candidate_trace.attribution,
            floor.of_attribution(),
        )
    )
    # NumPy releases the interpreter for the sums, so the tensors are handled side by side.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        done = list(pool.map(lambda job: (job[0], _row(*job[1:])), jobs))
    if reference_trace.layers and not candidate_trace.layers:
        notes.append("the candidate gave no layers; only the attribution was compared")
    rows = tuple(row for part, row in done if part == "rows")
    return Comparison(
        rows=rows or (done[-1][1],),
        forward=tuple(row for part, row in done if part == "forward"),
        attribution=done[-1][1],
        floor=floor,
        tolerance=tolerance,
        notes=tuple(notes),
    )


def _row(
    name: str, kind: str, axes: tuple[str, ...], ours: np.ndarray, theirs: np.ndarray, floor: float
) -> Row:
    if ours.shape != theirs.shape:
        raise InvalidInputError(
            f"{name}: the reference has shape {ours.shape} ({', '.join(axes)}), the candidate {theirs.shape}; "
            "bring the candidate to the canonical layout"
        )
    distance, reference, candidate = compare_arrays(ours, theirs)
    return Row(name, kind, axes, ours.shape, distance, reference, candidate, floor, verdict_of(distance, floor))


def _check_comparable(ours: Trace, theirs: Trace) -> None:
    for what, left, right in (
        ("model", ours.model, theirs.model),
        ("method", ours.method.name, theirs.method.name),
        ("dtype", ours.dtype, theirs.dtype),
        ("target", ours.target.tolist(), theirs.target.tolist()),
    ):
        if left != right:
            raise InvalidInputError(f"the traces differ in {what}: {left!r} and {right!r}; compare runs of the same case")


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
