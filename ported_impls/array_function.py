"""A function on the Keras twin or on the neutral graph; imports a framework only when it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.backends.protocol import Arrays, Model
from harness.graph import parted as by_input
from harness.methods import Method
from ported_impls.returned import TWINS_OWN, checked_attribution, checked_layers, parted, show_changes


@dataclass(frozen=True)
class Forward:
    """What a twin computes on (batch, *input shape): the logits, and by layer the activations, all canonical."""

    logits: Callable[[np.ndarray], np.ndarray]
    activations: Callable[[np.ndarray], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class ArrayFunction:
    """Satisfies `Prepared`: attribution and logits, and the layers that the function returns.

    ``as_tensors``: the function gets TensorFlow's tensors, else NumPy arrays.
    """

    backend: str
    model: Model
    function: Callable[..., Any]
    twin: Any
    forward: Forward
    as_tensors: bool

    def run(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Arrays:
        """Raises InvalidInputError for a result that is not what was asked for.

        What the function changes in the arrays that it is given is changed in ``x`` and ``target``.
        """
        # Before the function runs: what it may leave changed is none of these.
        shown = self.forward.activations(x) if layers else {}
        logits = shown[self.model.graph.output] if layers else self.logits(x)
        given_input, given_target = x.copy(), target.copy()
        result = self.function(self.twin, *self._handed(given_input, given_target), method)
        value, given = parted(self.backend, result)
        attribution = checked_attribution(self.backend, value, x, inputs=self.model.graph.inputs)
        if given is None:
            arrays = Arrays(logits, attribution)
        else:
            relevances = checked_layers(self.backend, given, np.asarray)
            arrays = Arrays(logits, attribution, shown, relevances, facts={"activations": TWINS_OWN})
        # The function had these in its hands: what it wrote into them shows.
        show_changes(x, given_input)
        show_changes(target, given_target)
        return arrays

    def logits(self, x: np.ndarray) -> np.ndarray:
        """(batch, classes)."""
        return self.forward.logits(x)

    def _handed(self, x: np.ndarray, target: np.ndarray) -> tuple[Any, Any]:
        """What the function gets; of several inputs views of ``x`` by name, so that what it writes shows there."""
        inputs = self.model.graph.inputs
        given = by_input(inputs, x) if inputs else {"": x}
        if self.as_tensors:
            import tensorflow as tf

            given = {name: tf.convert_to_tensor(part) for name, part in given.items()}
            target = tf.convert_to_tensor(target)
        return given if inputs else given[""], target


def torch_twin_forward(model: Model, dtype: str) -> Forward:
    """The torch twin's; raises MissingFrameworkError."""
    twin = model.torch(dtype)
    import torch

    from ported_impls.capture import capture_layers
    from ported_impls.layout import to_canonical, to_twin

    def logits(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return to_canonical(twin(to_twin(x)))

    def activations(x: np.ndarray) -> Mapping[str, np.ndarray]:
        with torch.no_grad(), capture_layers(twin, model.graph) as captured:
            twin(to_twin(x))
        return {**captured.activations, model.graph.input.name: x.copy()}

    return Forward(logits, activations)


def keras_twin_forward(model: Model, dtype: str) -> Forward:
    """The Keras twin's; raises MissingFrameworkError."""
    twin = model.keras(dtype)

    def activations(x: np.ndarray) -> Mapping[str, np.ndarray]:
        import tensorflow as tf

        inside = [layer.name for layer in model.graph if layer.name != model.graph.input.name]
        outputs = tf.keras.Model(twin.input, [twin.get_layer(name).output for name in inside])(
            x, training=False
        )
        shown = {name: np.array(output) for name, output in zip(inside, outputs, strict=True)}
        return {**shown, model.graph.input.name: x.copy()}

    return Forward(lambda x: np.array(twin(x, training=False)), activations)
