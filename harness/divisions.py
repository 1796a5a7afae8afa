"""What a rule divides relevance by, at one layer, taken apart: the part that is passed down, the bias, the rest.

Rules that share relevance by contribution all have one form: relevance is divided by a denominator, and the
quotient is passed down. A :class:`Division` is one such division as data; whoever knows the rules (the
oracle) makes them, `harness.stability` reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from harness.graph import Layer
from harness.methods import Method

Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False)
class Division:
    """One division of relevance ``R`` by ``S(d)``; the step passes ``factor * back(R / S(d))`` down.

    All arrays are float64 and of the shape of the layer's output, (batch, *shape), or broadcast to it.
    ``denominator``: ``d = contributions + bias + other``, before the stabilizer. ``stabilized``: ``S(d)``.
    ``contributions``: what each output hands down in all, for a quotient of one: ``sum of back(s) =
    sum of s * contributions`` for every ``s``. ``other``: what else the denominator holds; None for nothing.
    ``counts``: where relevance is divided at all; None for everywhere. ``back``: from the quotient to what
    each input of the layer gets.
    """

    factor: float
    denominator: np.ndarray
    stabilized: np.ndarray
    contributions: np.ndarray
    bias: np.ndarray
    back: Callable[[np.ndarray], Arrays]
    other: np.ndarray | None = None
    counts: np.ndarray | None = None

    def counted(self, relevance: np.ndarray) -> np.ndarray:
        """``relevance`` where this division takes it, zero elsewhere."""
        return relevance if self.counts is None else np.where(self.counts, relevance, 0.0)


#: The divisions that the relevance of one output goes through side by side.
Stage = tuple[Division, ...]


def passed_down(stage: Stage, quotients: tuple[np.ndarray, ...]) -> Arrays:
    """``sum of factor * back(quotient)`` over the divisions of a stage: what each input gets."""
    shares: list[np.ndarray] = []
    for division, quotient in zip(stage, quotients, strict=True):
        parts = [division.factor * part for part in division.back(quotient)]
        shares = [a + b for a, b in zip(shares, parts, strict=True)] if shares else parts
    return tuple(shares)


class Dividing(Protocol):
    """Capability "denominators": to take the divisions of a step apart."""

    def divisions(self, layer: Layer, inputs: Arrays, method: Method) -> tuple[Stage, ...]:
        """The divisions of ``layer`` under the rule that ``method`` assigns to it, at ``inputs``.

        One stage for most rules; two, in backward order, for a batch norm read as two lines: the first
        passes its relevance to the second. Empty for a rule that does not divide.
        """
        ...
