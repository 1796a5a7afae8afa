"""Keras layers for what no stock layer computes: explicit paddings, channels-first orders, exact float64.

Each is a subclass of the stock layer whose options it has. All are channels-last and differentiable on
a CPU in float32 and float64.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from ported_models.twins.keras_padding import Padded

_register = keras.saving.register_keras_serializable(package="xai_harness")


class _ExplicitMaxPooling(Padded):
    """Max pooling with explicit padding, which never is the maximum."""

    pad_value = -math.inf

    def call(self, inputs: Any) -> Any:
        return super().call(self.pad(inputs))  # type: ignore[misc]


@_register
class ExplicitMaxPooling1D(_ExplicitMaxPooling, layers.MaxPooling1D):
    pass


@_register
class ExplicitMaxPooling2D(_ExplicitMaxPooling, layers.MaxPooling2D):
    pass


class _ExplicitAveragePooling(Padded):
    """Average pooling with explicit zeros around, which count as values (``count_include_pad``) or do not."""

    def __init__(self, *args: Any, count_include_pad: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.count_include_pad = count_include_pad

    def call(self: Any, inputs: Any) -> Any:
        averages = super().call(self.pad(inputs))  # type: ignore[misc]
        if self.count_include_pad:
            return averages
        share = super().call(self.pad(ops.ones_like(inputs[:1, ..., :1])))  # type: ignore[misc]
        return averages / share

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count_include_pad": self.count_include_pad}


@_register
class ExplicitAveragePooling1D(_ExplicitAveragePooling, layers.AveragePooling1D):
    pass


@_register
class ExplicitAveragePooling2D(_ExplicitAveragePooling, layers.AveragePooling2D):
    pass


@_register
class ExactLeakyReLU(layers.LeakyReLU):
    """``x`` above zero, ``negative_slope * x`` elsewhere; TensorFlow's own op rounds the slope to float32."""

    def call(self, inputs: Any) -> Any:
        return ops.where(inputs > 0, inputs, self.negative_slope * inputs)


@_register
class ExactGELU(layers.Activation):
    """``x/2 (1 + erf(x / sqrt 2))``, or Hendrycks and Gimpel's tanh form (arXiv:1606.08415, section 2).

    TensorFlow's own op rounds its constants to float32.
    """

    def __init__(self, approximate: str = "none", **kwargs: Any) -> None:
        super().__init__("gelu", **kwargs)
        self.approximate = approximate

    def call(self, inputs: Any) -> Any:
        if self.approximate == "tanh":
            cubic = inputs + 0.044715 * inputs * inputs * inputs
            return 0.5 * inputs * (1.0 + ops.tanh(math.sqrt(2.0 / math.pi) * cubic))
        return 0.5 * inputs * (1.0 + ops.erf(inputs / math.sqrt(2.0)))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["activation"]
        return {**config, "approximate": self.approximate}


@_register
class Scale(layers.Layer):
    """``kernel * x + bias`` with one number of each per channel."""

    def __init__(self, use_bias: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.use_bias = use_bias

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1],), initializer="ones")
        self.bias = (
            self.add_weight(name="bias", shape=(input_shape[-1],), initializer="zeros")
            if self.use_bias
            else None
        )

    def call(self, inputs: Any) -> Any:
        scaled = inputs * self.kernel
        return scaled + self.bias if self.use_bias else scaled

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "use_bias": self.use_bias}


@_register
class ChannelsFirstFlatten(layers.Flatten):
    """The values in the order that a channels-first framework flattens them to."""

    def call(self, inputs: Any) -> Any:
        return super().call(ops.moveaxis(inputs, -1, 1))


@_register
class ChannelsFirstReshape(layers.Reshape):
    """What a channels-first framework reshapes to ``target_shape``, moved back to channels-last."""

    def call(self, inputs: Any) -> Any:
        return ops.moveaxis(super().call(ops.moveaxis(inputs, -1, 1)), 1, -1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, first, *rest = super().compute_output_shape(input_shape)
        return (batch, *rest, first)

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)


def interpolation_matrix(size: int, factor: int) -> np.ndarray:
    """(size * factor, size) float64: linear interpolation at half-pixel centres, constant beyond them.

    Output ``o`` stands at ``(o + 1/2) / factor - 1/2`` on the input's grid.
    """
    places = np.clip((np.arange(size * factor) + 0.5) / factor - 0.5, 0, size - 1)
    left = np.minimum(np.floor(places).astype(int), max(size - 2, 0))
    right = np.minimum(left + 1, size - 1)
    weight = places - left
    matrix = np.zeros((size * factor, size))
    rows = np.arange(size * factor)
    np.add.at(matrix, (rows, left), 1 - weight)
    np.add.at(matrix, (rows, right), weight)
    return matrix


class _LinearUpSampling:
    """Linear interpolation along each spatial axis; `tf.image.resize` would compute it in float32."""

    def call(self: Any, inputs: Any) -> Any:
        factors = np.atleast_1d(self.size)
        for axis, factor in enumerate(factors, start=1):
            matrix = ops.convert_to_tensor(
                interpolation_matrix(inputs.shape[axis], int(factor)), dtype=inputs.dtype
            )
            inputs = ops.moveaxis(ops.tensordot(inputs, matrix, axes=[[axis], [1]]), -1, axis)
        return inputs


@_register
class LinearUpSampling1D(_LinearUpSampling, layers.UpSampling1D):
    pass


@_register
class LinearUpSampling2D(_LinearUpSampling, layers.UpSampling2D):
    pass
