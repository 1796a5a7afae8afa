"""A whole explanation: one forward pass, one start at the output, one step per layer back to the input."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.errors import InvalidInputError
from harness.graph import Graph, Layer
from harness.methods import Method, Rule
from harness.trace.trace import LayerTrace, Trace
from reference_impls.oracle import forward, rules
from reference_impls.oracle.linear import Arrays


def propagate(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: Rule) -> Arrays:
    """The relevance of each input of ``layer``, in float64; see `reference_impls.oracle.rules.propagate`."""
    inputs = tuple(np.asarray(x, dtype=np.float64) for x in inputs)
    # A denominator of almost nothing may overflow. That is the rule's own result, and the comparison
    # counts it; a warning would only repeat it.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return rules.propagate(layer, inputs, np.asarray(relevance, dtype=np.float64), rule)


def explain(
    graph: Graph,
    x: np.ndarray,
    method: Method,
    target: np.ndarray | None = None,
    layers: bool = True,
    provenance: dict[str, Any] | None = None,
) -> Trace:
    """Run ``method`` on ``x`` (batch, *input shape) in float64.

    ``target``: (batch,) class indices, or None for the largest logit of each sample (the first of equal
    ones). ``layers=False`` leaves the layers out of the trace.

    Raises InvalidInputError for an ``x`` or ``target`` that does not fit the network, or an output that
    is not (batch, classes); UnsupportedMethodError for a rule that cannot be applied where it is assigned.
    """
    if x.shape[1:] != graph.input.shape:
        raise InvalidInputError(
            f"{graph.name}: found an input of shape {x.shape}, expected (batch, "
            f"{', '.join(map(str, graph.input.shape))}), batch first and channels last"
        )
    activations = forward.activations(graph, x)
    logits = activations[graph.output]
    target = _resolved_target(graph, logits, target)
    relevances = backward(graph, activations, _start(logits, target, method), method)
    attribution = relevances[graph.input.name]
    if method.postprocess == "times_input":
        attribution = attribution * activations[graph.input.name]
    return Trace(
        model=graph.name,
        method=method,
        backend="oracle",
        dtype="float64",
        target=target,
        logits=logits,
        attribution=attribution,
        layers={
            layer.name: LayerTrace(
                layer.name, layer.kind, layer.axes, activations[layer.name], relevances[layer.name]
            )
            for layer in (graph if layers else ())
        },
        provenance=dict(provenance or {}),
    )


def backward(
    graph: Graph, activations: dict[str, np.ndarray], start: np.ndarray, method: Method
) -> dict[str, np.ndarray]:
    """The relevance that reaches the output of every layer: the sum over everything that reads it.

    ``start``: the relevance of the network's output. A layer the output does not depend on has relevance 0.
    """
    relevances: dict[str, np.ndarray] = {graph.output: start}
    for layer in reversed(graph.layers[1:]):
        if layer.name not in relevances:
            continue
        rule = method.composite.rule_for(layer, graph)
        inputs = tuple(activations[name] for name in layer.inputs)
        for name, part in zip(
            layer.inputs, propagate(layer, inputs, relevances[layer.name], rule), strict=True
        ):
            relevances[name] = relevances[name] + part if name in relevances else part
    return {
        layer.name: relevances.get(layer.name, np.zeros(activations[layer.name].shape)) for layer in graph
    }


def _start(logits: np.ndarray, target: np.ndarray, method: Method) -> np.ndarray:
    """The initial relevance: the target's logit or one at the target neuron, zero elsewhere."""
    samples = np.arange(logits.shape[0])
    start = np.zeros(logits.shape)
    start[samples, target] = logits[samples, target] if method.head == "logit" else 1.0
    return start


def _resolved_target(graph: Graph, logits: np.ndarray, target: np.ndarray | None) -> np.ndarray:
    if logits.ndim != 2:
        raise InvalidInputError(
            f"{graph.name}: the output {graph.output!r} has shape {logits.shape}, expected (batch, classes); "
            "end the network in a flatten or a global pooling"
        )
    if target is None:
        return logits.argmax(axis=1).astype(np.int64)
    samples, classes = logits.shape
    target = np.asarray(target)
    if target.shape != (samples,) or target.min() < 0 or target.max() >= classes:
        raise InvalidInputError(
            f"{graph.name}: found target {target.tolist()}, expected one index in 0..{classes - 1} "
            f"for each of {samples} samples"
        )
    return target.astype(np.int64)
