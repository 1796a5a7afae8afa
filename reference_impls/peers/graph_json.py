"""A graph as it crosses to a peer's interpreter: plain JSON for the layers, arrays for their weights.

The other side is `keras2.py`, which this package never imports: it runs where the harness is not installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.graph import Graph, Layer


def graph_payload(graph: Graph) -> dict[str, Any]:
    """``graph`` as JSON-able values: ``name``, ``output`` and ``layers`` in forward order.

    A layer has the fields of `harness.graph.Layer` but its weights, of which only the names are listed
    (``weights``); tuples become lists, NumPy numbers Python's.
    """
    return {
        "name": graph.name,
        "output": graph.output,
        "layers": [_layer_payload(layer) for layer in graph],
    }


def graph_weights(graph: Graph) -> dict[str, np.ndarray]:
    """Every weight array of ``graph`` under ``layer/weight``, C-contiguous, in the graph's own dtype."""
    return {
        f"{layer.name}/{key}": np.ascontiguousarray(array)
        for layer in graph
        for key, array in layer.weights.items()
    }


def _layer_payload(layer: Layer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": layer.kind,
        "inputs": list(layer.inputs),
        "input_shapes": _plain(layer.input_shapes),
        "shape": _plain(layer.shape),
        "axes": list(layer.axes),
        "attributes": _plain(dict(layer.attributes)),
        "weights": sorted(layer.weights),
    }


def _plain(value: Any) -> Any:
    """``value`` with tuples as lists and NumPy numbers as Python's, at any depth."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value
