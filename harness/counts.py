"""What a network has a number of, and which of these numbers a factor is: being 8 times too large has a reason."""

from __future__ import annotations

from collections.abc import Mapping

from harness.graph import Graph, Layer

#: How far a factor may be from a whole number, relative to it, to be that number.
NEAR = 1e-6


def counts_of(graph: Graph, batch: int = 1) -> dict[str, int]:
    """By name, the numbers that are above 1: heads of attention; levels and points of sampling, and their products.

    Heads are the first axis of a product of (head, token, feature), and of the maps (head, height, width, feature) that
    are sampled at (head, query, point, 2). Levels are the samplings that one concatenation joins. Of several sizes of
    one name the largest counts. ``batch``: how many samples there are.
    """
    heads, points, levels = 1, 1, 1
    for layer in graph:
        if layer.kind == "matmul" and len(layer.shape) == 3:
            heads = max(heads, layer.shape[0])
        if layer.kind == "grid_sample" and len(layer.input_shapes[1]) == 4:
            heads, points = max(heads, layer.input_shapes[1][0]), max(points, layer.input_shapes[1][2])
            levels = max(levels, *(_joined(graph, reader) for reader in graph.consumers(layer.name)), 1)
    named = {
        "the number of heads": heads,
        "the number of levels": levels,
        "the number of points": points,
        "levels x points": levels * points if levels > 1 and points > 1 else 1,
        "heads x points": heads * points if levels == 1 and points > 1 else 1,
        "heads x levels x points": heads * levels * points if levels > 1 else 1,
        "the number of samples": batch,
    }
    return {name: count for name, count in named.items() if count > 1}


def _joined(graph: Graph, reader: Layer) -> int:
    """How many samplings ``reader`` joins."""
    if reader.kind != "concat":
        return 1
    return sum(graph[name].kind == "grid_sample" for name in reader.inputs)


def named_factor(factor: float, counts: Mapping[str, int]) -> str:
    """``factor`` in words, where it or its inverse is one of ``counts``; empty for any other, and for 1."""
    for verb, value in (("times", factor), ("divided by", 1 / factor if factor else 0.0)):
        names = [name for name, count in counts.items() if abs(value - count) <= NEAR * count]
        if names:
            return f"{verb} {' or '.join(names)} ({round(value)})"
    return ""
