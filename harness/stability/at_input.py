"""Where relevance and gradient are largest and smallest at the input, and what else is there."""

from __future__ import annotations

from typing import Literal

import numpy as np

from harness.stability.arrays import counts_of, place_of
from harness.stability.figures import Extreme, InputStability


def at_input(
    x: np.ndarray, gradient: np.ndarray, relevance: np.ndarray, axes: tuple[str, ...]
) -> InputStability:
    """Counts and extremes; all arrays (batch, *input shape), ``axes`` their names.

    An extreme is the first of equal values in row-major order; a tensor without finite values has none.
    """

    def extreme(
        of: Literal["relevance", "gradient"], end: Literal["min", "max"], values: np.ndarray
    ) -> list[Extreme]:
        finite = np.isfinite(values)
        if not finite.any():
            return []
        filled = np.where(finite, values, np.inf if end == "min" else -np.inf)
        flat = int(filled.argmin() if end == "min" else filled.argmax())
        here = (float(array.ravel()[flat]) for array in (x, gradient, relevance))
        return [Extreme(of, end, place_of(flat, values.shape, axes), *here)]

    return InputStability(
        counts_of(relevance),
        counts_of(gradient),
        (
            *extreme("relevance", "min", relevance),
            *extreme("relevance", "max", relevance),
            *extreme("gradient", "min", gradient),
            *extreme("gradient", "max", gradient),
        ),
    )
