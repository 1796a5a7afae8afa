"""The vector-Jacobian product ``J^T s`` of every kind, by hand. Arrays are batch-first, channels-last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from harness.errors import UnsupportedLayerError
from harness.graph import RECURRENT_KINDS, Layer
from reference_impls.oracle import attention, forward, linear, recurrent
from reference_impls.oracle.activations import ELEMENTWISE
from reference_impls.oracle.linear import Arrays
from reference_impls.oracle.windows import pooling_windows


def vjp(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """``J^T s`` at ``inputs`` for each of them; ``s`` has the shape of the output.

    Raises UnsupportedLayerError for a kind that is none.
    """
    if linear.is_linear(layer):
        return linear.transpose(layer, s, linear.weights_of(layer))
    if layer.kind in ELEMENTWISE:
        _, derivative = ELEMENTWISE[layer.kind]
        return (s * derivative(inputs[0], layer.attributes),)
    if layer.kind in PRODUCTS:
        return PRODUCTS[layer.kind](layer, inputs, s)
    raise UnsupportedLayerError(
        f"the oracle has no derivative for layer {layer.name!r} ({layer.kind}); "
        "kinds are listed in harness.graph.KINDS"
    )


def softmax(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """``y * (s - sum(s * y))`` with the output ``y``, the sum along ``axis``."""
    y = forward.softmax(layer, inputs)
    return (y * (s - (s * y).sum(axis=layer.attributes["axis"], keepdims=True)),)


def batch_norm(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """``s * gamma / sqrt(variance + epsilon)``: the statistics are stored, not computed from the input."""
    weights = linear.weights_of(layer)
    return (s * weights.get("gamma", 1.0) / np.sqrt(weights["variance"] + layer.attributes["epsilon"]),)


def layer_norm(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """``(g - mean(g) - n * mean(g * n)) / sqrt(v + epsilon)`` with ``g = s * gamma``.

    ``n`` is the normalised input, and the means run over the normalised axes (the chain rule through the
    mean and the variance of Ba et al. 2016, eq. 3).
    """
    axes = tuple(range(-layer.attributes["axes_count"], 0))
    g = s * linear.weights_of(layer).get("gamma", 1.0)
    n = forward.layer_norm(replace(layer, weights={}), inputs)
    variance = inputs[0].var(axis=axes, keepdims=True)
    inner = g - g.mean(axis=axes, keepdims=True) - n * (g * n).mean(axis=axes, keepdims=True)
    return (inner / np.sqrt(variance + layer.attributes["epsilon"]),)


def group_norm(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """That of a layer norm over each group's channels and all places: ``(g - mean(g) - n * mean(g * n)) / sqrt(v +
    epsilon)`` with ``g = s * gamma`` and the normalised input ``n``."""
    g = forward.by_group(layer, s * linear.weights_of(layer).get("gamma", 1.0))
    x = forward.by_group(layer, inputs[0])
    n = forward.by_group(layer, forward.group_norm(replace(layer, weights={}), inputs))
    variance = x.var(axis=(1, 3), keepdims=True)
    mean_g = g.mean(axis=(1, 3), keepdims=True)
    inner = g - mean_g - n * (g * n).mean(axis=(1, 3), keepdims=True)
    return ((inner / np.sqrt(variance + layer.attributes["epsilon"])).reshape(s.shape),)


def lrn(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """``s / d**beta - 2 alpha beta / window * x * (the windows' sum of s * x / d**(beta + 1))``"""
    (x,), a = inputs, layer.attributes
    d = forward.lrn_denominators(layer, x)
    through = (s * x * d ** (-a["beta"] - 1)) @ forward.channel_windows(layer).T
    return (s * d ** -a["beta"] - 2 * a["alpha"] * a["beta"] / a["window"] * x * through,)


def affine(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """``s * kernel``"""
    return (s * linear.weights_of(layer).get("kernel", 1.0),)


def prelu(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """``s`` above 0, ``s * alpha`` elsewhere"""
    return (np.where(inputs[0] > 0, s, s * linear.weights_of(layer)["alpha"]),)


def pad(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """The part of ``s`` that is not padding."""
    pairs = zip(inputs[0].shape[1:], layer.attributes["padding"], strict=True)
    return (s[(slice(None), *(slice(before, before + size) for size, (before, _) in pairs))],)


def take(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """``s`` back to where each value was taken, added up where one was taken more than once."""
    axis = layer.attributes["axis"]
    back = np.zeros(inputs[0].shape)
    np.add.at(np.moveaxis(back, axis, 0), list(layer.attributes["indices"]), np.moveaxis(s, axis, 0))
    return (back,)


def resample(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """The transposed matrix along ``axis``."""
    axis, matrix = layer.attributes["axis"], linear.weights_of(layer)["matrix"]
    return (np.moveaxis(np.moveaxis(s, axis, -1) @ matrix, -1, axis),)


def multiply(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """``s`` times the product of the other inputs, summed where the input was repeated."""
    products = []
    for index, shape in enumerate(layer.input_shapes):
        others = inputs[:index] + inputs[index + 1 :]
        products.append(linear.unbroadcast(forward.multiply(layer, (s, *others)), shape))
    return tuple(products)


def max_pool(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """All of ``s`` to the largest entry of each window; of equal ones to the first in row-major order."""
    (x,) = inputs
    windows = pooling_windows(layer)
    padded = windows.pad(x, value=-np.inf)
    counts = windows.counts(x.shape[1:-1])
    largest = forward.max_pool(layer, inputs).reshape(x.shape[0], *counts, x.shape[-1])
    s = s.reshape(largest.shape)
    back = np.zeros(padded.shape)
    unclaimed = np.ones(largest.shape, dtype=bool)
    for offset in windows.offsets():
        wins = unclaimed & (windows.met(padded, offset, counts) == largest)
        windows.met(back, offset, counts)[...] += np.where(wins, s, 0.0)
        unclaimed &= ~wins
    return (windows.unpad(back),)


def global_max_pool(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """``s`` shared equally by all entries of a map that are its maximum (TensorFlow 2.21, gradient of `reduce_max`)."""
    (x,) = inputs
    space = tuple(range(1, x.ndim - 1))
    largest = x == x.max(axis=space, keepdims=True)
    s = s.reshape(x.shape[0], *(1 for _ in space), x.shape[-1])
    return (largest * s / largest.sum(axis=space, keepdims=True),)


def reshape(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """Every value back to where it came from: the reshape the other way round, in the same order."""
    backwards = replace(layer, shape=layer.input_shapes[0], input_shapes=(layer.shape,))
    return (forward.reshape(backwards, (s,)),)


def part(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """``s`` where the values were taken from, zero beside them."""
    back = np.zeros(inputs[0].shape)
    back[:, forward.part_of(layer)] = s.reshape(len(s), -1)
    return (back,)


def permute(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """The inverse permutation."""
    return (s.transpose(np.argsort((0, *layer.attributes["dims"]))),)


def zero_pad(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """The part of ``s`` that is not padding."""
    return (forward.crop(replace(layer, input_shapes=(layer.shape,)), (s,)),)


def crop(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """``s`` where the entries were kept, zero where they were cut off."""
    back = np.zeros(inputs[0].shape)
    back[forward.cropped(layer)] = s
    return (back,)


def upsample(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """The transposed interpolation matrix on every spatial axis."""
    for axis, matrix in enumerate(forward.interpolation_matrices(layer), start=1):
        s = np.moveaxis(np.moveaxis(s, axis, -1) @ matrix, -1, axis)
    return (s,)


def concat(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """The part of ``s`` that each input became."""
    axis = layer.attributes["axis"]
    ends = np.cumsum([x.shape[axis] for x in inputs])
    return tuple(np.split(s, ends[:-1], axis=axis))


def embedding(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """Zero: the number of a row is none that could be a little larger."""
    return (np.zeros(inputs[0].shape),)


def dropout(layer: Layer, inputs: Arrays, s: np.ndarray) -> Arrays:
    """Identity."""
    return (s,)


#: Every kind that is neither linear nor elementwise.
PRODUCTS: dict[str, Callable[[Layer, Arrays, np.ndarray], Arrays]] = {
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
    "matmul": attention.matmul_vjp,
    "grid_sample": attention.grid_sample_vjp,
    "rms_norm": attention.rms_norm_vjp,
    **{f"max_pool{rank}d": max_pool for rank in (1, 2, 3)},
    "global_max_pool": global_max_pool,
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
    **dict.fromkeys(RECURRENT_KINDS, recurrent.vjp),
}
