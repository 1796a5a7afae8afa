"""Constants of the file beside a tensor: one number per channel, or one for each place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from ported_models.onnx.reading import Reading, Tensor

#: A constant of more numbers than this is not spread out over the places of a tensor.
LARGEST = 2**24


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


def placed(reading: Reading, node: onnx.NodeProto, x: Tensor, array: np.ndarray) -> np.ndarray:
    """A constant that is broadcast to ``x`` as the graph has it, without its batch axis: one number for each."""
    sizes = reading.sizes(x)
    own = sizes[reading.free :]
    if array.ndim > len(own) or any(
        side not in (1, size) for side, size in zip(array.shape[::-1], own[::-1], strict=False)
    ):
        reading.unsupported(node, f"its constant has the shape {array.shape}, that of the layer is {own}")
    full = array.reshape((1,) * (len(sizes) - array.ndim) + array.shape)
    if full.shape[0] != 1:
        if not (full == full[:1]).all():
            reading.mixes_batch(node, f"its constant of shape {array.shape} is another one for each sample")
        full = full[:1]
    if np.prod(sizes[1:]) > LARGEST:
        reading.unsupported(node, f"its constant has one number for each of {sizes[1:]}: too many to keep")
    whole = np.broadcast_to(full, (1, *sizes[1:])).transpose(np.argsort(x.order))
    return np.ascontiguousarray(whole[0])
