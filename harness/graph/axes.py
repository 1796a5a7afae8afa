"""Axes by name: the usual names where a model gives none, and the sentence for two sides whose axes differ."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import InvalidInputError

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


def require_same_axes(what: str, reference: Sequence[str], candidate: Sequence[str]) -> None:
    """Raise InvalidInputError where the axes of ``what`` are not called the same on both sides, in the same order.

    Axes of other names are other axes, also where the lengths agree.
    """
    if tuple(reference) == tuple(candidate):
        return
    if sorted(reference) == sorted(candidate):
        advice = "transpose the candidate"
    else:
        advice = (
            "arrays over other axes are not compared, also where the shapes agree; compare like with like"
        )
    raise InvalidInputError(
        f"{what}: the reference has the axes {in_words(reference)}, the candidate {in_words(candidate)}; {advice}"
    )
