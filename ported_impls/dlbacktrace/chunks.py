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
    group; 1 where they cannot. ``best``: so many of them are fastest together; taken where no size is asked for.
    """

    sample: int
    output: int
    weights: int
    channels: int
    best: int | None = None

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
    """The parts in which a step is computed, at most ``size`` numbers each; the channels of the same samples innermost.

    Without a size it is :data:`USUAL`, or what one channel of one sample takes where that is more: both follow from
    the shapes alone. Raises InvalidInputError where a size is too small for one channel of one sample.
    """
    least, most = cost.of(1, 1), cost.channels
    if size is None:
        size, most = max(USUAL, least), min(cost.best or most, most)
    if size < least:
        raise InvalidInputError(
            f"a chunk of {size} numbers is too small for one patch of layer {layer!r}, which takes {least}; "
            f"give a chunk of {least} or more, or none"
        )
    allowed = size

    def fitting(width: int) -> int:
        return max((allowed - width * cost.weights) // (cost.sample + width * cost.output), 1)

    width = min(max((size - cost.sample) // (cost.output + cost.weights), 1), most)
    together = fitting(width)
    if width < most and samples > 1 and fitting(half := max(width // 2, 1)) > 1:
        # What is made of the weight is made once for several samples, and not once for each.
        width, together = half, fitting(half)
    for first in range(0, samples, together):
        for low in range(0, cost.channels, width):
            yield Chunk(first, min(first + together, samples), low, min(low + width, cost.channels))
