"""The Keras twin: a functional model with exactly one layer per layer of the graph, under its name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from harness.errors import HarnessError, MissingFrameworkError
from harness.graph import RECURRENT_KINDS, Graph, Layer
from ported_models.keras_start import start_keras
from ported_models.shapes import same_padding, same_transposed

try:
    start_keras()
    import keras
    import tensorflow as tf
except ImportError:
    raise MissingFrameworkError("tensorflow") from None

from ported_models.twins import keras_attention as attention
from ported_models.twins import keras_convolutions as convolutions
from ported_models.twins import keras_layers as own
from ported_models.twins import keras_recurrent as recurrent
from ported_models.twins.several import check_names

Options = dict[str, Any]


def build(graph: Graph, dtype: str = "float32") -> keras.Model:
    """A `keras.Model` from the graph's input to its output, weights set; layers compute in ``dtype``.

    Channels-last; names, kinds and shapes are the graph's. Raises HarnessError where Keras runs on
    another framework than TensorFlow, or a layer's shape comes out differently.
    """
    if keras.config.backend() != "tensorflow":
        raise HarnessError(
            f"Keras runs on {keras.config.backend()!r} here, the Keras twin needs TensorFlow; "
            "set the environment variable KERAS_BACKEND=tensorflow"
        )
    tensors: dict[str, Any] = {}
    for layer in graph:
        if layer.kind == "input":
            tensors[layer.name] = keras.Input(layer.shape, name=layer.name, dtype=dtype)
            continue
        inputs = [tensors[name] for name in layer.inputs]
        module = _LAYERS[layer.kind](layer, {"name": layer.name, "dtype": dtype})
        tensors[layer.name] = module(inputs if len(inputs) > 1 else inputs[0])
        shape = tuple(tensors[layer.name].shape[1:])
        if shape != layer.shape:
            raise HarnessError(
                f"{graph.name}: layer {layer.name!r} ({layer.kind}) has shape {shape} in Keras, "
                f"the graph says {layer.shape}; the graph's attributes of this layer are wrong"
            )
        module.set_weights(_weights(layer, module))
    with _deep(len(graph.layers)):
        ends, name = (tensors[graph.input.name], tensors[graph.output]), _model_name(graph.name)
        if not graph.inputs:
            return keras.Model(*ends, name=name)
        twin = OfSeveralInputs(*ends, name=name)
        twin.graph = graph
        return twin


class OfSeveralInputs(keras.Model):
    """The twin of a network of several inputs: it takes one tensor, in which they lie side by side, or them by name."""

    graph: Graph

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(x, Mapping):
            check_names(self.graph, x)
            parts = ((x[each.name], each.size) for each in self.graph.inputs)
            x = tf.concat([tf.reshape(part, (-1, size)) for part, size in parts], axis=1)
        return super().__call__(x, *args, **kwargs)


@contextmanager
def _deep(layers: int) -> Iterator[None]:
    """Keras goes through a network by a call within a call for each layer, of which Python allows a thousand."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 4 * layers + 1000))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _model_name(name: str) -> str:
    return "".join(character if character.isalnum() else "_" for character in name) or "model"


