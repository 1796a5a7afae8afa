"""Axes by name: what they are called where nobody says, and what is said where two sides' differ."""

from __future__ import annotations

from collections.abc import Sequence

#: The names of the axes of an array, ``"batch"`` first.
Axes = tuple[str, ...]


def default_axes(shape: Sequence[int]) -> Axes:
    """The names of the axes of an array of this shape (without the batch axis), by its rank alone."""
    names = {1: ("feature",), 2: ("time", "channel"), 3: ("height", "width", "channel")}
    rank = len(shape)
    return ("batch", *names.get(rank, (*(f"axis_{i}" for i in range(1, rank)), "channel")))


def in_words(axes: Sequence[str]) -> str:
    """``(batch, height, width, channel)``"""
    return f"({', '.join(axes)})"


def difference(reference: Axes, candidate: Axes) -> str | None:
    """What the axes differ in, as the end of a sentence that has named the array; None where they are the same.

    Axes of other names are other axes, also where the lengths agree.
    """
    if reference == candidate:
        return None
    said = f"the reference has the axes {in_words(reference)}, the candidate {in_words(candidate)}"
    if sorted(reference) == sorted(candidate):
        return f"{said}: transpose the candidate"
    return f"{said}: these are not the same quantities, so they are not compared, whatever their lengths"
