"""Rules that share relevance by contribution ``x * W``, all of one sign or of both: Z and its relatives.

Formulas, signatures and shapes: :mod:`reference_impls.oracle.parts`. Classes named are those of
iNNvestigate 2.1.2, `analyzer/relevance_based/relevance_rule.py`, where no library is given.
"""

from __future__ import annotations

import numpy as np

from harness.graph import Layer
from harness.methods import Epsilon, ReplaceZero, SignedEpsilon, Stabilizer, StdEpsilon, Z, ZPlusFast
from reference_impls.oracle import linear
from reference_impls.oracle.linear import Arrays
from reference_impls.oracle.parts import (
    WEIGHTED_KINDS,
    WEIGHTLESS_KINDS,
    RuleFunction,
    away_from_zero,
    back,
    own_weights,
    positive,
    quotient,
    require,
    stabilize,
)


def z(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: Z) -> Arrays:
    """``R_x = x * f^T(R / S(z); W)`` with ``z = f(x; W, b)``.

    Bach et al. 2015, eq. 56; `ZRule`, and for add and average pooling `AddReverseLayer` and
    `AveragePoolingReverseLayer` of `relevance_analyzer.py`.
    """
    return _by_contribution(layer, inputs, relevance, rule, rule.stabilizer)


def epsilon(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: Epsilon) -> Arrays:
    """The Z rule with ``S(z) = z + epsilon * sign(z)``, ``sign(0) = +1``.

    Bach et al. 2015, eq. 58; `EpsilonRule`.
    """
    return _by_contribution(layer, inputs, relevance, rule, SignedEpsilon(rule.epsilon))


def _by_contribution(
    layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: Z | Epsilon, stabilizer: Stabilizer
) -> Arrays:
    """``x * f^T(R / S(f(x; W, b)); W)``, the bias left out where the rule leaves it out."""
    require(layer, rule, (*WEIGHTED_KINDS, *WEIGHTLESS_KINDS))
    weights = own_weights(layer, rule.bias)
    s = quotient(layer, inputs, relevance, weights, stabilizer)
    return tuple(x * passed for x, passed in zip(inputs, linear.transpose(layer, s, weights), strict=True))


def std_epsilon(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: StdEpsilon) -> Arrays:
    """The Epsilon rule with ``epsilon = factor * std(x)``, one for each sample.

    ``std`` is the population standard deviation of all values of the sample's input. Where it is zero so is
    epsilon, and an exact zero in the denominator is replaced as in Z. signxai 1.1.9.2 `StdxEpsilonRule`.
    """
    require(layer, rule, WEIGHTED_KINDS)
    weights = own_weights(layer, rule.bias)
    (x,) = inputs
    deviations = x.reshape(x.shape[0], -1).std(axis=1)
    denominator = away_from_zero(
        linear.apply(layer, inputs, weights),
        rule.factor * deviations.reshape(-1, *(1 for _ in layer.shape)),
    )
    s = relevance / stabilize(denominator, ReplaceZero())
    return (x * back(layer, s, weights),)


def z_plus_fast(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: ZPlusFast) -> Arrays:
    """``R_x = x * f^T(R / S(f(x; W+)); W+)``: no bias, and negative inputs keep their sign (`ZPlusFastRule`)."""
    require(layer, rule, WEIGHTED_KINDS)
    weights = positive(own_weights(layer, bias=False))
    (x,) = inputs
    return (x * back(layer, quotient(layer, inputs, relevance, weights, rule.stabilizer), weights),)


CONTRIBUTION_RULES: dict[type, RuleFunction] = {
    Z: z,
    Epsilon: epsilon,
    StdEpsilon: std_epsilon,
    ZPlusFast: z_plus_fast,
}
