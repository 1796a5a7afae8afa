"""The divisions of default mode, taken apart into what is passed down, bias and rest (`harness.divisions`); float64."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.divisions import Division, Stage
from harness.graph import Layer
from harness.methods import AttentionShare, Backtrace, MagnitudeShare, Rule
from reference_impls.dlbacktrace import attention, pools
from reference_impls.dlbacktrace.contributions import Contributions
from reference_impls.dlbacktrace.kernels import sides_of
from reference_impls.dlbacktrace.maps import maps_of

Arrays = tuple[np.ndarray, ...]


def divisions(layer: Layer, inputs: Arrays, rule: Rule) -> tuple[Stage, ...]:
    """Those of ``layer`` under ``rule`` at ``inputs`` (batch, *input shape); empty for a rule that does not divide.

    Empty for an LSTM too, whose divisions are of its states and not of its input.
    """
    inputs = tuple(np.asarray(x, np.float64) for x in inputs)
    family = layer.traits.family
    match rule:
        case Backtrace():
            return tuple((each,) for each in _of_kernel(layer, inputs[0], rule))
        case MagnitudeShare() if family == "average":
            return ((_of_windows(layer, inputs[0]),),)
        case MagnitudeShare():
            return ((_of_terms(inputs),),)
        case AttentionShare():
            return ((_of_product(layer, inputs, rule),),)
    return ()


def _of_kernel(layer: Layer, x: np.ndarray, rule: Backtrace) -> Iterator[Division]:
    """``d = P + N + b+ + b-`` and, in the reading "linear", 1 for a side that is empty; the last map first.

    A saturated side that hands nothing on is in ``d`` all the same.
    """
    maps, seen = maps_of(layer, x.dtype), [x]
    for linear in maps[:-1]:
        seen.append(linear.apply(seen[-1], linear.kernel) + linear.bias)
    for linear, at in zip(reversed(maps), reversed(seen), strict=True):
        yield _of_map(Contributions(linear, at), rule)


def _of_map(contributions: Contributions, rule: Backtrace) -> Division:
    sides = sides_of(contributions, rule)
    positive, negative = contributions.positive, contributions.negative
    bias = contributions.bias_positive + contributions.bias_negative
    passed = positive * sides.positive_counts + negative * sides.negative_counts
    denominator = sides.denominator if rule.reading == "linear" else positive + negative + bias

    def back(s: np.ndarray) -> Arrays:
        return (contributions.shared(s * sides.positive_counts, s * sides.negative_counts),)

    rest = denominator - passed - bias
    return Division(
        1.0, denominator, sides.denominator, passed, np.broadcast_to(bias, passed.shape), back, rest
    )


def _of_windows(layer: Layer, x: np.ndarray) -> Division:
    """``d``: the sum of the sizes of a window, 1 where that is 0."""
    sizes = pools.sizes_of_windows(layer, x).reshape(len(x), *layer.shape)
    return _of_sizes(sizes, lambda s: (pools.sizes_back(layer, x, s),))


def _of_terms(inputs: Arrays) -> Division:
    """``d``: the sum of the sizes of the terms, 1 where that is 0."""
    sizes = pools.sizes_of_terms(inputs)
    return _of_sizes(sizes, lambda s: pools.terms_back(inputs, s))


def _of_sizes(sizes: np.ndarray, back: pools.Back) -> Division:
    return Division(1.0, sizes, np.where(sizes == 0, 1.0, sizes), sizes, np.zeros(()), back)


def _of_product(layer: Layer, inputs: Arrays, rule: AttentionShare) -> Division:
    """``d = 2 z``, all of which is passed down, half to each operand."""
    doubled = attention.doubled_product(layer, inputs)
    return Division(
        1.0,
        doubled,
        attention.away_from_zero(doubled),
        doubled,
        np.zeros(()),
        lambda s: attention.back(layer, inputs, s, rule),
    )
