"""A Keras model run by itself, in inference."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import ModelSourceError
from harness.graph import Graph, parted
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
    def takes(self) -> tuple[str, ...]:
        return tuple(_dtype(tensor) for tensor in self._tensors)

    @property
    def _tensors(self) -> list[Any]:
        """The symbolic inputs of the model, in the order of the graph's inputs."""
        by_name = {_layer_of(tensor): tensor for tensor in self.model.inputs}
        return [by_name[each.name] for each in self.graph.inputs] or list(self.model.inputs)

    @property
    def batch(self) -> int:
        return int(self.model.inputs[0].shape[0] or 2)

    def run(self, x: np.ndarray) -> np.ndarray:
        output, chosen = self._call(self.model, x), self.reading.chosen
        return _array(output if chosen is None else output[chosen])

    def layers(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """What every layer of the model gives that it calls once; of a nested model what that gives."""
        keras = importlib.import_module(type(self.model).__module__.split(".")[0])
        keras = keras if hasattr(keras, "Model") else importlib.import_module("keras")
        # The vector in which several inputs lie is no layer of the model's.
        mine = [layer.name for layer in self.graph if layer.name in self.reading.origins]
        last = {self.reading.origins[name].split("/")[0]: name for name in mine}
        outputs = {}
        for own, name in last.items():
            layer = next((layer for layer in self.model.layers if layer.name == own), None)
            if layer is None or len(layer._inbound_nodes) != 1:
                continue
            if self.removed is not None and any(layer.output is each for each in self.model.outputs):
                continue  # it may include the activation that the graph lacks
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

    def _given(self, model: Any, x: np.ndarray) -> Any:
        """``x`` as ``model``, of the same inputs, takes it: one tensor, or a list or dictionary of them."""
        import tensorflow as tf

        def tensor(array: np.ndarray, of: Any) -> Any:
            return tf.cast(tf.convert_to_tensor(array), of.dtype)

        if not self.graph.inputs:
            return tensor(x, model.inputs[0])
        arrays = parted(self.graph.inputs, x)
        named = getattr(model, "_inputs_struct", None)
        if isinstance(named, dict):
            return {key: tensor(arrays[_layer_of(of)], of) for key, of in named.items()}
        return [tensor(arrays[_layer_of(of)], of) for of in model.inputs]

    def _origin(self, layer: str | None) -> str | None:
        return None if layer is None else self.reading.origins.get(layer, "").split("/")[0]

    def _call(self, model: Any, x: np.ndarray) -> Any:
        try:
            return model(self._given(model, x), training=False)
        except Exception as error:  # its layers may be the user's own, and raise whatever they like
            lines = str(error).strip().splitlines() or [""]
            raise ModelSourceError(
                f"{self.what}: fails on an input of shape {x.shape} ({type(error).__name__}: {lines[0][:200]})"
            ) from None


def _dtype(tensor: Any) -> str:
    own = str(
        getattr(tensor.dtype, "name", tensor.dtype)
    )  # TensorFlow's type in Keras 2, its name in Keras 3
    return "float32" if own == "bfloat16" else own


def _layer_of(tensor: Any) -> str:
    """The name of the input layer that gives a symbolic tensor; Keras 2 and 3 note it differently."""
    history = tensor._keras_history
    return str((history.operation if hasattr(history, "operation") else history.layer).name)


def _array(value: Any) -> np.ndarray:
    array = np.asarray(value)
    # Half precision as single, in which nothing is lost; NumPy knows bfloat16 as a type without a kind.
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)
