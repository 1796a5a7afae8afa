"""Operators with weights: matrix products, convolutions, normalisations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from ported_models.onnx.layout import weight_from_onnx
from ported_models.onnx.operators.windows import explicit_padding, per_space
from ported_models.onnx.reading import Reading, attribute
from ported_models.shapes import dilated


def channel_vector(array: np.ndarray, sizes: Sequence[int], axis: int) -> np.ndarray | None:
    """``array``, broadcast to an ONNX tensor of ``sizes``, as one value per index of ``axis``.

    None where it varies along another axis, or would enlarge the tensor.
    """
    if array.ndim > len(sizes):
        return None
    shape = (1,) * (len(sizes) - array.ndim) + array.shape
    if any(size != 1 for position, size in enumerate(shape) if position != axis):
        return None
    if shape[axis] not in (1, sizes[axis]):
        return None
    return np.ascontiguousarray(np.broadcast_to(array.reshape(-1), (sizes[axis],)))


def following_bias(
    reading: Reading, node: onnx.NodeProto, sizes: Sequence[int], axis: int
) -> tuple[np.ndarray | None, onnx.NodeProto]:
    """A constant per channel that the next node adds or subtracts, and the node that ends the layer then."""
    reader = reading.only_reader(node.output[0])
    if reader is None or reader.op_type not in ("Add", "Sub"):
        return None, node
    position = 1 if reader.input[0] == node.output[0] else 0
    array = reading.constants.get(reader.input[position])
    if array is None or (reader.op_type == "Sub" and position == 0):
        return None, node
    bias = channel_vector(array, sizes, axis)
    if bias is None:
        return None, node
    reading.done.add(reader.output[0])
    return bias if reader.op_type == "Add" else -bias, reader


def _matmul(reading: Reading, node: onnx.NodeProto) -> None:
    if node.input[0] in reading.constants:
        reading.unsupported(node, "the constant stands on the left, expected input times weights")
    kernel = reading.constant(node, 1, "second factor")
    if kernel is None or kernel.ndim != 2:
        reading.unsupported(node, "its weights are no matrix (in, out)")
    x = reading.channels_last(node)
    sizes = (*reading.sizes(x)[:-1], kernel.shape[1])
    bias, last = following_bias(reading, node, sizes, len(sizes) - 1)
    reading.emit(node, "dense", [x], weights={"kernel": kernel, "bias": bias}, last=last)


def _gemm(reading: Reading, node: onnx.NodeProto) -> None:
    """``alpha * A' @ B' + beta * C``, a prime for an optional transposition."""
    if attribute(node, "transA", 0):
        reading.unsupported(node, "transA=1 would mix the samples of a batch")
    kernel = reading.constant(node, 1, "weight matrix")
    if kernel is None:
        reading.unsupported(node, "it has no weights")
    kernel = kernel.T if attribute(node, "transB", 0) else kernel
    alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
    kernel = kernel if alpha == 1.0 else (kernel * alpha).astype(kernel.dtype)
    added, last, x = reading.constant(node, 2, "bias"), node, reading.channels_last(node)
    sizes = (reading.batch, kernel.shape[1])
    if added is None:
        bias, last = following_bias(reading, node, sizes, 1)
    else:
        bias = channel_vector(added, sizes, 1)
        if bias is None:
            reading.unsupported(node, f"its bias has the shape {added.shape}, expected one value per output")
        bias = bias if beta == 1.0 else (bias * beta).astype(bias.dtype)
    reading.emit(node, "dense", [x], weights={"kernel": kernel, "bias": bias}, last=last)


def _convolution(reading: Reading, node: onnx.NodeProto) -> None:
    transposed = node.op_type == "ConvTranspose"
    kernel, bias = reading.constant(node, 1, "kernel"), reading.constant(node, 2, "bias")
    if kernel is None or kernel.ndim not in (3, 4):
        found = "no" if kernel is None else f"{kernel.ndim - 2} spatial"
        reading.unsupported(node, f"its kernel has {found} axes, expected one or two spatial ones")
    space = kernel.ndim - 2
    kind = f"{'conv_transpose' if transposed else 'conv'}{space}d"
    x = reading.channels_first(node)
    groups = attribute(node, "group", 1)
    attributes = {
        "strides": per_space(node, "strides", space),
        "dilations": per_space(node, "dilations", space),
        "groups": groups,
    }
    window = kernel.shape[2:]
    if transposed:
        padding, extra = _transposed_padding(
            reading, node, reading.sizes(x)[2:], window, attributes["strides"], attributes["dilations"]
        )
        attributes |= {"padding": padding, "output_padding": extra}
    else:
        attributes["padding"] = explicit_padding(
            reading, node, reading.sizes(x)[2:], window, attributes["strides"], attributes["dilations"]
        )
    last = node
    if bias is None:
        channels = kernel.shape[1] * groups if transposed else kernel.shape[0]
        # Only the axis of the channels counts here; the spatial sizes are the output's, whatever they are.
        bias, last = following_bias(reading, node, (reading.batch, channels, *(0,) * space), 1)
    canonical = weight_from_onnx(kind, "kernel", kernel, kernel.ndim, reading.sizes(x)[1])
    reading.emit(node, kind, [x], attributes, {"kernel": canonical, "bias": bias}, last=last)


def _transposed_padding(
    reading: Reading,
    node: onnx.NodeProto,
    sizes: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
    """What is cropped from the full output, and what is appended; from ``pads`` or ``output_shape``.

    Source: ONNX operator ConvTranspose-11: ``total = stride * (size - 1) + output_padding + dilated
    kernel - output``; of an odd total, SAME_UPPER crops the larger half at the end, all others at the start.
    """
    extra = per_space(node, "output_padding", len(sizes), 0)
    wanted, mode = attribute(node, "output_shape"), attribute(node, "auto_pad", "NOTSET")
    if not wanted and mode not in ("SAME_UPPER", "SAME_LOWER"):
        return explicit_padding(reading, node, sizes, window, strides, dilations), extra
    if not wanted:
        wanted = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    padding, appended = [], []
    for size, target, taps, stride, dilation, more in zip(
        sizes, wanted[-len(sizes) :], window, strides, dilations, extra, strict=True
    ):
        total = stride * (size - 1) + more + dilated(taps, dilation) - target
        half, rest = max(total, 0) // 2, max(total, 0) - max(total, 0) // 2
        padding.append((half, rest) if mode == "SAME_UPPER" else (rest, half))
        appended.append(more + max(-total, 0))
    return tuple(padding), tuple(appended)


def _batch_norm(reading: Reading, node: onnx.NodeProto) -> None:
    if attribute(node, "training_mode", 0):
        reading.unsupported(node, "it is in training mode; export the model in inference mode")
    keys = ("gamma", "beta", "mean", "variance")
    weights = {key: reading.constant(node, index, key) for index, key in enumerate(keys, start=1)}
    epsilon = attribute(node, "epsilon", 1e-5)
    reading.emit(node, "batch_norm", [reading.channels_first(node)], {"epsilon": epsilon}, weights)


def _layer_norm(reading: Reading, node: onnx.NodeProto) -> None:
    x = reading.channels_last(node)
    sizes = reading.sizes(x)
    count = x.rank - attribute(node, "axis", -1) % x.rank
    if count == x.rank:
        reading.unsupported(node, "it normalises over the batch axis")
    weights = {}
    for index, key in ((1, "gamma"), (2, "beta")):
        array = reading.constant(node, index, key)
        if array is not None:
            weights[key] = np.broadcast_to(array, sizes[-count:])
    attributes = {"epsilon": attribute(node, "epsilon", 1e-5), "axes_count": count}
    reading.emit(node, "layer_norm", [x], attributes, weights)


OPERATORS = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
}
CHANNELS_FIRST = {"Conv", "ConvTranspose", "BatchNormalization"}
