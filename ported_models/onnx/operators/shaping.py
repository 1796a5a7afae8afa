"""Operators that give the values of a tensor other axes, and change none."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx

from ported_models.onnx.layout import canonical_order, channels_first_order, compose
from ported_models.onnx.reading import Reading, Tensor, attribute


def _transpose(reading: Reading, node: onnx.NodeProto) -> None:
    x = reading.tensor(node)
    own = attribute(node, "perm") or range(x.rank - reading.free)[::-1]
    axes = (*range(reading.free), *(axis + reading.free for axis in own))
    if axes[0] != 0:
        reading.mixes_batch(node, f"it moves the batch axis ({tuple(own)})")
    reading.rename(node, Tensor(x.layer, compose(x.order, axes)))


def _flatten(reading: Reading, node: onnx.NodeProto) -> None:
    x = reading.tensor(node)
    own = reading.sizes(x)[reading.free :]
    axis = attribute(node, "axis", 1)
    split = axis + len(own) if axis < 0 else axis
    rows, columns = prod(own[:split]), prod(own[split:])
    if reading.free:
        regroup(reading, node, x, (rows, columns))
    elif rows != reading.batch:
        reading.mixes_batch(node, f"axis={axis} would merge samples, expected 1")
    else:
        regroup(reading, node, x, (columns,))


def reshape(reading: Reading, node: onnx.NodeProto) -> None:
    target = reading.constant(node, 1, "shape")
    given = attribute(node, "shape") if target is None else target.tolist()
    if given is None:
        reading.unsupported(node, "it has no shape")
    x = reading.tensor(node)
    sizes = reading.sizes(x)[reading.free :]
    if not attribute(node, "allowzero", 0):
        given = [
            sizes[place] if size == 0 and place < len(sizes) else int(size)
            for place, size in enumerate(given)
        ]
    known = prod(size for size in given if size != -1)
    shape = [prod(sizes) // known if size == -1 and known else size for size in given]
    if prod(shape) != prod(sizes):
        reading.unsupported(node, f"its shape {tuple(given)} does not fit the input {free(sizes, reading)}")
    if not reading.free and (not shape or shape[0] != reading.batch):
        reading.mixes_batch(
            node, f"its shape {tuple(given)} mixes the batch axis with others (input: {free(sizes, reading)})"
        )
    regroup(reading, node, x, tuple(shape if reading.free else shape[1:]))


def _squeeze(reading: Reading, node: onnx.NodeProto) -> None:
    x = reading.tensor(node)
    sizes = reading.sizes(x)
    axes = _axes(reading, node)
    if axes is None:
        gone = {place for place, size in enumerate(sizes) if size == 1 and place > 0}
    else:
        gone = {reading.position(axis, len(sizes)) for axis in axes}
    if 0 in gone:
        reading.mixes_batch(node, "it removes the batch axis")
    regroup(
        reading, node, x, tuple(size for place, size in enumerate(sizes) if place > 0 and place not in gone)
    )


def _unsqueeze(reading: Reading, node: onnx.NodeProto) -> None:
    x = reading.tensor(node)
    sizes = list(reading.sizes(x))
    axes = _axes(reading, node) or []
    rank = len(sizes) + len(axes)
    for place in sorted(reading.position(axis, rank) for axis in axes):
        if place == 0:
            reading.mixes_batch(node, "it puts an axis before the batch axis")
        sizes.insert(place, 1)
    regroup(reading, node, x, tuple(sizes[1:]))


def _axes(reading: Reading, node: onnx.NodeProto) -> list[int] | None:
    """The axes of a Squeeze or Unsqueeze: an attribute before opset 13, an input since."""
    array = reading.constant(node, 1, "list of axes")
    return attribute(node, "axes") if array is None else array.tolist()


def regroup(
    reading: Reading, node: onnx.NodeProto, x: Tensor, target: tuple[int, ...], output: str | None = None
) -> None:
    """The values of ``x`` in the order of the ONNX tensor, in a new shape (without batch)."""
    if target == reading.sizes(x)[1:]:
        reading.rename(node, x, output)
        return
    if not target:
        reading.unsupported(node, "nothing but the batch axis is left")
    rank = len(target) + 1
    if reading.free:
        first = False
    elif x.rank == 2:
        first = reading.reads_channels_first(output or node.output[0])
    else:
        first = x.order == channels_first_order(x.rank)
    if not first:
        x = reading.arranged(node, x, canonical_order(x.rank))
    order = "channels_first" if first else "channels_last"
    if rank == 2:
        reading.emit(node, "flatten", [x], {"order": order}, order=(0, 1), output=output)
        return
    after = channels_first_order(rank) if first else canonical_order(rank)
    reading.emit(node, "reshape", [x], {"target": target, "order": order}, order=after, output=output)


def _depth_to_space(reading: Reading, node: onnx.NodeProto) -> None:
    """Blocks of channels as blocks of places (ONNX operator DepthToSpace-13)."""
    x = reading.channels_first(node)
    if x.rank != 4:
        reading.unsupported(node, f"its input has {x.rank} axes, expected 4")
    _, channels, height, width = reading.sizes(x)
    block = attribute(node, "blocksize")
    depth = channels // block**2
    rows_columns_first = attribute(node, "mode", "DCR") == "DCR"
    parts = (block, block, depth) if rows_columns_first else (depth, block, block)
    dims = (1, 3, 2, 4, 5) if rows_columns_first else (1, 4, 2, 5, 3)
    inside = canonical_order(6)
    given = Tensor(x.layer, canonical_order(4))
    y = reading.emit(node, "reshape", [given], {"target": (height, width, *parts)}, order=inside)
    y = reading.emit(node, "permute", [y], {"dims": dims}, order=inside)
    target = {"target": (height * block, width * block, depth)}
    reading.emit(node, "reshape", [y], target, order=channels_first_order(4))


def _shape(reading: Reading, node: onnx.NodeProto) -> None:
    """The shape of a layer's output is known, but for the batch, for which a number stands."""
    sizes = reading.sizes(reading.tensor(node))[reading.free :]
    start, end = attribute(node, "start", 0), attribute(node, "end")
    reading.constants[node.output[0]] = np.array(sizes[start:end], np.int64)


def free(sizes: tuple[int, ...], reading: Reading) -> str:
    """A shape as messages print it."""
    return str(tuple(sizes)) if reading.free else f"(batch, {', '.join(map(str, sizes[1:]))})"


OPERATORS = {
    "Transpose": _transpose,
    "Flatten": _flatten,
    "Reshape": reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "DepthToSpace": _depth_to_space,
    "Shape": _shape,
}
CHANNELS_FIRST = {"DepthToSpace"}
