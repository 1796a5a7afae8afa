"""Keras convolutions with explicit paddings and any mix of strides, dilations and groups.

Each is a subclass of the stock layer whose weights and options it has, so that code which asks for a
`keras.layers.Conv2D` finds one. All are channels-last and differentiable on a CPU in float32 and float64.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from ported_models.shapes import Padding, dilated, transposed_outputs
from ported_models.twins.keras_padding import Padded, by_rank


def spread(kernel: Any, dilations: tuple[int, ...]) -> Any:
    """``kernel`` (*space, a, b) with ``dilation - 1`` zeros between its taps: a dilated kernel, written out.

    It is the same function with a gradient: TensorFlow's dilated CPU convolutions have none in float64.
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
    """Unpadded depthwise convolution, kernel (*space, in, multiplier); ``i`` feeds ``i * multiplier + q``.

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
    if kernel.shape[-2] == 1 and len(strides) < 3:
        *space, _, outputs = kernel.shape
        return depthwise(x, ops.reshape(kernel, (*space, groups, outputs // groups)), strides)
    parts = zip(ops.split(x, groups, axis=-1), ops.split(kernel, groups, axis=-1), strict=True)
    return ops.concatenate(
        [ops.conv(part, taps, strides=strides, padding="valid") for part, taps in parts], axis=-1
    )


class _Dilated:
    """Keras refuses dilations beside strides when a layer is constructed; here they may stand together."""

    rank: int

    def __init__(self, *args: Any, dilation_rate: Any = 1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rates = (dilation_rate,) if isinstance(dilation_rate, int) else tuple(dilation_rate)
        self.dilation_rate = rates * (self.rank // len(rates))


class _ExplicitConv(Padded, _Dilated):
    """Convolution with explicit padding and any mix of strides, dilations and groups."""

    def call(self: Any, inputs: Any) -> Any:
        outputs = convolve(self.pad(inputs), self.kernel, self.strides, self.dilation_rate, self.groups)
        return outputs + self.bias if self.use_bias else outputs


CONV = by_rank("ExplicitConv", _ExplicitConv, "Conv")


class _ExplicitSeparableConv(Padded, _Dilated):
    """Depthwise, then pointwise convolution, with explicit padding and any mix of strides and dilations."""

    def call(self: Any, inputs: Any) -> Any:
        kernel = spread(self.depthwise_kernel, self.dilation_rate)
        outputs = ops.conv(depthwise(self.pad(inputs), kernel, self.strides), self.pointwise_kernel)
        return outputs + self.bias if self.use_bias else outputs


SEPARABLE_CONV = by_rank("ExplicitSeparableConv", _ExplicitSeparableConv, "SeparableConv", ranks=(1, 2))


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


CONV_TRANSPOSE = by_rank("ExplicitConv", _ExplicitConvTranspose, "Conv", end="Transpose")
