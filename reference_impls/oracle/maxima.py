"""Alpha-beta at the output layer, each sum by its largest class (`harness.methods.AlphaBetaOfMaxima`); float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.graph import KERNEL_KINDS, Layer
from harness.methods import AlphaBetaOfMaxima
from reference_impls.oracle import linear
from reference_impls.oracle.linear import Arrays
from reference_impls.oracle.parts import (
    Denominator,
    back,
    divisor_of,
    negative,
    own_weights,
    positive,
    require,
    signs,
)


@dataclass(frozen=True, eq=False)
class Half:
    """``A`` or ``B``: its factor, the sum ``z`` of two maxima, (batch, 1), and what each quotient is shared out to.

    ``share`` is the sum over both parts of ``y * f^T(e; V)``: what a quotient of one hands down.
    """

    factor: float
    z: np.ndarray
    share: np.ndarray


def halves(layer: Layer, inputs: Arrays, rule: AlphaBetaOfMaxima) -> list[Half]:
    """``A``, and ``B`` where it counts. Raises UnsupportedMethodError at a layer without a kernel."""
    require(layer, rule, KERNEL_KINDS)
    upper, lower = signs(inputs[0])
    weights = own_weights(layer, bias=True)
    raised, lowered = positive(weights), negative(weights)
    results = []
    for factor, parts in (
        (rule.alpha, ((upper, raised), (lower, lowered))),
        (-rule.beta, ((upper, lowered), (lower, raised))),
    ):
        if factor == 0:
            continue
        z, share = np.zeros((len(upper), 1)), np.zeros(upper.shape)
        for y, of_sign in parts:
            sums = linear.apply(layer, (y,), of_sign)
            largest = sums.max(axis=-1, keepdims=True)
            ones = (sums == largest) / (sums == largest).sum(axis=-1, keepdims=True)
            z = z + largest
            share = share + y * back(layer, ones, of_sign)
        results.append(Half(factor, z, share))
    return results


def alpha_beta_of_maxima(
    layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: AlphaBetaOfMaxima, divisor: Denominator | None
) -> Arrays:
    """``alpha * A - beta * B``."""
    divide_by = divisor_of(rule.stabilizer, inputs) if divisor is None else divisor
    total = relevance.sum(axis=-1, keepdims=True)
    shares = (half.factor * half.share * (total / divide_by(half.z)) for half in halves(layer, inputs, rule))
    return (sum(shares, np.zeros(inputs[0].shape)),)
