"""Small readings of one array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.stability.figures import Counts, Place


def counts_of(values: np.ndarray) -> Counts:
    """How many values are negative, zero, positive, NaN and infinite (an infinite one has no sign here)."""
    finite = np.isfinite(values)
    return Counts(
        negative=int(((values < 0) & finite).sum()),
        zero=int((values == 0).sum()),
        positive=int(((values > 0) & finite).sum()),
        nan=int(np.isnan(values).sum()),
        inf=int(np.isinf(values).sum()),
    )


def place_of(flat: int, shape: tuple[int, ...], axes: tuple[str, ...]) -> Place:
    """The named index of a position of the flattened array."""
    index = (int(i) for i in np.unravel_index(flat, shape))
    return dict(zip(axes, index, strict=True))


def by_sample(values: np.ndarray) -> np.ndarray:
    """(batch,) sums in float64."""
    return values.reshape(len(values), -1).sum(axis=1, dtype=np.float64)


def magnitude(arrays: Sequence[np.ndarray]) -> float:
    """Sum of absolute values in float64."""
    return sum(float(np.abs(values).sum(dtype=np.float64)) for values in arrays)


def all_finite(arrays: Sequence[np.ndarray]) -> bool:
    return all(bool(np.isfinite(values).all()) for values in arrays)
