"""Keras layers for what no stock layer computes: explicit paddings, channels-first orders, exact float64.

Each is a subclass of the stock layer whose options it has. All are channels-last and differentiable on
a CPU in float32 and float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from ported_models.shapes import Padding
from ported_models.twins.keras_padding import Padded, by_rank, register


def _windows(x: Any, sizes: tuple[int, ...], strides: tuple[int, ...]) -> Any:
    """What the windows of ``x`` (batch, *space, channel) meet at each offset, (offsets, batch, *counts, channel)."""
    counts = [
        (length - size) // stride + 1
        for length, size, stride in zip(x.shape[1:-1], sizes, strides, strict=True)
    ]
    return ops.stack(
        [
            x[
                (
                    slice(None),
                    *(
                        slice(first, first + (count - 1) * stride + 1, stride)
                        for first, count, stride in zip(offset, counts, strides, strict=True)
                    ),
                )
            ]
            for offset in np.ndindex(*sizes)
        ]
    )


class _ExplicitMaxPooling(Padded):
    """Max pooling with explicit padding, which never is the maximum."""

    pad_value = -math.inf

    def call(self: Any, inputs: Any) -> Any:
        x = self.pad(inputs)
        if len(self.pool_size) < 3:
            return super().call(x)  # type: ignore[misc]
        # TensorFlow's kernel for volumes has no float64; of equal maxima the first, as the others have it.
        met = _windows(x, self.pool_size, self.strides)
        chosen = ops.expand_dims(ops.argmax(met, axis=0), 0)
        return ops.squeeze(ops.take_along_axis(met, chosen, axis=0), 0)


class _ExplicitAveragePooling(Padded):
    """Average pooling with explicit zeros around, which count as values (``count_include_pad``) or do not."""

    def __init__(self, *args: Any, count_include_pad: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.count_include_pad = count_include_pad

    def averages(self: Any, x: Any) -> Any:
        if len(self.pool_size) < 3:
            return super().call(x)  # type: ignore[misc]
        # TensorFlow's kernel for volumes has no float64.
        return ops.mean(_windows(x, self.pool_size, self.strides), axis=0)

    def call(self, inputs: Any) -> Any:
        averages = self.averages(self.pad(inputs))
        if self.count_include_pad:
            return averages
        return averages / self.averages(self.pad(ops.ones_like(inputs[:1, ..., :1])))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count_include_pad": self.count_include_pad}


MAX_POOLING = by_rank("ExplicitMaxPooling", _ExplicitMaxPooling, "MaxPooling")
AVERAGE_POOLING = by_rank("ExplicitAveragePooling", _ExplicitAveragePooling, "AveragePooling")


@register
class ExactLeakyReLU(layers.LeakyReLU):
    """``x`` above zero, ``negative_slope * x`` elsewhere; TensorFlow's own op rounds the slope to float32."""

    def call(self, inputs: Any) -> Any:
        return ops.where(inputs > 0, inputs, self.negative_slope * inputs)


@register
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


