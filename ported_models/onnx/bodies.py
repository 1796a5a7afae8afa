"""What each kind of layer is in ONNX operators, channels first inside (see `ported_models.onnx.layout`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from math import prod
from typing import Any

import numpy as np
from onnx import TensorProto

from harness.errors import UnsupportedLayerError
from harness.graph import RECURRENT_KINDS, Layer
from ported_models.onnx.body import Body
from ported_models.onnx.layout import channels_first_order, compose, inverse


def body_of(layer: Layer, dtype: np.dtype) -> Body:
    """The operators of ``layer``, float constants in ``dtype``. Raises `UnsupportedLayerError`."""
    body = Body(layer, dtype)
    emit = _BODIES.get(layer.kind)
    if emit is None:
        raise UnsupportedLayerError(
            f"layer {layer.name!r} has the kind {layer.kind!r}, which has no ONNX form; "
            "the kinds are those of harness.graph.KINDS"
        )
    emit(body, layer)
    return body


def _rank(layer: Layer) -> int:
    """Rank of the layer's first input, batch included (the input layer has only an output)."""
    return len(layer.input_shapes[0] if layer.inputs else layer.shape) + 1


def _to_canonical(body: Body, x: str, rank: int) -> str:
    return body("Transpose", x, perm=inverse(channels_first_order(rank))) if rank >= 3 else x


def _to_channels_first(body: Body, x: str, rank: int) -> str:
    return body("Transpose", x, perm=channels_first_order(rank)) if rank >= 3 else x


def _onnx_axis(axis: int, rank: int) -> int:
    """The ONNX position of a canonical (negative) axis."""
    return channels_first_order(rank).index(axis % rank)


def _pads(padding: Sequence[Sequence[int]]) -> list[int]:
    """Pairs (before, after) as ONNX has them: all befores, then all afters."""
    return [int(pad) for pad in chain(*zip(*padding, strict=True))]


def _input(body: Body, layer: Layer) -> None:
    if _rank(layer) >= 3:
        _to_channels_first(body, "x0", _rank(layer))
    else:
        body("Identity", "x0")


def _dense(body: Body, layer: Layer) -> None:
    rank = _rank(layer)
    if rank == 2:
        body("Gemm", "x0", "kernel", *body.optional("bias"))
        return
    y = body("MatMul", _to_canonical(body, "x0", rank), "kernel")
    if "bias" in layer.weights:
        y = body("Add", y, "bias")
    _to_channels_first(body, y, rank)


def _convolution(body: Body, layer: Layer) -> None:
    given = layer.attributes
    body(
        "Conv",
        "x0",
        "kernel",
        *body.optional("bias"),
        strides=given["strides"],
        dilations=given["dilations"],
        group=given["groups"],
        pads=_pads(given["padding"]),
    )


def _transposed_convolution(body: Body, layer: Layer) -> None:
    given = layer.attributes
    # Appending less after cropping less is the same, and ONNX Runtime refuses to append a stride or more.
    both = [
        min(after, more) for (_, after), more in zip(given["padding"], given["output_padding"], strict=True)
    ]
    crops = [(before, after - less) for (before, after), less in zip(given["padding"], both, strict=True)]
    body(
        "ConvTranspose",
        "x0",
        "kernel",
        *body.optional("bias"),
        strides=given["strides"],
        dilations=given["dilations"],
        group=given["groups"],
        pads=_pads(crops),
        output_padding=[more - less for more, less in zip(given["output_padding"], both, strict=True)],
    )


def _separable_convolution(body: Body, layer: Layer) -> None:
    given = layer.attributes
    depthwise = body(
        "Conv",
        "x0",
        "depthwise_kernel",
        strides=given["strides"],
        dilations=given["dilations"],
        group=layer.input_shapes[0][-1],
        pads=_pads(given["padding"]),
    )
    body("Conv", depthwise, "pointwise_kernel", *body.optional("bias"))


def _batch_norm(body: Body, layer: Layer) -> None:
    channel = layer.shape[-1:]
    body(
        "BatchNormalization",
        "x0",
        body.weight_or("gamma", 1.0, channel),
        body.weight_or("beta", 0.0, channel),
        "mean",
        "variance",
        epsilon=float(layer.attributes["epsilon"]),
    )


def _scale(body: Body, layer: Layer) -> None:
    y = body("Mul", "x0", "kernel")
    if "bias" in layer.weights:
        body("Add", y, "bias")


def _layer_norm(body: Body, layer: Layer) -> None:
    rank, count = _rank(layer), layer.attributes["axes_count"]
    y = body(
        "LayerNormalization",
        _to_canonical(body, "x0", rank),
        body.weight_or("gamma", 1.0, layer.shape[-count:]),
        *body.optional("beta"),
        axis=-count,
        epsilon=float(layer.attributes["epsilon"]),
    )
    _to_channels_first(body, y, rank)


