"""Two results side by side, whatever they are: two traces, or two arrays of which nothing else is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.comparison.floor import NoiseFloor, unmeasured
from harness.comparison.rows import row_of_arrays
from harness.comparison.verdict import ATTRIBUTION, Comparison, Tolerance, check_tolerance, compare_traces
from harness.errors import InvalidInputError
from harness.graph import Axes, in_words, require_same_axes
from harness.trace import Trace

#: The axes of both arrays, or a pair of those of the reference and those of the candidate.
GivenAxes = Sequence[str] | tuple[Sequence[str], Sequence[str]]


def compare(
    reference: Trace | np.ndarray,
    candidate: Trace | np.ndarray,
    tolerance: Tolerance = None,
    floor: NoiseFloor | float | None = None,
    axes: GivenAxes | None = None,
) -> Comparison:
    """Compare two traces of one method on one model and input, layer by layer, or two arrays.

    Two traces: see `harness.comparison.verdict.compare_traces`. ``axes`` is not taken: traces have theirs.

    Two arrays, of one shape: the comparison has the row of the attribution alone. ``axes`` names their axes,
    ``("batch", "height", "width", "channel")``; a pair of such tuples those of the reference and of the candidate.
    Left out, the axes are not known, and a note says so: of arrays of one shape, nobody can then say whether they are
    over the same things. ``floor``: the reference's own movement under rounding, relative L2; left out, it is one
    unit roundoff of the coarser dtype, and a note says so.

    Raises InvalidInputError for axes that differ or do not fit the shape, for other shapes, for what is not numeric or
    has no entries, for a trace beside an array, and what `compare_traces` raises.
    """
    if isinstance(reference, Trace) and isinstance(candidate, Trace):
        if axes is not None:
            raise InvalidInputError(
                "axes are given beside two traces, which have axes of their own; leave them out"
            )
        if floor is not None and not isinstance(floor, NoiseFloor):
            raise InvalidInputError(
                f"the floor of two traces is a NoiseFloor, a figure a layer, found {floor!r}; "
                "leave it out to have it measured"
            )
        return compare_traces(reference, candidate, tolerance, floor)
    if isinstance(reference, Trace) or isinstance(candidate, Trace):
        side = "reference" if isinstance(reference, Trace) else "candidate"
        raise InvalidInputError(
            f"the {side} is a trace, the other side an array; compare two traces, or the array with trace.attribution"
        )
    check_tolerance(tolerance)
    return _of_arrays(
        _checked("reference", reference), _checked("candidate", candidate), tolerance, floor, axes
    )


def _of_arrays(
    reference: np.ndarray,
    candidate: np.ndarray,
    tolerance: Tolerance,
    floor: NoiseFloor | float | None,
    axes: GivenAxes | None,
) -> Comparison:
    notes = []
    named: Axes = ()
    if axes is None:
        notes.append("the axes of the arrays are not known: that both have the same is taken on trust")
    else:
        ours, theirs = _sides(axes)
        require_same_axes("the arrays", ours, theirs)
        named = ours
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
    ours, theirs = axes
    return tuple(ours), tuple(theirs)


def _checked(side: str, values: Any) -> np.ndarray:
    """``values`` as an array of floating-point numbers, integers as float64."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise InvalidInputError(f"the {side} must be numeric and real, found dtype {array.dtype}")
    if not array.size:
        raise InvalidInputError(f"the {side} has no entries: its shape is {array.shape}")
    return array if array.dtype.kind == "f" else array.astype(np.float64)
