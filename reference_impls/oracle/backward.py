"""One backward pass: a start at one layer's output, then one step per layer, back to the input."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from harness.graph import Graph
from harness.methods import Composite, Head, Selection, rectifies_shares
from reference_impls.oracle.rules import propagate

Activations = Mapping[str, np.ndarray]
Relevances = dict[str, np.ndarray]


#: What a neuron starts with, from its logit.
HEADS: dict[Head, Callable[[np.ndarray], np.ndarray]] = {
    "logit": lambda logit: logit,
    "one": np.ones_like,
    "relu_logit": lambda logit: np.maximum(logit, 0.0),
    "logits": lambda logit: logit,
    "ones": np.ones_like,
    "relu_logits": lambda logit: np.maximum(logit, 0.0),
}
#: Those of every neuron.
_AT_ALL = ("logits", "ones", "relu_logits")


def initial(
    logits: np.ndarray, target: np.ndarray, head: Head, selection: Selection = "target"
) -> np.ndarray:
    """The relevance of the output, (batch, classes): what ``head`` says at the target neuron, or at all of them.

    Where each run selects its own, the target is the largest of these logits.
    """
    if head in _AT_ALL:
        return HEADS[head](logits)
    samples = np.arange(logits.shape[0])
    if selection == "run_maximum":
        target = logits.argmax(axis=1)
    start = np.zeros(logits.shape)
    start[samples, target] = HEADS[head](logits[samples, target])
    return start


def backward(
    graph: Graph,
    activations: Activations,
    composite: Composite,
    start: np.ndarray,
    origin: str | None = None,
    down_to: str | None = None,
) -> Relevances:
    """The relevance that reaches the output of every layer: the sum over everything that reads it.

    ``start`` is the relevance of the output of ``origin`` (None: of the network's output). The layers before
    ``down_to`` in forward order (None: the input, so there are none) get relevance 0, and so does a layer
    that ``origin`` does not depend on.

    Where the rule of a layer with several readers asks for it (`rectifies_shares`), the share of each
    reader is replaced by its positive part before it is added.
    """
    rules = composite.assign(graph)
    last = graph.input.name if down_to is None else down_to
    rectified = {
        name for name, rule in rules.items() if rectifies_shares(rule) and len(graph.consumers(name)) > 1
    }
    reached: Relevances = {graph.output if origin is None else origin: start}
    for layer in reversed(graph.layers):
        if layer.name == last:
            break
        if layer.name not in reached:
            continue
        inputs = tuple(activations[name] for name in layer.inputs)
        parts = propagate(layer, inputs, reached[layer.name], rules[layer.name])
        shares: Relevances = {}
        for name, part in zip(layer.inputs, parts, strict=True):
            # One layer may read another twice (x * x): it is one reader with one share.
            shares[name] = shares[name] + part if name in shares else part
        for name, share in shares.items():
            kept = np.maximum(share, 0.0) if name in rectified else share
            reached[name] = reached[name] + kept if name in reached else kept
    before = {layer.name for layer in graph.layers[: graph.index(graph[last])]}
    return {
        layer.name: reached[layer.name]
        if layer.name in reached and layer.name not in before
        else np.zeros(activations[layer.name].shape)
        for layer in graph
    }