def _rms_norm(body: Body, layer: Layer) -> None:
    # Its own operator is of a later opset.
    rank, count = _rank(layer), layer.attributes["axes_count"]
    x = _to_canonical(body, "x0", rank)
    mean = body("ReduceMean", body("Mul", x, x), body.constant("axes", range(-count, 0)))
    root = body("Sqrt", body("Add", mean, body.constant("epsilon", layer.attributes["epsilon"], body.dtype)))
    y = body("Div", x, root)
    if "gamma" in layer.weights:
        y = body("Mul", y, "gamma")
    _to_channels_first(body, y, rank)


def _matmul(body: Body, layer: Layer) -> None:
    rank = _rank(layer)
    plain = inverse(channels_first_order(rank))
    turned = (*range(rank - 2), rank - 1, rank - 2) if layer.attributes["transposed"] else tuple(range(rank))
    first = body("Transpose", "x0", perm=plain)
    second = body("Transpose", "x1", perm=compose(plain, turned))
    _to_channels_first(body, body("MatMul", first, second), rank)


def _grid_sample(body: Body, layer: Layer) -> None:
    """ONNX has no axis of heads: they stand beside the samples while maps are read."""
    (heads, height, width, channels), (_, queries, points, _) = layer.input_shapes
    maps = body("Transpose", "x0", perm=(0, 2, 1, 3, 4))
    maps = body("Reshape", maps, body.constant("maps", [-1, channels, height, width]))
    places = body("Transpose", "x1", perm=(0, 2, 3, 4, 1))
    places = body("Reshape", places, body.constant("places", [-1, queries, points, 2]))
    y = body("GridSample", maps, places, mode="linear", padding_mode=layer.attributes["padding"])
    y = body("Reshape", y, body.constant("values", [-1, heads, channels, queries, points]))
    body("Transpose", y, perm=(0, 2, 1, 3, 4))


def _group_norm(body: Body, layer: Layer) -> None:
    # Its own operator has one weight for each group in this opset.
    rank, groups = _rank(layer), layer.attributes["groups"]
    size = int(np.prod(layer.shape)) // groups
    grouped = body("Reshape", "x0", body.constant("grouped", [0, groups, size]))
    y = body(
        "LayerNormalization",
        grouped,
        body.constant("ones", np.ones(size), body.dtype),
        axis=-1,
        epsilon=float(layer.attributes["epsilon"]),
    )
    shape = [layer.shape[axis - 1] for axis in channels_first_order(rank)[1:]]
    y = body("Reshape", y, body.constant("shape", [0, *shape]))
    if "gamma" in layer.weights:
        y = body("Mul", y, "gamma")
    if "beta" in layer.weights:
        body("Add", y, "beta")


def _lrn(body: Body, layer: Layer) -> None:
    given = {key: layer.attributes[key] for key in ("alpha", "beta", "bias")}
    body("LRN", "x0", size=layer.attributes["window"], **given)


def _affine(body: Body, layer: Layer) -> None:
    y = body("Mul", "x0", "kernel") if "kernel" in layer.weights else "x0"
    if "bias" in layer.weights:
        body("Add", y, "bias")
    elif y == "x0":
        body("Identity", "x0")


def _pad(body: Body, layer: Layer) -> None:
    padding = ((0, 0), *layer.attributes["padding"])
    pads = _pads([padding[axis] for axis in channels_first_order(_rank(layer))])
    body(
        "Pad",
        "x0",
        body.constant("pads", pads),
        body.constant("value", layer.attributes["value"], body.dtype),
    )


def _take(body: Body, layer: Layer) -> None:
    axis = _onnx_axis(layer.attributes["axis"], _rank(layer))
    body("Gather", "x0", body.constant("indices", layer.attributes["indices"]), axis=axis)


def _resample(body: Body, layer: Layer) -> None:
    rank = _rank(layer)
    axis = _onnx_axis(layer.attributes["axis"], rank)
    order = [*(other for other in range(rank) if other != axis), axis]
    if axis == rank - 1:
        body("MatMul", "x0", "matrix")
    else:
        body("Transpose", body("MatMul", body("Transpose", "x0", perm=order), "matrix"), perm=inverse(order))


def _hard_swish(body: Body, layer: Layer) -> None:
    """By a product with 1/6, as its parts are written once they are read as a scale: the same bits."""
    one = body.constant("one", 1.0, body.dtype)
    sixth = body("Mul", "x0", body.constant("sixth", 1 / 6, body.dtype))
    line = body("Add", sixth, body.constant("half", 0.5, body.dtype))
    body("Mul", "x0", body("Clip", line, body.constant("zero", 0.0, body.dtype), one))


