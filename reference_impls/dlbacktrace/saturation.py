"""Which sides of the contributions at an output are saturated, by both readings (`harness.methods.Backtrace`)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.methods import Saturation

#: From this on two values of an activation are two, in a convolution.
CLOSE = 1e-5


def swish(x: np.ndarray) -> np.ndarray:
    """``x / (1 + exp(-0.75 x))``"""
    return x / (1 + np.exp(-0.75 * x))


FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"swish": swish}


def saturated_in_line(
    saturation: Saturation, positive: np.ndarray, negative: np.ndarray, up: np.ndarray, down: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where the positive and the negative side are saturated in a dense layer, in that order.

    ``positive``, ``negative``: ``P`` and ``N``; ``up``, ``down``: ``b+`` and ``b-``.
    """
    none = np.zeros(positive.shape, bool)
    if saturation.form == "none":
        return none, none
    total = positive + up - negative - down
    low, high = saturation.bounds
    below = none if low is None else total < low
    above = none if high is None else total > high
    if saturation.form == "non_mono":
        function = FUNCTIONS[str(saturation.function)]
        both = (positive > 0) & ~below & (negative > 0) & ~above
        as_without_negative = both & (function(total) == function(positive + up))
        as_without_positive = both & ~as_without_negative & (function(total) == function(-(negative + down)))
        below, above = below | as_without_positive, above | as_without_negative
    return below, above


def counting_in_windows(
    saturation: Saturation, positive: np.ndarray, negative: np.ndarray, up: np.ndarray, down: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where the positive and the negative side count in a convolution, in that order; arguments as above."""
    with_positive, with_negative = positive > 0, negative > 0
    if saturation.form == "none":
        return with_positive, with_negative
    total = positive + negative
    low, high = saturation.bounds
    every = np.ones(positive.shape, bool)
    above = every if low is None else total > low
    below = every if high is None else total < high
    if saturation.form == "mono":
        # Without a bound, a side counts where it has contributions; with one, where the bound says so.
        return (with_positive if low is None else above), (with_negative if high is None else below)
    function = FUNCTIONS[str(saturation.function)]
    answers_to_negative = np.abs(function(total) - function(positive + up)) > CLOSE
    answers_to_positive = np.abs(function(total) - function(-(negative + down))) > CLOSE
    return with_positive & above & answers_to_positive, with_negative & below & answers_to_negative
