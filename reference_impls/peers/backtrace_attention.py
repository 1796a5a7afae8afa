"""Attention as the one layer that dl-backtrace has for it, found among the products of a graph."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from harness.graph import Attention, Graph, Layer, attention_of


class Whole(NamedTuple):
    """One attention of a graph as its handler takes it. ``inside``: the layers that the package does not have.

    ``divisor``: of the scores before the softmax.
    """

    layers: Attention
    inside: tuple[str, ...]
    divisor: float


def whole_attention(mixed: Layer, graph: Graph) -> Whole | None:
    """The attention that ends with ``mixed``; None where it is no ``softmax(Q K^T / divisor) V`` of arrays as they are.

    Masks by constants are left out, which is what the handler does with them.
    """
    found = attention_of(mixed, graph)
    if found is None or found.place or mixed.attributes["transposed"]:
        return None
    if not graph[found.scores].attributes["transposed"] or graph[found.weights].attributes["axis"] != -1:
        return None
    inside, factor, layer = [], 1.0, graph[mixed.inputs[0]]
    while layer.name != found.scores:
        inside.append(layer.name)
        if layer.kind == "scale":
            kernel = np.unique(layer.weights["kernel"])
            if len(kernel) != 1 or found.weights not in inside:
                return None
            factor *= float(kernel[0])
        elif layer.kind not in ("softmax", "affine", "dropout") or "kernel" in layer.weights:
            return None
        layer = graph[layer.inputs[0]]
    inside.append(found.scores)
    if any(len(graph.consumers(name)) != 1 for name in inside):
        return None
    return Whole(found, tuple(inside), 1 / factor)


def as_heads(array: np.ndarray) -> np.ndarray:
    """(batch, ..., row, column) as (batch, head, row, column)."""
    return array.reshape(len(array), -1, *array.shape[-2:])
