"""Axes of one behind a global pool: kept or not, added and dropped, as the Keras graph has it.

A gate of squeeze-and-excite may pool to (1, 1, channel), or to (channel,) and reshape; a layer over the last
axis, a 1x1 convolution and a product with a feature map compute the same of either.
"""

from __future__ import annotations

from dataclasses import replace

from harness.errors import HarnessError
from harness.graph import Graph, Layer
from ported_models.pair.insert import inserted
from ported_models.pair.same import substituted, without


def with_the_same_ones(keras: Graph, torch: Graph, pairs: dict[str, str]) -> Graph:
    """``torch`` with the axes of one that Keras has; ``pairs`` follows. As it is where that is no graph."""
    keras_ones, torch_ones = _only_ones(keras), _only_ones(torch)
    pools = {
        torch_name: keras[name]
        for name, torch_name in pairs.items()
        if _is_pool(keras[name]) and _is_pool(torch[torch_name])
    }
    same_pools = all(
        torch[name].attributes["keepdims"] == pool.attributes["keepdims"] for name, pool in pools.items()
    )
    if same_pools and keras_ones <= set(pairs) and torch_ones <= set(pairs.values()):
        return torch
    kept = {
        name: torch_name
        for name, torch_name in pairs.items()
        if torch_name not in torch_ones and name not in keras_ones
    }
    try:
        kept_axes = {name: replace(torch[name], attributes={"keepdims": True}) for name in pools}
        bare = without(torch, torch_ones, kept_axes)
        written = inserted(keras, bare, kept, lambda layer: layer.name in keras_ones)
        written = substituted(
            written, {name: _keeping(written[name], pool) for name, pool in pools.items()}, {}
        )
    except HarnessError:  # something in it is written for these axes
        return torch
    if written[written.output].shape != torch[torch.output].shape:
        return torch
    pairs.clear()
    pairs.update(kept)
    return written


def _is_pool(layer: Layer) -> bool:
    return layer.kind.startswith("global_")


def _keeping(layer: Layer, pool: Layer) -> Layer:
    return replace(layer, attributes={"keepdims": pool.attributes["keepdims"]})


def _only_ones(graph: Graph) -> set[str]:
    """The layers behind a global pool that add or drop axes of one, and move no value."""
    behind: set[str] = set()
    ones: set[str] = set()
    for layer in graph:
        if any(name in behind or _is_pool(graph[name]) for name in layer.inputs):
            behind.add(layer.name)
            vector = sum(side != 1 for side in layer.shape) <= 1
            if layer.kind in ("flatten", "reshape") and vector:
                ones.add(layer.name)
    return ones
