"""The forward pass of every kind of `harness.graph`, in float64. Arrays are batch-first, channels-last."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from harness.errors import UnsupportedLayerError
from harness.graph import RECURRENT_KINDS, Graph, Layer
from reference_impls.oracle import attention, linear, recurrent
from reference_impls.oracle.activations import ELEMENTWISE
from reference_impls.oracle.linear import Arrays
from reference_impls.oracle.windows import pooling_windows


def activations(graph: Graph, x: np.ndarray) -> dict[str, np.ndarray]:
    """The output of every layer for the input ``x`` (batch, *input shape), by name, in forward order."""
    outputs = {graph.input.name: np.asarray(x, dtype=np.float64)}
    for layer in graph.layers[1:]:
        outputs[layer.name] = apply(layer, tuple(outputs[name] for name in layer.inputs))
    return outputs


def apply(layer: Layer, inputs: Arrays) -> np.ndarray:
    """The output of ``layer`` for its inputs. Raises UnsupportedLayerError for a kind that is none."""
    if linear.is_linear(layer):
        return linear.apply(layer, inputs, linear.weights_of(layer))
    if layer.kind in ELEMENTWISE:
        function, _ = ELEMENTWISE[layer.kind]
        return function(inputs[0], layer.attributes)
    if layer.kind in FUNCTIONS:
        return FUNCTIONS[layer.kind](layer, inputs)
    raise UnsupportedLayerError(
        f"the oracle cannot compute layer {layer.name!r} ({layer.kind}); "
        "kinds are listed in harness.graph.KINDS"
    )


def softmax(layer: Layer, inputs: Arrays) -> np.ndarray:
    """``exp(x) / sum(exp(x))`` along ``axis``."""
    (x,) = inputs
    axis = layer.attributes["axis"]
    # The largest exponent becomes 0: nothing overflows, the quotient is the same.
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def batch_norm(layer: Layer, inputs: Arrays) -> np.ndarray:
    """``gamma * (x - mean) / sqrt(variance + epsilon) + beta`` per last axis, with the stored statistics."""
    weights = linear.weights_of(layer)
    normalised = (inputs[0] - weights["mean"]) / np.sqrt(weights["variance"] + layer.attributes["epsilon"])
    return normalised * weights.get("gamma", 1.0) + weights.get("beta", 0.0)


def layer_norm(layer: Layer, inputs: Arrays) -> np.ndarray:
    """``gamma * (x - m) / sqrt(v + epsilon) + beta``, mean and (biased) variance over the last axes."""
    weights = linear.weights_of(layer)
    axes = tuple(range(-layer.attributes["axes_count"], 0))
    centred = inputs[0] - inputs[0].mean(axis=axes, keepdims=True)
    variance = (centred**2).mean(axis=axes, keepdims=True)
    normalised = centred / np.sqrt(variance + layer.attributes["epsilon"])
    return normalised * weights.get("gamma", 1.0) + weights.get("beta", 0.0)


def group_norm(layer: Layer, inputs: Arrays) -> np.ndarray:
    """``gamma * (x - m) / sqrt(v + epsilon) + beta``, mean and (biased) variance of each sample's group of channels
    over all places (Wu and He 2018, arXiv:1803.08494, eq. 1 to 4)."""
    weights = linear.weights_of(layer)
    grouped = by_group(layer, inputs[0])
    centred = grouped - grouped.mean(axis=(1, 3), keepdims=True)
    variance = (centred**2).mean(axis=(1, 3), keepdims=True)
    normalised = (centred / np.sqrt(variance + layer.attributes["epsilon"])).reshape(inputs[0].shape)
    return normalised * weights.get("gamma", 1.0) + weights.get("beta", 0.0)


def by_group(layer: Layer, x: np.ndarray) -> np.ndarray:
    """(batch, *space, channel) as (batch, places, group, channels of a group)."""
    groups = layer.attributes["groups"]
    return x.reshape(x.shape[0], -1, groups, x.shape[-1] // groups)


def lrn(layer: Layer, inputs: Arrays) -> np.ndarray:
    """``x / d**beta``, ``d`` as :func:`lrn_denominators` (Krizhevsky et al. 2012, section 3.3)."""
    return inputs[0] * lrn_denominators(layer, inputs[0]) ** -layer.attributes["beta"]


def lrn_denominators(layer: Layer, x: np.ndarray) -> np.ndarray:
    """``bias + alpha / window * sum of x_j**2`` over the channels ``j`` of the window around each channel."""
    a = layer.attributes
    return a["bias"] + a["alpha"] / a["window"] * (x**2 @ channel_windows(layer))


def channel_windows(layer: Layer) -> np.ndarray:
    """(channel, channel): 1 where two channels are at most half a window apart."""
    places = np.arange(layer.shape[-1])
    return (np.abs(places[:, None] - places) <= layer.attributes["window"] // 2).astype(np.float64)


def affine(layer: Layer, inputs: Arrays) -> np.ndarray:
    """``kernel * x + bias``, each with a number for every number of the input."""
    weights = linear.weights_of(layer)
    return inputs[0] * weights.get("kernel", 1.0) + weights.get("bias", 0.0)


def prelu(layer: Layer, inputs: Arrays) -> np.ndarray:
    """``x`` above 0, ``alpha * x`` elsewhere, an alpha for each channel (He et al. 2015, arXiv:1502.01852, eq. 1)"""
    (x,) = inputs
    return np.where(x > 0, x, linear.weights_of(layer)["alpha"] * x)


def pad(layer: Layer, inputs: Arrays) -> np.ndarray:
    """``value`` before and after all axes but the batch axis."""
    padding = ((0, 0), *layer.attributes["padding"])
    return np.pad(inputs[0], padding, constant_values=layer.attributes["value"])


def take(layer: Layer, inputs: Arrays) -> np.ndarray:
    """The values at ``indices`` along ``axis``."""
    return np.take(inputs[0], layer.attributes["indices"], axis=layer.attributes["axis"])


def resample(layer: Layer, inputs: Arrays) -> np.ndarray:
    """``matrix`` (out, in) times the values along ``axis``."""
    axis, matrix = layer.attributes["axis"], linear.weights_of(layer)["matrix"]
    return np.moveaxis(np.moveaxis(inputs[0], axis, -1) @ matrix.T, -1, axis)


def multiply(layer: Layer, inputs: Arrays) -> np.ndarray:
    """The product of all inputs; axes of length one are repeated."""
    product = inputs[0]
    for factor in inputs[1:]:
        product = product * factor
    return product


def max_pool(layer: Layer, inputs: Arrays) -> np.ndarray:
    """The largest entry of each window; padded places are never the largest."""
    (x,) = inputs
    windows = pooling_windows(layer)
    padded = windows.pad(x, value=-np.inf)
    counts = windows.counts(x.shape[1:-1])
    largest = np.full((x.shape[0], *counts, x.shape[-1]), -np.inf)
    for offset in windows.offsets():
        largest = np.maximum(largest, windows.met(padded, offset, counts))
    return largest.reshape(x.shape[0], *layer.shape)


def reshape(layer: Layer, inputs: Arrays) -> np.ndarray:
    """The values in row-major order of the (canonical or channels-first) axes, in the new shape.

    ``flatten`` is the reshape to one axis. With ``order="channels_first"`` both sides have their last axis
    in front while the values are read and written.
    """
    (x,) = inputs
    if layer.attributes.get("order", "channels_last") == "channels_last":
        return x.reshape(x.shape[0], *layer.shape)
    *space, channels = layer.shape
    return np.moveaxis(np.moveaxis(x, -1, 1).reshape(x.shape[0], channels, *space), 1, -1)


def part(layer: Layer, inputs: Arrays) -> np.ndarray:
    """The values of a vector from ``start`` on, in row-major order of the new shape."""
    values = inputs[0][:, part_of(layer)]
    return values.reshape(len(values), *layer.shape)


def part_of(layer: Layer) -> slice:
    """The places of the vector that a ``part`` layer takes."""
    start = layer.attributes["start"]
    return slice(start, start + math.prod(layer.shape))


def permute(layer: Layer, inputs: Arrays) -> np.ndarray:
    """Axis ``i`` of the result is axis ``dims[i]`` of the input; the batch axis, 0, stays."""
    return inputs[0].transpose(0, *layer.attributes["dims"])


def zero_pad(layer: Layer, inputs: Arrays) -> np.ndarray:
    """Zeros before and after the spatial axes."""
    return np.pad(inputs[0], ((0, 0), *layer.attributes["padding"], (0, 0)))


def crop(layer: Layer, inputs: Arrays) -> np.ndarray:
    """The entries left when ``padding`` is cut off the spatial axes."""
    return inputs[0][cropped(layer)]


def cropped(layer: Layer) -> tuple[slice, ...]:
    """The index of what a ``crop`` layer keeps."""
    space = layer.input_shapes[0][:-1]
    return (
        slice(None),
        *(
            slice(before, length - after)
            for length, (before, after) in zip(space, layer.attributes["padding"], strict=True)
        ),
    )


def upsample(layer: Layer, inputs: Arrays) -> np.ndarray:
    """One interpolation matrix per spatial axis, applied one after the other."""
    (x,) = inputs
    for axis, matrix in enumerate(interpolation_matrices(layer), start=1):
        x = np.moveaxis(np.moveaxis(x, axis, -1) @ matrix.T, -1, axis)
    return x


def interpolation_matrices(layer: Layer) -> tuple[np.ndarray, ...]:
    """For each spatial axis the matrix (out, in) that ``upsample`` multiplies by.

    Pixel ``i`` of the output lies at ``(i + 0.5) / size - 0.5`` of the input (pixel centres, no aligned
    corners); nearest takes the input pixel it lies in, bilinear weighs its two neighbours, and outside
    the outermost centres the edge pixel is repeated.
    """
    nearest = layer.attributes["interpolation"] == "nearest"
    matrices = []
    for length, size in zip(layer.input_shapes[0][:-1], layer.attributes["size"], strict=True):
        rows = np.arange(length * size)
        matrix = np.zeros((length * size, length))
        if nearest:
            matrix[rows, rows // size] = 1.0
        else:
            position = (rows + 0.5) / size - 0.5
            below = np.floor(position).astype(int)
            # Two weights may fall on one pixel at the edge: they are added up, not overwritten.
            np.add.at(matrix, (rows, np.clip(below, 0, length - 1)), 1.0 - (position - below))
            np.add.at(matrix, (rows, np.clip(below + 1, 0, length - 1)), position - below)
        matrices.append(matrix)
    return tuple(matrices)


def concat(layer: Layer, inputs: Arrays) -> np.ndarray:
    """The inputs one after the other along ``axis``."""
    return np.concatenate(inputs, axis=layer.attributes["axis"])


def embedding(layer: Layer, inputs: Arrays) -> np.ndarray:
    """The row of each number, rounded, of the rows that there are."""
    return linear.weights_of(layer)["kernel"][rows_of(layer, inputs[0])]


def rows_of(layer: Layer, x: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(x), 0, len(layer.weights["kernel"]) - 1).astype(np.int64)


def dropout(layer: Layer, inputs: Arrays) -> np.ndarray:
    """Identity: nothing is dropped when a network is explained."""
    return inputs[0]


#: Every kind that is neither linear nor elementwise.
FUNCTIONS: dict[str, Callable[[Layer, Arrays], np.ndarray]] = {
    "softmax": softmax,
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "group_norm": group_norm,
    "lrn": lrn,
    "affine": affine,
    "prelu": prelu,
    "pad": pad,
    "take": take,
    "resample": resample,
    "multiply": multiply,
    "matmul": attention.matmul,
    "grid_sample": attention.grid_sample,
    "rms_norm": attention.rms_norm,
    "max_pool1d": max_pool,
    "max_pool2d": max_pool,
    "max_pool3d": max_pool,
    "global_max_pool": max_pool,
    "flatten": reshape,
    "reshape": reshape,
    "permute": permute,
    "zero_pad": zero_pad,
    "crop": crop,
    "upsample": upsample,
    "concat": concat,
    "dropout": dropout,
    "embedding": embedding,
    "part": part,
    **dict.fromkeys(RECURRENT_KINDS, recurrent.forward),
}
