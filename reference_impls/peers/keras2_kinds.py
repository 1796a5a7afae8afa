# ruff: noqa: B905  (zip has no strict= in the oldest Python that a peer runs on)
"""The Keras 2 layer of each kind of the graph. Runs in a peer's interpreter only.

``spec`` is a layer of `graph_json.graph_payload`, ``shapes`` the shapes of its weights by name, ``options``
Keras's own (name, dtype, activation).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras2_convolutions as convolutions  # type: ignore[import-not-found]  # beside this file, on the path there
import keras2_layers as own  # type: ignore[import-not-found]
from tensorflow.keras import layers

if TYPE_CHECKING:
    Spec = dict[str, Any]
    Options = dict[str, Any]
    Shapes = Mapping[str, tuple[int, ...]]


KERNEL_KINDS = (
    "dense",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "separable_conv1d",
    "separable_conv2d",
)
ACTIVATION_KINDS = tuple(own.ACTIVATIONS)


def layer_of(spec: Spec, shapes: Shapes, options: Options, form: str) -> Any:
    """The Keras layer of ``spec``, not yet applied; ``form`` is one of `keras2.FORMS`.

    Raises ValueError for a kind that is none.
    """
    kind = spec["kind"]
    if kind in own.ACTIVATIONS:
        return _activation_layer(spec, options, form)
    if kind not in _LAYERS:
        raise ValueError(f"layer {spec['name']!r} has kind {kind!r}; known are {', '.join(sorted(_LAYERS))}")
    return _LAYERS[kind](spec, shapes, options)


def is_substitute(layer: Any) -> bool:
    """Whether ``layer`` is one of this project, derived from the stock layer of its class name."""
    return type(layer).__module__ in (own.__name__, convolutions.__name__)


def _activation_layer(spec: Spec, options: Options, form: str) -> Any:
    if form == "layers":
        attributes, kind = spec["attributes"], spec["kind"]
        if kind == "relu":
            return layers.ReLU(**options)
        if kind == "relu6":
            return layers.ReLU(max_value=6.0, **options)
        if kind == "leaky_relu":
            return own.LeakyReLU(attributes["alpha"], **options)
        if kind == "elu":
            return layers.ELU(attributes["alpha"], **options)
        if kind == "softmax":
            return layers.Softmax(axis=attributes["axis"], **options)
    return layers.Activation(activation_function(spec), **options)


def activation_function(spec: Spec) -> Any:
    """The function of an activation, for ``activation=``."""
    return own.ACTIVATIONS[spec["kind"]](spec["attributes"])


# Paddings ------------------------------------------------------------------------------------------------


def rank_of(spec: Spec) -> int:
    """How many spatial axes the layer's input has."""
    return len(spec["input_shapes"][0]) - 1


def _pairs(spec: Spec) -> tuple[tuple[int, int], ...]:
    return tuple((before, after) for before, after in spec["attributes"]["padding"])


