"""Keras' activations, as functions that a layer names and as layers of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ported_models.sources.keras_calls import Call
from ported_models.sources.keras_parameters import Shape, negative_axis, number, refusal
from ported_models.sources.steps import Step

Translate = Callable[[Call, Sequence[Shape]], list[Step]]

#: Activation functions by the names that Keras gives them, with Keras' default parameters.
#: The graph has no log-softmax: its reader takes one for a softmax, and only at the end, where it is taken off.
_FUNCTIONS: dict[str, Step | None] = {
    "linear": None,
    "relu": Step("relu"),
    "relu6": Step("relu6"),
    "leaky_relu": Step("leaky_relu", {"alpha": 0.2}),
    "elu": Step("elu", {"alpha": 1.0}),
    "selu": Step("selu"),
    "sigmoid": Step("sigmoid"),
    "tanh": Step("tanh"),
    "swish": Step("swish"),
    "silu": Step("swish"),
    "gelu": Step("gelu", {"approximate": "none"}),
    "softmax": Step("softmax", {"axis": -1}),
    "log_softmax": Step("log_softmax", {"axis": -1}),
}


def activation(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """The activation that a layer's configuration names: a function, or an activation layer."""
    spec = call.config.get("activation") or "linear"
    if isinstance(spec, str) and spec in _FUNCTIONS:
        step = _FUNCTIONS[spec]
        return [] if step is None else [step]
    if isinstance(spec, Mapping) and spec.get("class_name") in ACTIVATION_LAYERS:
        inner = Call(
            call.name,
            call.path,
            spec["class_name"],
            spec["config"],
            {},
            call.inputs,
            (),
            call.origin,
        )
        return ACTIVATION_LAYERS[spec["class_name"]](inner, shapes)
    found: Any = spec
    if isinstance(spec, Mapping):  # a function of Keras', an activation layer, or a lambda's code
        inside = spec.get("config", spec)
        found = spec.get("class_name", "a function of your own") if isinstance(inside, Mapping) else inside
    raise refusal(call, "activation", found, f"one of {', '.join(_FUNCTIONS)}")


def _relu(call: Call, _: Sequence[Shape]) -> list[Step]:
    config = call.config
    limit, slope = config.get("max_value"), number(config.get("negative_slope") or 0.0)
    threshold = number(config.get("threshold") or 0.0)
    if threshold or (limit is not None and (number(limit) != 6.0 or slope)):
        raise refusal(
            call,
            "(max_value, negative_slope, threshold)",
            (limit, slope, threshold),
            "no threshold, and a max_value of 6 without slope or none",
        )
    if limit is not None:
        return [Step("relu6")]
    return [Step("leaky_relu", {"alpha": slope})] if slope else [Step("relu")]


def _leaky_relu(call: Call, _: Sequence[Shape]) -> list[Step]:
    key = "negative_slope" if "negative_slope" in call.config else "alpha"
    return [Step("leaky_relu", {"alpha": number(call.config[key])})]


def _elu(call: Call, _: Sequence[Shape]) -> list[Step]:
    return [Step("elu", {"alpha": number(call.config.get("alpha", 1.0))})]


def _softmax(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    axis = call.config.get("axis", -1)
    if not isinstance(axis, int):
        if len(axis) != 1:
            raise refusal(call, "axis", axis, "one axis")
        axis = axis[0]
    return [Step("softmax", {"axis": negative_axis(call, axis, shapes[0])})]


#: Activation layers by class name.
ACTIVATION_LAYERS: dict[str, Translate] = {
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "Softmax": _softmax,
}
