"""Rules made for the layer that sees the input, where contribution to the output means little.

Formulas, signatures and shapes: :mod:`reference_impls.oracle.parts`. Classes named are those of
iNNvestigate 2.1.2, `analyzer/relevance_based/relevance_rule.py`, where no library is given.
"""

from __future__ import annotations

import numpy as np

from harness.graph import Layer
from harness.methods import Bounded, Flat, Sign, Stabilizer, WSquare
from reference_impls.oracle import linear
from reference_impls.oracle.linear import Arrays, Weights
from reference_impls.oracle.parts import (
    WEIGHTED_KINDS,
    RuleFunction,
    back,
    negative,
    own_weights,
    positive,
    quotient,
    require,
    stabilize,
)


def sign_of(x: np.ndarray, threshold: float) -> np.ndarray:
    """1 where ``x >= threshold``, else -1; 1 everywhere for a ``threshold`` of -1 or below.

    signxai 1.1.9.2 writes the -1 first and then sets all that is not below the threshold to 1, the -1 it
    has just written included (`SIGNmuRule`, `calculate_sign_mu`).
    """
    if threshold <= -1:
        return np.ones(x.shape)
    return np.where(x >= threshold, 1.0, -1.0)


def sign(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: Sign) -> Arrays:
    """``R_x = s * f^T(R / S(f(x; W, b)); W)``, ``s`` the :func:`sign_of` ``x``.

    Gumpfer et al. 2023; signxai 1.1.9.2 `SIGNRule`, `SIGNmuRule`.
    """
    require(layer, rule, WEIGHTED_KINDS)
    weights = own_weights(layer, rule.bias)
    s = quotient(layer, inputs, relevance, weights, rule.stabilizer)
    return (sign_of(inputs[0], rule.threshold) * back(layer, s, weights),)


def w_square(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: WSquare) -> Arrays:
    """``R_x = f^T(R / S(f(1; W^2)); W^2)``; with ``bias`` the denominator is ``f(1; W^2, b^2)``.

    Montavon et al. 2017, w^2 rule; `WSquareRule`, with the bias Zennit 0.5.1 `WSquare`.
    """
    require(layer, rule, WEIGHTED_KINDS)
    squares = {name: weight**2 for name, weight in own_weights(layer, rule.bias).items()}
    return _by_weights_alone(layer, inputs, relevance, squares, rule.stabilizer)


def flat(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: Flat) -> Arrays:
    """``R_x = f^T(R / S(f(1; 1)); 1)``, without bias (Lapuschkin et al. 2019; `FlatRule`)."""
    require(layer, rule, WEIGHTED_KINDS)
    ones = {name: np.ones(weight.shape) for name, weight in own_weights(layer, bias=False).items()}
    return _by_weights_alone(layer, inputs, relevance, ones, rule.stabilizer)


def _by_weights_alone(
    layer: Layer, inputs: Arrays, relevance: np.ndarray, weights: Weights, stabilizer: Stabilizer
) -> Arrays:
    """``f^T(R / S(f(1; W)); W)``: the values of the input do not count, only its shape."""
    ones = tuple(np.ones(x.shape) for x in inputs)
    return linear.transpose(layer, quotient(layer, ones, relevance, weights, stabilizer), weights)


def bounded(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: Bounded) -> Arrays:
    """``R_x = x * f^T(s; W) - low * f^T(s; W+) - high * f^T(s; W-)``, without bias.

    ``s = R / S(f(x; W) - f(low; W+) - f(high; W-))`` with ``low`` and ``high`` at every entry of the input
    (not in the padding). Montavon et al. 2017, z^B rule; `BoundedRule`.

    ``times_inputs=False``: ``R_x = f^T(s; W) - (f^T(s; W+) + f^T(s; W-))``, in this order of summation
    (signxai 1.1.9.2); with one kernel nothing but rounding is left.
    """
    require(layer, rule, WEIGHTED_KINDS)
    weights = own_weights(layer, bias=False)
    upper, lower = positive(weights), negative(weights)
    (x,) = inputs
    low, high = np.full(x.shape, rule.low), np.full(x.shape, rule.high)
    denominator = (
        linear.apply(layer, (x,), weights)
        - linear.apply(layer, (low,), upper)
        - linear.apply(layer, (high,), lower)
    )
    s = relevance / stabilize(denominator, rule.stabilizer)
    whole, of_upper, of_lower = (back(layer, s, each) for each in (weights, upper, lower))
    if not rule.times_inputs:
        return (whole - (of_upper + of_lower),)
    return (x * whole - low * of_upper - high * of_lower,)


INPUT_RULES: dict[type, RuleFunction] = {Sign: sign, WSquare: w_square, Flat: flat, Bounded: bounded}