def _hard_sigmoid(body: Body, layer: Layer) -> None:
    alpha, beta = (body.constant(key, layer.attributes[key], body.dtype) for key in ("alpha", "beta"))
    bounds = (body.constant(key, value, body.dtype) for key, value in (("zero", 0.0), ("one", 1.0)))
    body("Clip", body("Add", body("Mul", "x0", alpha), beta), *bounds)


def _clip(body: Body, layer: Layer) -> None:
    bounds = (body.constant(key, layer.attributes[key], body.dtype) for key in ("low", "high"))
    body("Clip", "x0", *bounds)


def _prelu(body: Body, layer: Layer) -> None:
    body("PRelu", "x0", "alpha")


def _relu6(body: Body, layer: Layer) -> None:
    low, high = (body.constant(key, value, body.dtype) for key, value in (("low", 0.0), ("high", 6.0)))
    body("Clip", "x0", low, high)


def _swish(body: Body, layer: Layer) -> None:
    body("Mul", "x0", body("Sigmoid", "x0"))


def _softmax(body: Body, layer: Layer) -> None:
    body("Softmax", "x0", axis=_onnx_axis(layer.attributes["axis"], _rank(layer)))


def _pool(operator: str) -> Callable[[Body, Layer], None]:
    def emit(body: Body, layer: Layer) -> None:
        given = layer.attributes
        counting = {"count_include_pad": int(given["count_include_pad"])} if operator == "AveragePool" else {}
        body(
            operator,
            "x0",
            kernel_shape=given["pool_size"],
            strides=given["strides"],
            pads=_pads(given["padding"]),
            **counting,
        )

    return emit


def _global_pool(pool: str, reduction: str) -> Callable[[Body, Layer], None]:
    def emit(body: Body, layer: Layer) -> None:
        if layer.attributes["keepdims"]:
            body(pool, "x0")
        else:
            body(reduction, "x0", body.constant("axes", range(2, _rank(layer))), keepdims=0)

    return emit


def _flatten(body: Body, layer: Layer) -> None:
    x = "x0" if layer.attributes["order"] == "channels_first" else _to_canonical(body, "x0", _rank(layer))
    body("Flatten", x, axis=1)


def _reshape(body: Body, layer: Layer) -> None:
    rank = len(layer.shape) + 1
    if layer.attributes["order"] == "channels_first":
        # Channels come first inside already, before and after: the two moves of this order cancel.
        shape = [layer.shape[axis - 1] for axis in channels_first_order(rank)[1:]]
        body("Reshape", "x0", body.constant("target", [0, *shape]))
        return
    y = body("Reshape", _to_canonical(body, "x0", _rank(layer)), body.constant("target", [0, *layer.shape]))
    _to_channels_first(body, y, rank)


def _part(body: Body, layer: Layer) -> None:
    start, target = layer.attributes["start"], layer.attributes["target"]
    bounds = {"starts": start, "ends": start + prod(target), "axes": 1}
    values = body("Slice", "x0", *(body.constant(name, [value]) for name, value in bounds.items()))
    y = body("Reshape", values, body.constant("target", [0, *target]))
    _to_channels_first(body, y, len(target) + 1)


def _permute(body: Body, layer: Layer) -> None:
    rank = _rank(layer)
    order = compose(inverse(channels_first_order(rank)), (0, *layer.attributes["dims"]))
    body("Transpose", "x0", perm=compose(order, channels_first_order(rank)))


def _zero_pad(body: Body, layer: Layer) -> None:
    pads = _pads([(0, 0), (0, 0), *layer.attributes["padding"]])
    body("Pad", "x0", body.constant("pads", pads))


def _crop(body: Body, layer: Layer) -> None:
    padding, space = layer.attributes["padding"], layer.input_shapes[0][:-1]
    body(
        "Slice",
        "x0",
        body.constant("starts", [before for before, _ in padding]),
        body.constant("ends", [size - after for size, (_, after) in zip(space, padding, strict=True)]),
        body.constant("axes", [axis + 2 for axis in range(len(space))]),
    )


def _upsample(body: Body, layer: Layer) -> None:
    scales = body.constant("scales", [1.0, 1.0, *layer.attributes["size"]], np.float32)
    if layer.attributes["interpolation"] == "nearest":
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    else:
        how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    body("Resize", "x0", "", scales, **how)


def _add(body: Body, layer: Layer) -> None:
    body("Add" if len(body.data_inputs) == 2 else "Sum", *body.data_inputs)


def _multiply(body: Body, layer: Layer) -> None:
    product, *others = body.data_inputs
    for other in others:
        product = body("Mul", product, other)


def _concat(body: Body, layer: Layer) -> None:
    body("Concat", *body.data_inputs, axis=_onnx_axis(layer.attributes["axis"], _rank(layer)))


