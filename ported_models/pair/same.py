"""Layers that say the same in another order or number: sums of sums, lines of lines, a ReLU twice, or before a pool."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import numpy as np

from harness.graph import Graph, Layer
from ported_models.build import Builder

#: Functions that change nothing of what they, or the others here, gave.
_RECTIFIERS = {"relu": ("relu", "relu6"), "relu6": ("relu6",)}
#: Families of layers that only move values, put them side by side, or add zeros.
_MOVERS = ("shape", "identity", "edge", "concat")


def rebuilt(graph: Graph, layers: Iterable[Layer], output: str) -> Graph:
    """A graph of ``layers`` with shapes and axes worked out anew; each stands after what it reads."""
    builder = Builder.from_input(graph)
    for layer in layers:
        if layer.inputs:
            # What an input's axes are called, no layer before it says.
            axes = layer.axes if layer.kind == "part" else None
            builder.add(layer.kind, layer.name, layer.inputs, layer.attributes, layer.weights, axes)
    return builder.graph(output)


def substituted(graph: Graph, gone: Mapping[str, Layer | None], moved: Mapping[str, str]) -> Graph:
    """``graph`` with layers replaced (or dropped: None); what read a ``moved`` layer reads its target."""
    layers = []
    for layer in graph:
        new = gone.get(layer.name, layer)
        if new is not None:
            layers.append(replace(new, inputs=tuple(moved.get(name, name) for name in new.inputs)))
    return rebuilt(graph, layers, moved.get(graph.output, graph.output))


def without(graph: Graph, names: Collection[str], instead: Mapping[str, Layer] | None = None) -> Graph:
    """``graph`` without layers of one input: what read one of them reads what it read. ``instead``: layers replaced."""
    moved: dict[str, str] = {}
    for layer in graph:
        if layer.name in names:
            (source,) = layer.inputs
            moved[layer.name] = moved.get(source, source)
    return substituted(graph, {**(instead or {}), **dict.fromkeys(moved)}, moved)


def idle(graph: Graph, layer: Layer) -> bool:
    """Whether ``layer`` does nothing in inference: a dropout, or a ReLU of what a ReLU gave.

    Nothing on the way back either: whatever a rule makes of the second ReLU, it makes of the first.
    """
    if layer.kind == "dropout":
        return True
    if layer.kind not in _RECTIFIERS:
        return False
    return _rectified(graph, layer.inputs[0], _RECTIFIERS[layer.kind])


def _rectified(graph: Graph, name: str, kinds: tuple[str, ...]) -> bool:
    """Whether one of ``kinds`` gave all values of a layer."""
    layer = graph[name]
    if layer.traits.family in _MOVERS:
        return all(_rectified(graph, source, kinds) for source in layer.inputs)
    return layer.kind in kinds


def _two_in_a_row(graph: Graph, kind: str) -> bool:
    return any(graph[name].kind == kind for layer in graph if layer.kind == kind for name in layer.inputs)


def join_scales(keras: Graph, torch: Graph) -> Graph:
    """``k * (c * x + d) + b`` as one line ``(k c) x + (k d + b)``, where Keras has no two lines in a row."""
    if _two_in_a_row(keras, "scale"):
        return torch
    while True:
        second = next(
            (
                layer
                for layer in torch
                if layer.kind == "scale"
                and torch[layer.inputs[0]].kind == "scale"
                and len(torch.consumers(layer.inputs[0])) == 1
            ),
            None,
        )
        if second is None:
            return torch
        first = torch[second.inputs[0]]
        c, d = (first.weights.get(key, np.zeros(1)) for key in ("kernel", "bias"))
        k, b = (second.weights.get(key, np.zeros(1)) for key in ("kernel", "bias"))
        weights = {"kernel": k * c, "bias": k * d + b}
        torch = without(torch, {second.name}, {first.name: replace(first, weights=weights)})


def join_sums(keras: Graph, torch: Graph) -> Graph:
    """``(a + b) + c`` as one add of three, where Keras adds three or more and never a sum to something."""
    wanted = any(layer.kind == "add" and len(layer.inputs) > 2 for layer in keras)
    if not wanted or _two_in_a_row(keras, "add"):
        return torch
    while True:
        match = next(
            (
                (outer, torch[name])
                for outer in torch
                if outer.kind == "add"
                for name in outer.inputs
                if torch[name].kind == "add"
                and len(torch.consumers(name)) == 1
                and outer.inputs.count(name) == 1
            ),
            None,
        )
        if match is None:
            return torch
        outer, inner = match
        place = outer.inputs.index(inner.name)
        inputs = (*outer.inputs[:place], *inner.inputs, *outer.inputs[place + 1 :])
        torch = substituted(torch, {inner.name: None, outer.name: replace(outer, inputs=inputs)}, {})


def exchange(keras: Graph, torch: Graph, pairs: Mapping[str, str]) -> Graph:
    """An activation before a max pooling or a flatten in Keras and behind it in torch, or the other way round.

    A function of single values that never falls gives the same before the maximum of a window as after it;
    any function of single values gives the same before and after values are moved.
    """
    inverse = {torch_name: name for name, torch_name in pairs.items()}
    for second in torch:
        if len(second.inputs) != 1 or len(torch.consumers(second.inputs[0])) != 1:
            continue
        first = torch[second.inputs[0]]
        if first.name not in inverse or second.name not in inverse or not _exchangeable(first, second):
            continue
        if _stands_before(keras, inverse[second.name], inverse[first.name]):
            return exchange(keras, _swapped(torch, first, second), pairs)
    return torch


def _stands_before(graph: Graph, name: str, other: str) -> bool:
    """Whether the only way back from ``other``, through layers without weights, comes to ``name``."""
    layer = graph[other]
    while len(layer.inputs) == 1 and not layer.weights:
        layer = graph[layer.inputs[0]]
        if layer.name == name:
            return True
    return False


def _swapped(graph: Graph, first: Layer, second: Layer) -> Graph:
    """``graph`` with two layers in a row in the other order; what read the second reads the first."""
    layers = []
    for layer in graph:
        if layer is first:
            layers.append(replace(second, inputs=first.inputs))
        elif layer is second:
            layers.append(replace(first, inputs=(second.name,)))
        else:
            inputs = tuple(first.name if name == second.name else name for name in layer.inputs)
            layers.append(replace(layer, inputs=inputs))
    return rebuilt(graph, layers, first.name if graph.output == second.name else graph.output)


def _exchangeable(first: Layer, second: Layer) -> bool:
    for one, other in ((first, second), (second, first)):
        if one.traits.rising and other.traits.family == "maximum":
            # What never falls leaves the largest of several values the largest; with a slope below 0 it does fall.
            return one.attributes.get("alpha", 0) >= 0
        if one.traits.elementwise and other.traits.family == "shape":
            return True
    return False
