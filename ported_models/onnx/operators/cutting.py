"""Operators that take a part of the values, put others around them, or join tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from math import prod

import numpy as np
import onnx

from ported_models.onnx.layout import canonical_order
from ported_models.onnx.operators.constants import LARGEST, alike
from ported_models.onnx.operators.shaping import regroup, reshape, reshaped
from ported_models.onnx.reading import Reading, Tensor, attribute


def taken(
    reading: Reading,
    node: onnx.NodeProto,
    x: Tensor,
    place: int,
    indices: Sequence[int],
    output: str | None = None,
) -> Tensor:
    """The values of ``x`` at ``indices`` of the ONNX axis at ``place``: a crop, a take, or nothing to do."""
    length, axis = reading.sizes(x)[place], x.order[place]
    if max(length, len(indices)) > LARGEST:
        reading.unsupported(node, f"it takes values along an axis of {length}, at most {LARGEST} are kept")
    indices = list(indices)
    if indices == list(range(length)):
        reading.rename(node, x, output)
        return x
    if axis == 0:
        reading.mixes_batch(node, "it takes some of the batch's samples, or moves them")
    if not indices:
        reading.unsupported(node, "it leaves nothing")
    first, stop = indices[0], indices[-1] + 1
    if indices == list(range(first, stop)) and axis < x.rank - 1 and 3 <= x.rank <= 5:
        padding = [(0, 0)] * (x.rank - 2)
        padding[axis - 1] = (first, length - stop)
        return reading.emit(node, "crop", [x], {"padding": tuple(padding)}, output=output)
    return reading.emit(node, "take", [x], {"axis": axis - x.rank, "indices": tuple(indices)}, output=output)


def _expand(reading: Reading, node: onnx.NodeProto) -> None:
    """Every axis of one that becomes longer is taken so many times."""
    x, shape = reading.tensor(node), reading.constant(node, 1, "shape")
    wanted = [int(side) for side in (() if shape is None else shape.ravel())]
    rank = x.rank - reading.free
    if len(wanted) > rank:
        reading.unsupported(node, f"its shape {tuple(wanted)} has more axes than its input, which has {rank}")
    reading.rename(node, x)
    for place, side in zip(range(x.rank - len(wanted), x.rank), wanted, strict=True):
        size = reading.sizes(x)[place]
        if side != size and 1 not in (side, size):
            reading.unsupported(node, f"its shape {tuple(wanted)} does not fit its input {reading.sizes(x)}")
        x = taken(reading, node, x, place, [0] * side if size == 1 else range(size))


def _strided(reading: Reading, node: onnx.NodeProto) -> None:
    """A reshape; with the gather behind it where the two are torch's `as_strided`.

    Its exporter lays all values of the one sample in a row and takes them by a table that begins with the batch.
    """
    gather = reading.only_reader(node.output[0])
    table = None if gather is None or gather.op_type != "Gather" else reading.constants.get(gather.input[1])
    target = reading.constants.get(node.input[1]) if len(node.input) > 1 else None
    one_sample = not reading.free and reading.batch == 1 and target is not None and target.size == 1
    if gather is None or table is None or not one_sample or table.ndim < 2 or table.shape[0] != 1:
        reshape(reading, node)
        return
    x = reading.tensor(node)
    count = prod(reading.sizes(x))
    regroup(reading, node, x, (count,))
    row, output = reading.tensors[node.output[0]], gather.output[0]
    indices = [int(index) % count for index in table.ravel()]
    regroup(reading, gather, taken(reading, gather, row, 1, indices, output), table.shape[1:], output)
    reading.done.add(output)


def _slice(reading: Reading, node: onnx.NodeProto) -> None:
    x = reading.tensor(node, anywhere=True)
    starts, ends, axes, steps = _slice_arguments(reading, node)
    sizes = reading.sizes(x)
    kept = {
        (place := reading.place(node, x, axis)): range(*_bounds(sizes[place], start, end, step))
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    }
    reading.rename(node, x)
    padding = [(0, 0)] * (x.rank - 2)
    for place, indices in dict(kept).items():
        if indices and indices.step == 1 and 0 < x.order[place] < x.rank - 1 <= 4:
            # All spatial axes that lose their ends lose them in one layer.
            padding[x.order[place] - 1] = (indices.start, sizes[place] - indices.stop)
            del kept[place]
    if any(map(any, padding)):
        x = reading.emit(node, "crop", [x], {"padding": tuple(padding)})
    for place, indices in kept.items():
        x = taken(reading, node, x, place, indices)


def _bounds(length: int, start: int, end: int, step: int) -> tuple[int, int, int]:
    """ONNX's start and end, clamped, as `range` takes them (ONNX operator Slice-13)."""
    first, stop, stride = slice(start, end, step).indices(length)
    if step < 0 and end < -length:
        stop = -1
    return first, stop, stride


