"""What happens to a layer: :func:`propagate` chooses, one function a rule computes.

The formulas stand in `harness.methods.rules`, in whose notation the docstrings here are written; they
are those of iNNvestigate 2.1.2, `analyzer/relevance_based/relevance_rule.py`. Relevance has the shape
of the layer's output, what is returned the shapes of its inputs, both in the dtype of the model.
"""

from __future__ import annotations

import tensorflow as tf

from harness.errors import UnsupportedMethodError
from harness.graph import AVERAGE_POOLING_KINDS
from harness.methods import (
    AlphaBeta,
    Bounded,
    Epsilon,
    Flat,
    FusedBatchNorm,
    Gradient,
    Pass,
    Rule,
    SignedEpsilon,
    Stabilizer,
    WSquare,
    Z,
)
from reference_impls.tensorflow.layers import Affine, Step, Tensor, Tensors, Weights, fused_batch_norm

#: Linear layers without a kernel, whose output is the `z` of the Z rule.
_SUMS = ("add", *AVERAGE_POOLING_KINDS)


def propagate(step: Step, relevance: Tensor, rule: Rule) -> Tensors:
    """Relevance of each input of a layer under ``rule``, from the ``relevance`` of its output.

    Raises UnsupportedMethodError for a rule that says nothing about a layer of this kind.
    """
    match rule:
        case Pass():
            if [x.shape for x in step.inputs] != [relevance.shape]:
                raise _unfit(rule, step, "a single input of the shape of the output")
            return (relevance,)
        case Gradient():
            return step.pullback(relevance)
        case FusedBatchNorm():
            if step.layer.kind != "batch_norm":
                raise _unfit(rule, step, "a batch norm")
            line = fused_batch_norm(step.twin, relevance.dtype)
            return propagate(Step(line, step.inputs), relevance, rule.rule)
        case Z() | Epsilon() if step.affine is None and step.layer.kind in _SUMS:
            return _z_of_output(step, relevance, _stabilizer(rule))

    layer = step.affine
    if layer is None:
        raise _unfit(rule, step, "a layer with a kernel")
    (x,) = step.inputs
    match rule:
        case Z(bias=True) | Epsilon(bias=True):
            return _z_of_output(step, relevance, _stabilizer(rule))
        case Z() | Epsilon():
            return (_z_without_bias(layer, x, relevance, _stabilizer(rule)),)
        case AlphaBeta():
            return (_alpha_beta(layer, x, relevance, rule),)
        case WSquare():
            return (_ones(layer, x, relevance, layer.weights.map(tf.square), rule.stabilizer),)
        case Flat():
            return (_ones(layer, x, relevance, layer.weights.map(tf.ones_like), rule.stabilizer),)
        case Bounded():
            return (_bounded(layer, x, relevance, rule),)


def _unfit(rule: Rule, step: Step, needed: str) -> UnsupportedMethodError:
    return UnsupportedMethodError(
        f"layer {step.layer.name!r} ({step.layer.kind}): rule {type(rule).__name__} needs {needed}; "
        "assign another rule to this layer in the composite"
    )


def _stabilizer(rule: Z | Epsilon) -> Stabilizer:
    return SignedEpsilon(rule.epsilon) if isinstance(rule, Epsilon) else rule.stabilizer


def _stabilized(z: Tensor, stabilizer: Stabilizer) -> Tensor:
    """``S(z)``, with its constant in the dtype of ``z``."""
    if isinstance(stabilizer, SignedEpsilon):
        epsilon = tf.constant(stabilizer.epsilon, z.dtype)
        return z + tf.where(z >= 0, epsilon, -epsilon)
    return tf.where(z == 0, tf.constant(stabilizer.value, z.dtype), z)


def _z_of_output(step: Step, relevance: Tensor, stabilizer: Stabilizer) -> Tensors:
    """``x * f^T(R / S(z))`` for every input; the layer's own output is ``z``, bias included."""
    shares = step.pullback(relevance / _stabilized(step.output, stabilizer))
    return tuple(x * share for x, share in zip(step.inputs, shares, strict=True))


def _z_without_bias(layer: Affine, x: Tensor, relevance: Tensor, stabilizer: Stabilizer) -> Tensor:
    """``x * f^T(R / S(z); W)`` with ``z = f(x; W)``."""
    weights = layer.weights.without_bias()
    z = layer.apply(x, weights)
    return x * layer.transpose(x, weights, relevance / _stabilized(z, stabilizer))


def _alpha_beta(layer: Affine, x: Tensor, relevance: Tensor, rule: AlphaBeta) -> Tensor:
    """``alpha * A - beta * B``; ``B`` is left out where ``beta`` is 0 (and ``alpha`` therefore 1)."""
    weights = layer.weights if rule.bias else layer.weights.without_bias()
    positive, negative = weights.map(_positive), weights.map(_negative)
    activator = _same_sign_shares(layer, x, relevance, positive, negative, rule.stabilizer)
    if rule.beta == 0:
        return activator
    inhibitor = _same_sign_shares(layer, x, relevance, negative, positive, rule.stabilizer)
    return rule.alpha * activator - rule.beta * inhibitor


def _same_sign_shares(
    layer: Affine, x: Tensor, relevance: Tensor, with_positive: Weights, with_negative: Weights, s: Stabilizer
) -> Tensor:
    """``x+ * f^T(t; P) + x- * f^T(t; N)``, ``t = R / S(f(x+; P) + f(x-; N))``.

    ``P`` (`with_positive`) and ``N`` (`with_negative`) are the weights that the positive and the
    negative part of ``x`` meet, each with its share of the bias.
    """
    upper = _positive(x)
    z = layer.apply(upper, with_positive)
    if not tf.reduce_any(x < 0):
        # x- is zero: f(x-; N) is the bias of N, x- * f^T(t; N) is nothing. Half the work for the same value.
        if with_negative.bias is not None:
            z += with_negative.bias
        return upper * layer.transpose(x, with_positive, relevance / _stabilized(z, s))
    lower = _negative(x)
    t = relevance / _stabilized(z + layer.apply(lower, with_negative), s)
    return upper * layer.transpose(x, with_positive, t) + lower * layer.transpose(x, with_negative, t)


def _ones(layer: Affine, x: Tensor, relevance: Tensor, weights: Weights, stabilizer: Stabilizer) -> Tensor:
    """``f^T(R / S(f(1; V)); V)`` with the kernels ``V`` of ``weights``, without bias."""
    weights = weights.without_bias()
    z = layer.apply(tf.ones_like(x), weights)
    return layer.transpose(x, weights, relevance / _stabilized(z, stabilizer))


def _bounded(layer: Affine, x: Tensor, relevance: Tensor, rule: Bounded) -> Tensor:
    """``x * f^T(s; W) - (low * f^T(s; W+) + high * f^T(s; W-))``."""
    weights = layer.weights.without_bias()
    positive, negative = weights.map(_positive), weights.map(_negative)
    low = tf.fill(x.shape, tf.constant(rule.low, x.dtype))
    high = tf.fill(x.shape, tf.constant(rule.high, x.dtype))
    z = layer.apply(x, weights) - (layer.apply(low, positive) + layer.apply(high, negative))
    s = relevance / _stabilized(z, rule.stabilizer)
    return x * layer.transpose(x, weights, s) - (
        low * layer.transpose(x, positive, s) + high * layer.transpose(x, negative, s)
    )


def _positive(x: Tensor) -> Tensor:
    return tf.nn.relu(x)


def _negative(x: Tensor) -> Tensor:
    return tf.minimum(x, tf.zeros((), x.dtype))
