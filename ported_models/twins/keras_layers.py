"""Keras layers for what no stock layer computes: explicit paddings, and float64 where Keras rounds to float32.

Each is a subclass of the stock layer whose weights and options it has, so that code which asks for a
`keras.layers.Conv2D` finds one. All are channels-last and differentiable on a CPU in float32 and float64.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from ported_models.shapes import Padding, dilated, transposed_outputs

_register = keras.saving.register_keras_serializable(package="xai_harness")


def pad_space(x: Any, padding: Padding, value: float = 0.0) -> Any:
    """``x`` (batch, *space, channel) with ``value`` put around its spatial axes."""
    if not any(side for pair in padding for side in pair):
        return x
    return ops.pad(x, [(0, 0), *padding, (0, 0)], mode="constant", constant_values=value)


def pad_shape(shape: Any, padding: Padding) -> tuple[int | None, ...]:
    """Shape of :func:`pad_space`'s result; ``shape`` includes the batch axis."""
    batch, *space, channels = shape
    grown = (size + before + after for size, (before, after) in zip(space, padding, strict=True))
    return (batch, *grown, channels)


def spread(kernel: Any, dilations: tuple[int, ...]) -> Any:
    """``kernel`` (*space, a, b) with ``dilation - 1`` zeros between its taps: a dilated kernel, written out.

    The same function, with a gradient: TensorFlow's dilated CPU convolutions have none in float64 or with strides.
    """
    for axis, dilation in enumerate(dilations):
        taps = kernel.shape[axis]
        if dilation == 1 or taps == 1:
            continue
        shape = tuple(kernel.shape)
        zeros = [(0, 0)] * (len(shape) + 1)
        zeros[axis + 1] = (0, dilation - 1)
        kernel = ops.pad(ops.expand_dims(kernel, axis + 1), zeros)
        kernel = ops.reshape(kernel, (*shape[:axis], taps * dilation, *shape[axis + 1 :]))
        kernel = kernel[(slice(None),) * axis + (slice(0, dilated(taps, dilation)),)]
    return kernel


def depthwise(x: Any, kernel: Any, strides: tuple[int, ...]) -> Any:
    """Unpadded depthwise convolution, kernel (*space, in, multiplier); in ``i`` feeds out ``i * multiplier + q``.

    TensorFlow's kernel takes one stride for all axes; with several, every position is computed and the
    wanted ones are kept.
    """
    if len(set(strides)) == 1:
        return ops.depthwise_conv(x, kernel, strides=strides[0], padding="valid")
    y = ops.depthwise_conv(x, kernel, strides=1, padding="valid")
    return y[(slice(None), *(slice(None, None, stride) for stride in strides))]


