"""How much is computed at once: so many numbers that the tensors of one layer's step together hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.errors import InvalidInputError

#: Numbers that are held at once unless something else is asked for: 128 MiB in float64.
USUAL = 2**24


@dataclass(frozen=True)
class Cost:
    """What a step of a layer holds: ``sample`` numbers for each sample, ``output`` for each output channel of one,
    ``weights`` for each output channel whatever the batch. ``channels``: how many of these can be had apart, in a
    group; 1 where they cannot.
    """

    sample: int
    output: int
    weights: int
    channels: int

    def of(self, samples: int, channels: int) -> int:
        """Numbers for so many samples and channels together."""
        return samples * (self.sample + channels * self.output) + channels * self.weights


@dataclass(frozen=True)
class Chunk:
    """Samples ``[first, last)`` and output channels ``[low, high)`` of a step."""

    first: int
    last: int
    low: int
    high: int


def chunks(layer: str, cost: Cost, samples: int, size: int | None) -> Iterator[Chunk]:
    """The parts in which a step is computed, at most ``size`` numbers each; the channels of one sample innermost.

    Without a size it is :data:`USUAL`, or what one channel of one sample takes where that is more: both follow from
    the shapes alone. Raises InvalidInputError where a size is too small for one channel of one sample.
    """
    least = cost.of(1, 1)
    if size is None:
        size = max(USUAL, least)
    if size < least:
        raise InvalidInputError(
            f"a chunk of {size} numbers is too small for one patch of layer {layer!r}, which takes {least}; "
            f"give a chunk of {least} or more, or none"
        )
    width = max((size - cost.sample) // (cost.output + cost.weights), 1)
    width = min(width, cost.channels)
    together = 1
    if width == cost.channels:
        fixed = cost.channels * cost.weights
        together = max((size - fixed) // (cost.sample + cost.channels * cost.output), 1)
    for first in range(0, samples, together):
        for low in range(0, cost.channels, width):
            yield Chunk(first, min(first + together, samples), low, min(low + width, cost.channels))
