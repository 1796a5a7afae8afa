"""The activation that a network ends in and explanations do not start from: softmax, log-softmax, sigmoid.

One is taken off when a model is loaded, the last; a softmax before a softmax stays, because two of them
compute something else than one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from harness.graph import Graph


def _log_softmax(z: np.ndarray) -> np.ndarray:
    shifted = z - z.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def _sigmoid(z: np.ndarray) -> np.ndarray:
    """``1 / (1 + exp(-z))``, with the exponential of a negative number only."""
    small = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1.0, small) / (1.0 + small))


#: By name, what an ending makes of the value before it; softmax and log-softmax over the last axis.
ENDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "softmax": lambda z: np.exp(_log_softmax(z)),
    "log_softmax": _log_softmax,
    "sigmoid": _sigmoid,
}
#: Kinds of layer that are an ending; a log-softmax is read as a softmax, and its reader says so.
_KINDS = ("softmax", "sigmoid")


def without_ending(graph: Graph, log_softmax: Collection[str] = ()) -> tuple[Graph, str | None]:
    """``graph`` up to the value before its ending, and which of `ENDINGS` it had (None: none).

    ``log_softmax``: the layers, each a softmax, that stand for a log-softmax. A softmax over another axis than the
    last is no ending, and an activation that reads the input is all of its network: both stay. A dropout behind the
    ending, which is nothing in inference, goes with it.
    """
    last = graph[graph.output]
    dropouts = set()
    while last.kind == "dropout":
        dropouts.add(last.name)
        last = graph[last.inputs[0]]
    if last.kind not in _KINDS or last.attributes.get("axis", -1) != -1:
        return graph, None
    if graph[last.inputs[0]] in graph.sources:
        return graph, None
    layers = tuple(layer for layer in graph if layer is not last and layer.name not in dropouts)
    removed = "log_softmax" if last.name in log_softmax else last.kind
    return Graph(graph.name, layers, last.inputs[0]), removed


def with_ending(value: np.ndarray, removed: str | None) -> np.ndarray:
    """What the source returns: the ``value`` before its ending, (batch, ..., classes), with the ending on it."""
    return value if removed is None else ENDINGS[removed](value)


def input_notes(graph: Graph) -> tuple[str, ...]:
    """A sentence for each of several inputs that the output does not depend on."""
    read = {layer.name for layer in graph}
    return tuple(
        f"the output does not depend on the input {each.name!r}: its attribution is zero"
        for each in graph.inputs
        if each.layer not in read
    )


def ending_notes(removed: str | None) -> tuple[str, ...]:
    """The sentence that says what was taken off; none where nothing was."""
    if removed is None:
        return ()
    return (f"the final {removed.replace('_', '-')} is taken off: what is explained is the value before it",)
