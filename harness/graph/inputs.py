"""The inputs of a network that has several: side by side in one vector, and a layer for each that takes its part out.

A graph has one input layer. For a network of several inputs it is a vector, and its attribute ``inputs`` says what
lies where: a tuple ``(name, layer, shape, axes)`` for each input, in the order of the source, the values of each in
row-major order. ``layer`` is the canonical name of the layer of kind ``part`` that gives the input its own shape: its
activation is the input, its relevance that of the input. An input that the output does not depend on has no such layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from harness.graph.axes import Axes

#: The attribute of the input layer that lists them.
INPUTS = "inputs"
#: What the input layer is called where that name is free.
SIDE_BY_SIDE = "inputs"


@dataclass(frozen=True)
class Input:
    """One input of several. ``shape`` leaves the batch axis out, ``axes`` names all, ``"batch"`` first; channels last.

    ``name``: what the source calls it. ``layer``: the canonical name of its layer. ``start``: where its values begin.
    """

    name: str
    layer: str
    shape: tuple[int, ...]
    axes: Axes
    start: int = 0

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return prod(self.shape)

    @property
    def places(self) -> slice:
        """Where its values lie in the vector."""
        return slice(self.start, self.start + self.size)


def side_by_side(inputs: Sequence[Input]) -> tuple[Input, ...]:
    """``inputs`` with each beginning where the one before it ends."""
    placed, start = [], 0
    for each in inputs:
        placed.append(Input(each.name, each.layer, each.shape, each.axes, start))
        start += each.size
    return tuple(placed)


def as_attribute(inputs: Sequence[Input]) -> tuple[tuple[Any, ...], ...]:
    """``inputs`` as plain data, as the input layer holds them."""
    return tuple((each.name, each.layer, each.shape, each.axes) for each in inputs)


def from_attribute(listed: Sequence[Sequence[Any]]) -> tuple[Input, ...]:
    """The inverse of :func:`as_attribute`."""
    return side_by_side(
        [
            Input(str(name), str(layer), tuple(int(side) for side in shape), tuple(map(str, axes)))
            for name, layer, shape, axes in listed
        ]
    )


def joined(inputs: Sequence[Input], arrays: Mapping[str, Any]) -> np.ndarray:
    """(batch, number) of an array (batch, *shape) for each of ``inputs``, by name, in their order."""
    return np.concatenate(
        [np.asarray(arrays[each.name]).reshape(len(arrays[each.name]), each.size) for each in inputs], axis=1
    )


def parted(
    inputs: Sequence[Input], array: Any, convert: Callable[[Any], Any] = lambda part: part
) -> dict[str, Any]:
    """By name, the part (batch, *shape) of each of ``inputs`` in ``array`` (batch, number); made by ``convert``."""
    return {
        each.name: convert(array[:, each.places].reshape((array.shape[0], *each.shape))) for each in inputs
    }
