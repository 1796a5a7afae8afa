"""Keras 2 layers for what no stock layer computes. Runs in a peer's interpreter only.

Each is a subclass of the stock layer and has its class name: the libraries ask for both (`isinstance` in
iNNvestigate, the name of the class in signxai), and both copy a layer from its class and configuration
with other weights. Channels-last; differentiable on a CPU in float32 and float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from keras2_convolutions import pad_space  # type: ignore[import-not-found]  # beside this file, on the path there
from tensorflow.keras import activations, layers

if TYPE_CHECKING:
    Pairs = tuple[tuple[int, int], ...]


# Activations ---------------------------------------------------------------------------------------------


def _leaky_relu(attributes: Mapping[str, Any]) -> Callable[[Any], Any]:
    alpha = attributes["alpha"]

    def leaky_relu(x: Any) -> Any:
        # TensorFlow's own op rounds the slope to float32.
        return tf.where(x > 0, x, alpha * x)

    return leaky_relu


def _elu(attributes: Mapping[str, Any]) -> Callable[[Any], Any]:
    alpha = attributes["alpha"]

    def elu(x: Any) -> Any:
        return activations.elu(x, alpha)

    return elu


def _gelu(attributes: Mapping[str, Any]) -> Callable[[Any], Any]:
    """``x/2 (1 + erf(x / sqrt 2))``, or the tanh form (Hendrycks and Gimpel 2016, section 2)."""

    def gelu(x: Any) -> Any:
        # TensorFlow's own op rounds its constants to float32.
        if attributes["approximate"] == "tanh":
            return 0.5 * x * (1.0 + tf.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))
        return 0.5 * x * (1.0 + tf.math.erf(x / math.sqrt(2.0)))

    return gelu


def _softmax(attributes: Mapping[str, Any]) -> Any:
    axis = attributes["axis"]
    if axis == -1:
        return activations.softmax

    def softmax(x: Any) -> Any:
        return activations.softmax(x, axis)

    return softmax


#: By kind, the function of `Activation` layers and of ``activation=`` arguments. Their names count: signxai
#: finds an activation by a part of its function's name.
ACTIVATIONS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "relu": lambda attributes: activations.relu,
    "relu6": lambda attributes: tf.nn.relu6,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "selu": lambda attributes: activations.selu,
    "sigmoid": lambda attributes: activations.sigmoid,
    "tanh": lambda attributes: activations.tanh,
    "swish": lambda attributes: activations.swish,
    "gelu": _gelu,
    "softmax": _softmax,
}


class LeakyReLU(layers.LeakyReLU):
    """``x`` above zero, ``alpha * x`` elsewhere, with ``alpha`` in the layer's own precision."""

    def call(self, inputs: Any) -> Any:
        return tf.where(inputs > 0, inputs, float(self.alpha) * inputs)


# Pooling -------------------------------------------------------------------------------------------------


class _MaxPooling:
    """Max pooling with explicit padding, which never is the maximum."""

    def __init__(self, *args: Any, explicit_padding: Pairs, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.explicit_padding = tuple((int(before), int(after)) for before, after in explicit_padding)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "explicit_padding": self.explicit_padding}  # type: ignore[misc]

    def call(self, inputs: Any) -> Any:
        return super().call(pad_space(inputs, self.explicit_padding, -math.inf))  # type: ignore[misc]


class MaxPooling1D(_MaxPooling, layers.MaxPooling1D):
    pass


class MaxPooling2D(_MaxPooling, layers.MaxPooling2D):
    pass


class _AveragePooling:
    """Average pooling with explicit zeros around, which count as values or do not."""

    def __init__(self, *args: Any, explicit_padding: Pairs, count_include_pad: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.explicit_padding = tuple((int(before), int(after)) for before, after in explicit_padding)
        self.count_include_pad = bool(count_include_pad)

    def get_config(self) -> dict[str, Any]:
        own = {"explicit_padding": self.explicit_padding, "count_include_pad": self.count_include_pad}
        return {**super().get_config(), **own}  # type: ignore[misc]

    def call(self, inputs: Any) -> Any:
        averages = super().call(pad_space(inputs, self.explicit_padding))  # type: ignore[misc]
        if self.count_include_pad:
            return averages
        ones = tf.ones((1, *inputs.shape[1:-1], 1), inputs.dtype)
        return averages / super().call(pad_space(ones, self.explicit_padding))  # type: ignore[misc]


class AveragePooling1D(_AveragePooling, layers.AveragePooling1D):
    pass


class AveragePooling2D(_AveragePooling, layers.AveragePooling2D):
    pass


# The rest ------------------------------------------------------------------------------------------------


class Scale(layers.Layer):
    """``kernel * x + bias`` with one number of each per channel."""

    def __init__(self, use_bias: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.use_bias = use_bias

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "use_bias": self.use_bias}

    def build(self, input_shape: Any) -> None:
        channels = (int(input_shape[-1]),)
        self.kernel = self.add_weight(name="kernel", shape=channels, initializer="ones")
        self.bias = (
            self.add_weight(name="bias", shape=channels, initializer="zeros") if self.use_bias else None
        )
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        scaled = inputs * self.kernel
        return scaled + self.bias if self.use_bias else scaled


def _channels_first(x: Any) -> Any:
    rank = len(x.shape)
    return tf.transpose(x, [0, rank - 1, *range(1, rank - 1)])


class Flatten(layers.Flatten):
    """The values in the order that a channels-first framework flattens them to."""

    def call(self, inputs: Any) -> Any:
        return super().call(_channels_first(inputs))


class Reshape(layers.Reshape):
    """What a channels-first framework reshapes to ``target_shape``, moved back to channels-last."""

    def call(self, inputs: Any) -> Any:
        reshaped = super().call(_channels_first(inputs))
        rank = len(reshaped.shape)
        return tf.transpose(reshaped, [0, *range(2, rank), 1])


def _interpolation(size: int, factor: int) -> np.ndarray:
    """(size * factor, size): linear interpolation at half-pixel centres, constant beyond them.

    Output ``o`` stands at ``(o + 1/2) / factor - 1/2`` on the input's grid.
    """
    places = np.clip((np.arange(size * factor) + 0.5) / factor - 0.5, 0, size - 1)
    distance = np.abs(places[:, None] - np.arange(size)[None, :])
    return np.maximum(1 - distance, 0)


class _LinearUpSampling:
    """Linear interpolation along each spatial axis; `tf.image.resize` would compute it in float32."""

    def call(self: Any, inputs: Any) -> Any:
        for axis, factor in enumerate(np.atleast_1d(self.size), start=1):
            matrix = tf.constant(_interpolation(inputs.shape[axis], int(factor)), inputs.dtype)
            moved = tf.tensordot(inputs, matrix, axes=[[axis], [1]])
            rank = len(inputs.shape)
            inputs = tf.transpose(moved, [*range(axis), rank - 1, *range(axis, rank - 1)])
        return inputs


class UpSampling1D(_LinearUpSampling, layers.UpSampling1D):
    pass


class UpSampling2D(_LinearUpSampling, layers.UpSampling2D):
    pass
