"""Elementwise activations, each next to its derivative; both take ``x`` (any shape) and the attributes.

Where a function has a kink, the derivative is the one TensorFlow 2.21 gives at it (one-sided, from the left
for relu, relu6 at 0, leaky_relu and elu; from the right for selu, and for relu6 at 6; for clip, hard_sigmoid and
hard_swish that of the middle piece).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Attributes = Mapping[str, Any]
Elementwise = Callable[[np.ndarray, Attributes], np.ndarray]

#: Klambauer et al. 2017, eq. 14: the fixed point of zero mean and unit variance.
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805

_erf = np.vectorize(math.erf, otypes=[np.float64])


def relu(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``max(x, 0)``"""
    return np.maximum(x, 0.0)


def relu_derivative(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``[x > 0]``"""
    return np.where(x > 0, 1.0, 0.0)


def relu6(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``min(max(x, 0), 6)``"""
    return np.clip(x, 0.0, 6.0)


def relu6_derivative(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``[0 < x < 6]``"""
    return np.where((x > 0) & (x < 6), 1.0, 0.0)


def leaky_relu(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``x`` above 0, ``alpha * x`` elsewhere"""
    return np.where(x > 0, x, attributes["alpha"] * x)


def leaky_relu_derivative(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """1 above 0, ``alpha`` elsewhere"""
    return np.where(x > 0, 1.0, attributes["alpha"])


def elu(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``x`` above 0, ``alpha * (exp(x) - 1)`` elsewhere"""
    return np.where(x > 0, x, attributes["alpha"] * np.expm1(np.minimum(x, 0.0)))


def elu_derivative(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """1 above 0, ``alpha * exp(x)`` elsewhere"""
    return np.where(x > 0, 1.0, attributes["alpha"] * np.exp(np.minimum(x, 0.0)))


def selu(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``scale * elu(x; alpha)`` with the constants of Klambauer et al. 2017"""
    return SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0.0)))


def selu_derivative(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``scale`` from 0 on, ``scale * alpha * exp(x)`` below"""
    return SELU_SCALE * np.where(x >= 0, 1.0, SELU_ALPHA * np.exp(np.minimum(x, 0.0)))


def sigmoid(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``1 / (1 + exp(-x))``"""
    return _logistic(x)


def sigmoid_derivative(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``sigmoid(x) * sigmoid(-x)``"""
    return _logistic(x) * _logistic(-x)


def tanh(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``tanh(x)``"""
    return np.tanh(x)


def tanh_derivative(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``1 - tanh(x)**2``"""
    return 1.0 - np.tanh(x) ** 2


def swish(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``x * sigmoid(x)``"""
    return x * _logistic(x)


def swish_derivative(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``sigmoid(x) * (1 + x * sigmoid(-x))``"""
    return _logistic(x) * (1.0 + x * _logistic(-x))


def gelu(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``x * Phi(x)`` with the normal distribution function, or its tanh form (Hendrycks and Gimpel 2016)."""
    if attributes["approximate"] == "tanh":
        return 0.5 * x * (1.0 + np.tanh(_gelu_argument(x)))
    return x * _normal_distribution(x)


def gelu_derivative(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``Phi(x) + x * phi(x)``; tanh form ``(1 + t) / 2 + x * (1 - t**2) * u' / 2``, ``t = tanh(u)``."""
    if attributes["approximate"] == "tanh":
        t = np.tanh(_gelu_argument(x))
        slope = math.sqrt(2.0 / math.pi) * (1.0 + 3 * 0.044715 * x**2)
        return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t**2) * slope
    density = np.exp(-0.5 * x**2) / math.sqrt(2.0 * math.pi)
    return _normal_distribution(x) + x * density


def mish(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``x * tanh(log(1 + exp(x)))`` (Misra 2019, arXiv:1908.08681)"""
    return x * np.tanh(np.logaddexp(x, 0.0))


def mish_derivative(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``t + x * (1 - t**2) * sigmoid(x)``, ``t = tanh(log(1 + exp(x)))``"""
    t = np.tanh(np.logaddexp(x, 0.0))
    return t + x * (1.0 - t**2) * _logistic(x)


def hard_sigmoid(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``min(max(alpha * x + beta, 0), 1)``"""
    return np.clip(attributes["alpha"] * x + attributes["beta"], 0.0, 1.0)


def hard_sigmoid_derivative(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``alpha`` where ``0 <= alpha * x + beta <= 1``, else 0"""
    line = attributes["alpha"] * x + attributes["beta"]
    return np.where((line >= 0) & (line <= 1), attributes["alpha"], 0.0)


def hard_swish(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``x * min(max(x / 6 + 1/2, 0), 1)`` (Howard et al. 2019, arXiv:1905.02244, section 5.2)"""
    return x * np.clip(x / 6.0 + 0.5, 0.0, 1.0)


def hard_swish_derivative(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """0 below -3, 1 above 3, ``x / 3 + 1/2`` between and at both"""
    return np.where(x < -3, 0.0, np.where(x > 3, 1.0, x / 3.0 + 0.5))


def clip(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``min(max(x, low), high)``"""
    return np.clip(x, attributes["low"], attributes["high"])


def clip_derivative(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``[low <= x <= high]``"""
    return np.where((x >= attributes["low"]) & (x <= attributes["high"]), 1.0, 0.0)


def sqrt(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``x ** (1/2)``, nan below 0"""
    with np.errstate(invalid="ignore"):
        return np.sqrt(x)


def sqrt_derivative(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    """``x ** (-1/2) / 2``, infinite at 0"""
    with np.errstate(invalid="ignore", divide="ignore"):
        return 0.5 / np.sqrt(x)


def _logistic(x: np.ndarray) -> np.ndarray:
    # exp of a negative number only: it cannot overflow.
    decay = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, decay) / (1.0 + decay)


def _normal_distribution(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + _erf(x / math.sqrt(2.0)))


def _gelu_argument(x: np.ndarray) -> np.ndarray:
    return math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)


#: The function and the derivative of every activation kind that is elementwise and has no weights.
ELEMENTWISE: dict[str, tuple[Elementwise, Elementwise]] = {
    "relu": (relu, relu_derivative),
    "relu6": (relu6, relu6_derivative),
    "leaky_relu": (leaky_relu, leaky_relu_derivative),
    "elu": (elu, elu_derivative),
    "selu": (selu, selu_derivative),
    "sigmoid": (sigmoid, sigmoid_derivative),
    "tanh": (tanh, tanh_derivative),
    "swish": (swish, swish_derivative),
    "gelu": (gelu, gelu_derivative),
    "mish": (mish, mish_derivative),
    "hard_sigmoid": (hard_sigmoid, hard_sigmoid_derivative),
    "hard_swish": (hard_swish, hard_swish_derivative),
    "clip": (clip, clip_derivative),
    "sqrt": (sqrt, sqrt_derivative),
}
