"""What is added to a denominator, and its signs."""

from __future__ import annotations

import tensorflow as tf

from harness.methods import AddedEpsilon, ReplaceZero, SignedEpsilon, Stabilizer
from reference_impls.tensorflow.layers import Tensor


def stabilized(z: Tensor, stabilizer: Stabilizer) -> Tensor:
    """``S(z)``, with its constant in the dtype of ``z``."""
    match stabilizer:
        case SignedEpsilon(epsilon):
            return away_from_zero(z, tf.constant(epsilon, z.dtype))
        case AddedEpsilon(epsilon):
            return z + tf.constant(epsilon, z.dtype)
        case ReplaceZero(value):
            return tf.where(z == 0, tf.constant(value, z.dtype), z)
        case _:
            return z


def away_from_zero(z: Tensor, epsilon: Tensor) -> Tensor:
    """``z + epsilon * sign(z)`` with ``sign(0) = +1``; ``epsilon`` is broadcast."""
    return z + tf.where(z >= 0, epsilon, -epsilon)


def signs(x: Tensor, threshold: float) -> Tensor:
    """1 where ``x >= threshold``, -1 elsewhere; 1 everywhere for a threshold of -1 or below.

    Source: signxai 1.1.9.2 `SIGNmuRule` and `calculate_sign_mu`, which write the -1 first and then compare
    again.
    """
    ones = tf.ones_like(x)
    return ones if threshold <= -1 else tf.where(x >= tf.constant(threshold, x.dtype), ones, -ones)
