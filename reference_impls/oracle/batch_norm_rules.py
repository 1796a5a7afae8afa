"""Rules for batch norms: as one or two lines per channel, or by their own input and output.

Formulas, signatures and shapes: :mod:`reference_impls.oracle.parts`. All weights are one number per entry of
the last axis.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.errors import UnsupportedMethodError
from harness.graph import Layer
from harness.methods import BatchNormReverse, FusedBatchNorm
from reference_impls.oracle import forward, linear
from reference_impls.oracle.kernel_rules import KERNEL_RULES
from reference_impls.oracle.linear import Arrays
from reference_impls.oracle.parts import RuleFunction, away_from_zero, require


def fused_batch_norm(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: FusedBatchNorm) -> Arrays:
    """``rule.rule`` at the line, or at the second and then the first of the two lines, that the layer is read as.

    With ``d = sqrt(variance**2 + epsilon)``: "one_linear" is ``gamma / d * x + (beta - mean / d)``,
    "two_linear" is ``u = 1 / d * x - mean / d``, then ``gamma * u + beta``. The square, and in "one_linear"
    the missing gamma before the mean, are those of iNNvestigate 2.1.2, `apply_mapping_to_fused_bn_layer`
    (`backend/graph.py`). Raises UnsupportedMethodError for an inner rule that is none of a kernel.
    """
    require(layer, rule, ("batch_norm",))
    inner = KERNEL_RULES.get(type(rule.rule))
    if inner is None:
        raise UnsupportedMethodError(
            f"FusedBatchNorm at layer {layer.name!r} was given the rule {type(rule.rule).__name__}, expected one "
            f"of: {', '.join(known.__name__ for known in KERNEL_RULES)}"
        )
    weights = linear.weights_of(layer)
    d = np.sqrt(weights["variance"] ** 2 + layer.attributes["epsilon"])
    gamma, beta = weights.get("gamma", np.ones(d.shape)), weights.get("beta", np.zeros(d.shape))
    shift = weights["mean"] / d
    if rule.mode == "one_linear":
        return inner(_line(layer, gamma / d, beta - shift), inputs, relevance, rule.rule)
    first, second = _line(layer, 1.0 / d, -shift), _line(layer, gamma, beta)
    between = linear.apply(first, inputs, linear.weights_of(first))
    (relevance_between,) = inner(second, (between,), relevance, rule.rule)
    return inner(first, inputs, relevance_between, rule.rule)


def _line(layer: Layer, kernel: np.ndarray, bias: np.ndarray) -> Layer:
    """``kernel * x + bias`` per last axis, in the place of ``layer``."""
    return replace(layer, kind="scale", attributes={}, weights={"kernel": kernel, "bias": bias})


def batch_norm_reverse(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: BatchNormReverse) -> Arrays:
    """``R_x = x * (y - beta) * R / S((x - mean) * y)``, ``y`` the output, ``S(z) = z + epsilon * sign(z)``.

    ``sign(0) = +1``, a missing beta is 0. iNNvestigate 2.1.2 `BatchNormalizationReverseLayer`, signxai
    1.1.9.2 `BatchNormalizationReverseRule`.
    """
    require(layer, rule, ("batch_norm",))
    weights = linear.weights_of(layer)
    (x,) = inputs
    y = forward.batch_norm(layer, inputs)
    numerator = x * (y - weights.get("beta", 0.0)) * relevance
    return (numerator / away_from_zero((x - weights["mean"]) * y, rule.epsilon),)


BATCH_NORM_RULES: dict[type, RuleFunction] = {
    FusedBatchNorm: fused_batch_norm,
    BatchNormReverse: batch_norm_reverse,
}
