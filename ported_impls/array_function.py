"""A black-box function on the Keras twin or on the neutral graph; imports a framework only when it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.backends.protocol import Model
from harness.errors import InvalidInputError
from harness.methods import Method
from harness.trace.trace import Trace
from ported_impls.heads import resolve_target
from ported_impls.provenance import provenance

Logits = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ArrayFunction:
    """Satisfies `Prepared`: attribution and logits, no layers.

    ``as_tensors``: the function gets TensorFlow's tensors, else NumPy arrays.
    """

    backend: str
    versions: Mapping[str, str]
    model: Model
    dtype: str
    function: Callable[..., Any]
    twin: Any
    logits: Logits
    as_tensors: bool

    def explain(
        self, x: np.ndarray, method: Method, target: np.ndarray | None = None, layers: bool = True
    ) -> Trace:
        """Raises InvalidInputError for a target outside the classes or an attribution of another shape.

        MethodDoesNotApplyError for a method that is not meant for such a network.
        """
        method.check(self.model.graph)
        logits = self.logits(x)
        target = resolve_target(self.model.name, logits, target)
        if self.as_tensors:
            import tensorflow as tf

            attribution = self.function(
                self.twin, tf.convert_to_tensor(x), tf.convert_to_tensor(target), method
            )
        else:
            attribution = self.function(self.twin, x, target, method)
        return Trace(
            model=self.model.name,
            method=method,
            backend=self.backend,
            dtype=self.dtype,
            target=target,
            logits=logits,
            attribution=checked_attribution(self.backend, np.asarray(attribution), x),
            layers={},
            provenance=provenance(self.backend, self.versions, self.model, self.dtype, x),
        )


def checked_attribution(backend: str, attribution: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``attribution`` if it has the shape of ``x``; raises InvalidInputError."""
    if attribution.shape != x.shape:
        raise InvalidInputError(
            f"{backend}: the function returned an attribution of shape {attribution.shape} "
            f"(channels last), expected the shape of the input, {x.shape}"
        )
    return attribution


def torch_twin_logits(model: Model, dtype: str) -> Logits:
    """The logits of the torch twin; raises MissingFrameworkError."""
    twin = model.torch(dtype)
    import torch

    from ported_impls.layout import to_canonical, to_twin

    def logits(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return to_canonical(twin(to_twin(x)))

    return logits


def keras_twin_logits(model: Model, dtype: str) -> Logits:
    """The logits of the Keras twin; raises MissingFrameworkError."""
    twin = model.keras(dtype)
    return lambda x: np.asarray(twin(x, training=False))
