"""What the twins give: their outputs, and what every layer of them gives, in canonical layout."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.graph import Graph
from ported_models.twins.layout import to_canonical, to_internal

#: Largest relative difference of a layer between the twins in float64.
LAYER_BOUND = 1e-12
#: Largest relative difference of outputs in float32.
LOGITS_BOUND = 1e-5


def relative_difference(candidate: np.ndarray, reference: np.ndarray) -> float:
    """``|candidate - reference| / |reference|`` in L2; 0 where both are zero everywhere."""
    difference = float(np.linalg.norm((candidate - reference).astype(np.float64)))
    if difference == 0.0:
        return 0.0
    norm = float(np.linalg.norm(reference.astype(np.float64)))
    return difference / norm if norm else float("inf")


def keras_activations(twin: Any, graph: Graph, x: np.ndarray) -> dict[str, np.ndarray]:
    """The output of every layer of the Keras twin, by canonical name and in forward order."""
    import keras

    outputs = {layer.name: twin.get_layer(layer.name).output for layer in graph}
    activations = _call_keras(keras.Model(twin.inputs, outputs), x)
    return {layer.name: np.asarray(activations[layer.name]) for layer in graph}


def keras_logits(twin: Any, x: np.ndarray) -> np.ndarray:
    """The output of the Keras twin on ``x``, in the twin's dtype."""
    return np.asarray(_call_keras(twin, x))


def _call_keras(model: Any, x: np.ndarray) -> Any:
    import tensorflow as tf

    return model(tf.convert_to_tensor(x, dtype=model.inputs[0].dtype), training=False)


def torch_activations(twin: Any, graph: Graph, x: np.ndarray) -> dict[str, np.ndarray]:
    """The same of the torch twin, in canonical layout."""
    modules = dict(twin.named_modules())
    activations: dict[str, np.ndarray] = {}

    def keep(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            activations[name] = to_canonical(output.detach().numpy())

        return hook

    handles = [modules[layer.name].register_forward_hook(keep(layer.name)) for layer in graph]
    try:
        torch_logits(twin, x)
    finally:
        for handle in handles:
            handle.remove()
    return activations


def torch_logits(twin: Any, x: np.ndarray) -> np.ndarray:
    """The output of the torch twin on ``x``, in canonical layout and the twin's dtype."""
    import torch

    with torch.no_grad():
        tensor = torch.from_numpy(np.ascontiguousarray(to_internal(x.astype(twin.dtype))))
        return to_canonical(twin(tensor).numpy())