@register
class HardSigmoid(layers.Layer):
    """``min(max(alpha * x + beta, 0), 1)``; at a kink the slope is ``alpha``."""

    def __init__(self, alpha: float, beta: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha, self.beta = float(alpha), float(beta)

    def call(self, inputs: Any) -> Any:
        return ops.clip(self.alpha * inputs + self.beta, 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha, "beta": self.beta}


@register
class HardSwish(layers.Layer):
    """``x * min(max(x / 6 + 1/2, 0), 1)`` (Howard et al. 2019, arXiv:1905.02244, section 5.2)"""

    def call(self, inputs: Any) -> Any:
        return inputs * ops.clip(inputs / 6.0 + 0.5, 0.0, 1.0)


@register
class SquareRoot(layers.Layer):
    """``x ** (1/2)``: nan below 0, an infinite slope at 0."""

    def call(self, inputs: Any) -> Any:
        return ops.sqrt(inputs)


@register
class Clip(layers.Layer):
    """``min(max(x, low), high)``; at a bound the slope is 1."""

    def __init__(self, low: float, high: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.low, self.high = float(low), float(high)

    def call(self, inputs: Any) -> Any:
        return ops.clip(inputs, self.low, self.high)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "low": self.low, "high": self.high}


@register
class ExactPReLU(layers.PReLU):
    """``x`` above zero, ``alpha * x`` elsewhere, one alpha a channel; at zero the slope is alpha."""

    def call(self, inputs: Any) -> Any:
        return ops.where(inputs > 0, inputs, self.alpha * inputs)


@register
class LocalResponseNormalization(layers.Layer):
    """``x / (bias + alpha / window * sum of squares)**beta`` over ``window`` neighbouring channels; any float type."""

    def __init__(self, window: int, alpha: float, beta: float, bias: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.window, self.alpha, self.beta, self.bias = int(window), float(alpha), float(beta), float(bias)

    def call(self, inputs: Any) -> Any:
        channels, half = inputs.shape[-1], self.window // 2
        around = [(0, 0)] * (len(inputs.shape) - 1) + [(half, half)]
        squares = ops.pad(ops.square(inputs), around)
        total = squares[..., :channels]
        for offset in range(1, self.window):
            total = total + squares[..., offset : offset + channels]
        return inputs / ops.power(self.bias + self.alpha / self.window * total, self.beta)

    def get_config(self) -> dict[str, Any]:
        own = {key: getattr(self, key) for key in ("window", "alpha", "beta", "bias")}
        return {**super().get_config(), **own}


@register
class Affine(layers.Layer):
    """``kernel * x + bias`` number by number, each of the input's shape without its batch axis."""

    def __init__(self, use_kernel: bool, use_bias: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.use_kernel, self.use_bias = use_kernel, use_bias

    def build(self, input_shape: Any) -> None:
        def weight(name: str, fill: str) -> Any:
            return self.add_weight(name=name, shape=tuple(input_shape[1:]), initializer=fill)

        self.kernel = weight("kernel", "ones") if self.use_kernel else None
        self.bias = weight("bias", "zeros") if self.use_bias else None

    def call(self, inputs: Any) -> Any:
        scaled = inputs * self.kernel if self.use_kernel else inputs
        return scaled + self.bias if self.use_bias else scaled

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "use_kernel": self.use_kernel, "use_bias": self.use_bias}


@register
class Pad(layers.Layer):
    """``value`` around all axes but the batch axis."""

    def __init__(self, padding: Padding, value: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.padding = tuple((int(before), int(after)) for before, after in padding)
        self.value = float(value)

    def call(self, inputs: Any) -> Any:
        return ops.pad(inputs, ((0, 0), *self.padding), constant_values=self.value)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": self.padding, "value": self.value}


@register
class Take(layers.Layer):
    """The values at ``indices`` of ``axis``, in this order."""

    def __init__(self, axis: int, indices: tuple[int, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis, self.indices = int(axis), tuple(int(index) for index in indices)

    def call(self, inputs: Any) -> Any:
        return ops.take(inputs, ops.convert_to_tensor(self.indices, dtype="int32"), axis=self.axis)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis, "indices": self.indices}


@register
class Part(layers.Layer):
    """The values of a vector from ``start`` on, in the shape ``target``."""

    def __init__(self, start: int, target: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start, self.target = int(start), tuple(int(side) for side in target)

    def call(self, inputs: Any) -> Any:
        values = inputs[:, self.start : self.start + math.prod(self.target)]
        return ops.reshape(values, (-1, *self.target))

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        return (input_shape[0], *self.target)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "start": self.start, "target": self.target}


@register
class Resample(layers.Layer):
    """``matrix``, (out, in), times the values along ``axis``."""

    def __init__(self, axis: int, outputs: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis, self.outputs = int(axis), int(outputs)

    def build(self, input_shape: Any) -> None:
        shape = (self.outputs, input_shape[self.axis])
        self.matrix = self.add_weight(name="matrix", shape=shape, initializer="zeros")

    def call(self, inputs: Any) -> Any:
        product = ops.tensordot(inputs, self.matrix, axes=[[len(inputs.shape) + self.axis], [1]])
        return ops.moveaxis(product, -1, self.axis)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis, "outputs": self.outputs}


@register
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


@register
class ChannelsFirstFlatten(layers.Flatten):
    """The values in the order that a channels-first framework flattens them to."""

    def call(self, inputs: Any) -> Any:
        return super().call(ops.moveaxis(inputs, -1, 1))


@register
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


@register
class LinearUpSampling1D(_LinearUpSampling, layers.UpSampling1D):
    pass


@register
class LinearUpSampling2D(_LinearUpSampling, layers.UpSampling2D):
    pass
