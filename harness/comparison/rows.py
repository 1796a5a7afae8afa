"""One tensor of both sides: how far apart, and what that means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from harness.comparison.floor import MULTIPLE
from harness.comparison.known import of_pair
from harness.comparison.metrics import (
    Difference,
    Distance,
    Statistics,
    compare_arrays,
    difference_of,
)
from harness.errors import InvalidInputError
from harness.graph import in_words
from harness.trace import LayerTrace

if TYPE_CHECKING:
    import pandas

#: What a verdict rests on: a bound that every floor is at least (`harness.comparison.floor.derived`), the measured
#: floor, the reference on the candidate's activations, or there what rounding does to single steps; for a candidate
#: that shows the attribution alone, the port, which is right and gives the same.
Ruling = Literal["bound", "floor", "equal ground", "single steps", "port"]
#: Worst first.
VERDICTS = ("error", "divergent", "close", "equivalent", "identical")
#: Those that pass where nothing else was asked for.
PASSING = ("equivalent", "identical")
#: The field's habit, which "close" reports and nothing rests on. Neither bound sees a wrong scale where all values are
#: small, so Lin's concordance has one too.
CLOSE_MAE = 1e-4
CLOSE_PEARSON_R = 0.99
CLOSE_CCC = 0.99


@dataclass(frozen=True)
class Row:
    """One relevance tensor of both sides: what it is, how far apart, and what that means.

    ``floor``: what the distance was held against, ``decided_by`` what that is.
    """

    layer: str
    kind: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    distance: Distance
    reference: Statistics
    candidate: Statistics
    floor: float
    verdict: str
    decided_by: Ruling = "floor"

    @property
    def rel_l2(self) -> float:
        return self.distance.rel_l2

    @property
    def ratio(self) -> float:
        """Relative L2 difference in floors; 0 where the arrays are equal."""
        return self.rel_l2 / self.floor if self.rel_l2 else 0.0


@dataclass(frozen=True)
class ForwardRow:
    """One activation tensor of both sides, with no more figures than a verdict needs."""

    layer: str
    kind: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    difference: Difference
    floor: float
    verdict: str
    decided_by: Ruling = "floor"

    @property
    def rel_l2(self) -> float:
        return self.difference.rel_l2

    @property
    def ratio(self) -> float:
        """Relative L2 difference in floors; 0 where the arrays are equal."""
        return self.rel_l2 / self.floor if self.rel_l2 else 0.0


R = TypeVar("R", Row, ForwardRow)


def verdict_of(distance: Distance, floor: float) -> str:
    """The verdict on one tensor, from its distance and its noise floor (both relative L2).

    Where r is not defined, because one side is constant (or zero, or one value), nothing is "close": that habit has
    nothing to say of it.
    """
    if not distance.same_finite:
        return "error"
    if distance.identical:
        return "identical"
    if distance.rel_l2 <= MULTIPLE * floor:
        return "equivalent"
    if distance.mae < CLOSE_MAE and distance.pearson_r > CLOSE_PEARSON_R and distance.ccc > CLOSE_CCC:
        return "close"
    return "divergent"


def relevance_row(layer: LayerTrace, candidate: Any, floor: float, ruling: Ruling = "floor") -> Row:
    """The row of a layer's relevance against the candidate's. Raises InvalidInputError where shapes differ."""
    return row_of_arrays(layer.name, layer.kind, layer.axes, layer.relevance, candidate, floor, ruling)


def row_of_arrays(
    name: str,
    kind: str,
    axes: tuple[str, ...],
    reference: Any,
    candidate: np.ndarray,
    floor: float,
    ruling: Ruling = "floor",
) -> Row:
    """The row of any two tensors of one shape; ``ruling``: what ``floor`` is."""
    _check_shapes(name, axes, reference, candidate)
    distance, of_reference, of_candidate = of_pair(compare_arrays, reference, candidate)
    verdict = verdict_of(distance, floor)
    return Row(
        name, kind, axes, reference.shape, distance, of_reference, of_candidate, floor, verdict, ruling
    )


def forward_row(layer: LayerTrace, candidate: Any, floor: float, ruling: Ruling = "floor") -> ForwardRow:
    """The row of a layer's activation; the costly figures are computed only where the cheap ones differ."""
    reference: Any = layer.activation
    _check_shapes(layer.name, layer.axes, reference, candidate)
    difference = of_pair(difference_of, reference, candidate)
    if not difference.same_finite:
        verdict = "error"
    elif difference.identical:
        verdict = "identical"
    elif difference.rel_l2 <= MULTIPLE * floor:
        verdict = "equivalent"
    else:
        verdict = verdict_of(of_pair(compare_arrays, reference, candidate)[0], floor)
    return ForwardRow(layer.name, layer.kind, layer.axes, reference.shape, difference, floor, verdict, ruling)


def by_floor(row: R, floor: float) -> R:
    """``row`` held against the measured ``floor``; one that a bound has passed stays as it is."""
    if row.verdict in PASSING or row.verdict == "error":
        return row
    verdict = "equivalent" if row.rel_l2 <= MULTIPLE * floor else row.verdict
    return replace(row, floor=floor, verdict=verdict, decided_by="floor")


def _check_shapes(name: str, axes: tuple[str, ...], reference: np.ndarray, candidate: np.ndarray) -> None:
    if reference.shape != candidate.shape:
        raise InvalidInputError(
            f"{name}: the reference has shape {reference.shape} {in_words(axes) if axes else 'of unknown axes'}, "
            f"the candidate {candidate.shape}; "
            "bring the candidate to the canonical layout"
        )


#: Every figure of a distance is a column; whether the arrays are equal, the verdict says.
_DISTANCE_COLUMNS = tuple(
    each.name for each in fields(Distance) if each.name not in ("identical", "same_finite")
)


def _named(index: tuple[int, ...] | None, axes: tuple[str, ...]) -> dict[str, int] | None:
    if index is None:
        return None
    names = axes if len(axes) == len(index) else tuple(f"axis{i}" for i in range(len(index)))
    return dict(zip(names, index, strict=True))


def relevance_frame(
    rows: Sequence[Row], steps: Mapping[str, tuple[float, float]] | None = None
) -> pandas.DataFrame:
    """Relevance, a row a layer: every figure of its distance, and of the statistics of each side.

    ``steps``: by layer, what its own step introduces and what it inherits; NaN where no step was run.
    """
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
            for column, value in vars(statistics).items():
                record[f"{side}_{column}"] = (
                    _named(value, row.axes) if column in ("argmin", "argmax") else value
                )
        introduced, inherited = (steps or {}).get(row.layer, (np.nan, np.nan))
        records.append(record | {"introduced": introduced, "inherited": inherited} | _ruling(row))
    return pandas.DataFrame.from_records(records)


def _ruling(row: Row | ForwardRow) -> dict[str, Any]:
    return {
        "floor": row.floor,
        "floors": row.ratio,
        "decided_by": row.decided_by,
        "verdict": row.verdict,
    }


def forward_frame(rows: Sequence[ForwardRow]) -> pandas.DataFrame:
    """Activations, a row a layer: the figures that the verdict rests on."""
    import pandas

    return pandas.DataFrame.from_records(
        [
            {
                "layer": row.layer,
                "kind": row.kind,
                "shape": row.shape,
                "max_abs": row.difference.max_abs,
                "rel_l2": row.rel_l2,
                **_ruling(row),
            }
            for row in rows
        ]
    )
