"""Between the canonical layout (channels last) and the torch twin's (the channel axis at position 1)."""

from __future__ import annotations

import numpy as np


def to_internal(array: np.ndarray) -> np.ndarray:
    """(batch, ..., channel) to (batch, channel, ...); arrays with fewer than three axes stay as they are."""
    return np.moveaxis(array, -1, 1) if array.ndim >= 3 else array


def to_canonical(array: np.ndarray) -> np.ndarray:
    """The inverse of :func:`to_internal`."""
    return np.moveaxis(array, 1, -1) if array.ndim >= 3 else array
