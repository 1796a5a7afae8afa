"""Batch normalisation under LRP: as the lines that iNNvestigate draws through it, or by a rule of its own."""

from __future__ import annotations

from typing import Literal

import tensorflow as tf

from harness.methods import SignedEpsilon
from reference_impls.tensorflow.layers import Step, Tensor, TwinLayer, line
from reference_impls.tensorflow.stabilizers import stabilized


def fused_lines(
    twin: TwinLayer, mode: Literal["one_linear", "two_linear"], dtype: str
) -> tuple[TwinLayer, ...]:
    """The batch norm ``twin`` as lines ``kernel * x + bias`` per channel, in forward order.

    With ``d = sqrt(variance^2 + epsilon)``, a missing gamma as 1 and a missing beta as 0: "one_linear" is
    ``(gamma / d, -mean / d + beta)``, "two_linear" is ``(1 / d, -mean / d)`` and then ``(gamma, beta)``.
    Source: iNNvestigate 2.1.2, `apply_mapping_to_fused_bn_layer`, square and all.
    """
    weights = {key: tf.constant(value, dtype) for key, value in twin.layer.weights.items()}
    scale = tf.sqrt(weights["variance"] ** 2 + tf.constant(twin.layer.attributes["epsilon"], dtype))
    gamma = weights.get("gamma", tf.ones_like(scale))
    beta = weights.get("beta", tf.zeros_like(scale))
    lines = [(1 / scale, -weights["mean"] / scale), (gamma, beta)]
    if mode == "one_linear":
        lines = [(gamma / scale, -weights["mean"] / scale + beta)]
    return tuple(TwinLayer(twin.layer, twin.function, line(kernel, bias)) for kernel, bias in lines)


def reversed_batch_norm(step: Step, relevance: Tensor, epsilon: float) -> Tensor:
    """``(x * (y - beta)) * R / S((x - mean) * y)`` with ``S(z) = z + epsilon * sign(z)``, ``y`` the output.

    Source, order of the products included: `BatchNormalizationReverseLayer` of iNNvestigate 2.1.2,
    `BatchNormalizationReverseRule` of signxai 1.1.9.2.
    """
    (x,) = step.inputs
    weights = {key: tf.constant(value, x.dtype) for key, value in step.layer.weights.items()}
    above_beta = step.output - weights["beta"] if "beta" in weights else step.output
    denominator = (x - weights["mean"]) * step.output
    return x * above_beta * relevance / stabilized(denominator, SignedEpsilon(epsilon))
