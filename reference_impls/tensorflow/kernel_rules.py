"""Rules at a layer with a kernel, one function each.

The formulas stand in `harness.methods.rules`, in whose notation the docstrings here are written. Where
they leave the order of operations open, it is that of the rule's library (iNNvestigate 2.1.2
`relevance_rule.py`, signxai 1.1.9.2 `relevance_rule_base.py`, Zennit 0.5.1 `rules.py`).
"""

from __future__ import annotations

import tensorflow as tf

from harness.methods import (
    AlphaBeta,
    AlphaBetaOfMaxima,
    AlphaBetaX,
    Bounded,
    Epsilon,
    Flat,
    Gamma,
    KernelRule,
    ReplaceZero,
    Sign,
    SignedEpsilon,
    Stabilizer,
    StdEpsilon,
    Unprotected,
    WSquare,
    Z,
    ZPlusFast,
)
from reference_impls.tensorflow.layers import Affine, Tensor, Weights
from reference_impls.tensorflow.stabilizers import away_from_zero, signs, stabilized


def kernel_shares(layer: Affine, x: Tensor, output: Tensor, relevance: Tensor, rule: KernelRule) -> Tensor:
    """Relevance of the layer's input ``x`` under ``rule``; ``output`` is ``f(x; W, b)``."""
    match rule:
        case Z():
            z = _preactivation(layer, x, output, rule.bias)
            return x * _through(layer, x, relevance / stabilized(z, rule.stabilizer))
        case Epsilon():
            z = _preactivation(layer, x, output, rule.bias)
            return x * _through(layer, x, relevance / stabilized(z, SignedEpsilon(rule.epsilon)))
        case StdEpsilon():
            z = _preactivation(layer, x, output, rule.bias)
            return x * _through(layer, x, relevance / _stabilized_by_std(z, x, rule.factor))
        case Sign():
            z = _preactivation(layer, x, output, rule.bias)
            if rule.std_factor is None:
                denominator = stabilized(z, rule.stabilizer)
            else:
                denominator = _stabilized_by_std(z, x, rule.std_factor)
            return signs(x, rule.threshold) * _through(layer, x, relevance / denominator)
        case AlphaBeta():
            return _alpha_beta(layer, x, relevance, rule)
        case AlphaBetaX():
            return _alpha_beta_x(layer, x, relevance, rule)
        case ZPlusFast():
            kernels = layer.weights.without_bias().map(_positive)
            weights = Weights(kernels.kernels, layer.weights.bias) if rule.bias else kernels
            return _z_shares(layer, x, relevance, weights, rule.stabilizer)
        case Gamma():
            return _gamma(layer, x, relevance, output, rule)
        case WSquare():
            return _ones(layer, x, relevance, layer.weights.map(tf.square), rule.stabilizer, rule.bias)
        case Flat():
            return _ones(layer, x, relevance, layer.weights.map(tf.ones_like), rule.stabilizer, bias=False)
        case Bounded():
            return _bounded(layer, x, relevance, rule)


def _preactivation(layer: Affine, x: Tensor, output: Tensor, bias: bool) -> Tensor:
    """``f(x; W, b)``, or ``f(x; W)``."""
    if bias or layer.weights.bias is None:
        return output
    return layer.apply(x, layer.weights.without_bias())


def _through(layer: Affine, x: Tensor, s: Tensor) -> Tensor:
    """``f^T(s; W)``."""
    return layer.transpose(x, layer.weights, s)


def _stabilized_by_std(z: Tensor, x: Tensor, factor: float) -> Tensor:
    """``z + factor * std(x) * sign(z)``, one ``std`` a sample; what is still zero is replaced by 1e-7."""
    std = tf.math.reduce_std(x, axis=list(range(1, x.shape.rank)))
    epsilon = tf.reshape(std * tf.constant(factor, x.dtype), (-1, *(1,) * (z.shape.rank - 1)))
    return stabilized(away_from_zero(z, epsilon), ReplaceZero())


