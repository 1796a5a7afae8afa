"""How arrays lie in memory: what nobody can write to, and several may hold at once; a stretch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np


def is_frozen(array: np.ndarray) -> bool:
    """Whether nobody can write to ``array``, nor to an array that it is a view of."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return False
        base = base.base
    return True


def in_stretches(array: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """``array`` flattened in C order, ``size`` numbers at a time, each stretch contiguous; the last may be shorter.

    What lies in memory in another order, as a torch tensor seen channels last does, is copied one stretch at a time
    where the axes before the last lie one behind the other: a copy of the whole takes its memory and more time.
    """
    if array.flags.c_contiguous or not _leading_axes_are_one(array):
        flat = np.ascontiguousarray(array).reshape(-1)
        for start in range(0, array.size, size):
            yield flat[start : start + size]
        return
    width = array.shape[-1]
    rows = array.reshape(-1, width)
    for start in range(0, array.size, size):
        first, last = start // width, -(-(start + size) // width)
        yield np.ascontiguousarray(rows[first:last]).reshape(-1)[start - first * width :][:size]


def _leading_axes_are_one(array: np.ndarray) -> bool:
    """Whether all axes of ``array`` but the last can be seen as one without a copy."""
    before_last = zip(array.shape[:-1], array.strides[:-1], strict=True)
    leading = [(length, stride) for length, stride in before_last if length != 1]
    return bool(leading) and all(outer[1] == inner[0] * inner[1] for outer, inner in pairwise(leading))
