"""What the formulas of the rules are put together from: stabilizers, parts of weights and inputs, their quotient.

Every rule is a function ``(layer, inputs, relevance, rule) -> relevance of each input``; arrays are
batch-first, channels-last, float64. ``x`` stands for an input, ``R`` for the relevance of the output; the
rest of the notation, and what the rules mean, is that of :mod:`harness.methods.rules`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from harness.errors import UnsupportedMethodError
from harness.graph import SUM_KINDS, Layer, kinds_where
from harness.methods import ReplaceZero, SignedEpsilon, Stabilizer
from reference_impls.oracle import linear
from reference_impls.oracle.linear import Arrays, Weights

RuleFunction = Callable[[Layer, Arrays, np.ndarray, Any], Arrays]
#: What is divided by, from ``z``: stands for a stabilizer where somebody divides by something else altogether.
Denominator = Callable[[np.ndarray], np.ndarray]

#: Layers whose weights a rule may replace by others.
WEIGHTED_KINDS = kinds_where(lambda kind: kind.weighted)
#: Linear layers without weights.
WEIGHTLESS_KINDS = SUM_KINDS


def stabilize(z: np.ndarray, stabilizer: Stabilizer | Denominator) -> np.ndarray:
    """``S(z)``: an exact zero replaced, epsilon added on the side of the sign, or ``z`` as it is."""
    if callable(stabilizer):
        return stabilizer(z)
    if isinstance(stabilizer, ReplaceZero):
        return np.where(z == 0, stabilizer.value, z)
    if isinstance(stabilizer, SignedEpsilon):
        return away_from_zero(z, stabilizer.epsilon)
    return z


def away_from_zero(z: np.ndarray, epsilon: float | np.ndarray) -> np.ndarray:
    """``z + epsilon * sign(z)`` with ``sign(0) = +1``; ``epsilon`` has a shape that broadcasts to that of ``z``."""
    return z + np.where(z >= 0, epsilon, -epsilon)


def own_weights(layer: Layer, bias: bool) -> Weights:
    """The layer's weights, its bias among them if ``bias``."""
    weights = linear.weights_of(layer)
    return weights if bias else without_bias(weights)


def without_bias(weights: Weights) -> Weights:
    """``W`` alone."""
    return {name: weight for name, weight in weights.items() if name != "bias"}


def positive(weights: Weights) -> Weights:
    """``W+`` and ``b+``, each array on its own."""
    return {name: np.maximum(weight, 0.0) for name, weight in weights.items()}


def negative(weights: Weights) -> Weights:
    """``W-`` and ``b-``, each array on its own."""
    return {name: np.minimum(weight, 0.0) for name, weight in weights.items()}


def signs(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``x+`` and ``x-``."""
    return np.maximum(x, 0.0), np.minimum(x, 0.0)


def quotient(
    layer: Layer, inputs: Arrays, relevance: np.ndarray, weights: Weights, stabilizer: Stabilizer
) -> np.ndarray:
    """``R / S(f(x; W, b))``, the bias counted where ``weights`` holds one."""
    return relevance / stabilize(linear.apply(layer, inputs, weights), stabilizer)


def back(layer: Layer, s: np.ndarray, weights: Weights) -> np.ndarray:
    """``f^T(s; W)`` of a layer with one input."""
    (passed,) = linear.transpose(layer, s, weights)
    return passed


def require(layer: Layer, rule: Any, kinds: tuple[str, ...]) -> None:
    """Raise UnsupportedMethodError unless the layer is of one of ``kinds``."""
    if layer.kind not in kinds:
        raise UnsupportedMethodError(
            f"{type(rule).__name__} has no reading at layer {layer.name!r} ({layer.kind}), only at: "
            f"{', '.join(kinds)}; assign another rule (Gradient has a reading everywhere)"
        )
