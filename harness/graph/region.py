"""The region of a layer: which places of its input the places of its output read, and the layer of a part of them."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from harness.graph.graph import Layer

#: One pair ``[start, stop)`` for each spatial axis.
Box = tuple[tuple[int, int], ...]


class Window(NamedTuple):
    """The windows of a layer along one spatial axis: ``size`` entries ``dilation`` apart, every ``stride`` places."""

    size: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def extent(self) -> int:
        """How many places a window covers."""
        return (self.size - 1) * self.dilation + 1

    def count(self, length: int) -> int:
        """How many windows there are in an input of ``length``, with the padding."""
        return (length + self.before + self.after - self.extent) // self.stride + 1

    def covers(self, start: int, stop: int) -> tuple[int, int]:
        """The places ``[first, last)`` that the windows ``start`` to ``stop`` (exclusive) cover.

        Those of the padding count as well: ``first`` may be below zero, ``last`` behind the input's end.
        """
        return start * self.stride - self.before, (stop - 1) * self.stride - self.before + self.extent


def windows(layer: Layer) -> tuple[Window, ...]:
    """The windows of a layer whose kind has ``places == "window"``, by spatial axis."""
    assert layer.traits.places == "window"
    attributes = layer.attributes
    strides = attributes["strides"]
    if "pool_size" in attributes:
        sizes = attributes["pool_size"]
    else:
        sizes = layer.weights[layer.traits.weights[0]].shape[: len(strides)]
    dilations = attributes.get("dilations", (1,) * len(strides))
    return tuple(
        Window(size, stride, dilation, before, after)
        for size, stride, dilation, (before, after) in zip(
            sizes, strides, dilations, attributes["padding"], strict=True
        )
    )


def per_place(layer: Layer) -> bool:
    """Whether each place of the output reads the same place of the inputs alone: all its channels, or some."""
    traits = layer.traits
    if traits.places != "same" or traits.placed:
        return False
    # An axis counted from the end or a number of last axes: -1 or 1 is the last axis alone.
    return traits.along is None or abs(layer.attributes[traits.along]) == 1


def in_box(box: Box) -> tuple[slice, ...]:
    """The index of a box in an array (batch, *space, channel)."""
    return (slice(None), *(slice(start, stop) for start, stop in box))


def has_boxes(layer: Layer) -> bool:
    """Whether :func:`with_box` can cut it."""
    return layer.traits.places == "window" or per_place(layer)


def with_box(layer: Layer, box: Box) -> tuple[Layer, tuple[tuple[slice, ...], ...]]:
    """The layer that computes only ``box`` of the output of ``layer``, and the index of what it reads of each input.

    Its padding is what of the layer's lies within reach. An input of length one along an axis is repeated along it,
    and has nothing to cut there.
    """
    reads, attributes = box, dict(layer.attributes)
    if layer.traits.places == "window":
        covered = [
            (window.covers(*pair), length)
            for window, pair, length in zip(windows(layer), box, layer.input_shapes[0][:-1], strict=True)
        ]
        reads = tuple((max(first, 0), min(last, length)) for (first, last), length in covered)
        attributes["padding"] = tuple(
            (max(-first, 0), max(last - length, 0)) for (first, last), length in covered
        )
    index = tuple(
        (
            slice(None),
            *(slice(None) if n == 1 else slice(*pair) for n, pair in zip(shape, reads, strict=False)),
        )
        for shape in layer.input_shapes
    )
    shapes = tuple(
        tuple(len(range(*cut.indices(n))) for n, cut in zip(shape, (*cuts[1:], slice(None)), strict=True))
        for shape, cuts in zip(layer.input_shapes, index, strict=True)
    )
    shape = (*(stop - start for start, stop in box), layer.shape[-1])
    return replace(layer, attributes=attributes, input_shapes=shapes, shape=shape), index


def read_by_no_other(layer: Layer, box: Box) -> tuple[slice, ...]:
    """The index, by spatial axis, of the places of a layer's input that no output outside of ``box`` reads.

    Of a layer whose kind has ``places == "window"``.
    """
    return tuple(
        slice(
            max(0, window.covers(0, start)[1]) if start else 0,
            max(0, window.covers(stop, stop + 1)[0]) if stop < count else length,
        )
        for window, (start, stop), count, length in zip(
            windows(layer), box, layer.shape[:-1], layer.input_shapes[0][:-1], strict=True
        )
    )


def box_of_most(layer: Layer, amounts: np.ndarray, places: int) -> Box | None:
    """A box of about ``places`` of the outputs of ``layer``, where the ``amounts`` of what it alone reads are largest.

    ``amounts``: of each place of the input, (*space). None for a layer that has not four times as many outputs.
    """
    space, axes = layer.shape[:-1], windows(layer)
    side = round(places ** (1 / len(space)))
    # Most of what a few windows read is read by others as well.
    sides = [
        min(count, max(side, 4 * -(-window.extent // window.stride)))
        for count, window in zip(space, axes, strict=True)
    ]
    if math.prod(space) < 4 * math.prod(sides):
        return None
    # The last one ends where the outputs end, and may lie over another.
    starts = (
        sorted({*range(0, count - length + 1, length), count - length})
        for count, length in zip(space, sides, strict=True)
    )
    boxes = [
        tuple((start, start + length) for start, length in zip(at, sides, strict=True))
        for at in itertools.product(*starts)
    ]
    return max(boxes, key=lambda box: float(amounts[read_by_no_other(layer, box)].sum()))


def has_channels(layer: Layer) -> bool:
    """Whether :func:`with_channels` can cut it: one kernel without groups, or each channel on its own."""
    if layer.traits.one_kernel:
        return bool(layer.attributes.get("groups", 1) == 1)
    held = layer.traits.factors
    sides = {shape[-1] for place, shape in enumerate(layer.input_shapes) if place not in held}
    return layer.traits.channels == "each" and layer.shape[-1] in sides and sides <= {1, layer.shape[-1]}


def with_channels(layer: Layer, kept: np.ndarray) -> Layer:
    """The layer with the output channels ``kept`` alone (indices of the last axis); its weights are new arrays.

    A kernel reads all of its inputs still. Of any other layer the inputs have these channels alone as well, but for
    one of a single channel, which is repeated, and those that enter as factors.
    """
    count = layer.shape[-1]
    shapes = layer.input_shapes
    if not layer.traits.one_kernel:
        held = layer.traits.factors
        shapes = tuple(
            (*shape[:-1], len(kept)) if shape[-1] == count and place not in held else shape
            for place, shape in enumerate(shapes)
        )
    return replace(
        layer,
        input_shapes=shapes,
        shape=(*layer.shape[:-1], len(kept)),
        weights={name: np.ascontiguousarray(weight[..., kept]) for name, weight in layer.weights.items()},
    )
