"""Arrays are handed to a backend, and taken from it, as copies: neither side can change what the other holds.

A candidate may overwrite its input, return it, or return the buffer that its next run writes to. Whoever in the
harness runs a backend or one of its steps does it through the two calls here.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.backends.protocol import Prepared, Steps
from harness.graph import Layer
from harness.methods import Method
from harness.trace.trace import Trace


def run_on_copies(
    prepared: Prepared, x: np.ndarray, method: Method, target: np.ndarray | None, layers: bool = True
) -> Trace:
    """`Prepared.explain` on copies of ``x`` (batch, *input shape) and ``target`` (batch,).

    The trace is a new one, and all its arrays are, every one of them computed by now. Raises TypeError for what
    is no trace, and what the backend raises.
    """
    found = prepared.explain(_copy(x), method, None if target is None else _copy(target), layers)
    if not isinstance(found, Trace):
        raise TypeError(f"explain returned {type(found).__name__}, expected harness.trace.Trace")
    return replace(
        found,
        target=_copy(found.target),
        logits=_copy(found.logits),
        attribution=_copy(found.attribution),
        layers={
            name: replace(layer, activation=_copied(layer.activation), relevance=_copied(layer.relevance))
            for name, layer in found.layers.items()
        },
        provenance=dict(found.provenance),
    )


def step_on_copies(
    steps: Steps, layer: Layer, inputs: tuple[np.ndarray, ...], relevance: np.ndarray, method: Method
) -> tuple[np.ndarray, ...]:
    """`Steps.propagate` on copies of ``inputs`` and ``relevance``; new arrays. Raises what the backend raises."""
    found = steps.propagate(layer, tuple(_copy(x) for x in inputs), _copy(relevance), method)
    return tuple(_copy(np.asarray(each)) for each in found)


def _copied(array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None else _copy(array)


def _copy(array: np.ndarray) -> np.ndarray:
    """``array`` in memory of its own, laid out as it was: sums over it are made in the same order."""
    return np.array(array, order="K", copy=True)