def _slice_arguments(
    reading: Reading, node: onnx.NodeProto
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Starts, ends, axes and steps: attributes before opset 10, inputs since."""
    if reading.opset < 10:
        first, stop = list(attribute(node, "starts")), list(attribute(node, "ends"))
        return first, stop, list(attribute(node, "axes", range(len(first)))), [1] * len(first)
    starts, ends = reading.constant(node, 1, "start"), reading.constant(node, 2, "end")
    axes, steps = reading.constant(node, 3, "list of axes"), reading.constant(node, 4, "list of steps")
    if starts is None or ends is None:
        reading.unsupported(node, "it has no start or no end")
    return (
        starts.tolist(),
        ends.tolist(),
        list(range(starts.size)) if axes is None else axes.tolist(),
        [1] * starts.size if steps is None else steps.tolist(),
    )


def _gather(reading: Reading, node: onnx.NodeProto) -> None:
    if node.input[0] in reading.constants:
        _embedding(reading, node)
        return
    indices = reading.constant(node, 1, "list of indices")
    if indices is None:
        reading.unsupported(node, "it has no indices")
    x, axis = reading.tensor(node, anywhere=True), attribute(node, "axis", 0)
    place = reading.place(node, x, axis)
    if x.order[place] == 0:
        reading.mixes_batch(node, "it takes some of the batch's samples")
    own, length = reading.own_sizes(x), reading.sizes(x)[place]
    axis %= len(own)
    x = taken(reading, node, x, place, [int(index) % length for index in indices.ravel()])
    reshaped(reading, node, x, (*own[:axis], *indices.shape, *own[axis + 1 :]))


def _embedding(reading: Reading, node: onnx.NodeProto) -> None:
    """The rows of a table that an input of the network names."""
    table, x = reading.constants[node.input[0]], reading.tensor(node, 1)
    if table.ndim != 2 or attribute(node, "axis", 0) % 2 or x.layer not in reading.given:
        reading.unsupported(
            node,
            "it looks its input up in a table (an embedding), expected a matrix and rows named by an input",
        )
    x = reading.channels_last(node, 1)
    reading.emit(node, "embedding", [x], weights={"kernel": table}, order=canonical_order(x.rank + 1))


def _split(reading: Reading, node: onnx.NodeProto) -> None:
    x = reading.tensor(node, anywhere=True)
    place = reading.place(node, x, attribute(node, "axis", 0))
    length, count = reading.sizes(x)[place], len(node.output)
    given = reading.constant(node, 1, "list of sizes")
    parts = attribute(node, "split") if given is None else given.tolist()
    if parts is None:
        share = -(-length // count)
        parts = [min(share, length - share * part) for part in range(count)]
    for (start, stop), output in zip(pairwise(accumulate(parts, initial=0)), node.output, strict=True):
        if output and reading.uses(output):
            taken(reading, node, x, place, range(start, stop), output)


def _pad(reading: Reading, node: onnx.NodeProto) -> None:
    x = reading.tensor(node)
    mode = attribute(node, "mode", "constant")
    filled = reading.constant(node, 2, "value")
    value = float(attribute(node, "value", 0.0) if filled is None else filled.reshape(()))
    given, listed = reading.constant(node, 1, "padding"), reading.constant(node, 3, "list of axes")
    pads = list(attribute(node, "pads", ())) if given is None else given.tolist()
    axes = range(len(pads) // 2) if listed is None else listed.tolist()
    before, after = pads[: len(pads) // 2], pads[len(pads) // 2 :]
    pairs = {
        reading.position(axis, x.rank): (int(first), int(last))
        for axis, first, last in zip(axes, before, after, strict=True)
    }
    reading.rename(node, x)
    for place, pair in pairs.items():
        if min(pair) < 0:
            cut = [max(-side, 0) for side in pair]
            x = taken(reading, node, x, place, range(cut[0], reading.sizes(x)[place] - cut[1]))
    pairs = {place: (max(pair[0], 0), max(pair[1], 0)) for place, pair in pairs.items() if max(pair) > 0}
    if 0 in pairs and not reading.free:
        reading.mixes_batch(node, "it adds samples to the batch")
    if mode == "constant":
        _constant_pad(reading, node, x, pairs, value)
        return
    for place, pair in pairs.items():
        indices = np.pad(np.arange(reading.sizes(x)[place]), pair, mode=mode)
        x = taken(reading, node, x, place, indices.tolist())


def _constant_pad(
    reading: Reading, node: onnx.NodeProto, x: Tensor, pairs: Mapping[int, tuple[int, int]], value: float
) -> None:
    by_axis = {x.order[place]: pair for place, pair in pairs.items()}
    if not by_axis:
        reading.rename(node, x)
    elif value == 0.0 and 3 <= x.rank <= 5 and x.rank - 1 not in by_axis:
        padding = tuple(by_axis.get(axis, (0, 0)) for axis in range(1, x.rank - 1))
        reading.emit(node, "zero_pad", [x], {"padding": padding})
    else:
        padding = tuple(by_axis.get(axis, (0, 0)) for axis in range(1, x.rank))
        reading.emit(node, "pad", [x], {"padding": padding, "value": value})


def _concat(reading: Reading, node: onnx.NodeProto) -> None:
    read = [name for name in node.input if name in reading.tensors]
    if not read:
        reading.unsupported(node, "none of its inputs is the output of a layer")
    first = reading.tensors[read[0]]
    order = first.order
    place = reading.place(node, first, attribute(node, "axis"))
    axis = order[place]
    if axis == 0:
        reading.mixes_batch(node, "it joins along the batch axis")
    if len(read) == 1 and first.beside == (0, 0):
        _with_constants(reading, node, first, place)
        return
    tensors = []
    for index, name in enumerate(node.input):
        if name in reading.constants:
            tensors.append(_constant_layer(reading, node, first, reading.constants[name], place))
            continue
        x = reading.tensor(node, index, anywhere=True)
        if (x.order.index(0), x.beside) != (order.index(0), first.beside):
            reading.mixes_batch(node, "the batch is another axis in each of its inputs")
        tensors.append(reading.arranged(node, x, order))
    if len(tensors) == 1:
        reading.rename(node, tensors[0])
        return
    reading.emit(node, "concat", tensors, {"axis": axis - len(order)})


def _with_constants(reading: Reading, node: onnx.NodeProto, x: Tensor, place: int) -> None:
    """Constants before and behind one tensor (a class token, say): zeros put beside it, and the constants added."""
    parts = [
        None if name in reading.tensors else _beside(reading, node, x, reading.constants[name], place)
        for name in node.input
    ]
    axis, shape = x.order[place], reading.builder[x.layer].shape
    if len(parts) == 1:
        reading.rename(node, x)
        return
    middle = next(index for index, part in enumerate(parts) if part is None)
    before, behind = (
        sum(part.shape[axis - 1] for part in each if part is not None)
        for each in (parts[:middle], parts[middle + 1 :])
    )
    dtype = next(part.dtype for part in parts if part is not None)
    bias = np.concatenate([np.zeros(shape, dtype) if part is None else part for part in parts], axis - 1)
    padding = [(0, 0)] * len(shape)
    padding[axis - 1] = (before, behind)
    y = reading.emit(node, "pad", [x], {"padding": tuple(padding)})
    reading.emit(node, "affine", [y], weights={"bias": bias})


def _beside(
    reading: Reading, node: onnx.NodeProto, beside: Tensor, array: np.ndarray, place: int
) -> np.ndarray:
    """``array``, which is joined to ``beside`` at ``place``, in the layer's axes, without the batch."""
    array = array[(None,) * reading.free]
    axis = beside.order[place]
    if array.ndim != beside.rank:
        reading.unsupported(
            node, f"it joins a constant of shape {array.shape} to a tensor of {beside.rank} axes"
        )
    canonical = array.transpose(np.argsort(beside.order))
    if canonical.shape[0] != 1 and not alike(canonical):
        reading.mixes_batch(node, "it joins another constant to each sample of the batch")
    sizes = list(reading.builder[beside.layer].shape)
    sizes[axis - 1] = array.shape[place]
    if canonical.shape[1:] != tuple(sizes):
        reading.unsupported(node, f"it joins a constant of shape {array.shape} to a tensor of {tuple(sizes)}")
    return np.ascontiguousarray(canonical[0])


def _constant_layer(
    reading: Reading, node: onnx.NodeProto, beside: Tensor, array: np.ndarray, place: int
) -> Tensor:
    """``array`` as a layer: a slice of ``beside``, times 0, plus the constant."""
    canonical = _beside(reading, node, beside, array, place)
    axis = beside.order[place]
    indices = (0,) * array[(None,) * reading.free].shape[place]
    x = reading.emit(node, "take", [beside], {"axis": axis - beside.rank, "indices": indices})
    return reading.emit(node, "affine", [x], weights={"kernel": np.zeros_like(canonical), "bias": canonical})


OPERATORS = {
    "Expand": _expand,
    "Reshape": _strided,
    "Slice": _slice,
    "Gather": _gather,
    "Split": _split,
    "Pad": _pad,
    "Concat": _concat,
}