def _z_shares(
    layer: Affine, x: Tensor, relevance: Tensor, weights: Weights, stabilizer: Stabilizer
) -> Tensor:
    """``x * f^T(R / S(f(x; V, c)); V)`` with ``V`` and ``c`` the kernels and bias of ``weights``."""
    z = layer.apply(x, weights)
    return x * layer.transpose(x, weights, relevance / stabilized(z, stabilizer))


def _alpha_beta(layer: Affine, x: Tensor, relevance: Tensor, rule: AlphaBeta) -> Tensor:
    """``alpha * A - beta * B``; ``B`` is left out where ``beta`` is 0 (and ``alpha`` therefore 1)."""
    weights = layer.weights if rule.bias else layer.weights.without_bias()
    positive, negative = weights.map(_positive), weights.map(_negative)
    second = Weights.without_bias if rule.split_bias else _unchanged
    halves = _halves(x, rule.stabilizer)
    activator = _same_sign_shares(layer, halves, relevance, positive, second(negative), rule.stabilizer)
    if rule.beta == 0:
        return activator
    inhibitor = _same_sign_shares(layer, halves, relevance, negative, second(positive), rule.stabilizer)
    return rule.alpha * activator - rule.beta * inhibitor


def _unchanged(weights: Weights) -> Weights:
    return weights


def _halves(x: Tensor, stabilizer: Stabilizer) -> tuple[Tensor, Tensor | None]:
    """``x+`` and ``x-``; None for ``x-`` where it is zero and so is all that comes of it.

    Where a denominator may be zero, ``x- * f^T(t; N)`` is not nothing although ``x-`` is zero: it is NaN.
    """
    if not isinstance(stabilizer, Unprotected) and tf.reduce_min(x) >= 0:
        return x, None
    return _positive(x), _negative(x)


def _same_sign_shares(
    layer: Affine,
    halves: tuple[Tensor, Tensor | None],
    relevance: Tensor,
    for_positive: Weights,
    for_negative: Weights,
    s: Stabilizer,
) -> Tensor:
    """``x+ * f^T(t; P) + x- * f^T(t; N)``, ``t = R / S(f(x+; P) + f(x-; N))``.

    ``halves``: ``x+`` and ``x-``. ``P`` (`for_positive`) and ``N`` (`for_negative`) are the weights that they
    meet, each with its share of the bias.
    """
    upper, lower = halves
    z = layer.apply(upper, for_positive)
    if (
        lower is None
    ):  # f(x-; N) is the bias of N, x- * f^T(t; N) is nothing: half the work for the same value
        if for_negative.bias is not None:
            z += for_negative.bias
        return upper * layer.transpose(upper, for_positive, relevance / stabilized(z, s))
    t = relevance / stabilized(z + layer.apply(lower, for_negative), s)
    return upper * layer.transpose(upper, for_positive, t) + lower * layer.transpose(lower, for_negative, t)


def alpha_beta_of_maxima(layer: Affine, x: Tensor, relevance: Tensor, rule: AlphaBetaOfMaxima) -> Tensor:
    """``alpha * A - beta * B`` of the maxima over the classes, the last axis of the layer's output."""
    positive, negative = layer.weights.map(_positive), layer.weights.map(_negative)
    total = tf.reduce_sum(relevance, axis=-1, keepdims=True)
    activator = _maxima_shares(layer, x, total, positive, negative, rule.stabilizer)
    if rule.beta == 0:
        return rule.alpha * activator
    inhibitor = _maxima_shares(layer, x, total, negative, positive, rule.stabilizer)
    return rule.alpha * activator - rule.beta * inhibitor


def _maxima_shares(
    layer: Affine, x: Tensor, total: Tensor, for_positive: Weights, for_negative: Weights, s: Stabilizer
) -> Tensor:
    """Each part of the input gets the quotient through the class where its own sum is largest."""
    parts = ((_positive(x), for_positive), (_negative(x), for_negative))
    sums = [layer.apply(part, weights) for part, weights in parts]
    largest = [tf.reduce_max(each, axis=-1, keepdims=True) for each in sums]
    quotient = total / stabilized(largest[0] + largest[1], s)
    shares = tf.zeros_like(x)
    for (part, weights), each, top in zip(parts, sums, largest, strict=True):
        at_top = tf.cast(each == top, x.dtype)
        at_top /= tf.reduce_sum(at_top, axis=-1, keepdims=True)
        shares += part * layer.transpose(part, weights, at_top * quotient)
    return shares


