"""Keras layers in the neutral graph's terms: one small function per layer class, by class name.

Reads configurations as Keras 2 and Keras 3 write them. Source of the meanings: Keras 3.15,
`keras/src/layers`. A function gets the call and the shapes of its inputs (batch axis left out) and
returns the steps it becomes; no step at all means that the layer does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from harness.errors import UnsupportedLayerError
from ported_models.sources.keras_calls import Call
from ported_models.sources.steps import Step

Shape = tuple[int, ...]
Translate = Callable[[Call, Sequence[Shape]], list[Step]]


def translate(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """The steps of ``call``; raises UnsupportedLayerError naming the layer, its type and the file."""
    function = supported(call)
    config = call.config
    if config.get("data_format") == "channels_first":
        raise UnsupportedLayerError(
            f"{call.where} has data_format 'channels_first', expected 'channels_last'; rebuild the model so "
            "(kernels stay as they are; a dense layer after Flatten needs its rows permuted)"
        )
    if call.constants:
        raise UnsupportedLayerError(
            f"{call.where} is called with {call.constants[0]!r}, expected tensors only; "
            "use a layer that holds the number, such as keras.layers.Rescaling"
        )
    for name, array in call.weights.items():
        if name in ("kernel", "depthwise_kernel") and not np.issubdtype(array.dtype, np.floating):
            raise UnsupportedLayerError(
                f"{call.where} has weights of type {array.dtype}, expected floating point; unquantise it"
            )
    try:
        return function(call, shapes)
    except KeyError as error:
        raise UnsupportedLayerError(
            f"{call.where} has no {error} in its configuration or weights; "
            "save the model again with its weights, in a current Keras"
        ) from None


def supported(call: Call) -> Translate:
    """The function for the class of ``call``; raises UnsupportedLayerError where there is none."""
    if call.class_name not in _TRANSLATIONS:
        raise UnsupportedLayerError(
            f"{call.where} is not supported; supported layers: {', '.join(sorted(_TRANSLATIONS))}"
        )
    return _TRANSLATIONS[call.class_name]


def _sides(value: Any, count: int) -> Shape:
    """An integer or a sequence of ``count`` integers, as a tuple."""
    return (int(value),) * count if isinstance(value, int | float) else tuple(int(side) for side in value)


def _pairs(value: Any, count: int) -> tuple[tuple[int, int], ...]:
    """Padding or cropping of ``count`` axes: an integer, one integer an axis, or one pair an axis."""
    if count == 1 and not isinstance(value, int) and isinstance(value[0], int):
        value = [value]
    sides = [value] * count if isinstance(value, int) else value
    return tuple((side, side) if isinstance(side, int) else (int(side[0]), int(side[1])) for side in sides)


def _number(value: Any) -> float:
    """A number that TensorFlow's Keras may have written as ``{"type": "ndarray", "value": ...}``."""
    return float(value["value"] if isinstance(value, Mapping) else value)


def _weights(call: Call, **names: str) -> dict[str, np.ndarray]:
    """The named weights of the call under the graph's names; those that the call lacks are left out."""
    return {ours: call.weights[theirs] for ours, theirs in names.items() if theirs in call.weights}


def _refuse(call: Call, key: str, found: Any, expected: str) -> UnsupportedLayerError:
    return UnsupportedLayerError(
        f"{call.where} has {key} {found!r}, expected {expected}; change it or the layer"
    )


# -- activations ----------------------------------------------------------------------------------

#: Activation functions by the names that Keras gives them, with Keras' default parameters.
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
}


