"""Every linear layer as what it is: a map ``f(x; W, b)`` and its transpose ``f^T(s; W)``, in float64.

Shapes: inputs and ``s`` are batch-first and channels-last. A map takes a tuple of inputs (one, except for
``add``) and its transpose returns a tuple of the same length. ``weights`` stands beside the layer because
rules apply one layer with other weights than its own (their positive part, their square, ones).

The transpose satisfies ``<f(x; W, 0), s> = <x, f^T(s; W)>`` and never reads a bias.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from harness.errors import UnsupportedLayerError
from harness.graph import Layer
from reference_impls.oracle.windows import Shape, Windows, convolution_windows, pooling_windows

#: Entries of a window up to which they are laid side by side.
NARROW = 64
Arrays = tuple[np.ndarray, ...]
Weights = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class LinearMap:
    """The two directions of one kind of layer."""

    apply: Callable[[Layer, Arrays, Weights], np.ndarray]
    transpose: Callable[[Layer, np.ndarray, Weights], Arrays]


def weights_of(layer: Layer) -> dict[str, np.ndarray]:
    """The layer's own weights in float64."""
    return {name: np.asarray(weight, dtype=np.float64) for name, weight in layer.weights.items()}


def is_linear(layer: Layer) -> bool:
    """Whether ``layer`` is one of the linear maps of this module."""
    return layer.kind in LINEAR_MAPS


def apply(layer: Layer, inputs: Arrays, weights: Weights) -> np.ndarray:
    """``f(x; W, b)``; the bias is added where ``weights`` holds one. Raises UnsupportedLayerError."""
    return _map_of(layer).apply(layer, inputs, weights)


def transpose(layer: Layer, s: np.ndarray, weights: Weights) -> Arrays:
    """``f^T(s; W)``, one array for each input of the layer. Raises UnsupportedLayerError."""
    return _map_of(layer).transpose(layer, s, weights)


def unbroadcast(s: np.ndarray, shape: Shape) -> np.ndarray:
    """Transpose of broadcasting (batch, *shape) to the shape of ``s``: the sum over the repeated axes."""
    repeated = tuple(axis for axis, length in enumerate(shape, start=1) if length == 1)
    return s.sum(axis=repeated, keepdims=True)


def _map_of(layer: Layer) -> LinearMap:
    try:
        return LINEAR_MAPS[layer.kind]
    except KeyError:
        raise UnsupportedLayerError(
            f"layer {layer.name!r} ({layer.kind}) is not linear; there is a map for: "
            f"{', '.join(sorted(LINEAR_MAPS))}"
        ) from None


def _with_bias(y: np.ndarray, weights: Weights) -> np.ndarray:
    return y + weights["bias"] if "bias" in weights else y


# Dense and scale -------------------------------------------------------------------------------------


def _dense(layer: Layer, inputs: Arrays, weights: Weights) -> np.ndarray:
    return _with_bias(inputs[0] @ weights["kernel"], weights)


def _dense_transpose(layer: Layer, s: np.ndarray, weights: Weights) -> Arrays:
    return (s @ weights["kernel"].T,)


def _scale(layer: Layer, inputs: Arrays, weights: Weights) -> np.ndarray:
    return _with_bias(inputs[0] * weights["kernel"], weights)


def _scale_transpose(layer: Layer, s: np.ndarray, weights: Weights) -> Arrays:
    return (s * weights["kernel"],)


# Convolutions ----------------------------------------------------------------------------------------


def _gather(x: np.ndarray, kernel: np.ndarray, windows: Windows, groups: int) -> np.ndarray:
    """Convolution: ``y[b, p, o] = sum over offsets k and channels i of x_padded[b, p*stride + k*dilation, i]
    * kernel[k, i, o]``, the channels of each group on their own; kernel (*space, in/groups, out)."""
    padded = windows.pad(x)
    counts = windows.counts(x.shape[1:-1])
    if _is_narrow(kernel, groups):
        met = [windows.met(padded, offset, counts) for offset in windows.offsets()]
        return np.concatenate(met, axis=-1) @ _rows(kernel)
    y = np.zeros((x.shape[0], *counts, kernel.shape[-1]))
    for offset in windows.offsets():
        y += _mix(windows.met(padded, offset, counts), _by_group(kernel[offset], groups))
    return y


