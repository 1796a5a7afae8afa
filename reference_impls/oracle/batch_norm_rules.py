"""Rules for batch norms: as one or two lines per channel, or by their own input and output.

All weights are one number per entry of the last axis; arrays are batch-first, channels-last, float64.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.errors import UnsupportedMethodError
from harness.graph import Layer
from harness.methods import BatchNormReverse, FusedBatchNorm
from reference_impls.oracle import forward, linear, terms
from reference_impls.oracle.linear import Arrays
from reference_impls.oracle.parts import Denominator, away_from_zero, require


def fused_batch_norm(
    layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: FusedBatchNorm, divisor: Denominator | None
) -> Arrays:
    """``rule.rule`` at the lines that the layer is read as, the last one first."""
    passed: Arrays = (relevance,)
    for line, seen in reversed(lines(layer, inputs, rule)):
        passed = terms.shares(line, seen, passed[0], rule.rule, divisor)
    return passed


def lines(layer: Layer, inputs: Arrays, rule: FusedBatchNorm) -> list[tuple[Layer, Arrays]]:
    """The one or two lines ``kernel * x + bias`` that ``layer`` is read as, each with its own input, the first first.

    With ``d = sqrt(variance**2 + epsilon)``: "one_linear" is ``gamma / d * x + (beta - mean / d)``,
    "two_linear" is ``u = 1 / d * x - mean / d``, then ``gamma * u + beta``. The square, and in "one_linear"
    the missing gamma before the mean, are those of iNNvestigate 2.1.2, `apply_mapping_to_fused_bn_layer`
    (`backend/graph.py`). Raises UnsupportedMethodError for an inner rule that is none of a kernel.
    """
    require(layer, rule, ("batch_norm",))
    if not terms.has_terms(rule.rule):
        raise UnsupportedMethodError(
            f"FusedBatchNorm at layer {layer.name!r} was given the rule {type(rule.rule).__name__}, expected a rule "
            "of a layer with a kernel"
        )
    weights = linear.weights_of(layer)
    d = np.sqrt(weights["variance"] ** 2 + layer.attributes["epsilon"])
    gamma, beta = weights.get("gamma", np.ones(d.shape)), weights.get("beta", np.zeros(d.shape))
    shift = weights["mean"] / d
    if rule.mode == "one_linear":
        return [(_line(layer, gamma / d, beta - shift), inputs)]
    first, second = _line(layer, 1.0 / d, -shift), _line(layer, gamma, beta)
    return [(first, inputs), (second, (linear.apply(first, inputs, linear.weights_of(first)),))]


def _line(layer: Layer, kernel: np.ndarray, bias: np.ndarray) -> Layer:
    """``kernel * x + bias`` per last axis, in the place of ``layer``."""
    return replace(layer, kind="scale", attributes={}, weights={"kernel": kernel, "bias": bias})


def batch_norm_reverse(
    layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: BatchNormReverse, divisor: Denominator | None
) -> Arrays:
    """``R_x = x * (y - beta) * R / S((x - mean) * y)``, ``y`` the output, ``S(z) = z + epsilon * sign(z)``.

    ``sign(0) = +1``, a missing beta is 0. iNNvestigate 2.1.2 `BatchNormalizationReverseLayer`, signxai
    1.1.9.2 `BatchNormalizationReverseRule`.
    """
    contributions, z = reversed_parts(layer, inputs, rule)
    stabilized = away_from_zero(z, rule.epsilon) if divisor is None else divisor(z)
    return (contributions * relevance / stabilized,)


def reversed_parts(layer: Layer, inputs: Arrays, rule: BatchNormReverse) -> tuple[np.ndarray, np.ndarray]:
    """``x * (y - beta)`` and ``(x - mean) * y``."""
    require(layer, rule, ("batch_norm",))
    weights = linear.weights_of(layer)
    (x,) = inputs
    y = forward.batch_norm(layer, inputs)
    return x * (y - weights.get("beta", 0.0)), (x - weights["mean"]) * y