def _activation(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """The activation that a layer's configuration names: a function, or an activation layer."""
    spec = call.config.get("activation") or "linear"
    if isinstance(spec, str) and spec in _FUNCTIONS:
        step = _FUNCTIONS[spec]
        return [] if step is None else [step]
    if isinstance(spec, Mapping) and spec.get("class_name") in _ACTIVATION_LAYERS:
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
        return translate(inner, shapes)
    found = spec.get("config", spec) if isinstance(spec, Mapping) else spec
    raise _refuse(call, "activation", found, f"one of {', '.join(_FUNCTIONS)}")


def _relu(call: Call, _: Sequence[Shape]) -> list[Step]:
    config = call.config
    limit, slope = config.get("max_value"), _number(config.get("negative_slope") or 0.0)
    threshold = _number(config.get("threshold") or 0.0)
    if threshold or (limit is not None and (_number(limit) != 6.0 or slope)):
        raise _refuse(
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
    return [Step("leaky_relu", {"alpha": _number(call.config[key])})]


def _elu(call: Call, _: Sequence[Shape]) -> list[Step]:
    return [Step("elu", {"alpha": _number(call.config.get("alpha", 1.0))})]


def _softmax(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    axis = call.config.get("axis", -1)
    if not isinstance(axis, int):
        if len(axis) != 1:
            raise _refuse(call, "axis", axis, "one axis")
        axis = axis[0]
    return [Step("softmax", {"axis": _negative(call, axis, shapes[0])})]


def _negative(call: Call, axis: int, shape: Shape) -> int:
    """An axis that counts the batch as 0, in canonical negative form."""
    if axis == 0 or not -len(shape) <= axis <= len(shape):
        raise _refuse(call, "axis", axis, f"an axis other than the batch of an input of shape {shape}")
    return axis if axis < 0 else axis - len(shape) - 1


# -- kernels --------------------------------------------------------------------------------------


def _dense(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    return [Step("dense", {}, _weights(call, kernel="kernel", bias="bias")), *_activation(call, shapes)]


def _window(call: Call, count: int) -> dict[str, Any]:
    """Strides, dilations and padding; ``causal`` pads before the first step only."""
    config = call.config
    dilations = _sides(config.get("dilation_rate", 1), count)
    padding: Any = config.get("padding", "valid")
    if padding == "causal":
        padding = (((_sides(config["kernel_size"], 1)[0] - 1) * dilations[0], 0),)
    return {"strides": _sides(config.get("strides", 1), count), "dilations": dilations, "padding": padding}


def _conv(count: int) -> Translate:
    def convolution(call: Call, shapes: Sequence[Shape]) -> list[Step]:
        attributes = {**_window(call, count), "groups": int(call.config.get("groups") or 1)}
        weights = {"kernel": call.weights["kernel"], **_weights(call, bias="bias")}
        return [Step(f"conv{count}d", attributes, weights), *_activation(call, shapes)]

    return convolution


def _depthwise(count: int) -> Translate:
    """A convolution of as many groups as channels: (*space, in, multiplier) -> (*space, 1, in * multiplier)."""

    def depthwise(call: Call, shapes: Sequence[Shape]) -> list[Step]:
        kernel = call.weights["kernel" if "kernel" in call.weights else "depthwise_kernel"]
        attributes = {**_window(call, count), "groups": shapes[0][-1]}
        weights = {"kernel": kernel.reshape(*kernel.shape[:count], 1, -1), **_weights(call, bias="bias")}
        return [Step(f"conv{count}d", attributes, weights), *_activation(call, shapes)]

    return depthwise


def _separable(count: int) -> Translate:
    """The pointwise kernel (1, ..., in * multiplier, out) loses its spatial axes."""

    def separable(call: Call, shapes: Sequence[Shape]) -> list[Step]:
        pointwise = call.weights["pointwise_kernel"]
        weights = {
            "depthwise_kernel": call.weights["depthwise_kernel"],
            "pointwise_kernel": pointwise.reshape(pointwise.shape[-2:]),
            **_weights(call, bias="bias"),
        }
        return [Step(f"separable_conv{count}d", _window(call, count), weights), *_activation(call, shapes)]

    return separable


def _transposed(count: int) -> Translate:
    """Keras keeps the kernel as (*space, out, in); the graph as (*space, in, out)."""

    def transposed(call: Call, shapes: Sequence[Shape]) -> list[Step]:
        if call.config.get("output_padding") is not None:
            raise _refuse(call, "output_padding", call.config["output_padding"], "None")
        if (call.config.get("groups") or 1) != 1:
            raise _refuse(call, "groups", call.config["groups"], "1")
        weights = {"kernel": np.swapaxes(call.weights["kernel"], -1, -2), **_weights(call, bias="bias")}
        return [
            Step(f"conv_transpose{count}d", {**_window(call, count), "groups": 1}, weights),
            *_activation(call, shapes),
        ]

    return transposed


# -- normalisation --------------------------------------------------------------------------------


def _batch_norm(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    axis = call.config.get("axis", -1)
    axis = axis if isinstance(axis, int) else axis[0]
    if _negative(call, axis, shapes[0]) != -1:
        raise _refuse(call, "axis", axis, "the last axis (channels last)")
    if call.config.get("renorm"):
        raise _refuse(call, "renorm", True, "False")
    weights = {
        "mean": call.weights["moving_mean"],
        "variance": call.weights["moving_variance"],
        **_weights(call, gamma="gamma", beta="beta"),
    }
    return [Step("batch_norm", {"epsilon": float(call.config.get("epsilon", 1e-3))}, weights)]


def _layer_norm(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    given = call.config.get("axis", -1)
    axes = sorted(_negative(call, axis, shapes[0]) for axis in ([given] if isinstance(given, int) else given))
    if axes != list(range(-len(axes), 0)) or call.config.get("rms_scaling"):
        raise _refuse(call, "axis", given, "the last axes, without rms_scaling")
    attributes = {"epsilon": float(call.config.get("epsilon", 1e-3)), "axes_count": len(axes)}
    return [Step("layer_norm", attributes, _weights(call, gamma="gamma", beta="beta"))]


def _rescaling(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """``scale * x + offset``."""
    channels = (shapes[0][-1],)
    kernel, bias = (
        np.broadcast_to(np.asarray(call.config[key], np.float64), channels) for key in ("scale", "offset")
    )
    return [Step("scale", {}, {"kernel": kernel, "bias": bias})]


def _normalization(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """``(x - mean) / max(sqrt(variance), 1e-7)`` per channel (1e-7: Keras' epsilon)."""
    axis = call.config.get("axis", -1)
    axes = [axis] if isinstance(axis, int) else list(axis or ())
    if any(_negative(call, one, shapes[0]) != -1 for one in axes) or call.config.get("invert"):
        raise _refuse(call, "axis", axis, "the last axis or none, without invert")
    statistics = {**call.config, **call.weights}
    mean, variance = (
        np.broadcast_to(np.asarray(statistics[key], np.float64).reshape(-1), (shapes[0][-1],))
        for key in ("mean", "variance")
    )
    kernel = 1.0 / np.maximum(np.sqrt(variance), 1e-7)
    return [Step("scale", {}, {"kernel": kernel, "bias": -mean * kernel})]


# -- pooling, shapes, several inputs --------------------------------------------------------------


def _pool(kind: str, count: int) -> Translate:
    def pool(call: Call, _: Sequence[Shape]) -> list[Step]:
        size = _sides(call.config["pool_size"], count)
        strides = call.config.get("strides")
        attributes = {
            "pool_size": size,
            "strides": size if strides is None else _sides(strides, count),
            "padding": call.config.get("padding", "valid"),
        }
        return [Step(f"{kind}{count}d", attributes)]

    return pool


def _global_pool(kind: str) -> Translate:
    return lambda call, _: [Step(kind, {"keepdims": bool(call.config.get("keepdims", False))})]


def _resize(kind: str, count: int, key: str) -> Translate:
    return lambda call, _: [Step(kind, {"padding": _pairs(call.config[key], count)})]


def _upsample(count: int) -> Translate:
    def upsample(call: Call, _: Sequence[Shape]) -> list[Step]:
        interpolation = call.config.get("interpolation", "nearest")
        if interpolation not in ("nearest", "bilinear"):
            raise _refuse(call, "interpolation", interpolation, "'nearest' or 'bilinear'")
        attributes = {"size": _sides(call.config["size"], count), "interpolation": interpolation}
        return [Step("upsample", attributes)]

    return upsample


def _reshape(call: Call, _: Sequence[Shape]) -> list[Step]:
    return [Step("reshape", {"target": tuple(int(side) for side in call.config["target_shape"])})]


def _permute(call: Call, _: Sequence[Shape]) -> list[Step]:
    return [Step("permute", {"dims": tuple(int(axis) for axis in call.config["dims"])})]


def _concat(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    return [Step("concat", {"axis": _negative(call, call.config["axis"], shapes[0])})]


def _dropout(call: Call, _: Sequence[Shape]) -> list[Step]:
    return [Step("dropout", {"rate": float(call.config.get("rate") or 0.0)})]


def _plain(kind: str) -> Translate:
    return lambda call, _: [Step(kind)]


def _nothing(call: Call, _: Sequence[Shape]) -> list[Step]:
    return []


_ACTIVATION_LAYERS: dict[str, Translate] = {
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "Softmax": _softmax,
}
_TRANSLATIONS: dict[str, Translate] = {
    **_ACTIVATION_LAYERS,
    "Activation": _activation,
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    "BatchNormalizationV1": _batch_norm,
    "LayerNormalization": _layer_norm,
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "Flatten": lambda call, _: [Step("flatten", {"order": "channels_last"})],
    "Reshape": _reshape,
    "Permute": _permute,
    "Concatenate": _concat,
    "Add": _plain("add"),
    "Multiply": _plain("multiply"),
    "Relu": _plain("relu"),
    "Relu6": _plain("relu6"),
    "Sigmoid": _plain("sigmoid"),
    "Tanh": _plain("tanh"),
    "Silu": _plain("swish"),
    "Identity": _nothing,
    "ActivityRegularization": _nothing,
    **{
        name: _dropout
        for name in (
            "Dropout",
            "SpatialDropout1D",
            "SpatialDropout2D",
            "AlphaDropout",
            "GaussianDropout",
            "GaussianNoise",
        )
    },
    **{
        f"{name}{count}D": function
        for count in (1, 2)
        for name, function in {
            "Conv": _conv(count),
            "DepthwiseConv": _depthwise(count),
            "SeparableConv": _separable(count),
            "MaxPooling": _pool("max_pool", count),
            "AveragePooling": _pool("average_pool", count),
            "GlobalMaxPooling": _global_pool("global_max_pool"),
            "GlobalAveragePooling": _global_pool("global_average_pool"),
            "ZeroPadding": _resize("zero_pad", count, "padding"),
            "Cropping": _resize("crop", count, "cropping"),
            "UpSampling": _upsample(count),
        }.items()
    },
    "Conv1DTranspose": _transposed(1),
    "Conv2DTranspose": _transposed(2),
}