def _alpha_beta_x(layer: Affine, x: Tensor, relevance: Tensor, rule: AlphaBetaX) -> Tensor:
    """``alpha[0] * C(x+, W+) + alpha[1] * C(x-, W-) - beta[0] * C(x+, W-) - beta[1] * C(x-, W+)``.

    A ``C`` whose factor is 0 is left out.
    """
    upper, lower = _positive(x), _negative(x)
    positive, negative = layer.weights.map(_positive), layer.weights.map(_negative)
    kinds = (
        (rule.alpha[0], upper, positive),
        (rule.alpha[1], lower, negative),
        (-rule.beta[0], upper, negative),
        (-rule.beta[1], lower, positive),
    )
    total = tf.zeros_like(x)
    for factor, part, weights in kinds:
        if factor != 0:
            total += factor * _z_shares(layer, part, relevance, weights, rule.stabilizer)
    return total


def _gamma(layer: Affine, x: Tensor, relevance: Tensor, output: Tensor, rule: Gamma) -> Tensor:
    """LRP-gamma; with ``signed``, outputs above and below zero are shared out separately."""
    raised = layer.weights.map(lambda weight: weight + rule.gamma * _positive(weight))
    if not rule.signed:
        biases = {"raised": raised.bias, "kept": layer.weights.bias, "none": raised.without_bias().bias}
        weights = Weights(raised.kernels, biases[rule.bias])
        return _z_shares(layer, x, relevance, weights, rule.stabilizer)
    lowered = layer.weights.map(lambda weight: weight + rule.gamma * _negative(weight))
    nothing = tf.zeros_like(relevance)
    above = tf.where(output > 0, relevance, nothing)
    below = tf.where(output < 0, relevance, nothing)
    s, halves = rule.stabilizer, _halves(x, rule.stabilizer)
    return _same_sign_shares(layer, halves, above, raised, lowered.without_bias(), s) + _same_sign_shares(
        layer, halves, below, lowered, raised.without_bias(), s
    )


def _ones(
    layer: Affine, x: Tensor, relevance: Tensor, weights: Weights, stabilizer: Stabilizer, bias: bool
) -> Tensor:
    """``f^T(R / S(f(1; V, c)); V)``, ``V`` the kernels of ``weights``, ``c`` their bias if there is to be one."""
    z = layer.apply(tf.ones_like(x), weights if bias else weights.without_bias())
    return layer.transpose(x, weights, relevance / stabilized(z, stabilizer))


def _bounded(layer: Affine, x: Tensor, relevance: Tensor, rule: Bounded) -> Tensor:
    """``x * f^T(s; W) - (low * f^T(s; W+) + high * f^T(s; W-))``, or the same without ``x``, ``low``, ``high``."""
    weights = layer.weights.without_bias()
    positive, negative = weights.map(_positive), weights.map(_negative)
    # A bound per channel is broadcast along the axes before the last.
    low = tf.broadcast_to(tf.constant(rule.low, x.dtype), x.shape)
    high = tf.broadcast_to(tf.constant(rule.high, x.dtype), x.shape)
    z = layer.apply(x, weights) - (layer.apply(low, positive) + layer.apply(high, negative))
    s = relevance / stabilized(z, rule.stabilizer)
    of_x, of_low, of_high = (layer.transpose(x, each, s) for each in (weights, positive, negative))
    if rule.times_inputs:
        return x * of_x - (low * of_low + high * of_high)
    return of_x - (of_low + of_high)


def _positive(x: Tensor) -> Tensor:
    return tf.nn.relu(x)


def _negative(x: Tensor) -> Tensor:
    return tf.minimum(x, tf.zeros((), x.dtype))
