"""How far what was computed is from what was observed: the one measure by which deviations are found and ranked."""

from __future__ import annotations

import math

import numpy as np

from harness.steps import Arrays


def where_finite(computed: Arrays, observed: Arrays) -> float:
    """``||computed - observed|| / ||observed||`` (L2) over all arrays, where ``observed`` is finite.

    Infinite for other shapes, for what is not finite where ``observed`` is, and beside an ``observed`` of nothing but
    zeros. For values that are sought although something else has made a part of the observation NaN.
    """
    difference = size = 0.0
    for one, other in zip(computed, observed, strict=True):
        if one.shape != other.shape:
            return math.inf
        seen = np.isfinite(other)
        if not seen.all():
            one, other = one[seen], other[seen]
        if not np.isfinite(one).all():
            return math.inf
        difference += float(np.sum((one - other) ** 2))
        size += float(np.sum(other**2))
    if difference == 0:
        return 0.0
    return math.sqrt(difference / size) if size and math.isfinite(difference) else math.inf


def everywhere(computed: Arrays, observed: Arrays) -> float:
    """:func:`where_finite`, and infinite where a NaN or an infinity of ``observed`` is not the same in ``computed``."""
    for one, other in zip(computed, observed, strict=True):
        missing = ~np.isfinite(other)
        if one.shape != other.shape or not np.array_equal(one[missing], other[missing], equal_nan=True):
            return math.inf
    return where_finite(computed, observed)


def shows_nan(observed: Arrays) -> bool:
    """Whether NaN or infinity is among what was seen. Of several edges one that is NaN throughout was not seen."""
    seen = [part for part in observed if not np.isnan(part).all()] or observed
    return any(not np.isfinite(part).all() for part in seen)