def _scatter(s: np.ndarray, kernel: np.ndarray, windows: Windows, groups: int, space: Shape) -> np.ndarray:
    """Transpose of :func:`_gather` for inputs of spatial shape ``space``: every product goes back where it
    came from; kernel (*space, in/groups, out), ``s`` (batch, *windows, out), result (batch, *space, in)."""
    padded = np.zeros((s.shape[0], *windows.padded_space(space), kernel.shape[-2] * groups))
    counts = s.shape[1:-1]
    if _is_narrow(kernel, groups):
        shares = np.split(s @ _rows(kernel).T, kernel[..., 0, 0].size, axis=-1)
        for offset, share in zip(windows.offsets(), shares, strict=True):
            windows.met(padded, offset, counts)[...] += share
        return windows.unpad(padded)
    for offset in windows.offsets():
        back = _by_group(kernel[offset], groups).swapaxes(1, 2)
        windows.met(padded, offset, counts)[...] += _mix(s, back)
    return windows.unpad(padded)


def _is_narrow(kernel: np.ndarray, groups: int) -> bool:
    """Whether a window has so few entries that one product with all of them is faster than one an offset."""
    return groups == 1 and len(_rows(kernel)) <= NARROW


def _rows(kernel: np.ndarray) -> np.ndarray:
    """(*space, in, out) as one matrix: a row an entry of the window."""
    return kernel.reshape(-1, kernel.shape[-1])


def _by_group(matrix: np.ndarray, groups: int) -> np.ndarray:
    """(in/groups, out) as one matrix per group: (groups, in/groups, out/groups)."""
    return matrix.reshape(matrix.shape[0], groups, -1).swapaxes(0, 1)


