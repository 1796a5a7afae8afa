"""Keras' activations, as functions that a layer names and as layers of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ported_models.sources.keras_calls import Call
from ported_models.sources.keras_parameters import Shape, negative_axis, number, refusal
from ported_models.sources.steps import Step

Translate = Callable[[Call, Sequence[Shape]], list[Step]]

#: Activation functions by the names that Keras gives them, with Keras' default parameters. TensorFlow's own, as
#: `tf.nn.relu`, are written under their names, and those of these names are the same functions.
#: The graph has no log-softmax: its reader takes one for a softmax, and only at the end, where it is taken off.
_FUNCTIONS: dict[str, Step | None] = {
    "linear": None,
    "identity": None,
    "relu": Step("relu"),
    "relu6": Step("relu6"),
    "leaky_relu": Step("leaky_relu", {"alpha": 0.2}),
    "elu": Step("elu", {"alpha": 1.0}),
    "selu": Step("selu"),
    "sigmoid": Step("sigmoid"),
    "tanh": Step("tanh"),
    "swish": Step("swish"),
    "silu": Step("swish"),
    "hard_silu": Step("hard_swish"),
    "hard_swish": Step("hard_swish"),
    "hard_sigmoid": Step("hard_sigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "hard_tanh": Step("clip", {"low": -1.0, "high": 1.0}),
    "mish": Step("mish"),
    "gelu": Step("gelu", {"approximate": "none"}),
    "softmax": Step("softmax", {"axis": -1}),
    "softmax_v2": Step("softmax", {"axis": -1}),
    "log_softmax": Step("log_softmax", {"axis": -1}),
    "log_softmax_v2": Step("log_softmax", {"axis": -1}),
}
#: What they were in Keras 2, where that is another function (tf_keras 2.21, `activations.py`).
_FUNCTIONS_OF_KERAS_2: dict[str, Step | None] = {
    **_FUNCTIONS,
    "hard_sigmoid": Step("hard_sigmoid", {"alpha": 0.2, "beta": 0.5}),
}


def named_activation(call: Call, name: str) -> Step | None:
    """The function that Keras calls ``name``, None for the linear one. Raises UnsupportedLayerError."""
    functions = _FUNCTIONS_OF_KERAS_2 if call.keras == 2 else _FUNCTIONS
    if name not in functions:
        raise refusal(call, "activation", name, f"one of {', '.join(functions)}")
    return functions[name]


def activation(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """The activation that a layer's configuration names: a function, or an activation layer."""
    spec = call.config.get("activation") or "linear"
    if isinstance(spec, Mapping) and spec.get("class_name") in ACTIVATION_LAYERS:
        inner = replace(call, class_name=spec["class_name"], config=spec["config"], weights={}, constants=())
        return ACTIVATION_LAYERS[spec["class_name"]](inner, shapes)
    if isinstance(
        spec, Mapping
    ):  # a function of Keras' or of the user's, an activation layer, or a lambda's code
        inside = spec.get("config", spec)
        own = str(spec.get("module") or "builtins").split(".")[0] in ("builtins", "keras", "tf_keras")
        if isinstance(inside, Mapping) or not own:
            name = (
                spec.get("class_name", "a function of your own")
                if own
                else f"{inside}, a function of your own"
            )
            raise refusal(call, "activation", name, f"one of {', '.join(_FUNCTIONS)}")
        spec = inside
    step = named_activation(call, str(spec))
    return [] if step is None else [step]


def _relu(call: Call, _: Sequence[Shape]) -> list[Step]:
    config = call.config
    limit, slope = config.get("max_value"), number(config.get("negative_slope") or 0.0)
    threshold = number(config.get("threshold") or 0.0)
    if threshold or (limit is not None and slope):
        raise refusal(
            call,
            "(max_value, negative_slope, threshold)",
            (limit, slope, threshold),
            "no threshold, and a max_value or a slope, not both",
        )
    if limit is not None:
        top = number(limit)
        return [Step("relu6") if top == 6.0 else Step("clip", {"low": 0.0, "high": top})]
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


def _prelu(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    alpha = call.weights["alpha"]
    if alpha.size != shapes[0][-1]:
        raise refusal(
            call, "shared_axes", call.config.get("shared_axes"), "all axes but the last: a slope a channel"
        )
    return [Step("prelu", {}, {"alpha": alpha.reshape(-1)})]


#: Activation layers by class name.
ACTIVATION_LAYERS: dict[str, Translate] = {
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "Softmax": _softmax,
    "PReLU": _prelu,
}
