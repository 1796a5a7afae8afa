"""Ports of transformers that have lost the class token: pairs, as a candidate computes on the model it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.graph import Graph, Layer
from ported_models.build import Builder
from ported_models.model import PortedModel
from ported_models.pair.ported_pair import PortedPair
from ported_models.pair.report import compared

#: What the layer is called that makes the row of the class token.
NAME = "class_token"


def without_class_token(graph: Graph) -> Graph:
    """``graph`` without the layer :data:`NAME`, which puts a row of zeros in front of the tokens.

    Behind it there is a token less: its row of position embeddings, its rows and columns of a mask and its features in
    front of the last dense layer are left out, as in a port that was made for tokens alone.
    """
    token = graph[NAME]
    (before,), tokens = token.inputs, token.shape[0]
    builder = Builder(graph.name, graph.input.shape, graph.input.axes, graph.input.name)
    behind = False
    for layer in graph.layers[1:]:
        if layer.name == NAME:
            behind = True
            continue
        inputs = tuple(before if name == NAME else name for name in layer.inputs)
        attributes, weights = (
            _shortened(builder, layer, inputs, tokens) if behind else (layer.attributes, layer.weights)
        )
        builder.add(layer.kind, layer.name, inputs, attributes, weights, layer.axes)
    return builder.graph()


def _shortened(
    builder: Builder, layer: Layer, inputs: tuple[str, ...], tokens: int
) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray]]:
    """Attributes and weights of ``layer`` for a token less than ``tokens``."""
    if layer.kind == "reshape":
        target = tuple(side - 1 if side == tokens else side for side in layer.attributes["target"])
        return {**layer.attributes, "target": target}, layer.weights
    if layer.kind in ("affine", "scale"):
        return layer.attributes, {key: _without_first(array, tokens) for key, array in layer.weights.items()}
    if layer.kind == "dense":
        kernel = layer.weights["kernel"]
        return layer.attributes, {
            **layer.weights,
            "kernel": kernel[len(kernel) - builder[inputs[0]].shape[-1] :],
        }
    return layer.attributes, layer.weights


def _without_first(array: np.ndarray, tokens: int) -> np.ndarray:
    """``array`` without its first entry along each axis of so many ``tokens``."""
    for axis, side in enumerate(array.shape):
        if side == tokens:
            array = np.take(array, range(1, tokens), axis=axis)
    return array


def pair_of(model: PortedModel) -> PortedPair:
    """``model`` and a port of it without the class token."""
    pair = PortedPair(
        graph=model.graph,
        torch_graph=without_class_token(model.graph),
        torch_paths={},
        torch_order={},
        source="a port without the class token",
        examples=model.examples,
    )
    (example, *_) = model.examples.values()
    return compared(pair, example().astype(np.float64))
