"""Two arrays side by side, of which nothing else is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.comparison.floor import NoiseFloor, unmeasured
from harness.comparison.rows import row_of_arrays
from harness.comparison.verdict import ATTRIBUTION, Comparison, Tolerance, check_tolerance
from harness.errors import InvalidInputError
from harness.graph import Axes, in_words, require_same_axes

#: The axes of both arrays, or a pair of those of the reference and those of the candidate.
GivenAxes = Sequence[str] | tuple[Sequence[str], Sequence[str]]


def judge_arrays(
    reference: np.ndarray,
    candidate: np.ndarray,
    tolerance: Tolerance = None,
    floor: NoiseFloor | float | None = None,
    axes: GivenAxes | None = None,
) -> Comparison:
    """Two arrays of one shape; see `harness.compare`. The comparison has the row of the attribution alone.

    Raises InvalidInputError for axes that differ or do not fit the shape, for other shapes, and for what is not
    numeric or has no entries.
    """
    check_tolerance(tolerance)
    reference, candidate = _checked("reference", reference), _checked("candidate", candidate)
    notes = []
    named: Axes = ()
    if axes is None:
        notes.append("the axes of the arrays are not known: that both have the same is taken on trust")
    else:
        reference_axes, candidate_axes = _sides(axes)
        require_same_axes("the arrays", reference_axes, candidate_axes)
        named = reference_axes
        for side, array in (("reference", reference), ("candidate", candidate)):
            if array.ndim != len(named):
                raise InvalidInputError(
                    f"the {side} has shape {array.shape}, which does not fit the axes {in_words(named)}; "
                    "name every axis, the batch among them"
                )
    dtype = min((reference.dtype, candidate.dtype), key=lambda each: np.finfo(each).precision).name
    if floor is None:
        floor = unmeasured(dtype)
        notes.append("the noise floor was not measured; verdicts allow for one rounding only")
    elif not isinstance(floor, NoiseFloor):
        if not 0 <= float(floor) < float("inf"):
            raise InvalidInputError(f"the floor is {floor!r}; expected a relative L2 distance, 0 or more")
        floor = NoiseFloor(dtype, "given", float(floor))
    row = row_of_arrays(ATTRIBUTION, ATTRIBUTION, named, reference, candidate, floor.of_attribution())
    differs = row.verdict not in ("identical", "equivalent")
    return Comparison((row,), (), row, floor, tolerance, tuple(notes), None, ATTRIBUTION if differs else None)


def _sides(axes: GivenAxes) -> tuple[Axes, Axes]:
    """The names of the axes on either side."""
    if isinstance(axes, str):
        raise InvalidInputError(f"axes is a tuple of names, one for each axis, found {axes!r}")
    if all(isinstance(name, str) for name in axes):
        return tuple(map(str, axes)), tuple(map(str, axes))
    if len(axes) != 2 or any(isinstance(side, str) for side in axes):
        raise InvalidInputError(
            f"axes is a tuple of names or a pair of such tuples (reference, candidate), found {axes!r}"
        )
    reference_axes, candidate_axes = axes
    return tuple(reference_axes), tuple(candidate_axes)


def _checked(side: str, values: Any) -> np.ndarray:
    """``values`` as an array of floating-point numbers, integers as float64."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise InvalidInputError(f"the {side} must be numeric and real, found dtype {array.dtype}")
    if not array.size:
        raise InvalidInputError(f"the {side} has no entries: its shape is {array.shape}")
    return array if array.dtype.kind == "f" else array.astype(np.float64)
