"""Constants of the file beside a tensor: one number per channel, or one for each place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from ported_models.onnx.reading import Reading, Tensor

#: A constant of more numbers than this is not spread out over the places of a tensor.
LARGEST = 2**24
#: Samples of one constant may differ by so many units in the last place of its largest value: by as much as two orders
#: of a sum of 1,024 terms do, the root of their number in unit roundoffs, of which a unit has two.
ROUNDED = 16


def channel_vector(array: np.ndarray, sizes: Sequence[int], axis: int) -> np.ndarray | None:
    """``array``, broadcast to an ONNX tensor of ``sizes``, as one value per index of ``axis``.

    None where it varies along another axis, or would enlarge the tensor.
    """
    if array.ndim > len(sizes):
        return None
    shape = (1,) * (len(sizes) - array.ndim) + array.shape
    if any(size != 1 for position, size in enumerate(shape) if position != axis):
        return None
    if shape[axis] not in (1, sizes[axis]):
        return None
    return np.ascontiguousarray(np.broadcast_to(array.reshape(-1), (sizes[axis],)))


def constant_channels(
    reading: Reading, x: Tensor, array: np.ndarray
) -> tuple[np.ndarray | None, tuple[int, ...], int]:
    """``array`` as one value per channel of the layer of ``x``, or None; the file's sizes of ``x``, and their axis.

    The axis is -1 where the channels stand in one axis with the batch.
    """
    sizes, channels = reading.own_sizes(x), reading.builder[x.layer].shape[-1]
    axis = next(
        (place for place, group in enumerate(x.groups) if [x.order[each] for each in group] == [x.rank - 1]),
        reading.free - 1,
    )
    axis -= reading.free
    if array.size == 1 and array.ndim <= len(sizes):
        return np.broadcast_to(array.reshape(-1), (channels,)).copy(), sizes, axis
    return None if axis < 0 else channel_vector(array, sizes, axis), sizes, axis


def alike(samples: np.ndarray) -> bool:
    """Whether all samples of a constant are the same, but for the rounding of what it was computed by.

    A matrix product of equal samples need not be rounded alike in each: that depends on the processor.
    """
    same = samples == samples[:1]
    if same.all() or samples.dtype.kind != "f":
        return bool(same.all())
    finite = samples[np.isfinite(samples)]
    rounded = ROUNDED * np.finfo(samples.dtype).eps * np.abs(finite).max(initial=0)
    with np.errstate(invalid="ignore"):
        return bool((same | (np.abs(samples - samples[:1]) <= rounded)).all())


def as_tensor(reading: Reading, node: onnx.NodeProto, array: np.ndarray, like: Tensor) -> Tensor:
    """A constant with the batch where ``like`` has it (what learnt queries became, say), as a layer.

    It is ``like``, its other axes as long as the constant's, times 0, plus the constant.
    """
    if array.ndim + reading.free != len(like.groups):
        reading.unsupported(
            node, f"its constant has the shape {array.shape}, beside {reading.own_sizes(like)}"
        )
    sizes = list(reading.sizes(like))
    opened: list[int] = [1] * reading.free
    for side, group in zip(array.shape, like.groups[reading.free :], strict=True):
        opened += (
            [side] if len(group) == 1 else [sizes[place] for place in group] if side > 1 else [1] * len(group)
        )
    if np.prod(opened) != array.size:
        reading.mixes_batch(node, f"its constant of shape {array.shape} has no place for the batch")
    canonical = array.reshape(opened).transpose(np.argsort(like.order))
    if not alike(canonical):
        reading.mixes_batch(node, f"its constant of shape {array.shape} is another one for each sample")
    x = like
    for axis, side in enumerate(canonical.shape[1:], start=1):
        length = reading.builder[x.layer].shape[axis - 1]
        if side != length:
            indices = {"axis": axis - like.rank, "indices": (0,) * side}
            x = reading.emit(node, "take", [x], indices)
    bias = np.ascontiguousarray(canonical[0])
    return reading.emit(node, "affine", [x], weights={"kernel": np.zeros_like(bias), "bias": bias})


def placed(reading: Reading, node: onnx.NodeProto, x: Tensor, array: np.ndarray) -> np.ndarray:
    """A constant that is broadcast to ``x`` as the graph has it, without its batch axis: one number for each."""
    own = reading.own_sizes(x)
    if array.ndim > len(own) or any(
        side not in (1, size) for side, size in zip(array.shape[::-1], own[::-1], strict=False)
    ):
        reading.unsupported(node, f"its constant has the shape {array.shape}, that of the layer is {own}")
    given = (1,) * (len(x.groups) - array.ndim) + array.shape
    sizes = reading.sizes(x)
    opened: list[int] = []
    for side, group in zip(given, x.groups, strict=True):
        opened += [1] * len(group) if side == 1 else [sizes[place] for place in group]
    full = array.reshape(opened).transpose(np.argsort(x.order))
    if full.shape[0] != 1:
        if not alike(full):
            reading.mixes_batch(node, f"its constant of shape {array.shape} is another one for each sample")
        full = full[:1]
    shape = reading.builder[x.layer].shape
    if np.prod(shape) > LARGEST:
        reading.unsupported(node, f"its constant has one number for each of {shape}: too many to keep")
    return np.ascontiguousarray(np.broadcast_to(full[0], shape))
