"""Operators with weights: matrix products and convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from ported_models.onnx.layout import canonical_order, compose, features_last, weight_from_onnx
from ported_models.onnx.operators.constants import as_tensor, channel_vector, placed
from ported_models.onnx.operators.products import multiplied, product
from ported_models.onnx.operators.shaping import regroup
from ported_models.onnx.operators.windows import explicit_padding, per_space
from ported_models.onnx.reading import Reading, Tensor, attribute
from ported_models.shapes import dilated


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
        _matmul_from_the_left(reading, node)
        return
    if len(node.input) > 1 and node.input[1] in reading.tensors:
        product(reading, node)
        return
    kernel = reading.constant(node, 1, "second factor")
    if kernel is None:
        reading.unsupported(node, "it has no weights")
    x = reading.tensor(node, anywhere=True)
    if x.rank - reading.free < 2:
        reading.unsupported(node, "its input has a single axis")
    if kernel.ndim == 1:
        x = reading.channels_last(node)
        y = reading.emit(node, "dense", [x], weights={"kernel": kernel[:, None]})
        regroup(reading, node, y, reading.sizes(y)[1:-1])
        return
    while kernel.ndim > 2 and kernel.shape[0] == 1:
        kernel = kernel[0]
    if kernel.ndim > 2:
        _matmul_by_part(reading, node, reading.channels_last(node), kernel)
        return
    _dense(reading, node, kernel)


def _dense(reading: Reading, node: onnx.NodeProto, kernel: np.ndarray) -> None:
    """A matrix (in, out) for the last axis of the input, and the constant that the next node adds."""
    x = reading.features_last(node)
    if reading.place(node, x, -1) == x.order.index(0):
        reading.mixes_batch(node, "its weights mix the samples of the batch")
    sizes = (*reading.own_sizes(x)[:-1], kernel.shape[1])
    bias, last = following_bias(reading, node, sizes, len(sizes) - 1)
    reading.emit(node, "dense", [x], weights={"kernel": kernel, "bias": bias}, last=last)


def _matmul_from_the_left(reading: Reading, node: onnx.NodeProto) -> None:
    """``W x`` is ``(x' W')'``, a prime for the last two axes exchanged."""
    matrix, x = reading.constants[node.input[0]], reading.tensor(node, 1, anywhere=True)
    if matrix.ndim > 2 and max(matrix.shape[:-2]) > 1:
        multiplied(reading, node, as_tensor(reading, node, matrix, x), x)
        return
    x = reading.tensor(node, 1)
    while matrix.ndim > 2 and matrix.shape[0] == 1:
        matrix = matrix[0]
    if matrix.ndim != 2 or x.rank - reading.free < 2:
        reading.unsupported(node, "its weights are no matrix (out, in)")
    if x.order[-2] == 0:
        reading.mixes_batch(node, "the constant stands on the left and mixes the samples of the batch")
    turned = (*range(x.rank - 2), x.rank - 1, x.rank - 2)
    exchanged = reading.arranged(node, Tensor(x.layer, compose(x.order, turned)), canonical_order(x.rank))
    reading.emit(node, "dense", [exchanged], weights={"kernel": matrix.T}, order=turned)


def _matmul_by_part(reading: Reading, node: onnx.NodeProto, x: Tensor, kernel: np.ndarray) -> None:
    """A matrix of its own for each index of the axes before the last two: a convolution of one tap in groups."""
    sizes = reading.sizes(x)
    *parts, rows, inner = sizes[1:]
    if kernel.ndim - 2 > len(parts):
        reading.mixes_batch(node, f"its weights {kernel.shape} are another matrix for each sample")
    if any(side not in (1, part) for side, part in zip(kernel.shape[-3::-1], parts[::-1], strict=False)):
        reading.unsupported(
            node, f"its weights {kernel.shape} repeat the input, of {sizes[1:]}, along an axis"
        )
    kernel = np.broadcast_to(kernel, (*parts, *kernel.shape[-2:]))
    groups, outputs = int(np.prod(parts)), kernel.shape[-1]
    plain = canonical_order(4)
    y = x
    if len(parts) != 1:
        y = reading.emit(node, "reshape", [y], {"target": (groups, rows, inner)}, order=plain)
    y = reading.emit(node, "permute", [y], {"dims": (2, 1, 3)}, order=plain)
    y = reading.emit(node, "reshape", [y], {"target": (rows, groups * inner)}, order=(0, 1, 2))
    # (1, in, group * out): the outputs of a group stand together.
    taps = kernel.reshape(groups, inner, outputs).transpose(1, 0, 2).reshape(1, inner, groups * outputs)
    y = reading.emit(node, "conv1d", [y], {"groups": groups}, {"kernel": taps}, order=(0, 1, 2))
    y = reading.emit(node, "reshape", [y], {"target": (rows, groups, outputs)}, order=plain)
    y = reading.emit(node, "permute", [y], {"dims": (2, 1, 3)}, order=plain)
    if len(parts) != 1:
        target = {"target": (*parts, rows, outputs)}
        reading.emit(node, "reshape", [y], target, order=canonical_order(len(sizes)))


def _gemm(reading: Reading, node: onnx.NodeProto) -> None:
    """``alpha * A' @ B' + beta * C``, a prime for an optional transposition."""
    x = reading.tensor(node, anywhere=True)
    if attribute(node, "transA", 0):
        if not reading.free:
            reading.mixes_batch(node, "transA=1 would mix the samples of a batch")
        x = Tensor(x.layer, compose(x.order, (0, 2, 1)))
    x = reading.arranged(node, x, features_last(x.order))
    if reading.place(node, x, -1) == x.order.index(0):
        reading.mixes_batch(node, "its weights mix the samples of the batch")
    kernel = reading.constant(node, 1, "weight matrix")
    if kernel is None:
        reading.unsupported(node, "it has no weights")
    kernel = kernel.T if attribute(node, "transB", 0) else kernel
    alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
    kernel = kernel if alpha == 1.0 else (kernel * alpha).astype(kernel.dtype)
    added, last = reading.constant(node, 2, "bias"), node
    sizes = (*reading.own_sizes(x)[:-1], kernel.shape[1])
    if added is None:
        bias, last = following_bias(reading, node, sizes, len(sizes) - 1)
    else:
        added = added if beta == 1.0 else (added * beta).astype(added.dtype)
        bias = channel_vector(added, sizes, len(sizes) - 1)
    y = reading.emit(node, "dense", [x], weights={"kernel": kernel, "bias": bias}, last=last)
    if added is not None and bias is None:
        reading.emit(node, "affine", [y], weights={"bias": placed(reading, node, y, added)})


def _convolution(reading: Reading, node: onnx.NodeProto) -> None:
    transposed = node.op_type == "ConvTranspose"
    kernel, bias = reading.constant(node, 1, "kernel"), reading.constant(node, 2, "bias")
    if kernel is None or kernel.ndim not in (3, 4, 5):
        axes = "no" if kernel is None else f"{kernel.ndim - 2} spatial"
        reading.unsupported(node, f"its kernel has {axes} axes, expected one to three spatial ones")
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
    named = tuple(attribute(node, "kernel_shape", window))
    if named != window:
        reading.unsupported(node, f"its kernel_shape is {named}, and its weights have {window}")
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


OPERATORS = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Conv": _convolution,
    "ConvTranspose": _convolution,
}
CHANNELS_FIRST = {"Conv", "ConvTranspose"}
