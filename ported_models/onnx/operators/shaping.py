"""Operators that give the values of a tensor other axes, and change none."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx

from ported_models.onnx.layout import canonical_order, channels_first_order, features_last
from ported_models.onnx.reading import Reading, Tensor, attribute


def _transpose(reading: Reading, node: onnx.NodeProto) -> None:
    x = reading.tensor(node, anywhere=True)
    own = attribute(node, "perm") or range(len(x.groups) - reading.free)[::-1]
    reading.rename(node, moved(reading, x, own))


def moved(reading: Reading, x: Tensor, dims: Sequence[int]) -> Tensor:
    """The axes of ``x`` as the file counts them in another order."""
    axes = (*range(reading.free), *(axis + reading.free for axis in dims))
    order = tuple(x.order[place] for axis in axes for place in x.groups[axis])
    return Tensor(x.layer, order, x.beside)


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
    x = reading.tensor(node, anywhere=True)
    sizes = reading.own_sizes(x)
    if not attribute(node, "allowzero", 0):
        given = [
            sizes[place] if size == 0 and place < len(sizes) else int(size)
            for place, size in enumerate(given)
        ]
    known = prod(size for size in given if size != -1)
    shape = [prod(sizes) // known if size == -1 and known else size for size in given]
    if prod(shape) != prod(sizes):
        reading.unsupported(node, f"its shape {tuple(given)} does not fit the input {free(sizes, reading)}")
    reshaped(reading, node, x, tuple(shape))


def reshaped(reading: Reading, node: onnx.NodeProto, x: Tensor, shape: tuple[int, ...]) -> None:
    """The values of ``x`` in the file's shape: the batch stays an axis, or one with axes beside it."""
    if reading.free:
        regroup(reading, node, x, shape)
    elif x.batch_first and shape[:1] == (reading.batch,):
        regroup(reading, node, x, shape[1:])
    else:
        _around_the_batch(reading, node, x, shape)


def _around_the_batch(reading: Reading, node: onnx.NodeProto, x: Tensor, shape: tuple[int, ...]) -> None:
    """Axes on both sides of the batch get another shape; none crosses it."""
    sizes = reading.sizes(x)
    behind = prod(sizes[x.order.index(0) + 1 :])
    found = []
    for place, side in enumerate(shape):
        rest = prod(shape[place + 1 :])
        inner = behind // rest if rest else 0
        if inner and inner * rest == behind and side % (reading.batch * inner) == 0:
            found.append((place, side // (reading.batch * inner), inner))
    if len(found) > 1:
        # A batch of one is an axis of its own where there is one for it. Else it goes as exporters write attention:
        # (token, batch * head, feature) where features are split, (token * batch, feature) where axes become fewer.
        fewer = len(shape) < len(reading.own_sizes(x))
        alone = [each for each in found if each[1:] == (1, 1)]
        found = alone or [each for each in found if each[2 - fewer] > 1 and each[1 + fewer] == 1][:1]
    if len(found) != 1:
        reading.mixes_batch(
            node,
            f"its shape {shape} mixes the batch axis with others (input: {free(reading.own_sizes(x), reading)})",
        )
    ((place, outer, inner),) = found
    before = (*shape[:place], *((outer,) if outer > 1 else ()))
    after = (*((inner,) if inner > 1 else ()), *shape[place + 1 :])
    _beside_the_batch(reading, node, x, before, after, (int(outer > 1), int(inner > 1)))


def _beside_the_batch(
    reading: Reading,
    node: onnx.NodeProto,
    x: Tensor,
    before: tuple[int, ...],
    after: tuple[int, ...],
    beside: tuple[int, int] = (0, 0),
) -> None:
    """The values of ``x`` with axes of these sizes before and behind the batch; ``beside`` as `Tensor` has it."""
    target = (*before, *after)
    x = reading.arranged(node, x, features_last(x.order))
    order = (*range(1, len(before) + 1), 0, *range(len(before) + 1, len(target) + 1))
    given = reading.builder[x.layer].shape
    if not target:
        reading.unsupported(node, "nothing but the batch axis is left")
    if target == given:
        y = x
    elif len(target) == 1:
        y = reading.emit(node, "flatten", [x], {"order": "channels_last"}, order=(0, 1))
    else:
        y = reading.emit(node, "reshape", [x], {"target": target}, order=canonical_order(len(target) + 1))
    reading.rename(node, Tensor(y.layer, order, beside))


def _squeeze(reading: Reading, node: onnx.NodeProto) -> None:
    x = reading.tensor(node, anywhere=True)
    sizes = reading.own_sizes(x)
    axes, batch = _axes(reading, node), _batch_place(reading, x)
    if axes is None:
        gone = {place for place, size in enumerate(sizes) if size == 1 and place != batch}
    else:
        gone = {int(axis) % len(sizes) for axis in axes}
    if batch in gone:
        reading.mixes_batch(node, "it removes the batch axis")
    _with_the_batch(reading, node, x, [place for place in range(len(sizes)) if place not in gone])


def _unsqueeze(reading: Reading, node: onnx.NodeProto) -> None:
    x = reading.tensor(node, anywhere=True)
    axes = _axes(reading, node) or []
    places: list[int | None] = list(range(len(reading.own_sizes(x))))
    rank = len(places) + len(axes)
    for place in sorted(int(axis) % rank for axis in axes):
        places.insert(place, None)
    _with_the_batch(reading, node, x, places)


def _batch_place(reading: Reading, x: Tensor) -> int | None:
    """The file's axis that holds the batch; None where none does."""
    place = x.order.index(0)
    return None if reading.free else next(axis for axis, group in enumerate(x.groups) if place in group)


def _with_the_batch(reading: Reading, node: onnx.NodeProto, x: Tensor, places: Sequence[int | None]) -> None:
    """The axes of ``x`` at ``places``, new ones of length 1 for None: the batch goes where its axis does.

    The sizes alone do not say which axis that is where the batch has one sample.
    """
    sizes, batch = reading.own_sizes(x), _batch_place(reading, x)
    shape = tuple(1 if place is None else sizes[place] for place in places)
    if batch is None or x.beside != (0, 0) or (x.batch_first and places[0] == batch):
        reshaped(reading, node, x, shape)
        return
    there = list(places).index(batch)
    _beside_the_batch(reading, node, x, shape[:there], shape[there + 1 :])


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
    sizes = reading.own_sizes(reading.tensor(node, anywhere=True))
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