def convolve(x: Any, kernel: Any, strides: tuple[int, ...], dilations: tuple[int, ...], groups: int) -> Any:
    """Unpadded convolution, kernel (*space, in/groups, out).

    Groups are convolved one by one: TensorFlow has no CPU gradient for grouped convolutions.
    """
    kernel = spread(kernel, dilations)
    if groups == 1:
        return ops.conv(x, kernel, strides=strides, padding="valid")
    if kernel.shape[-2] == 1:
        *space, _, outputs = kernel.shape
        return depthwise(x, ops.reshape(kernel, (*space, groups, outputs // groups)), strides)
    parts = zip(ops.split(x, groups, axis=-1), ops.split(kernel, groups, axis=-1), strict=True)
    return ops.concatenate(
        [ops.conv(part, taps, strides=strides, padding="valid") for part, taps in parts], axis=-1
    )


class _Padded:
    """An explicit ``explicit_padding`` in front of a stock layer with ``padding="valid"``."""

    pad_value = 0.0

    def __init__(self, *args: Any, explicit_padding: Padding, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.explicit_padding = tuple((int(before), int(after)) for before, after in explicit_padding)

    def pad(self, x: Any) -> Any:
        return pad_space(x, self.explicit_padding, self.pad_value)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return super().compute_output_shape(pad_shape(input_shape, self.explicit_padding))  # type: ignore[misc]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "explicit_padding": self.explicit_padding}  # type: ignore[misc]


class _Dilated:
    """Keras refuses dilations beside strides when a layer is constructed; here they may stand together."""

    def __init__(self, *args: Any, dilation_rate: Any = 1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rates = (dilation_rate,) if isinstance(dilation_rate, int) else tuple(dilation_rate)
        self.dilation_rate = rates * (self.rank // len(rates))


class _ExplicitConv(_Padded, _Dilated):
    """Convolution with explicit padding and any mix of strides, dilations and groups."""

    def call(self: Any, inputs: Any) -> Any:
        outputs = convolve(self.pad(inputs), self.kernel, self.strides, self.dilation_rate, self.groups)
        return outputs + self.bias if self.use_bias else outputs


@_register
class ExplicitConv1D(_ExplicitConv, layers.Conv1D):
    pass


@_register
class ExplicitConv2D(_ExplicitConv, layers.Conv2D):
    pass


class _ExplicitSeparableConv(_Padded, _Dilated):
    """Depthwise, then pointwise convolution, with explicit padding and any mix of strides and dilations."""

    def call(self: Any, inputs: Any) -> Any:
        kernel = spread(self.depthwise_kernel, self.dilation_rate)
        outputs = ops.conv(depthwise(self.pad(inputs), kernel, self.strides), self.pointwise_kernel)
        return outputs + self.bias if self.use_bias else outputs


@_register
class ExplicitSeparableConv1D(_ExplicitSeparableConv, layers.SeparableConv1D):
    pass


@_register
class ExplicitSeparableConv2D(_ExplicitSeparableConv, layers.SeparableConv2D):
    pass


class _ExplicitConvTranspose(_Dilated):
    """Transposed convolution whose full output is lengthened by ``appended`` zeros and cropped, then biased.

    The kernel is (*space, out/groups, in), as Keras has it, and dilations and groups are allowed.
    """

    def __init__(
        self, *args: Any, cropping: Padding, appended: tuple[int, ...], groups: int = 1, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.cropping = tuple((int(before), int(after)) for before, after in cropping)
        self.appended = tuple(int(size) for size in appended)
        self.groups = int(groups)

    def build(self: Any, input_shape: Any) -> None:
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, self.filters // self.groups, input_shape[-1]),
            initializer=self.kernel_initializer,
        )
        self.bias = (
            self.add_weight(name="bias", shape=(self.filters,), initializer=self.bias_initializer)
            if self.use_bias
            else None
        )
        self.built = True

    def call(self: Any, inputs: Any) -> Any:
        kernel = spread(self.kernel, self.dilation_rate)
        parts = zip(
            ops.split(inputs, self.groups, axis=-1), ops.split(kernel, self.groups, axis=-1), strict=True
        )
        full = ops.concatenate(
            [ops.conv_transpose(part, taps, strides=self.strides, padding="valid") for part, taps in parts],
            axis=-1,
        )
        sizes = self.compute_output_shape(inputs.shape)[1:-1]
        for axis, ((before, _), size) in enumerate(zip(self.cropping, sizes, strict=True), start=1):
            missing = max(before + size - full.shape[axis], 0)
            lengthened = [(0, 0)] * len(full.shape)
            lengthened[axis] = (0, missing)
            full = ops.pad(full, lengthened)
            full = full[(slice(None),) * axis + (slice(before, before + size),)]
        return full + self.bias if self.use_bias else full

    def compute_output_shape(self: Any, input_shape: Any) -> Any:
        batch, *space, _ = input_shape
        sizes = transposed_outputs(
            space, self.kernel_size, self.strides, self.cropping, self.dilation_rate, self.appended
        )
        return (batch, *sizes, self.filters)

    def get_config(self: Any) -> dict[str, Any]:
        own = {"cropping": self.cropping, "appended": self.appended, "groups": self.groups}
        return {**super().get_config(), **own}  # type: ignore[misc]


@_register
class ExplicitConv1DTranspose(_ExplicitConvTranspose, layers.Conv1DTranspose):
    pass


@_register
class ExplicitConv2DTranspose(_ExplicitConvTranspose, layers.Conv2DTranspose):
    pass


class _ExplicitMaxPooling(_Padded):
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


class _ExplicitAveragePooling(_Padded):
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