def _weights(layer: Layer, module: Any) -> list[np.ndarray]:
    """The layer's weights in Keras' order and with Keras' axes."""
    if layer.kind in RECURRENT_KINDS:
        return recurrent.recurrent_weights(layer)
    order = (
        *("kernel", "depthwise_kernel", "pointwise_kernel", "matrix", "alpha"),
        *("gamma", "beta", "bias", "mean", "variance"),
    )
    arrays = {key: layer.weights[key] for key in order if key in layer.weights}
    if layer.traits.transposed:
        # Keras keeps the channels that come out before those that go in.
        arrays["kernel"] = np.swapaxes(arrays["kernel"], -1, -2)
    if "pointwise_kernel" in arrays:
        ones = (1,) * len(layer.attributes["strides"])
        arrays["pointwise_kernel"] = arrays["pointwise_kernel"].reshape(
            *ones, *arrays["pointwise_kernel"].shape
        )
    if isinstance(module, keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D):
        *space, _, outputs = arrays["kernel"].shape
        groups = layer.attributes["groups"]
        arrays["kernel"] = arrays["kernel"].reshape(*space, groups, outputs // groups)
    if "alpha" in arrays:
        arrays["alpha"] = arrays["alpha"].reshape(*(1 for _ in layer.shape[:-1]), -1)
    return list(arrays.values())


def _rank(layer: Layer) -> str:
    """``"1D"``, ``"2D"`` or ``"3D"``, by the number of spatial axes of the input."""
    return f"{len(layer.input_shapes[0]) - 1}D"


def _stock_padding(layer: Layer, window: tuple[int, ...]) -> str | None:
    """``"valid"`` or ``"same"`` where one of them pads what this layer pads, else None."""
    attributes = layer.attributes
    padding, strides = tuple(attributes["padding"]), attributes["strides"]
    if not any(side for pair in padding for side in pair):
        return "valid"
    space = layer.input_shapes[0][:-1]
    same = same_padding(space, window, strides, attributes.get("dilations"))
    return "same" if padding == same else None


def _dense(layer: Layer, options: Options) -> Any:
    return keras.layers.Dense(
        layer.shape[-1], use_bias="bias" in layer.weights, kernel_initializer="zeros", **options
    )


def _conv(layer: Layer, options: Options) -> Any:
    a, kernel = layer.attributes, layer.weights["kernel"]
    strides, dilations, groups = a["strides"], a["dilations"], a["groups"]
    window = kernel.shape[: len(strides)]
    options = {**options, "use_bias": "bias" in layer.weights, "strides": strides}
    padding, plain = _stock_padding(layer, window), all(d == 1 for d in dilations)
    depthwise = groups > 1 and kernel.shape[-2] == 1 and len(strides) < 3
    if depthwise and plain and padding and len(set(strides)) == 1:
        return getattr(keras.layers, f"DepthwiseConv{_rank(layer)}")(
            window,
            depth_multiplier=kernel.shape[-1] // groups,
            padding=padding,
            depthwise_initializer="zeros",
            **options,
        )
    options = {**options, "dilation_rate": dilations, "kernel_initializer": "zeros"}
    # `same` of TensorFlow's float64 kernel for volumes (2.21, CPU) shifts the windows where a stride leaves out two
    # or more values at the end of an axis.
    if len(strides) == 3 and padding == "same" and any(stride > 1 for stride in strides):
        padding = None
    if groups == 1 and padding and (plain or all(stride == 1 for stride in strides)):
        return getattr(keras.layers, f"Conv{_rank(layer)}")(
            kernel.shape[-1], window, padding=padding, **options
        )
    return convolutions.CONV[_rank(layer)](
        kernel.shape[-1], window, explicit_padding=a["padding"], groups=groups, **options
    )


def _separable(layer: Layer, options: Options) -> Any:
    a, kernel = layer.attributes, layer.weights["depthwise_kernel"]
    strides, dilations = a["strides"], a["dilations"]
    window = kernel.shape[: len(strides)]
    options = {
        **options,
        "use_bias": "bias" in layer.weights,
        "strides": strides,
        "depth_multiplier": kernel.shape[-1],
        "depthwise_initializer": "zeros",
        "pointwise_initializer": "zeros",
    }
    padding = _stock_padding(layer, window)
    if padding and all(dilation == 1 for dilation in dilations) and len(set(strides)) == 1:
        return getattr(keras.layers, f"SeparableConv{_rank(layer)}")(
            layer.shape[-1], window, padding=padding, **options
        )
    return convolutions.SEPARABLE_CONV[_rank(layer)](
        layer.shape[-1], window, explicit_padding=a["padding"], dilation_rate=dilations, **options
    )


def _conv_transpose(layer: Layer, options: Options) -> Any:
    a = layer.attributes
    strides, dilations, groups = a["strides"], a["dilations"], a["groups"]
    window = layer.weights["kernel"].shape[: len(strides)]
    options = {
        **options,
        "use_bias": "bias" in layer.weights,
        "strides": strides,
        "kernel_initializer": "zeros",
    }
    same = same_transposed(window, strides)
    stock = {same: "same", (((0, 0),) * len(strides), same[1]): "valid"}
    padding = stock.get((tuple(a["padding"]), tuple(a["output_padding"])))
    if padding and groups == 1 and all(dilation == 1 for dilation in dilations):
        return getattr(keras.layers, f"Conv{_rank(layer)}Transpose")(
            layer.shape[-1], window, padding=padding, **options
        )
    return convolutions.CONV_TRANSPOSE[_rank(layer)](
        layer.shape[-1],
        window,
        cropping=a["padding"],
        appended=a["output_padding"],
        groups=groups,
        dilation_rate=dilations,
        **options,
    )


def _max_pool(layer: Layer, options: Options) -> Any:
    a = layer.attributes
    options = {**options, "pool_size": a["pool_size"], "strides": a["strides"]}
    padding = _stock_padding(layer, a["pool_size"])
    if padding and len(a["strides"]) < 3:
        return getattr(keras.layers, f"MaxPooling{_rank(layer)}")(padding=padding, **options)
    return own.MAX_POOLING[_rank(layer)](explicit_padding=a["padding"], **options)


def _average_pool(layer: Layer, options: Options) -> Any:
    a = layer.attributes
    options = {**options, "pool_size": a["pool_size"], "strides": a["strides"]}
    padding = _stock_padding(layer, a["pool_size"])
    # TensorFlow's own `same` leaves the padding out of the average.
    stock = padding == "valid" or (padding == "same" and not a["count_include_pad"])
    if stock and len(a["strides"]) < 3:
        return getattr(keras.layers, f"AveragePooling{_rank(layer)}")(padding=padding, **options)
    return own.AVERAGE_POOLING[_rank(layer)](
        explicit_padding=a["padding"], count_include_pad=a["count_include_pad"], **options
    )


def _global_pool(name: str) -> Callable[[Layer, Options], Any]:
    def build_pool(layer: Layer, options: Options) -> Any:
        pool = getattr(keras.layers, f"{name}{_rank(layer)}")
        return pool(keepdims=layer.attributes["keepdims"], **options)

    return build_pool


def _norm(name: str) -> Callable[[Layer, Options], Any]:
    def build_norm(layer: Layer, options: Options) -> Any:
        a = layer.attributes
        if name == "LayerNormalization":
            options = {**options, "axis": list(range(-a["axes_count"], 0))}
        if name == "GroupNormalization":
            options = {**options, "groups": a["groups"]}
        scale, center = "gamma" in layer.weights, "beta" in layer.weights
        return getattr(keras.layers, name)(epsilon=a["epsilon"], scale=scale, center=center, **options)

    return build_norm


def _flatten(layer: Layer, options: Options) -> Any:
    if layer.attributes["order"] == "channels_first":
        return own.ChannelsFirstFlatten(**options)
    return keras.layers.Flatten(**options)


def _reshape(layer: Layer, options: Options) -> Any:
    target = layer.attributes["target"]
    if layer.attributes["order"] == "channels_first":
        return own.ChannelsFirstReshape(target, **options)
    return keras.layers.Reshape(target, **options)


def _space_argument(layer: Layer, key: str) -> Any:
    """A per-axis attribute as Keras' 1-D layers (the only entry) and 2-D layers (all of them) take it."""
    values = layer.attributes[key]
    return values[0] if _rank(layer) == "1D" else values


def _zero_pad(layer: Layer, options: Options) -> Any:
    return getattr(keras.layers, f"ZeroPadding{_rank(layer)}")(_space_argument(layer, "padding"), **options)


def _crop(layer: Layer, options: Options) -> Any:
    return getattr(keras.layers, f"Cropping{_rank(layer)}")(_space_argument(layer, "padding"), **options)


def _upsample(layer: Layer, options: Options) -> Any:
    rank, size = _rank(layer), _space_argument(layer, "size")
    if layer.attributes["interpolation"] == "nearest":
        return getattr(keras.layers, f"UpSampling{rank}")(size, **options)
    if rank == "1D":
        return own.LinearUpSampling1D(size, **options)
    return own.LinearUpSampling2D(size, interpolation="bilinear", **options)


def _activation(name: str) -> Callable[[Layer, Options], Any]:
    return lambda layer, options: keras.layers.Activation(name, **options)


_LAYERS: dict[str, Callable[[Layer, Options], Any]] = {
    "dense": _dense,
    **{f"conv{rank}d": _conv for rank in (1, 2, 3)},
    **{f"conv_transpose{rank}d": _conv_transpose for rank in (1, 2, 3)},
    "separable_conv1d": _separable,
    "separable_conv2d": _separable,
    "relu": lambda layer, options: keras.layers.ReLU(**options),
    "relu6": lambda layer, options: keras.layers.ReLU(max_value=6.0, **options),
    "leaky_relu": lambda layer, options: own.ExactLeakyReLU(layer.attributes["alpha"], **options),
    "elu": lambda layer, options: keras.layers.ELU(layer.attributes["alpha"], **options),
    "selu": _activation("selu"),
    "sigmoid": _activation("sigmoid"),
    "tanh": _activation("tanh"),
    "swish": _activation("silu"),
    "gelu": lambda layer, options: own.ExactGELU(layer.attributes["approximate"], **options),
    "mish": _activation("mish"),
    "hard_swish": lambda layer, options: own.HardSwish(**options),
    "hard_sigmoid": lambda layer, options: own.HardSigmoid(**layer.attributes, **options),
    "clip": lambda layer, options: own.Clip(**layer.attributes, **options),
    "sqrt": lambda layer, options: own.SquareRoot(**options),
    "prelu": lambda layer, options: own.ExactPReLU(
        shared_axes=list(range(1, len(layer.shape))) or None, **options
    ),
    "softmax": lambda layer, options: keras.layers.Softmax(axis=layer.attributes["axis"], **options),
    **{f"max_pool{rank}d": _max_pool for rank in (1, 2, 3)},
    **{f"average_pool{rank}d": _average_pool for rank in (1, 2, 3)},
    "global_average_pool": _global_pool("GlobalAveragePooling"),
    "global_max_pool": _global_pool("GlobalMaxPooling"),
    "batch_norm": _norm("BatchNormalization"),
    "layer_norm": _norm("LayerNormalization"),
    "group_norm": _norm("GroupNormalization"),
    "rms_norm": lambda layer, options: attention.RootMeanSquareNorm(
        **layer.attributes, use_gamma="gamma" in layer.weights, **options
    ),
    "matmul": lambda layer, options: attention.MatrixProduct(**layer.attributes, **options),
    "grid_sample": lambda layer, options: attention.GridSample(**layer.attributes, **options),
    "lrn": lambda layer, options: own.LocalResponseNormalization(**layer.attributes, **options),
    "affine": lambda layer, options: own.Affine(
        "kernel" in layer.weights, "bias" in layer.weights, **options
    ),
    "pad": lambda layer, options: own.Pad(**layer.attributes, **options),
    "take": lambda layer, options: own.Take(**layer.attributes, **options),
    "resample": lambda layer, options: own.Resample(
        layer.attributes["axis"], layer.weights["matrix"].shape[0], **options
    ),
    "scale": lambda layer, options: own.Scale("bias" in layer.weights, **options),
    "flatten": _flatten,
    "reshape": _reshape,
    "permute": lambda layer, options: keras.layers.Permute(layer.attributes["dims"], **options),
    "zero_pad": _zero_pad,
    "crop": _crop,
    "upsample": _upsample,
    "add": lambda layer, options: keras.layers.Add(**options),
    "multiply": lambda layer, options: keras.layers.Multiply(**options),
    "concat": lambda layer, options: keras.layers.Concatenate(axis=layer.attributes["axis"], **options),
    "dropout": lambda layer, options: keras.layers.Dropout(layer.attributes["rate"], **options),
    **dict.fromkeys(RECURRENT_KINDS, recurrent.recurrent),
    "embedding": recurrent.embedding,
    "part": lambda layer, options: own.Part(**layer.attributes, **options),
}
