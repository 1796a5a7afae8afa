# ruff: noqa: B905  (zip has no strict= in the oldest Python that a peer runs on)
"""Keras 2 convolutions with explicit paddings and any mix of strides, dilations and groups.

As in `keras2_layers.py`, each is a subclass of the stock layer under its class name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from tensorflow.keras import layers

if TYPE_CHECKING:
    Pairs = tuple[tuple[int, int], ...]


# Convolutions --------------------------------------------------------------------------------------------


def pad_space(x: Any, pairs: Pairs, value: float = 0.0) -> Any:
    """``x`` (batch, *space, channel) with ``value`` put around its spatial axes."""
    if not any(side for pair in pairs for side in pair):
        return x
    return tf.pad(x, [(0, 0), *pairs, (0, 0)], constant_values=tf.constant(value, x.dtype))


def spread_taps(kernel: Any, dilations: Sequence[int]) -> Any:
    """``kernel`` (*space, a, b) with ``dilation - 1`` zeros between its taps: a dilated kernel, written out."""
    for axis, dilation in enumerate(dilations):
        taps = kernel.shape[axis]
        if dilation == 1 or taps == 1:
            continue
        shape = tuple(kernel.shape)
        zeros = [(0, 0)] * (len(shape) + 1)
        zeros[axis + 1] = (0, dilation - 1)
        kernel = tf.pad(tf.expand_dims(kernel, axis + 1), zeros)
        kernel = tf.reshape(kernel, (*shape[:axis], taps * dilation, *shape[axis + 1 :]))
        kernel = kernel[(slice(None),) * axis + (slice(0, (taps - 1) * dilation + 1),)]
    return kernel


def _finished(layer: Any, outputs: Any) -> Any:
    """``outputs`` plus the layer's bias, through its activation."""
    if layer.use_bias:
        outputs = outputs + layer.bias
    return outputs if layer.activation is None else layer.activation(outputs)


def _depthwise(x: Any, kernel: Any, strides: Sequence[int]) -> Any:
    """Unpadded, kernel (height, width, in, multiplier); TensorFlow's op takes one stride for both axes."""
    if len(set(strides)) == 1:
        return tf.nn.depthwise_conv2d(x, kernel, [1, *strides, 1], "VALID")
    every = tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "VALID")
    return every[:, :: strides[0], :: strides[1]]


class _Explicit:
    """Explicit padding and any dilation beside any stride; both are part of the layer's configuration."""

    def __init__(self, *args: Any, explicit_padding: Pairs, spread: Sequence[int], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.explicit_padding = tuple((int(before), int(after)) for before, after in explicit_padding)
        self.spread = tuple(int(each) for each in spread)

    def get_config(self) -> dict[str, Any]:
        own = {"explicit_padding": self.explicit_padding, "spread": self.spread}
        return {**super().get_config(), **own}  # type: ignore[misc]


class _Conv(_Explicit):
    def call(self: Any, inputs: Any) -> Any:
        x, kernel = pad_space(inputs, self.explicit_padding), spread_taps(self.kernel, self.spread)
        # TensorFlow has no gradient of a grouped convolution on a CPU.
        parts = zip(tf.split(x, self.groups, axis=-1), tf.split(kernel, self.groups, axis=-1))
        return _finished(
            self,
            tf.concat(
                [tf.nn.convolution(part, taps, self.strides, "VALID") for part, taps in parts], axis=-1
            ),
        )


class Conv1D(_Conv, layers.Conv1D):
    pass


class Conv2D(_Conv, layers.Conv2D):
    pass


class DepthwiseConv2D(_Explicit, layers.DepthwiseConv2D):
    def call(self, inputs: Any) -> Any:
        kernel = spread_taps(self.depthwise_kernel, self.spread)
        return _finished(self, _depthwise(pad_space(inputs, self.explicit_padding), kernel, self.strides))


class SeparableConv1D(_Explicit, layers.SeparableConv1D):
    def call(self, inputs: Any) -> Any:
        kernel = spread_taps(self.depthwise_kernel, self.spread)
        x = tf.expand_dims(pad_space(inputs, self.explicit_padding), 1)
        deep = _depthwise(x, tf.expand_dims(kernel, 0), self.strides * 2)
        return _finished(self, tf.nn.convolution(tf.squeeze(deep, 1), self.pointwise_kernel, 1, "VALID"))


class SeparableConv2D(_Explicit, layers.SeparableConv2D):
    def call(self, inputs: Any) -> Any:
        kernel = spread_taps(self.depthwise_kernel, self.spread)
        deep = _depthwise(pad_space(inputs, self.explicit_padding), kernel, self.strides)
        return _finished(self, tf.nn.convolution(deep, self.pointwise_kernel, 1, "VALID"))


class _ConvTranspose:
    """The full transposed convolution, lengthened by ``appended`` zeros and cropped, then biased.

    The kernel is (*space, out/groups, in), as Keras has it.
    """

    def __init__(
        self,
        *args: Any,
        cropping: Pairs,
        appended: Sequence[int],
        channel_groups: int,
        spread: Sequence[int],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.cropping = tuple((int(before), int(after)) for before, after in cropping)
        self.appended = tuple(int(each) for each in appended)
        self.channel_groups = int(channel_groups)
        self.spread = tuple(int(each) for each in spread)

    def get_config(self) -> dict[str, Any]:
        own = {key: getattr(self, key) for key in ("cropping", "appended", "channel_groups", "spread")}
        return {**super().get_config(), **own}  # type: ignore[misc]

    def build(self: Any, input_shape: Any) -> None:
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, self.filters // self.channel_groups, int(input_shape[-1])),
            initializer=self.kernel_initializer,
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,)) if self.use_bias else None
        self.built = True

    def call(self: Any, inputs: Any) -> Any:
        groups = self.channel_groups
        kernel = spread_taps(self.kernel, self.spread)
        sizes = [
            (size - 1) * stride + taps
            for size, stride, taps in zip(inputs.shape[1:-1], self.strides, kernel.shape)
        ]
        shape = tf.stack([tf.shape(inputs)[0], *sizes, kernel.shape[-2]])
        parts = zip(tf.split(inputs, groups, axis=-1), tf.split(kernel, groups, axis=-1))
        full = tf.concat(
            [tf.nn.conv_transpose(part, taps, shape, self.strides, "VALID") for part, taps in parts], axis=-1
        )
        full = pad_space(full, tuple((0, more) for more in self.appended))
        kept = (
            slice(before, size + more - after)
            for (before, after), size, more in zip(self.cropping, sizes, self.appended)
        )
        return _finished(self, full[(slice(None), *kept)])


class Conv1DTranspose(_ConvTranspose, layers.Conv1DTranspose):
    pass


class Conv2DTranspose(_ConvTranspose, layers.Conv2DTranspose):
    pass
