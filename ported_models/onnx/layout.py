"""Where ONNX keeps an axis: canonical (channels-last) order against ONNX's channels-first order.

Inside a neutral ONNX graph every tensor of rank 3 and more has its canonical last axis at position 1.
A permutation ``order`` says for each ONNX axis which canonical axis it is:
``onnx = canonical.transpose(order)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from harness.graph import KINDS, RECURRENT_KINDS

Order = tuple[int, ...]


def canonical_order(rank: int) -> Order:
    """The ONNX tensor has the canonical axes as they are."""
    return tuple(range(rank))


def channels_first_order(rank: int) -> Order:
    """The ONNX tensor has the canonical last axis at position 1 (rank 2 and less: nothing to move)."""
    return (0, rank - 1, *range(1, rank - 1)) if rank >= 3 else canonical_order(rank)


def features_last(order: Sequence[int]) -> Order:
    """The order of a tensor whose axes stand as in the layer, but for the batch, which stays where it is."""
    place = tuple(order).index(0)
    others = range(1, len(order))
    return (*others[:place], 0, *others[place:])


def inverse(order: Sequence[int]) -> Order:
    """The permutation that undoes ``order``."""
    return tuple(int(axis) for axis in np.argsort(order))


def compose(first: Sequence[int], second: Sequence[int]) -> Order:
    """One permutation for a transposition by ``first`` followed by one by ``second``."""
    return tuple(first[axis] for axis in second)


def weight_to_onnx(kind: str, key: str, array: np.ndarray, rank: int) -> np.ndarray:
    """A canonical weight in the axes that its ONNX operator reads; ``rank`` is that of the layer's output.

    Convolution: (*space, in/groups, out) -> (out, in/groups, *space). Transposed convolution:
    (*space, in, out/groups) -> (in, out/groups, *space). Depthwise: (*space, in, multiplier) ->
    (in * multiplier, 1, *space). Pointwise: (in, out) -> (out, in, 1...). Scale: (channel,) ->
    (channel, 1...) beside channels-first tensors. Everything else as it is.
    """
    spatial = rank - 2
    if key == "kernel" and KINDS[kind].transposed:
        return np.transpose(array, (spatial, spatial + 1, *range(spatial)))
    if key == "kernel" and KINDS[kind].convolution:
        return np.transpose(array, (spatial + 1, spatial, *range(spatial)))
    if key == "depthwise_kernel":
        return np.transpose(array, (spatial, spatial + 1, *range(spatial))).reshape(
            -1, 1, *array.shape[:spatial]
        )
    if key == "pointwise_kernel":
        return np.transpose(array).reshape(*array.shape[::-1], *(1,) * spatial)
    if kind == "resample":
        return array.T
    if kind in RECURRENT_KINDS:
        return _gates_in_order(kind, array, (0, 3, 1, 2)).T
    if kind == "affine":
        return np.moveaxis(array, -1, 0)
    if (KINDS[kind].family == "scale" or kind in ("prelu", "group_norm")) and rank >= 3:
        return array.reshape(-1, *(1,) * spatial)
    return array


def _gates_in_order(kind: str, array: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """An LSTM's gates, on the last axis, in another ``order``; the other kinds have ONNX' own."""
    if kind != "lstm":
        return array
    gates = np.split(array, 4, axis=-1)
    return np.concatenate([gates[gate] for gate in order], axis=-1)


def weight_from_onnx(kind: str, key: str, array: np.ndarray, rank: int, channels: int) -> np.ndarray:
    """The inverse of `weight_to_onnx`; ``channels`` is the layer's number of input channels."""
    spatial = rank - 2
    if key == "kernel" and KINDS[kind].transposed:
        return np.transpose(array, (*range(2, 2 + spatial), 0, 1))
    if key == "kernel" and KINDS[kind].convolution:
        return np.transpose(array, (*range(2, 2 + spatial), 1, 0))
    if key == "depthwise_kernel":
        space = array.shape[2:]
        return np.transpose(array.reshape(channels, -1, *space), (*range(2, 2 + spatial), 0, 1))
    if key == "pointwise_kernel":
        return np.transpose(array.reshape(array.shape[0], prod(array.shape[1:])))
    if kind == "resample":
        return array.T
    if kind in RECURRENT_KINDS:
        return _gates_in_order(kind, array.T, (0, 2, 3, 1))
    if kind == "affine":
        return np.moveaxis(array, 0, -1)
    if KINDS[kind].family == "scale" or kind in ("prelu", "group_norm"):
        return array.reshape(-1)
    return array