def _dropout(body: Body, layer: Layer) -> None:
    body("Dropout", "x0", body.constant("ratio", layer.attributes["rate"], body.dtype))


def _unary(operator: str, *attributes: str) -> Callable[[Body, Layer], None]:
    def emit(body: Body, layer: Layer) -> None:
        body(operator, "x0", **{key: layer.attributes[key] for key in attributes})

    return emit


def _recurrent(body: Body, layer: Layer) -> None:
    """ONNX takes (time, batch, feature), gives (time, direction, batch, unit): outputs at the places of their steps."""
    a, units = layer.attributes, layer.weights["recurrent_kernel"].shape[0]
    x = body("Transpose", "x0", perm=(2, 0, 1))
    first = body.constant("first", [0])
    w, r = (body("Unsqueeze", name, first) for name in ("kernel", "recurrent_kernel"))
    zero = (layer.weights["recurrent_kernel"].shape[1],)
    biases = (body.weight_or(name, 0.0, zero) for name in ("bias", "recurrent_bias"))
    b = body("Unsqueeze", body("Concat", *biases, axis=0), first)
    options: dict[str, Any] = {"hidden_size": units, "direction": "reverse" if a["reverse"] else "forward"}
    if layer.kind == "gru":
        options["linear_before_reset"] = int(a["reset_after"])
    if layer.kind == "simple_rnn":
        options["activations"] = [a["activation"].capitalize()]
    operator = {"lstm": "LSTM", "gru": "GRU", "simple_rnn": "RNN"}[layer.kind]
    states = body("Squeeze", body(operator, x, w, r, b, **options), body.constant("direction", [1]))
    if a["sequences"]:
        body("Transpose", states, perm=(1, 2, 0))
        return
    last = 0 if a["reverse"] else layer.input_shapes[0][0] - 1
    body("Gather", states, body.constant("last", last), axis=0)


def _embedding(body: Body, layer: Layer) -> None:
    bounds = (
        body.constant(name, value, body.dtype)
        for name, value in (("low", 0), ("high", len(layer.weights["kernel"]) - 1))
    )
    numbers = body("Clip", body("Round", _to_canonical(body, "x0", _rank(layer))), *bounds)
    rows = body("Gather", "kernel", body("Cast", numbers, to=TensorProto.INT64), axis=0)
    _to_channels_first(body, rows, _rank(layer) + 1)


_BODIES: dict[str, Callable[[Body, Layer], None]] = {
    "input": _input,
    "dense": _dense,
    "conv1d": _convolution,
    "conv2d": _convolution,
    "conv3d": _convolution,
    "conv_transpose1d": _transposed_convolution,
    "conv_transpose2d": _transposed_convolution,
    "conv_transpose3d": _transposed_convolution,
    "separable_conv1d": _separable_convolution,
    "separable_conv2d": _separable_convolution,
    "batch_norm": _batch_norm,
    "scale": _scale,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "matmul": _matmul,
    "grid_sample": _grid_sample,
    "group_norm": _group_norm,
    "lrn": _lrn,
    "affine": _affine,
    "pad": _pad,
    "take": _take,
    "resample": _resample,
    "mish": _unary("Mish"),
    "sqrt": _unary("Sqrt"),
    "hard_swish": _hard_swish,
    "hard_sigmoid": _hard_sigmoid,
    "clip": _clip,
    "prelu": _prelu,
    "relu": _unary("Relu"),
    "relu6": _relu6,
    "leaky_relu": _unary("LeakyRelu", "alpha"),
    "elu": _unary("Elu", "alpha"),
    "selu": _unary("Selu"),
    "sigmoid": _unary("Sigmoid"),
    "tanh": _unary("Tanh"),
    "swish": _swish,
    "gelu": _unary("Gelu", "approximate"),
    "softmax": _softmax,
    "max_pool1d": _pool("MaxPool"),
    "max_pool2d": _pool("MaxPool"),
    "max_pool3d": _pool("MaxPool"),
    "average_pool1d": _pool("AveragePool"),
    "average_pool2d": _pool("AveragePool"),
    "average_pool3d": _pool("AveragePool"),
    "global_average_pool": _global_pool("GlobalAveragePool", "ReduceMean"),
    "global_max_pool": _global_pool("GlobalMaxPool", "ReduceMax"),
    "flatten": _flatten,
    "reshape": _reshape,
    "permute": _permute,
    "zero_pad": _zero_pad,
    "crop": _crop,
    "upsample": _upsample,
    "add": _add,
    "multiply": _multiply,
    "concat": _concat,
    **dict.fromkeys(RECURRENT_KINDS, _recurrent),
    "embedding": _embedding,
    "part": _part,
    "dropout": _dropout,
}
