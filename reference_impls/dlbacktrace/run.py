"""A whole run: forward, the start, and one step a layer back to the input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from harness.backends.protocol import Arrays
from harness.graph import Graph, Layer
from harness.methods import BacktraceStart, Method, Rule
from reference_impls.dlbacktrace import forward
from reference_impls.dlbacktrace.contrast import Pair
from reference_impls.dlbacktrace.rules import propagate, propagate_pair
from reference_impls.dlbacktrace.start import start

#: From a layer, its inputs, the relevance of its output and its rule to the relevance of each input.
Propagate = Callable[[Layer, tuple[np.ndarray, ...], np.ndarray, Rule], tuple[np.ndarray, ...]]
Relevance = TypeVar("Relevance", np.ndarray, Pair)


def explain(
    graph: Graph,
    x: np.ndarray,
    method: Method,
    target: np.ndarray,
    layers: bool,
    propagate: Propagate = propagate,
) -> Arrays:
    """Run ``method`` on ``x`` (batch, *input shape), in its dtype. ``target``: (batch,).

    ``propagate``: a layer's step in default mode.
    """
    activations = forward.activations(graph, x)
    outputs = activations[graph.output]
    head = method.head
    assert isinstance(head, BacktraceStart)
    rules = method.composite.assign(graph)

    def inputs_of(layer: Layer) -> tuple[np.ndarray, ...]:
        return tuple(activations[name] for name in layer.inputs)

    if head.part == "whole":
        relevances = _walk(
            graph,
            start(outputs, target, head),
            lambda layer, relevance: propagate(layer, inputs_of(layer), relevance, rules[layer.name]),
            lambda one, other: one + other,
        )
    else:
        both = Pair(*(start(outputs, target, replace(head, part=part)) for part in ("for", "against")))
        pairs = _walk(
            graph,
            both,
            lambda layer, relevance: propagate_pair(layer, inputs_of(layer), relevance, rules[layer.name]),
            lambda one, other: Pair(one.favour + other.favour, one.against + other.against),
        )
        relevances = {
            name: pair.favour if head.part == "for" else pair.against for name, pair in pairs.items()
        }
    shown = {
        layer.name: relevances.get(layer.name, np.zeros_like(activations[layer.name])) for layer in graph
    }
    return Arrays(
        logits=outputs,
        attribution=shown[graph.input.name],
        activations=activations if layers else {},
        relevances=shown if layers else {},
    )


def _walk(
    graph: Graph,
    begun: Relevance,
    step: Callable[[Layer, Relevance], tuple[Relevance, ...]],
    plus: Callable[[Relevance, Relevance], Relevance],
) -> dict[str, Relevance]:
    """What reaches the output of each layer: the sum over all that read it."""
    reached = {graph.output: begun}
    for layer in reversed(graph.layers):
        if layer.name not in reached or not layer.inputs:
            continue
        for name, share in zip(layer.inputs, step(layer, reached[layer.name]), strict=True):
            reached[name] = plus(reached[name], share) if name in reached else share
    return reached
