"""The forward pass in the dtype of the input: what sums is computed in it, everything else in float64 and rounded."""

from __future__ import annotations

import numpy as np

from harness.graph import Graph, Layer
from reference_impls.dlbacktrace.maps import maps_of
from reference_impls.oracle import forward

Arrays = tuple[np.ndarray, ...]


def activations(graph: Graph, x: np.ndarray) -> dict[str, np.ndarray]:
    """The output of every layer for the input ``x`` (batch, *input shape), by name, in forward order."""
    outputs = {graph.input.name: x}
    for layer in graph.layers[1:]:
        outputs[layer.name] = apply(layer, tuple(outputs[name] for name in layer.inputs))
    return outputs


def apply(layer: Layer, inputs: Arrays) -> np.ndarray:
    """The output of ``layer``, in the dtype of its inputs."""
    if not layer.traits.kernel:
        return forward.apply(layer, inputs).astype(inputs[0].dtype, copy=False)
    (x,) = inputs
    for linear in maps_of(layer, x.dtype):
        x = linear.apply(x, linear.kernel) + linear.bias
    return x
