"""Activation functions by name: the kinds of `harness.graph`, and those that networks mistake them for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from harness.graph import ELEMENTWISE_KINDS
from harness.graph import KINDS as TRAITS
from reference_impls.oracle import activations

Function = Callable[[np.ndarray], np.ndarray]

#: What is tried of a kind's attributes, where that is more than their defaults.
_TRIED: dict[str, tuple[Mapping[str, Any], ...]] = {
    "leaky_relu": tuple({"alpha": slope} for slope in (0.01, 0.1, 0.2, 0.3)),
    "gelu": ({"approximate": "none"}, {"approximate": "tanh"}),
}
#: Kinds of layers with what is to be said of them: (kind, attributes).
KINDS: tuple[tuple[str, Mapping[str, Any]], ...] = tuple(
    (kind, attributes)
    for kind in ELEMENTWISE_KINDS
    if kind in activations.ELEMENTWISE and kind != "clip"
    for attributes in _TRIED.get(kind, (TRAITS[kind].defaults,))
)
#: The kind that is no activation at all.
IDENTITY: tuple[str, Mapping[str, Any]] = ("leaky_relu", {"alpha": 1.0})


def named(kind: str, attributes: Mapping[str, Any]) -> str:
    """A function in words."""
    if kind == "gelu":
        return "gelu in its tanh form" if attributes["approximate"] == "tanh" else "gelu with erf"
    if kind == "leaky_relu":
        return f"leaky_relu with slope {attributes['alpha']:.6g}"
    if kind == "elu":
        return f"elu with alpha {attributes['alpha']:.6g}"
    return kind


def function(kind: str, attributes: Mapping[str, Any]) -> Function:
    """The elementwise function of a kind."""
    applied, _ = activations.ELEMENTWISE[kind]
    return lambda x: applied(x, attributes)


def logistic(x: np.ndarray) -> np.ndarray:
    """``1 / (1 + exp(-x))``"""
    return activations.sigmoid(x, {})


def softplus(x: np.ndarray) -> np.ndarray:
    """``log(1 + exp(x))``"""
    return np.logaddexp(x, 0.0)


def hard_sigmoid(x: np.ndarray) -> np.ndarray:
    """``min(max(x / 6 + 1/2, 0), 1)`` (torch; Keras 3)"""
    return np.clip(x / 6.0 + 0.5, 0.0, 1.0)


#: Functions by the name that people know them by.
_KNOWN: dict[str, Function] = {
    "quick gelu (x * sigmoid(1.702 * x))": lambda x: x * logistic(1.702 * x),
    "hard_swish": lambda x: x * hard_sigmoid(x),
    "hard_sigmoid": hard_sigmoid,
    "hard_sigmoid of Keras 2 (0.2 * x + 0.5)": lambda x: np.clip(0.2 * x + 0.5, 0.0, 1.0),
    "hard_tanh": lambda x: np.clip(x, -1.0, 1.0),
    "softplus": softplus,
    "softsign": lambda x: x / (1.0 + np.abs(x)),
    "mish": lambda x: x * np.tanh(softplus(x)),
    "the absolute value": np.abs,
    "the square": np.square,
    "exp": lambda x: np.exp(np.minimum(x, 700.0)),  # Of more, float64 has no exponential.
    "relu of the negative": lambda x: np.maximum(-x, 0.0),
    "the negative part": lambda x: np.minimum(x, 0.0),
}
#: Those that are no kind of a layer.
OTHERS = {name: function for name, function in _KNOWN.items() if name not in TRAITS}
