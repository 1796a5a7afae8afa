"""Default mode at layers with a kernel (`harness.methods.Backtrace`)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from harness.graph import Layer
from harness.methods import Backtrace
from reference_impls.dlbacktrace.contributions import Contributions
from reference_impls.dlbacktrace.maps import maps_of
from reference_impls.dlbacktrace.saturation import counting_in_windows, saturated_in_line

#: What a denominator of 0 becomes in a convolution.
LEAST = 1e-12


class Sides(NamedTuple):
    """What relevance is divided by at each output, and where the two signs of contributions get their share."""

    denominator: np.ndarray
    positive_counts: np.ndarray
    negative_counts: np.ndarray


def step(layer: Layer, x: np.ndarray, relevance: np.ndarray, rule: Backtrace) -> np.ndarray:
    """The relevance of the input of ``layer`` (batch, *input shape) from that of its output (batch, *shape)."""
    maps = maps_of(layer, x.dtype)
    inputs = [x]
    for linear in maps[:-1]:
        inputs.append(linear.apply(inputs[-1], linear.kernel) + linear.bias)
    for linear, at in zip(reversed(maps), reversed(inputs), strict=True):
        relevance = _through(Contributions(linear, at), relevance, rule)
    return relevance


def _through(contributions: Contributions, relevance: np.ndarray, rule: Backtrace) -> np.ndarray:
    sides = sides_of(contributions, rule)
    quotient = relevance / sides.denominator
    return contributions.shared(quotient * sides.positive_counts, quotient * sides.negative_counts)


def sides_of(contributions: Contributions, rule: Backtrace) -> Sides:
    """The denominators of ``rule`` and the sides that get something."""
    positive, negative = contributions.positive, contributions.negative
    up, down = contributions.bias_positive, contributions.bias_negative
    if rule.reading == "linear":
        below, above = saturated_in_line(rule.saturation, positive, negative, up, down)
        counted = [
            np.where(empty, positive.dtype.type(1), side)
            for side, empty in ((positive, below | (positive == 0)), (negative, above | (negative == 0)))
        ]
        every = np.ones(positive.shape, bool)
        return Sides(counted[0] + counted[1] + up + down, every, every)
    counts = counting_in_windows(rule.saturation, positive, negative, up, down)
    denominator = positive + negative + up + down
    return Sides(np.where(denominator == 0, denominator.dtype.type(LEAST), denominator), *counts)
