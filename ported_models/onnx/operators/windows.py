"""Sliding windows: the padding of convolutions and pooling, and the pooling operators themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx

from ported_models.onnx.operators.cutting import taken
from ported_models.onnx.operators.resizing import along
from ported_models.onnx.reading import Reading, Tensor, attribute
from ported_models.shapes import Padding, dilated, same_padding, window_outputs


def per_space(node: onnx.NodeProto, key: str, space: int, default: int = 1) -> tuple[int, ...]:
    """An attribute with one number per spatial axis."""
    return tuple(attribute(node, key) or (default,) * space)


def explicit_padding(
    reading: Reading,
    node: onnx.NodeProto,
    sizes: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> Padding:
    """Pairs (before, after) from ``pads`` or ``auto_pad``; of an odd total, SAME_LOWER pads more before."""
    mode = attribute(node, "auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        upper = same_padding(sizes, window, strides, dilations)
        return upper if mode == "SAME_UPPER" else tuple((after, before) for before, after in upper)
    pads = attribute(node, "pads") if mode == "NOTSET" else None
    pads = pads or (0,) * (2 * len(window))
    if min(pads) < 0:
        reading.unsupported(node, f"its padding {tuple(pads)} is negative")
    return tuple(zip(pads[: len(window)], pads[len(window) :], strict=True))


def _pool(kind: str) -> Callable[[Reading, onnx.NodeProto], None]:
    def read(reading: Reading, node: onnx.NodeProto) -> None:
        x = reading.channels_first(node)
        window = tuple(attribute(node, "kernel_shape"))
        space = len(window)
        if space not in (1, 2, 3):
            reading.unsupported(node, f"it pools over {space} spatial axes, expected one to three")
        strides, dilations = per_space(node, "strides", space), per_space(node, "dilations", space)
        if any(name and reading.uses(name) for name in node.output[1:]):
            reading.unsupported(node, "the indices of its maxima are used")
        sizes = reading.sizes(x)[2:]
        padding = given = explicit_padding(reading, node, sizes, window, strides, dilations)
        if attribute(node, "ceil_mode", 0):
            extents = tuple(dilated(taps, dilation) for taps, dilation in zip(window, dilations, strict=True))
            padding = _ceiling_padding(sizes, extents, strides, given)
        counts_padding = bool(attribute(node, "count_include_pad", 0))
        if set(dilations) != {1}:
            _dilated_pool(
                reading, node, x, kind, window, (strides, dilations), (given, padding), counts_padding
            )
            return
        if kind == "average_pool" and counts_padding and padding != given:
            # What ceil_mode adds does not count, what the file pads does: that becomes a layer of its own.
            x = _padded(reading, node, x, given)
            padding = tuple((0, after - own) for (_, after), (_, own) in zip(padding, given, strict=True))
            counts_padding = False
        attributes: dict[str, Any] = {"pool_size": window, "strides": strides, "padding": padding}
        if kind == "average_pool":
            attributes["count_include_pad"] = counts_padding
        reading.emit(node, f"{kind}{space}d", [x], attributes)

    return read


def _padded(reading: Reading, node: onnx.NodeProto, x: Tensor, padding: Padding) -> Tensor:
    """``x`` with zeros around it: a layer, where there are any."""
    if not any(side for pair in padding for side in pair):
        return x
    return reading.emit(node, "zero_pad", [x], {"padding": padding})


def _dilated_pool(
    reading: Reading,
    node: onnx.NodeProto,
    x: Tensor,
    kind: str,
    window: Sequence[int],
    moves: tuple[Sequence[int], Sequence[int]],
    paddings: tuple[Padding, Padding],
    counts_padding: bool,
) -> None:
    """Windows with gaps: for a maximum their values side by side, then pooled; for an average a matrix along each axis.

    ``moves``: strides and dilations; ``paddings``: the file's own, and with what ceil_mode adds. A place of a window
    outside of the input stands for its nearest inside, which changes no maximum.
    """
    (strides, dilations), (own, padding) = moves, paddings
    sizes = reading.sizes(x)[2:]
    counts = window_outputs(sizes, window, strides, padding, dilations)
    for place in range(len(window)):
        size, (before, after) = sizes[place], own[place]
        met = (
            np.arange(counts[place])[:, None] * strides[place]
            + np.arange(window[place]) * dilations[place]
            - before
        )
        inside = (met >= 0) & (met < size)
        if not inside.any(axis=1).all():
            reading.unsupported(node, "one of its windows lies outside of the input")
        if kind == "max_pool":
            first = np.argmax(inside, axis=1)
            last = inside.shape[1] - 1 - np.argmax(inside[:, ::-1], axis=1)
            tap = np.clip(np.arange(window[place]), first[:, None], last[:, None])
            indices = np.take_along_axis(met, tap, axis=1)
            x = taken(reading, node, x, place + 2, indices.ravel().tolist())
            continue
        counted = (met >= -before) & (met < size + after) if counts_padding else inside
        matrix = np.zeros((counts[place], size), np.float32)
        rows, taps = np.nonzero(inside)
        np.add.at(matrix, (rows, met[rows, taps]), 1.0)
        x = along(reading, node, x, place + 2, matrix / counted.sum(axis=1, keepdims=True, dtype=np.float32))
    if kind == "max_pool":
        reading.emit(
            node,
            f"{kind}{len(window)}d",
            [x],
            {"pool_size": window, "strides": window, "padding": ((0, 0),) * len(window)},
        )


def _ceiling_padding(
    sizes: Sequence[int], window: Sequence[int], strides: Sequence[int], padding: Padding
) -> Padding:
    """The padding with which as many windows fit as ``ceil_mode=1`` takes: what is missing to the last one.

    A window that would begin beyond the values and the padding before them is not taken
    (ONNX operators MaxPool-22 and AveragePool-22, as PyTorch).
    """
    pairs = []
    for size, taps, stride, (before, after) in zip(sizes, window, strides, padding, strict=True):
        span = size + before + after - taps
        missing = -span % stride
        begins = span + missing
        pairs.append((before, after + missing if begins < size + before else after))
    return tuple(pairs)


def _global_pool(kind: str) -> Callable[[Reading, onnx.NodeProto], None]:
    def read(reading: Reading, node: onnx.NodeProto) -> None:
        reading.emit(node, kind, [reading.channels_first(node)], {"keepdims": True})

    return read


OPERATORS = {
    "MaxPool": _pool("max_pool"),
    "AveragePool": _pool("average_pool"),
    "GlobalAveragePool": _global_pool("global_average_pool"),
    "GlobalMaxPool": _global_pool("global_max_pool"),
}
