"""Shapes of layer outputs, and the numbers behind the padding names of TensorFlow and Keras.

Shapes leave the batch axis out and are channels-last; paddings are ``(before, after)`` per spatial axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.errors import InvalidInputError
from harness.graph import KINDS

Shape = tuple[int, ...]
Padding = tuple[tuple[int, int], ...]


def dilated(kernel: int, dilation: int) -> int:
    """Extent of ``kernel`` taps that stand ``dilation`` apart: ``(kernel - 1) * dilation + 1``."""
    return (kernel - 1) * dilation + 1


def same_padding(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int] | None = None,
) -> Padding:
    """What TensorFlow pads for ``same``: ``ceil(size / stride)`` values come out, the odd zero stands last.

    Source: TensorFlow 2 API docs, `tf.nn`, "Notes on padding".
    """
    pairs = []
    for size, taps, stride, dilation in zip(
        sizes, kernel, strides, dilations or (1,) * len(sizes), strict=True
    ):
        outputs = math.ceil(size / stride)
        total = max((outputs - 1) * stride + dilated(taps, dilation) - size, 0)
        pairs.append((total // 2, total - total // 2))
    return tuple(pairs)


def same_transposed(
    kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int] | None = None
) -> tuple[Padding, Shape]:
    """``(padding, output_padding)`` of a ``same`` transposed convolution: ``size * stride`` values come out.

    It is the gradient of a ``same`` convolution, so what that one pads, this one crops. Where the kernel
    is shorter than the stride, the missing values are appended.
    """
    crops, appended = [], []
    for taps, stride, dilation in zip(kernel, strides, dilations or (1,) * len(kernel), strict=True):
        total = dilated(taps, dilation) - stride
        crops.append((max(total, 0) // 2, max(total, 0) - max(total, 0) // 2))
        appended.append(max(-total, 0))
    return tuple(crops), tuple(appended)


def window_outputs(
    sizes: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    padding: Padding,
    dilations: Sequence[int],
) -> Shape:
    """Positions of a sliding window: ``floor((size + before + after - dilated window) / stride) + 1``."""
    return tuple(
        (size + before + after - dilated(taps, dilation)) // stride + 1
        for size, taps, stride, (before, after), dilation in zip(
            sizes, window, strides, padding, dilations, strict=True
        )
    )


def transposed_outputs(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Padding,
    dilations: Sequence[int],
    output_padding: Sequence[int],
) -> Shape:
    """``(size - 1) * stride + dilated kernel + output_padding - before - after``."""
    return tuple(
        (size - 1) * stride + dilated(taps, dilation) + appended - before - after
        for size, taps, stride, (before, after), dilation, appended in zip(
            sizes, kernel, strides, padding, dilations, output_padding, strict=True
        )
    )


def resolve_target(target: Sequence[int], size: int) -> Shape:
    """``target`` with its one ``-1``, if there is one, replaced by what is left of ``size`` values.

    Raises InvalidInputError where the sizes do not fit.
    """
    known = math.prod(side for side in target if side != -1)
    resolved = tuple(size // known if side == -1 and known else side for side in target)
    if list(target).count(-1) > 1 or math.prod(resolved) != size:
        raise InvalidInputError(f"cannot reshape {size} values to {tuple(target)}")
    return resolved


def output_shape(
    kind: str, input_shapes: Sequence[Shape], attributes: Mapping[str, Any], weights: Mapping[str, np.ndarray]
) -> Shape:
    """Shape of the output of a layer with complete attributes; kinds not named here keep their input's."""
    shape, traits = input_shapes[0], KINDS[kind]
    *space, channels = shape
    if kind == "dense":
        return (*space, weights["kernel"].shape[-1])
    if traits.transposed:
        kernel = weights["kernel"].shape
        outputs = transposed_outputs(
            space,
            kernel[: len(space)],
            attributes["strides"],
            attributes["padding"],
            attributes["dilations"],
            attributes["output_padding"],
        )
        return (*outputs, kernel[-1] * attributes["groups"])
    if traits.convolution:
        first, last = (weights[traits.weights[place]] for place in (0, -1))
        strides, padding, dilations = (attributes[key] for key in ("strides", "padding", "dilations"))
        return (
            *window_outputs(space, first.shape[: len(space)], strides, padding, dilations),
            last.shape[-1],
        )
    if traits.places == "pooled":
        return (*(1 for _ in space), channels) if attributes["keepdims"] else (channels,)
    if traits.pooling:
        window, strides, padding = (attributes[key] for key in ("pool_size", "strides", "padding"))
        return (*window_outputs(space, window, strides, padding, (1,) * len(space)), channels)
    if kind == "matmul":
        return _product_shape(shape, input_shapes[1], attributes["transposed"])
    if kind == "grid_sample":
        return _sampled_shape(shape, input_shapes[1])
    if kind == "flatten":
        return (math.prod(shape),)
    if kind == "reshape":
        target = tuple(attributes["target"])
        return (*target[1:], target[0]) if attributes["order"] == "channels_first" else target
    if kind == "permute":
        return tuple(shape[axis - 1] for axis in attributes["dims"])
    if traits.family == "edge":
        sign = 1 if kind == "zero_pad" else -1
        pairs = zip(space, attributes["padding"], strict=True)
        return (*(size + sign * (before + after) for size, (before, after) in pairs), channels)
    if kind == "pad":
        return tuple(
            size + before + after for size, (before, after) in zip(shape, attributes["padding"], strict=True)
        )
    if kind in ("take", "resample"):
        sides, axis = list(shape), attributes["axis"]
        sides[axis] = len(attributes["indices"]) if kind == "take" else weights["matrix"].shape[0]
        return tuple(sides)
    if traits.family == "recurrent":
        units = weights["recurrent_kernel"].shape[0]
        return (*space, units) if attributes["sequences"] else (units,)
    if kind == "embedding":
        return (*shape, weights["kernel"].shape[-1])
    if kind == "upsample":
        return (*(size * factor for size, factor in zip(space, attributes["size"], strict=True)), channels)
    if kind == "part":
        start, target = attributes["start"], tuple(attributes["target"])
        if len(shape) != 1 or start < 0 or start + math.prod(target) > shape[0]:
            raise InvalidInputError(
                f"the part {target} from {start} on is not inside an input of shape {shape}, expected a vector"
            )
        return target
    if traits.commutative:
        return tuple(np.broadcast_shapes(*input_shapes))
    if kind == "concat":
        axis = attributes["axis"]
        sides = list(shape)
        sides[axis] = sum(other[axis] for other in input_shapes)
        return tuple(sides)
    return tuple(shape)


def _product_shape(first: Shape, second: Shape, transposed: bool) -> Shape:
    """Raises InvalidInputError where the axes do not fit."""
    *others, inner, outer = second if not transposed else (*second[:-2], second[-1], second[-2])
    if len(first) < 2 or tuple(others) != tuple(first[:-2]) or inner != first[-1]:
        swapped = " with its last two axes swapped" if transposed else ""
        raise InvalidInputError(
            f"cannot multiply {first} by {second}{swapped}: the last axis of the first and the last but one of the "
            "second must be equal, and all axes before those"
        )
    return (*first[:-1], outer)


def _sampled_shape(maps: Shape, locations: Shape) -> Shape:
    """Raises InvalidInputError where the axes do not fit."""
    if len(maps) != 4 or len(locations) != 4 or maps[0] != locations[0] or locations[3] != 2:
        raise InvalidInputError(
            f"cannot sample maps {maps} at {locations}: expected (head, height, width, channel) and "
            "(head, query, point, 2) with the same number of heads"
        )
    return (*locations[:3], maps[3])
