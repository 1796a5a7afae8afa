"""What a transformer has beside layers with a kernel: products, softmax, norms and additions, one function each.

The formulas stand in `harness.methods.attention_rules`, in whose notation the docstrings here are written.
"""

from __future__ import annotations

import tensorflow as tf

from harness.methods import HeldNorm, ShareProduct, SignSplit
from reference_impls.tensorflow.layers import Step, Tensor, Tensors
from reference_impls.tensorflow.stabilizers import stabilized


def product_shares(step: Step, relevance: Tensor, rule: ShareProduct) -> Tensors:
    """``x * J^T(R / S(n z))`` for the ``n`` inputs that get relevance, the others held; zeros for these."""
    given = {"first": (0,), "second": (1,), "both": tuple(range(len(step.inputs)))}[rule.to]
    quotient = relevance / stabilized(len(given) * step.output, rule.stabilizer)
    shares = [tf.zeros_like(x) for x in step.inputs]
    for place, pulled in zip(given, step.pullback(quotient, given), strict=True):
        shares[place] = step.inputs[place] * pulled
    return tuple(shares)


def softmax_shares(step: Step, relevance: Tensor) -> Tensor:
    """``x * (R - y * sum of R)``, the sum along the axis of the softmax; 0 where ``x`` is -inf."""
    (x,) = step.inputs
    total = tf.reduce_sum(relevance, axis=step.layer.attributes["axis"], keepdims=True)
    finite = tf.where(tf.math.is_inf(x) & (x < 0), tf.zeros_like(x), x)
    return finite * (relevance - step.output * total)


def held_norm_shares(step: Step, relevance: Tensor, rule: HeldNorm) -> Tensor:
    """``x * C^T(gamma / d * R / S(y))`` with ``y = gamma * C x / d``, and beta added to it with ``rule.bias``."""
    (x,) = step.inputs
    axes = list(range(-step.layer.attributes["axes_count"], 0))

    def centred(values: Tensor) -> Tensor:
        """``C`` of the values, which is also ``C^T`` of them."""
        if step.layer.kind == "rms_norm":
            return values
        return values - tf.reduce_mean(values, axis=axes, keepdims=True)

    weights = {key: tf.constant(value, x.dtype) for key, value in step.layer.weights.items()}
    above_mean = centred(x)
    epsilon = tf.constant(step.layer.attributes["epsilon"], x.dtype)
    deviation = tf.sqrt(tf.reduce_mean(tf.square(above_mean), axis=axes, keepdims=True) + epsilon)
    slope = weights.get("gamma", tf.ones((), x.dtype)) / deviation
    output = slope * above_mean
    if rule.bias and "beta" in weights:
        output += weights["beta"]
    return x * centred(slope * (relevance / stabilized(output, rule.stabilizer)))


def sign_split_shares(step: Step, relevance: Tensor, rule: SignSplit) -> Tensors:
    """``x+ * R / S(sum of x+)`` where the sum of the inputs is above 0, ``x- * R / S(sum of x-)`` elsewhere."""
    above = step.output > 0
    parts = [tf.where(above, tf.maximum(x, 0), tf.minimum(x, 0)) for x in step.inputs]
    quotient = relevance / stabilized(tf.add_n(parts), rule.stabilizer)
    return tuple(_summed_to(part * quotient, x) for part, x in zip(parts, step.inputs, strict=True))


def _summed_to(share: Tensor, x: Tensor) -> Tensor:
    """``share``, summed along the axes along which the addition repeated ``x``."""
    repeated = [axis for axis, side in enumerate(x.shape) if side != share.shape[axis]]
    return tf.reduce_sum(share, axis=repeated, keepdims=True) if repeated else share
