"""What the formulas of the rules are put together from: stabilizers, parts of weights and inputs.

Arrays are batch-first, channels-last, float64. ``x`` stands for an input, ``R`` for the relevance of the output; the
rest of the notation, and what the rules mean, is that of :mod:`harness.methods.rules`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import UnsupportedMethodError
from harness.graph import Layer
from harness.methods import AddedEpsilon, ReplaceZero, SignedEpsilon, Stabilizer, Unprotected
from reference_impls.oracle import linear
from reference_impls.oracle.linear import Arrays, Weights

#: What is divided by, from ``z``.
Denominator = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class TimesDeviation:
    """``S(z) = z + factor * std(x) * sign(z)``, ``sign(0) = +1``; what is still zero is replaced.

    ``std`` is the population standard deviation of all values of the sample's input (signxai 1.1.9.2
    `StdxEpsilonRule`).
    """

    factor: float


#: The stabilizers of the methods, and the one that depends on the layer's input.
Stabilizing = Stabilizer | TimesDeviation


def divisor_of(stabilizer: Stabilizing, inputs: Arrays) -> Denominator:
    """``S`` at a layer with these inputs."""
    if not isinstance(stabilizer, TimesDeviation):
        return lambda z: stabilize(z, stabilizer)
    deviations = inputs[0].reshape(inputs[0].shape[0], -1).std(axis=1)
    return lambda z: stabilize_by(z, stabilizer.factor * deviations.reshape(-1, *(1 for _ in z.shape[1:])))


def stabilize(z: np.ndarray, stabilizer: Stabilizer) -> np.ndarray:
    """``S(z)``: an exact zero replaced, epsilon added on the side of the sign or as it is, or ``z`` itself."""
    match stabilizer:
        case ReplaceZero():
            return np.where(z == 0, stabilizer.value, z)
        case SignedEpsilon():
            return away_from_zero(z, stabilizer.epsilon)
        case AddedEpsilon():
            return z + stabilizer.epsilon
        case Unprotected():
            return z


def stabilize_by(z: np.ndarray, epsilon: np.ndarray) -> np.ndarray:
    """``z + epsilon * sign(z)``, an exact zero that is left replaced: `TimesDeviation` with its epsilons."""
    return stabilize(away_from_zero(z, epsilon), ReplaceZero())


def away_from_zero(z: np.ndarray, epsilon: float | np.ndarray) -> np.ndarray:
    """``z + epsilon * sign(z)`` with ``sign(0) = +1``; ``epsilon`` has a shape that broadcasts to that of ``z``."""
    return z + np.where(z >= 0, epsilon, -epsilon)


def sign_of(x: np.ndarray, threshold: float) -> np.ndarray:
    """1 where ``x >= threshold``, else -1; 1 everywhere for a ``threshold`` of -1 or below.

    signxai 1.1.9.2 writes the -1 first and then sets all that is not below the threshold to 1, the -1 it
    has just written included (`SIGNmuRule`, `calculate_sign_mu`).
    """
    if threshold <= -1:
        return np.ones(x.shape)
    return np.where(x >= threshold, 1.0, -1.0)


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
