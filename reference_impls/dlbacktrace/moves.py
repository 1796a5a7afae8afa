"""Layers that move values without changing one: relevance is moved back to where the values came from."""

from __future__ import annotations

import numpy as np

from harness.graph import Layer
from reference_impls.oracle import forward

Arrays = tuple[np.ndarray, ...]


def moved_back(layer: Layer, inputs: Arrays, relevance: np.ndarray) -> Arrays:
    """The relevance of each input: the sum over the places of the output that its value went to."""
    # The layer is run on the numbers of its input values; 0 stands for what came from none (padding).
    sizes = [x[0].size for x in inputs]
    firsts = np.cumsum([1, *sizes])
    numbers = tuple(
        np.arange(first, first + size, dtype=np.float64).reshape(1, *x.shape[1:])
        for first, size, x in zip(firsts, sizes, inputs, strict=False)
    )
    sources = _numbers_at(layer, numbers).reshape(-1)
    received = relevance.reshape(len(relevance), -1)
    shares = np.zeros((len(relevance), firsts[-1]), relevance.dtype)
    for sample, values in enumerate(received):
        np.add.at(shares[sample], sources, values)
    parts = np.split(shares[:, 1:], np.cumsum(sizes)[:-1], axis=1)
    return tuple(part.reshape(x.shape) for part, x in zip(parts, inputs, strict=True))


def _numbers_at(layer: Layer, numbers: Arrays) -> np.ndarray:
    if layer.kind == "pad":
        attributes = {**layer.attributes, "value": 0.0}
        layer = Layer(
            layer.name, layer.kind, layer.inputs, layer.input_shapes, layer.shape, layer.axes, attributes
        )
    return np.rint(forward.apply(layer, numbers)).astype(np.int64)