def _stock_padding(spec: Spec, window: Sequence[int]) -> str | None:
    """ "valid" or "same" where one of them pads what this layer pads, else None.

    "same" gives ``ceil(size / stride)`` values, the odd zero last (TensorFlow API docs, `tf.nn`).
    """
    pairs = _pairs(spec)
    if not any(side for pair in pairs for side in pair):
        return "valid"
    strides = spec["attributes"]["strides"]
    dilations = spec["attributes"].get("dilations", [1] * len(strides))
    same = []
    for size, taps, stride, dilation in zip(spec["input_shapes"][0], window, strides, dilations):
        extent = (taps - 1) * dilation + 1
        total = max((math.ceil(size / stride) - 1) * stride + extent - size, 0)
        same.append((total // 2, total - total // 2))
    return "same" if pairs == tuple(same) else None


def _all_ones(values: Sequence[int]) -> bool:
    return all(value == 1 for value in values)


# Kinds ---------------------------------------------------------------------------------------------------


def _kernel_options(spec: Spec, options: Options) -> Options:
    return {**options, "use_bias": "bias" in spec["weights"]}


def _dense(spec: Spec, shapes: Shapes, options: Options) -> Any:
    options = _kernel_options(spec, options)
    return layers.Dense(spec["shape"][-1], kernel_initializer="zeros", **options)


def _conv(spec: Spec, shapes: Shapes, options: Options) -> Any:
    attributes, kernel, rank = spec["attributes"], shapes["kernel"], rank_of(spec)
    strides, dilations, groups = (attributes[key] for key in ("strides", "dilations", "groups"))
    window = kernel[:rank]
    options = {**_kernel_options(spec, options), "strides": tuple(strides)}
    padding = _stock_padding(spec, window)
    if groups > 1 and kernel[-2] == 1 and rank == 2:
        options["depth_multiplier"] = kernel[-1] // groups
        options["depthwise_initializer"] = "zeros"
        if padding and _all_ones(dilations) and len(set(strides)) == 1:
            return layers.DepthwiseConv2D(window, padding=padding, **options)
        return convolutions.DepthwiseConv2D(
            window, explicit_padding=_pairs(spec), spread=tuple(dilations), **options
        )
    options["kernel_initializer"] = "zeros"
    # TensorFlow has no gradient of a dilated convolution in float64 on a CPU.
    plain = _all_ones(dilations) or (_all_ones(strides) and options["dtype"] == "float32")
    if groups == 1 and padding and plain:
        return getattr(layers, f"Conv{rank}D")(
            kernel[-1], window, padding=padding, dilation_rate=tuple(dilations), **options
        )
    return getattr(convolutions, f"Conv{rank}D")(
        kernel[-1], window, explicit_padding=_pairs(spec), spread=tuple(dilations), groups=groups, **options
    )


def _separable(spec: Spec, shapes: Shapes, options: Options) -> Any:
    attributes, kernel, rank = spec["attributes"], shapes["depthwise_kernel"], rank_of(spec)
    strides, dilations = attributes["strides"], attributes["dilations"]
    window = kernel[:rank]
    options = {
        **_kernel_options(spec, options),
        "strides": tuple(strides),
        "depth_multiplier": kernel[-1],
        "depthwise_initializer": "zeros",
        "pointwise_initializer": "zeros",
    }
    padding = _stock_padding(spec, window)
    if padding and _all_ones(dilations) and len(set(strides)) == 1:
        return getattr(layers, f"SeparableConv{rank}D")(spec["shape"][-1], window, padding=padding, **options)
    return getattr(convolutions, f"SeparableConv{rank}D")(
        spec["shape"][-1], window, explicit_padding=_pairs(spec), spread=tuple(dilations), **options
    )


def _conv_transpose(spec: Spec, shapes: Shapes, options: Options) -> Any:
    attributes, rank = spec["attributes"], rank_of(spec)
    strides, dilations, groups = (attributes[key] for key in ("strides", "dilations", "groups"))
    window = shapes["kernel"][:rank]
    options = {**_kernel_options(spec, options), "strides": tuple(strides), "kernel_initializer": "zeros"}
    padding = _stock_cropping(spec, window)
    if padding and groups == 1 and _all_ones(dilations):
        return getattr(layers, f"Conv{rank}DTranspose")(spec["shape"][-1], window, padding=padding, **options)
    return getattr(convolutions, f"Conv{rank}DTranspose")(
        spec["shape"][-1],
        window,
        cropping=_pairs(spec),
        appended=tuple(attributes["output_padding"]),
        channel_groups=groups,
        spread=tuple(dilations),
        **options,
    )


def _stock_cropping(spec: Spec, window: Sequence[int]) -> str | None:
    """ "valid" or "same" where Keras's transposed convolution of that name crops and appends the same."""
    crops, appended = [], []
    for taps, stride in zip(window, spec["attributes"]["strides"]):
        total = max(taps - stride, 0)
        crops.append((total // 2, total - total // 2))
        appended.append(max(stride - taps, 0))
    if spec["attributes"]["output_padding"] != appended:
        return None
    stock = {tuple(crops): "same", ((0, 0),) * len(crops): "valid"}
    return stock.get(_pairs(spec))


def _max_pool(spec: Spec, shapes: Shapes, options: Options) -> Any:
    return _pool(spec, options, "MaxPooling", ("valid", "same"), {})


def _average_pool(spec: Spec, shapes: Shapes, options: Options) -> Any:
    counted = spec["attributes"]["count_include_pad"]
    # Keras's own "same" leaves the padding out of the average.
    stock = ("valid",) if counted else ("valid", "same")
    return _pool(spec, options, "AveragePooling", stock, {"count_include_pad": counted})


def _pool(spec: Spec, options: Options, name: str, stock: tuple[str, ...], extra: Options) -> Any:
    attributes, rank = spec["attributes"], rank_of(spec)
    window, strides = tuple(attributes["pool_size"]), tuple(attributes["strides"])
    options = {**options, "pool_size": window, "strides": strides}
    padding = _stock_padding(spec, window)
    if padding in stock:
        return getattr(layers, f"{name}{rank}D")(padding=padding, **options)
    return getattr(own, f"{name}{rank}D")(explicit_padding=_pairs(spec), **extra, **options)


def _global_pool(name: str) -> Callable[..., Any]:
    def made(spec: Spec, shapes: Shapes, options: Options) -> Any:
        pool = getattr(layers, f"{name}{rank_of(spec)}D")
        return pool(keepdims=spec["attributes"]["keepdims"], **options)

    return made


def _batch_norm(spec: Spec, shapes: Shapes, options: Options) -> Any:
    if options["dtype"] == "float64":
        # The fused kernel knows no float64.
        options = {**options, "fused": False}
    return layers.BatchNormalization(
        epsilon=spec["attributes"]["epsilon"],
        scale="gamma" in spec["weights"],
        center="beta" in spec["weights"],
        **options,
    )


def _layer_norm(spec: Spec, shapes: Shapes, options: Options) -> Any:
    return layers.LayerNormalization(
        axis=list(range(-spec["attributes"]["axes_count"], 0)),
        epsilon=spec["attributes"]["epsilon"],
        scale="gamma" in spec["weights"],
        center="beta" in spec["weights"],
        **options,
    )


def _scale(spec: Spec, shapes: Shapes, options: Options) -> Any:
    return own.Scale("bias" in spec["weights"], **options)


def _flatten(spec: Spec, shapes: Shapes, options: Options) -> Any:
    first = spec["attributes"]["order"] == "channels_first"
    return own.Flatten(**options) if first else layers.Flatten(**options)


def _reshape(spec: Spec, shapes: Shapes, options: Options) -> Any:
    target = tuple(spec["attributes"]["target"])
    first = spec["attributes"]["order"] == "channels_first"
    return own.Reshape(target, **options) if first else layers.Reshape(target, **options)


def _permute(spec: Spec, shapes: Shapes, options: Options) -> Any:
    return layers.Permute(tuple(spec["attributes"]["dims"]), **options)


def _by_axis(spec: Spec, key: str) -> Any:
    """A per-axis attribute as Keras's 1-D layers (the only entry) and 2-D layers (all of them) take it."""
    values = [tuple(value) if isinstance(value, list) else value for value in spec["attributes"][key]]
    return values[0] if rank_of(spec) == 1 else tuple(values)


def _zero_pad(spec: Spec, shapes: Shapes, options: Options) -> Any:
    return getattr(layers, f"ZeroPadding{rank_of(spec)}D")(_by_axis(spec, "padding"), **options)


def _crop(spec: Spec, shapes: Shapes, options: Options) -> Any:
    return getattr(layers, f"Cropping{rank_of(spec)}D")(_by_axis(spec, "padding"), **options)


def _upsample(spec: Spec, shapes: Shapes, options: Options) -> Any:
    nearest = spec["attributes"]["interpolation"] == "nearest"
    return getattr(layers if nearest else own, f"UpSampling{rank_of(spec)}D")(
        _by_axis(spec, "size"), **options
    )


_LAYERS: dict[str, Callable[[Spec, Shapes, Options], Any]] = {
    "dense": _dense,
    "conv1d": _conv,
    "conv2d": _conv,
    "conv_transpose1d": _conv_transpose,
    "conv_transpose2d": _conv_transpose,
    "separable_conv1d": _separable,
    "separable_conv2d": _separable,
    "max_pool1d": _max_pool,
    "max_pool2d": _max_pool,
    "average_pool1d": _average_pool,
    "average_pool2d": _average_pool,
    "global_average_pool": _global_pool("GlobalAveragePooling"),
    "global_max_pool": _global_pool("GlobalMaxPooling"),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "scale": _scale,
    "flatten": _flatten,
    "reshape": _reshape,
    "permute": _permute,
    "zero_pad": _zero_pad,
    "crop": _crop,
    "upsample": _upsample,
    "add": lambda spec, shapes, options: layers.Add(**options),
    "multiply": lambda spec, shapes, options: layers.Multiply(**options),
    "concat": lambda spec, shapes, options: layers.Concatenate(axis=spec["attributes"]["axis"], **options),
    "dropout": lambda spec, shapes, options: layers.Dropout(spec["attributes"]["rate"], **options),
}