def _mix(x: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """``x`` (batch, *space, groups*in) times ``matrices`` (groups, in, out), group by group."""
    groups, channels, outputs = matrices.shape
    if channels == outputs == 1:  # a depthwise convolution: matrices of one entry
        return x * matrices.reshape(-1)
    rows = x.reshape(-1, groups, channels).swapaxes(0, 1)
    return (rows @ matrices).swapaxes(0, 1).reshape(*x.shape[:-1], -1)


def _conv(layer: Layer, inputs: Arrays, weights: Weights) -> np.ndarray:
    kernel = weights["kernel"]
    windows = convolution_windows(layer, kernel.shape)
    return _with_bias(_gather(inputs[0], kernel, windows, layer.attributes["groups"]), weights)


def _conv_transpose(layer: Layer, s: np.ndarray, weights: Weights) -> Arrays:
    kernel = weights["kernel"]
    windows = convolution_windows(layer, kernel.shape)
    space = layer.input_shapes[0][:-1]
    return (_scatter(s, kernel, windows, layer.attributes["groups"], space),)


def _transposed_conv(layer: Layer, inputs: Arrays, weights: Weights) -> np.ndarray:
    # The layer is the transpose of the convolution that has its input and output channels swapped.
    # Output padding needs no code: it makes layer.shape longer, and no window reaches the added entries
    # beyond the full output.
    kernel = weights["kernel"].swapaxes(-1, -2)
    windows = convolution_windows(layer, kernel.shape)
    y = _scatter(inputs[0], kernel, windows, layer.attributes["groups"], layer.shape[:-1])
    return _with_bias(y, weights)


def _transposed_conv_transpose(layer: Layer, s: np.ndarray, weights: Weights) -> Arrays:
    kernel = weights["kernel"].swapaxes(-1, -2)
    windows = convolution_windows(layer, kernel.shape)
    passed = _gather(s, kernel, windows, layer.attributes["groups"])
    # Output padding of a stride or more makes room for windows that no input entry belongs to.
    return (passed[tuple(slice(length) for length in (None, *layer.input_shapes[0]))],)


def _depthwise_as_grouped(kernel: np.ndarray) -> np.ndarray:
    """(*space, in, multiplier) as a kernel with one group per input channel: (*space, 1, in*multiplier)."""
    return kernel.reshape(*kernel.shape[:-2], 1, -1)


def _separable_conv(layer: Layer, inputs: Arrays, weights: Weights) -> np.ndarray:
    kernel = _depthwise_as_grouped(weights["depthwise_kernel"])
    windows = convolution_windows(layer, kernel.shape)
    between = _gather(inputs[0], kernel, windows, layer.input_shapes[0][-1])
    return _with_bias(between @ weights["pointwise_kernel"], weights)


def _separable_conv_transpose(layer: Layer, s: np.ndarray, weights: Weights) -> Arrays:
    kernel = _depthwise_as_grouped(weights["depthwise_kernel"])
    windows = convolution_windows(layer, kernel.shape)
    *space, channels = layer.input_shapes[0]
    between = s @ weights["pointwise_kernel"].T
    return (_scatter(between, kernel, windows, channels, tuple(space)),)


# Average pooling and add -----------------------------------------------------------------------------


def _divisors(layer: Layer, windows: Windows) -> np.ndarray:
    """How many entries each window averages over, (1, *windows, 1): with or without the padded ones."""
    space = layer.input_shapes[0][:-1]
    counts = windows.counts(space)
    if layer.attributes.get("count_include_pad", True):
        return np.full((1, *counts, 1), float(windows.entries))
    inside = windows.pad(np.ones((1, *space, 1)))
    return sum((windows.met(inside, offset, counts) for offset in windows.offsets()), np.zeros(()))


def _average_pool(layer: Layer, inputs: Arrays, weights: Weights) -> np.ndarray:
    windows = pooling_windows(layer)
    padded = windows.pad(inputs[0])
    counts = windows.counts(inputs[0].shape[1:-1])
    total = sum((windows.met(padded, offset, counts) for offset in windows.offsets()), np.zeros(()))
    # A global pooling without keepdims drops the spatial axes, all of length one here.
    return (total / _divisors(layer, windows)).reshape(inputs[0].shape[0], *layer.shape)


def _average_pool_transpose(layer: Layer, s: np.ndarray, weights: Weights) -> Arrays:
    windows = pooling_windows(layer)
    *space, channels = layer.input_shapes[0]
    counts = windows.counts(tuple(space))
    share = s.reshape(s.shape[0], *counts, channels) / _divisors(layer, windows)
    padded = np.zeros((s.shape[0], *windows.padded_space(tuple(space)), channels))
    for offset in windows.offsets():
        windows.met(padded, offset, counts)[...] += share
    return (windows.unpad(padded),)


def _add(layer: Layer, inputs: Arrays, weights: Weights) -> np.ndarray:
    return sum(inputs, np.zeros(()))


def _add_transpose(layer: Layer, s: np.ndarray, weights: Weights) -> Arrays:
    return tuple(unbroadcast(s, shape) for shape in layer.input_shapes)


_CONVOLUTION = LinearMap(_conv, _conv_transpose)
_TRANSPOSED_CONVOLUTION = LinearMap(_transposed_conv, _transposed_conv_transpose)
_SEPARABLE_CONVOLUTION = LinearMap(_separable_conv, _separable_conv_transpose)
_AVERAGE_POOLING = LinearMap(_average_pool, _average_pool_transpose)
LINEAR_MAPS: dict[str, LinearMap] = {
    "dense": LinearMap(_dense, _dense_transpose),
    "scale": LinearMap(_scale, _scale_transpose),
    **{f"conv{rank}d": _CONVOLUTION for rank in (1, 2, 3)},
    **{f"conv_transpose{rank}d": _TRANSPOSED_CONVOLUTION for rank in (1, 2, 3)},
    "separable_conv1d": _SEPARABLE_CONVOLUTION,
    "separable_conv2d": _SEPARABLE_CONVOLUTION,
    **{f"average_pool{rank}d": _AVERAGE_POOLING for rank in (1, 2, 3)},
    "global_average_pool": _AVERAGE_POOLING,
    "add": LinearMap(_add, _add_transpose),
}
