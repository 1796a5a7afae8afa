"""Steps that take two relevances, as steps on a batch of twice the length.

In DLBacktrace's contrast mode a layer's step takes what speaks for the target and what speaks against it, and mixes
them; a trace shows one of the two (`harness.methods.Method.parts`). Where single steps are compared, both lie in one
array, along the batch: (2 * batch, *shape), those for the target first, beside inputs that are there twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.backends.contract import capability
from harness.backends.protocol import PairSteps, Steps
from harness.errors import InvalidInputError
from harness.graph import Layer
from harness.methods import Method

Arrays = tuple[np.ndarray, ...]


def steps_of(prepared: Any, method: Method) -> Steps | None:
    """The single steps of ``prepared`` for ``method``, on a batch of :func:`repeated` arrays; None for none."""
    if method.stepwise:
        steps: Steps | None = capability(prepared, "steps")
        return steps
    pairs: PairSteps | None = capability(prepared, "pairs")
    return None if pairs is None else _InOneBatch(pairs)


def repeated(array: np.ndarray, method: Method) -> np.ndarray:
    """``array`` (batch, ...) as often along the batch as a step of ``method`` takes relevances."""
    count = len(method.parts)
    return array if count == 1 else np.concatenate([array] * count)


def shown_of(array: np.ndarray, method: Method) -> np.ndarray:
    """Of relevances along the batch those that a trace of ``method`` shows."""
    parts = method.parts
    return array if len(parts) == 1 else np.split(array, len(parts))[parts.index(method)]


@dataclass(frozen=True)
class _InOneBatch:
    """`Steps` made of `PairSteps`."""

    pairs: PairSteps

    def step(self, layer: Layer, inputs: Arrays, relevance: np.ndarray, method: Method) -> Arrays:
        """See `harness.backends.protocol.Steps`. Raises InvalidInputError for a batch that is not of two halves."""
        half, odd = divmod(len(relevance), 2)
        if odd:
            raise InvalidInputError(
                f"a step of {method.name} takes two relevances for each sample, found {len(relevance)} arrays; "
                "give those for the target, then as many against it"
            )
        shares = self.pairs.step_pair(
            layer, tuple(x[:half] for x in inputs), (relevance[:half], relevance[half:]), method
        )
        return tuple(np.concatenate(pair) for pair in shares)
