"""Attention in a graph, which holds it as single layers: which products belong to one.

One attention is ``softmax(Q K^T) V``: a product of query and key, a softmax, and the product of its weights and the
values. Between the first two scores may be scaled, masked by constants and moved, between the last two weights may be
dropped and moved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from harness.graph.graph import Graph, Layer

#: What a product is in an attention: that of query and key; that of weights and values, by the place of the weights.
Role = Literal["scores", "weights_first", "weights_second"]


class Attention(NamedTuple):
    """The layers of one attention by name. ``place``: of the weights among the inputs of ``mixed``."""

    scores: str
    weights: str
    mixed: str
    place: int


def attention_of(mixed: Layer, graph: Graph) -> Attention | None:
    """The attention whose last product is ``mixed``; None where it is not that of any."""
    if mixed.traits.family != "contraction":
        return None
    for place, name in enumerate(mixed.inputs):
        weights = _source(graph[name], graph, lambda layer: layer.kind == "softmax", _moves_weights)
        if weights is None:
            continue
        before = graph[weights.inputs[0]]
        scores = _source(before, graph, lambda layer: layer.traits.family == "contraction", _moves_scores)
        if scores is not None:
            return Attention(scores.name, weights.name, mixed.name, place)
    return None


def role_in_attention(layer: Layer, graph: Graph) -> Role | None:
    """What ``layer`` is in an attention; None where it is no product of one."""
    if layer.traits.family != "contraction":
        return None
    own = attention_of(layer, graph)
    if own is not None:
        return "weights_second" if own.place else "weights_first"
    every = (attention_of(other, graph) for other in graph if other.traits.family == "contraction")
    return "scores" if any(each is not None and each.scores == layer.name for each in every) else None


def _moves_weights(layer: Layer) -> bool:
    return layer.traits.family in ("shape", "identity", "scale")


def _moves_scores(layer: Layer) -> bool:
    return _moves_weights(layer) or layer.kind == "affine"


def _source(
    layer: Layer, graph: Graph, found: Callable[[Layer], bool], between: Callable[[Layer], bool]
) -> Layer | None:
    """The first layer on the way back that is ``found``; None where another comes first that is not ``between``."""
    while not found(layer):
        if not between(layer):
            return None
        layer = graph[layer.inputs[0]]
    return layer
