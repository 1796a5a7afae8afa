"""Keras layers in the neutral graph's terms: one small function per layer class, by class name.

Reads configurations as Keras 2 and Keras 3 write them. Source of the meanings: Keras 3.15,
`keras/src/layers`. A function gets the call and the shapes of its inputs (batch axis left out) and
returns the steps it becomes; no step at all means that the layer does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from harness.errors import UnsupportedLayerError
from ported_models.sources import keras_attention as attentions
from ported_models.sources import keras_recurrent as sequences
from ported_models.sources.keras_activations import ACTIVATION_LAYERS, Translate, activation
from ported_models.sources.keras_calls import Call
from ported_models.sources.keras_ops import operation, require_known, tensorflow_operation
from ported_models.sources.keras_parameters import Shape, negative_axis, pairs, refusal, sides, weights_of
from ported_models.sources.steps import Step


def translate(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """The steps of ``call``; raises UnsupportedLayerError naming the layer, its type and the file."""
    if call.class_name.startswith("ops."):
        require_known(call)
        return operation(call, shapes)
    if call.class_name == "TFOpLambda":
        return tensorflow_operation(call, shapes)
    function = supported(call)
    config = call.config
    if config.get("data_format") == "channels_first":
        raise UnsupportedLayerError(
            f"{call.where} has data_format 'channels_first', expected 'channels_last'; rebuild the model so "
            "(kernels stay as they are; a dense layer after Flatten needs its rows permuted)"
        )
    if call.constants and call.class_name not in _WITH_CONSTANTS:
        raise UnsupportedLayerError(
            f"{call.where} is called with {call.constants[0]!r}, expected tensors only; "
            "use a layer that holds the number, such as keras.layers.Rescaling"
        )
    if call.training and _differs_in_training(call):
        raise UnsupportedLayerError(
            f"{call.where} is called with training=True, in inference too, expected training=None; "
            "build the model without it"
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


def _differs_in_training(call: Call) -> bool:
    """Whether the layer computes something else in training: a frozen batch norm and a rate of 0 do not."""
    if call.class_name in ("BatchNormalization", "BatchNormalizationV1"):
        return bool(call.config.get("trainable", True))
    if call.class_name in _DROPOUTS:
        return bool(call.config.get("rate") or call.config.get("stddev"))
    # In Keras 3 a model that is called as in inference calls its layers so, whatever they were called with.
    return call.keras == 2 and call.class_name in _AUGMENTATIONS


def require_all(calls: Iterable[Call]) -> None:
    """Raise UnsupportedLayerError that names every call of a class that is none of those that are read."""
    unread = []
    for call in calls:
        try:
            require_supported(call)
        except UnsupportedLayerError as error:
            unread.append(str(error))
    if unread:
        raise UnsupportedLayerError.of_all(unread)


def require_supported(call: Call) -> None:
    """Raise UnsupportedLayerError where the class of ``call`` is none of those that are read."""
    if call.class_name.startswith("ops."):
        require_known(call)
    elif call.class_name != "TFOpLambda":
        supported(call)


def supported(call: Call) -> Translate:
    """The function for the class of ``call``; raises UnsupportedLayerError where there is none."""
    if call.class_name == "Masking":
        raise UnsupportedLayerError(
            f"{call.where} hides time steps by their values, which the graph has no layer for; "
            "cut the sequences to the steps that count, and leave it out"
        )
    if call.class_name not in _TRANSLATIONS:
        raise UnsupportedLayerError(
            f"{call.where} is not supported; supported layers: {', '.join(sorted(_TRANSLATIONS))}"
        )
    return _TRANSLATIONS[call.class_name]


# -- kernels --------------------------------------------------------------------------------------


def _dense(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    return [Step("dense", {}, weights_of(call, kernel="kernel", bias="bias")), *activation(call, shapes)]


def _window(call: Call, count: int) -> dict[str, Any]:
    """Strides, dilations and padding; ``causal`` pads before the first step only."""
    config = call.config
    dilations = sides(config.get("dilation_rate", 1), count)
    padding: Any = config.get("padding", "valid")
    if padding == "causal":
        padding = (((sides(config["kernel_size"], 1)[0] - 1) * dilations[0], 0),)
    return {"strides": sides(config.get("strides", 1), count), "dilations": dilations, "padding": padding}


def _conv(count: int) -> Translate:
    def convolution(call: Call, shapes: Sequence[Shape]) -> list[Step]:
        attributes = {**_window(call, count), "groups": int(call.config.get("groups") or 1)}
        weights = {"kernel": call.weights["kernel"], **weights_of(call, bias="bias")}
        return [Step(f"conv{count}d", attributes, weights), *activation(call, shapes)]

    return convolution


def _depthwise(count: int) -> Translate:
    """A convolution of as many groups as channels: (*space, in, multiplier) -> (*space, 1, in * multiplier)."""

    def depthwise(call: Call, shapes: Sequence[Shape]) -> list[Step]:
        kernel = call.weights["kernel" if "kernel" in call.weights else "depthwise_kernel"]
        attributes = {**_window(call, count), "groups": shapes[0][-1]}
        weights = {"kernel": kernel.reshape(*kernel.shape[:count], 1, -1), **weights_of(call, bias="bias")}
        return [Step(f"conv{count}d", attributes, weights), *activation(call, shapes)]

    return depthwise


def _separable(count: int) -> Translate:
    """The pointwise kernel (1, ..., in * multiplier, out) loses its spatial axes."""

    def separable(call: Call, shapes: Sequence[Shape]) -> list[Step]:
        pointwise = call.weights["pointwise_kernel"]
        weights = {
            "depthwise_kernel": call.weights["depthwise_kernel"],
            "pointwise_kernel": pointwise.reshape(pointwise.shape[-2:]),
            **weights_of(call, bias="bias"),
        }
        return [Step(f"separable_conv{count}d", _window(call, count), weights), *activation(call, shapes)]

    return separable


def _transposed(count: int) -> Translate:
    """Keras keeps the kernel as (*space, out, in); the graph as (*space, in, out)."""

    def transposed(call: Call, shapes: Sequence[Shape]) -> list[Step]:
        if call.config.get("output_padding") is not None:
            raise refusal(call, "output_padding", call.config["output_padding"], "None")
        if (call.config.get("groups") or 1) != 1:
            raise refusal(call, "groups", call.config["groups"], "1")
        weights = {"kernel": np.swapaxes(call.weights["kernel"], -1, -2), **weights_of(call, bias="bias")}
        return [
            Step(f"conv_transpose{count}d", {**_window(call, count), "groups": 1}, weights),
            *activation(call, shapes),
        ]

    return transposed


# -- normalisation --------------------------------------------------------------------------------


def _batch_norm(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    axis = call.config.get("axis", -1)
    axis = axis if isinstance(axis, int) else axis[0]
    if negative_axis(call, axis, shapes[0]) != -1:
        raise refusal(call, "axis", axis, "the last axis (channels last)")
    if call.config.get("renorm"):
        raise refusal(call, "renorm", True, "False")
    weights = {
        "mean": call.weights["moving_mean"],
        "variance": call.weights["moving_variance"],
        **weights_of(call, gamma="gamma", beta="beta"),
    }
    return [Step("batch_norm", {"epsilon": float(call.config.get("epsilon", 1e-3))}, weights)]


def _last_axes(call: Call, shape: Shape) -> int:
    """How many axes are normalised. Raises UnsupportedLayerError where they are not the last ones."""
    given = call.config.get("axis", -1)
    axes = sorted(negative_axis(call, axis, shape) for axis in ([given] if isinstance(given, int) else given))
    if axes != list(range(-len(axes), 0)):
        raise refusal(call, "axis", given, "the last axes")
    return len(axes)


def _layer_norm(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    count = _last_axes(call, shapes[0])
    if call.config.get("rms_scaling"):
        # Keras divides by the deviation, which takes the mean off, and keeps the mean above the line.
        raise refusal(call, "rms_scaling", True, "False, or the layer RMSNormalization")
    attributes = {"epsilon": float(call.config.get("epsilon", 1e-3)), "axes_count": count}
    return [Step("layer_norm", attributes, weights_of(call, gamma="gamma", beta="beta"))]


def _rms_norm(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    attributes = {
        "epsilon": float(call.config.get("epsilon", 1e-6)),
        "axes_count": _last_axes(call, shapes[0]),
    }
    return [Step("rms_norm", attributes, weights_of(call, gamma="scale"))]


def _unit_norm(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """``x / max(|x|, 1e-12)`` along the last axis (Keras 3 `UnitNormalization`), as an RMS norm."""
    if negative_axis(call, call.config.get("axis", -1), shapes[0]) != -1:
        raise refusal(call, "axis", call.config["axis"], "the last axis (channels last)")
    size = shapes[0][-1]
    attributes = {"epsilon": 1e-24 / size, "axes_count": 1}
    return [Step("rms_norm", attributes, {"gamma": np.full(size, size**-0.5)})]


def _group_norm(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    channels = shapes[0][-1]
    if negative_axis(call, call.config.get("axis", -1), shapes[0]) != -1:
        raise refusal(call, "axis", call.config["axis"], "the last axis (channels last)")
    groups = int(call.config["groups"])
    attributes = {
        "epsilon": float(call.config.get("epsilon", 1e-3)),
        "groups": channels if groups == -1 else groups,
    }
    return [Step("group_norm", attributes, weights_of(call, gamma="gamma", beta="beta"))]


def _layer_scale(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """``gamma * x`` per channel (`keras.applications.convnext.LayerScale`); its one variable has no name of its own."""
    (gamma,) = call.weights.values()
    return [Step("scale", {}, {"kernel": gamma})]


def _scaled_sum(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """``x + scale * y`` (`keras.applications.inception_resnet_v2.CustomScaleLayer`)."""
    kernel = np.full(shapes[1][-1], float(call.config["scale"]))
    return [Step("scale", {}, {"kernel": kernel}, reads=(1,)), Step("add", reads=(0, 2))]


def _subtract(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    negative = Step("scale", {}, {"kernel": np.full(shapes[1][-1], -1.0)}, reads=(1,))
    return [negative, Step("add", reads=(0, 2))]


def _average(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    return [Step("add"), Step("scale", {}, {"kernel": np.full(shapes[0][-1], 1 / len(shapes))})]


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
    if any(negative_axis(call, one, shapes[0]) != -1 for one in axes) or call.config.get("invert"):
        raise refusal(call, "axis", axis, "the last axis or none, without invert")
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
        size = sides(call.config["pool_size"], count)
        strides = call.config.get("strides")
        attributes = {
            "pool_size": size,
            "strides": size if strides is None else sides(strides, count),
            "padding": call.config.get("padding", "valid"),
        }
        return [Step(f"{kind}{count}d", attributes)]

    return pool


def _global_pool(kind: str) -> Translate:
    return lambda call, _: [Step(kind, {"keepdims": bool(call.config.get("keepdims", False))})]


def _resize(kind: str, count: int, key: str) -> Translate:
    return lambda call, _: [Step(kind, {"padding": pairs(call.config[key], count)})]


def _upsample(count: int) -> Translate:
    def upsample(call: Call, _: Sequence[Shape]) -> list[Step]:
        interpolation = call.config.get("interpolation", "nearest")
        if interpolation not in ("nearest", "bilinear"):
            raise refusal(call, "interpolation", interpolation, "'nearest' or 'bilinear'")
        attributes = {"size": sides(call.config["size"], count), "interpolation": interpolation}
        return [Step("upsample", attributes)]

    return upsample


def _resizing(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """Each axis by the matrix that TensorFlow applies: half-pixel centres, no antialiasing (`tf.image.resize`)."""
    config = call.config
    interpolation = config.get("interpolation", "bilinear")
    others = [key for key in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias") if config.get(key)]
    if interpolation not in ("nearest", "bilinear") or others or len(shapes[0]) != 3:
        raise refusal(
            call, "(interpolation, options)", (interpolation, others), "nearest or bilinear, no other"
        )
    wanted = (int(config["height"]), int(config["width"]))
    return [
        Step("resample", {"axis": axis}, {"matrix": resizing_matrix(side, size, interpolation == "nearest")})
        for axis, side, size in zip((-3, -2), shapes[0], wanted, strict=False)
        if side != size
    ]


def resizing_matrix(side: int, size: int, nearest: bool) -> np.ndarray:
    """(size, side): what is read of ``side`` places for each of ``size``, at ``(i + 1/2) side / size - 1/2``."""
    matrix, rows = np.zeros((size, side)), np.arange(size)
    if nearest:
        matrix[rows, np.minimum((rows + 0.5) * side // size, side - 1).astype(int)] = 1.0
        return matrix
    places = np.clip((rows + 0.5) * side / size - 0.5, 0, side - 1)
    left = np.floor(places).astype(int)
    np.add.at(matrix, (rows, left), 1 - (places - left))
    np.add.at(matrix, (rows, np.minimum(left + 1, side - 1)), places - left)
    return matrix


def _centre_crop(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    wanted = (int(call.config["height"]), int(call.config["width"]))
    cuts = [side - size for side, size in zip(shapes[0], wanted, strict=False)]
    if len(shapes[0]) != 3 or min(cuts) < 0:
        raise refusal(call, "(height, width)", wanted, f"sides within an image of shape {shapes[0]}")
    padding = tuple((cut // 2, cut - cut // 2) for cut in cuts)
    return [Step("crop", {"padding": padding})] if any(cuts) else []


def _repeat_vector(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """(feature) to (time, feature): the same row at each step."""
    row = Step("reshape", {"target": (1, shapes[0][-1])})
    return [row, Step("take", {"axis": -2, "indices": (0,) * int(call.config["n"])})]


def _reshape(call: Call, _: Sequence[Shape]) -> list[Step]:
    return [Step("reshape", {"target": tuple(int(side) for side in call.config["target_shape"])})]


def _permute(call: Call, _: Sequence[Shape]) -> list[Step]:
    return [Step("permute", {"dims": tuple(int(axis) for axis in call.config["dims"])})]


def _concat(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    return [Step("concat", {"axis": negative_axis(call, call.config["axis"], shapes[0])})]


def _dropout(call: Call, _: Sequence[Shape]) -> list[Step]:
    return [Step("dropout", {"rate": float(call.config.get("rate") or 0.0)})]


def _plain(kind: str) -> Translate:
    return lambda call, _: [Step(kind)]


def _nothing(call: Call, _: Sequence[Shape]) -> list[Step]:
    return []


#: Layers that are called with masks, or whether later tokens are hidden.
_WITH_CONSTANTS = ("MultiHeadAttention", "Attention")
#: What draws random numbers in training and does nothing in inference.
_DROPOUTS = (
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "AlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
)
#: What changes images at random in training and does nothing in inference.
_AUGMENTATIONS = (
    *("AugMix", "CutMix", "MixUp", "RandAugment", "RandomBrightness", "RandomColorDegeneration"),
    *("RandomColorJitter", "RandomContrast", "RandomElasticTransform", "RandomErasing", "RandomFlip"),
    *("RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert", "RandomPerspective"),
    *("RandomPosterization", "RandomRotation", "RandomSaturation", "RandomSharpness", "RandomShear"),
    *("RandomTranslation", "RandomZoom", "StochasticDepth", "RandomHeight", "RandomWidth"),
)
_TRANSLATIONS: dict[str, Translate] = {
    **ACTIVATION_LAYERS,
    "Activation": activation,
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    "BatchNormalizationV1": _batch_norm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "UnitNormalization": _unit_norm,
    "MultiHeadAttention": attentions.multi_head_attention,
    "Attention": attentions.attention,
    "Dot": attentions.dot,
    "EinsumDense": attentions.einsum_dense,
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "Flatten": lambda call, _: [Step("flatten", {"order": "channels_last"})],
    "Reshape": _reshape,
    "Permute": _permute,
    "Concatenate": _concat,
    "Add": _plain("add"),
    "Multiply": _plain("multiply"),
    "Subtract": _subtract,
    "Average": _average,
    "CustomScaleLayer": _scaled_sum,
    "LayerScale": _layer_scale,
    "GroupNormalization": _group_norm,
    "Resizing": _resizing,
    "CenterCrop": _centre_crop,
    "RepeatVector": _repeat_vector,
    "Identity": _nothing,
    "ActivityRegularization": _nothing,
    **dict.fromkeys(_DROPOUTS, _dropout),
    **dict.fromkeys(_AUGMENTATIONS, _nothing),
    **{
        f"{name}{count}D": function
        for count in (1, 2, 3)
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
        if count < 3 or not name.startswith(("Depthwise", "Separable", "UpSampling"))
    },
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN"), sequences.recurrent),
    "Bidirectional": sequences.bidirectional,
    "Embedding": sequences.embedding,
    "TimeDistributed": sequences.time_distributed(translate),
    "Conv1DTranspose": _transposed(1),
    "Conv2DTranspose": _transposed(2),
    "Conv3DTranspose": _transposed(3),
}
