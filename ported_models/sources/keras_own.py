"""A Keras model run by itself, in inference."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import ModelSourceError
from harness.graph import Graph
from ported_models.sources.steps import Reading

#: The distance of 1 to the next number.
_EPS = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 2.0**-23, "float64": 2.0**-52}


@dataclass(frozen=True)
class KerasSource:
    """A built Keras model as `ported_models.proof.Source`. ``reading``: what was read from it."""

    model: Any
    reading: Reading
    what: str
    examples: tuple[np.ndarray, ...] = ()

    @property
    def graph(self) -> Graph:
        return self.reading.graph

    @property
    def removed(self) -> str | None:
        return self.reading.removed

    @property
    def dtype(self) -> str:
        return "float64" if self._computes_in == "float64" else "float32"

    @property
    def eps(self) -> float:
        return _EPS[self._computes_in]

    @property
    def _computes_in(self) -> str:
        """The lowest precision that one of its layers computes in."""
        layers = self.model._flatten_layers(include_self=False)
        dtypes = {str(layer.compute_dtype) for layer in layers if type(layer).__name__ != "InputLayer"}
        return next((dtype for dtype in _EPS if dtype in dtypes), "float32")

    @property
    def takes(self) -> str:
        own = self.model.inputs[0].dtype
        own = str(getattr(own, "name", own))  # TensorFlow's type in Keras 2, its name in Keras 3
        return "float32" if own == "bfloat16" else own

    @property
    def batch(self) -> int:
        return int(self.model.inputs[0].shape[0] or 2)

    def run(self, x: np.ndarray) -> np.ndarray:
        return _array(self._call(self.model, x))

    def layers(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """What every layer of the model gives that it calls once; of a nested model what that gives."""
        keras = importlib.import_module(type(self.model).__module__.split(".")[0])
        keras = keras if hasattr(keras, "Model") else importlib.import_module("keras")
        last = {self.reading.origins[layer.name].split("/")[0]: layer.name for layer in self.graph}
        outputs = {}
        for own, name in last.items():
            layer = next((layer for layer in self.model.layers if layer.name == own), None)
            if layer is None or len(layer._inbound_nodes) != 1:
                continue
            if self.removed is not None and layer.output is self.model.outputs[0]:
                continue  # it includes the activation that the graph lacks
            outputs[name] = layer.output
        if not outputs:
            return {}
        values = self._call(keras.Model(self.model.inputs, outputs), x)
        return {name: _array(value) for name, value in values.items()}

    def remark(self, layer: str | None) -> str:
        own = next((each for each in self.model.layers if each.name == self._origin(layer)), None)
        if own is not None and "call" in vars(own):
            return f"the call of layer {own.name!r} was replaced, and that is not read; make it a layer of its own"
        return ""

    def _origin(self, layer: str | None) -> str | None:
        return None if layer is None else self.reading.origins[layer].split("/")[0]

    def _call(self, model: Any, x: np.ndarray) -> Any:
        import tensorflow as tf

        try:
            return model(tf.cast(tf.convert_to_tensor(x), model.inputs[0].dtype), training=False)
        except Exception as error:  # its layers may be the user's own, and raise whatever they like
            lines = str(error).strip().splitlines() or [""]
            raise ModelSourceError(
                f"{self.what}: fails on an input of shape {x.shape} ({type(error).__name__}: {lines[0][:200]})"
            ) from None


def _array(value: Any) -> np.ndarray:
    array = np.asarray(value)
    # Half precision as single, in which nothing is lost; NumPy knows bfloat16 as a type without a kind.
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)
