"""The Keras twin's layers of sequences: Keras' own recurrent layers, outputs at the places of their steps."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from harness.graph import Layer

_register = keras.saving.register_keras_serializable(package="xai_harness")


class _InOrder:
    """A recurrent layer whose outputs stand where their steps do, also where it goes backwards; runs without loops."""

    def call(
        self: Any, sequences: Any, initial_state: Any = None, mask: Any = None, training: Any = False
    ) -> Any:
        outputs = super().call(sequences, initial_state, mask, training)  # type: ignore[misc]
        return ops.flip(outputs, axis=1) if self.go_backwards and self.return_sequences else outputs


@_register
class InOrderLSTM(_InOrder, layers.LSTM):
    pass


@_register
class InOrderGRU(_InOrder, layers.GRU):
    pass


@_register
class InOrderSimpleRNN(_InOrder, layers.SimpleRNN):
    pass


@_register
class RowEmbedding(layers.Layer):
    """The row of ``kernel`` (rows, features) of each number, rounded; the nearest row for one that there is none of."""

    def __init__(self, rows: int, features: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rows, self.features = int(rows), int(features)

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(name="kernel", shape=(self.rows, self.features), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        numbers = ops.cast(ops.clip(ops.round(inputs), 0, self.rows - 1), "int32")
        return ops.take(self.kernel, numbers, axis=0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rows": self.rows, "features": self.features}


def recurrent(layer: Layer, options: dict[str, Any]) -> Any:
    """The layer of a recurrent kind; its weights are :func:`recurrent_weights`."""
    a = layer.attributes
    options = {
        **options,
        "return_sequences": a["sequences"],
        "go_backwards": a["reverse"],
        "use_bias": bool({"bias", "recurrent_bias"} & set(layer.weights)),
        "kernel_initializer": "zeros",
        "recurrent_initializer": "zeros",
        # A loop would be one of TensorFlow's, which has a gradient of its own and none in a tape within a function.
        "unroll": True,
    }
    units = layer.weights["recurrent_kernel"].shape[0]
    if layer.kind == "lstm":
        return InOrderLSTM(units, **options)
    if layer.kind == "gru":
        return InOrderGRU(units, reset_after=a["reset_after"], **options)
    return InOrderSimpleRNN(units, activation=a["activation"], **options)


def recurrent_weights(layer: Layer) -> list[np.ndarray]:
    """Its weights in Keras' order and axes; a GRU that resets after the product has its two biases in two rows."""
    weights = [layer.weights["kernel"], layer.weights["recurrent_kernel"]]
    if not {"bias", "recurrent_bias"} & set(layer.weights):
        return weights
    zero = np.zeros_like(weights[0][0])
    bias = layer.weights.get("bias", zero)
    if layer.attributes.get("reset_after"):
        bias = np.stack([bias, layer.weights.get("recurrent_bias", zero)])
    return [*weights, bias]


def embedding(layer: Layer, options: dict[str, Any]) -> Any:
    return RowEmbedding(*layer.weights["kernel"].shape, **options)
