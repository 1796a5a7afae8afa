"""Where the windows of a convolution or pooling lie: index arithmetic over any number of spatial axes.

Arrays are (batch, *space, channel). A window is visited one entry at a time: for each ``offset`` inside
the window, :meth:`Windows.met` is the array of the entries that all windows meet at that offset. The
gathering direction reads from this view, the scattering direction adds to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

from harness.graph import Layer

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Windows:
    """Windows of ``size`` entries per axis, ``dilations`` apart, moved by ``strides`` over a padded array.

    ``padding`` holds a pair ``(before, after)`` for each spatial axis.
    """

    size: Shape
    strides: Shape
    dilations: Shape
    padding: tuple[tuple[int, int], ...]

    @property
    def entries(self) -> int:
        """How many entries one window has."""
        return prod(self.size)

    def offsets(self) -> Iterator[Shape]:
        """The offsets inside a window, in row-major order."""
        return product(*(range(length) for length in self.size))

    def padded_space(self, space: Shape) -> Shape:
        """Spatial shape of an array of spatial shape ``space`` once it is padded."""
        return tuple(
            length + before + after for length, (before, after) in zip(space, self.padding, strict=True)
        )

    def counts(self, space: Shape) -> Shape:
        """How many windows fit, per axis: ``(padded - dilation * (size - 1) - 1) // stride + 1``."""
        return tuple(
            (length - dilation * (size - 1) - 1) // stride + 1
            for length, size, stride, dilation in zip(
                self.padded_space(space), self.size, self.strides, self.dilations, strict=True
            )
        )

    def pad(self, x: np.ndarray, value: float = 0.0) -> np.ndarray:
        """``x`` with ``value`` around its spatial axes."""
        return np.pad(x, ((0, 0), *self.padding, (0, 0)), constant_values=value)

    def unpad(self, padded: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`pad`."""
        inner = tuple(
            slice(before, length - after)
            for length, (before, after) in zip(padded.shape[1:-1], self.padding, strict=True)
        )
        return padded[(slice(None), *inner)]

    def met(self, padded: np.ndarray, offset: Shape, counts: Shape) -> np.ndarray:
        """A view of ``padded``, (batch, *counts, channel): what each of the windows meets at ``offset``."""
        window = tuple(
            slice(inside * dilation, inside * dilation + (count - 1) * stride + 1, stride)
            for inside, count, stride, dilation in zip(
                offset, counts, self.strides, self.dilations, strict=True
            )
        )
        return padded[(slice(None), *window)]


def convolution_windows(layer: Layer, kernel_shape: Shape) -> Windows:
    """The windows of a convolution whose kernel has the axes (*space, channels, channels)."""
    attributes = layer.attributes
    return Windows(
        kernel_shape[:-2],
        tuple(attributes["strides"]),
        tuple(attributes["dilations"]),
        _pairs(attributes["padding"]),
    )


def pooling_windows(layer: Layer) -> Windows:
    """The windows of a max or average pooling; of a global one, a single window over the whole space."""
    if layer.traits.places == "pooled":
        space = layer.input_shapes[0][:-1]
        ones = (1,) * len(space)
        return Windows(space, ones, ones, ((0, 0),) * len(space))
    size = tuple(layer.attributes["pool_size"])
    return Windows(
        size, tuple(layer.attributes["strides"]), (1,) * len(size), _pairs(layer.attributes["padding"])
    )


def _pairs(padding: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    return tuple((before, after) for before, after in padding)
