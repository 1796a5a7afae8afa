"""A graph as it crosses to a peer's interpreter: plain JSON for the layers, arrays for their weights.

The other side is `keras2.py`, which this package never imports: it runs where the harness is not installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.errors import UnsupportedLayerError
from harness.graph import Graph, Layer

#: Kinds that the peers' side builds no Keras 2 layer for: models with one are refused by name.
NOT_IN_KERAS_2 = (
    *("conv3d", "conv_transpose3d", "max_pool3d", "average_pool3d"),
    *("mish", "hard_swish", "hard_sigmoid", "clip", "sqrt", "prelu"),
    *("group_norm", "lrn", "affine", "pad", "take", "resample"),
    *("lstm", "gru", "simple_rnn", "embedding"),
    *("rms_norm", "matmul", "grid_sample", "part"),
)


def require_peer_kinds(graph: Graph, peer: str) -> None:
    """Raise UnsupportedLayerError for a layer that no peer has."""
    for layer in graph:
        if layer.kind in NOT_IN_KERAS_2:
            raise UnsupportedLayerError(
                f"{peer}: layer {layer.name!r} ({layer.kind}): the peers have no Keras 2 layer for this kind; "
                "use the backend 'tensorflow' or 'oracle'"
            )


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
