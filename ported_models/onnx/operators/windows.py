"""Sliding windows: the padding of convolutions and pooling, and the pooling operators themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx

from ported_models.onnx.reading import Reading, attribute
from ported_models.shapes import Padding, same_padding


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
        if space not in (1, 2):
            reading.unsupported(node, f"it pools over {space} spatial axes, expected one or two")
        strides, dilations = per_space(node, "strides", space), per_space(node, "dilations", space)
        if set(dilations) != {1}:
            reading.unsupported(node, f"its windows are dilated by {dilations}, expected 1")
        if any(name and reading.uses(name) for name in node.output[1:]):
            reading.unsupported(node, "the indices of its maxima are used")
        sizes = reading.sizes(x)[2:]
        padding = explicit_padding(reading, node, sizes, window, strides, dilations)
        counts_padding = bool(attribute(node, "count_include_pad", 0))
        if attribute(node, "ceil_mode", 0):
            padded = _ceiling_padding(sizes, window, strides, padding)
            if padded != padding and counts_padding:
                reading.unsupported(node, "ceil_mode=1 adds a window that counts only a part of its padding")
            padding = padded
        attributes: dict[str, Any] = {"pool_size": window, "strides": strides, "padding": padding}
        if kind == "average_pool":
            attributes["count_include_pad"] = counts_padding
        reading.emit(node, f"{kind}{space}d", [x], attributes)

    return read


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


def _reduce(kind: str) -> Callable[[Reading, onnx.NodeProto], None]:
    """A mean or maximum over all spatial axes: global pooling."""

    def read(reading: Reading, node: onnx.NodeProto) -> None:
        x = reading.tensor(node)
        given = attribute(node, "axes")
        if given is None:
            array = reading.constant(node, 1, "list of axes")
            given = range(x.rank) if array is None else array.tolist()
        canonical = sorted(x.order[axis] for axis in given)
        if x.rank < 3 or canonical != list(range(1, x.rank - 1)):
            reading.unsupported(node, f"it reduces the axes {tuple(given)}, expected all spatial ones")
        keepdims = bool(attribute(node, "keepdims", 1))
        reading.emit(node, kind, [x], {"keepdims": keepdims}, order=None if keepdims else (0, 1))

    return read


OPERATORS = {
    "MaxPool": _pool("max_pool"),
    "AveragePool": _pool("average_pool"),
    "GlobalAveragePool": _global_pool("global_average_pool"),
    "GlobalMaxPool": _global_pool("global_max_pool"),
    "ReduceMean": _reduce("global_average_pool"),
    "ReduceMax": _reduce("global_max_pool"),
}
CHANNELS_FIRST = {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"}
