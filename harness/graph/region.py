"""The region of a layer: which places of its input the places of its output read."""

from __future__ import annotations

from typing import NamedTuple

from harness.graph.graph import Layer


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
    if traits.places != "same":
        return False
    # An axis counted from the end or a number of last axes: -1 or 1 is the last axis alone.
    return traits.along is None or abs(layer.attributes[traits.along]) == 1
