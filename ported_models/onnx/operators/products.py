"""Products of two tensors that the network computes, and maps read at places that it computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import onnx

from ported_models.einsum import Plan, plan_of
from ported_models.onnx.layout import canonical_order, features_last
from ported_models.onnx.operators.cutting import taken
from ported_models.onnx.operators.shaping import moved, reshaped
from ported_models.onnx.reading import Reading, Tensor, attribute


def product(reading: Reading, node: onnx.NodeProto) -> None:
    """A matrix product; a second factor whose last axis is not that of its layer is read as transposed."""
    first, second = (reading.tensor(node, index, anywhere=True) for index in range(2))
    multiplied(reading, node, first, second)


def multiplied(reading: Reading, node: onnx.NodeProto, first: Tensor, second: Tensor) -> Tensor:
    ranks = [len(each.groups) - reading.free for each in (first, second)]
    if ranks[0] != ranks[1] or ranks[0] < 2:
        reading.unsupported(
            node, f"its factors have {ranks[0]} and {ranks[1]} axes, expected as many, two at least"
        )
    where = {(each.order.index(0), each.beside) for each in (first, second)}
    if len(where) > 1 or first.order.index(0) + first.beside[1] >= first.rank - 2:
        reading.mixes_batch(node, "it multiplies along the batch axis")
    transposed = second.order[-2] == second.rank - 1
    if transposed:
        second = replace(second, order=(*second.order[:-2], second.order[-1], second.order[-2]))
    first, second = (reading.arranged(node, each, features_last(each.order)) for each in (first, second))
    for place in range(first.rank - 2):
        sides = [reading.sizes(each)[place] for each in (first, second)]
        if sides[0] == 1:
            first = taken(reading, node, first, place, [0] * sides[1])
        elif sides[1] == 1:
            second = taken(reading, node, second, place, [0] * sides[0])
    return reading.emit(node, "matmul", [first, second], {"transposed": transposed})


def _einsum(reading: Reading, node: onnx.NodeProto) -> None:
    """Two tensors, or one and weights."""
    if len(node.input) != 2:
        reading.unsupported(node, f"it has {len(node.input)} operands, expected two")
    ranks = []
    for name in node.input:
        array = reading.constants.get(name)
        ranks.append(len(reading.own_sizes(reading.tensors[name])) if array is None else array.ndim)
    plan = plan_of(attribute(node, "equation"), (ranks[0], ranks[1]))
    constants = [reading.constants.get(name) for name in node.input]
    if constants[0] is not None:
        plan = plan.turned()
    weights = next((array for array in constants if array is not None), None)
    if weights is not None:
        _einsum_of_weights(reading, node, int(constants[0] is not None), weights, plan)
        return
    first, second = (
        _in_three(reading, node, reading.tensor(node, index, anywhere=True), axes, plan.shared, count)
        for index, axes, count in ((0, plan.first, plan.left), (1, plan.second, plan.right))
    )
    y = multiplied(reading, node, first[0], _exchanged(second[0]))
    sizes = reading.own_sizes(y)
    reshaped(reading, node, y, (*sizes[: plan.shared], *first[1], *second[1]))
    y = reading.tensors[node.output[0]]
    reading.rename(node, moved(reading, y, plan.result))


def _in_three(
    reading: Reading, node: onnx.NodeProto, x: Tensor, axes: Sequence[int], shared: int, own: int
) -> tuple[Tensor, tuple[int, ...]]:
    """``x`` as (shared, own, summed), the own axes and the summed ones each in one; and the sizes of the own."""
    x = moved(reading, x, axes)
    sizes = reading.own_sizes(x)
    kept, mine, summed = sizes[:shared], sizes[shared : shared + own], sizes[shared + own :]
    shape = (*kept, prod(mine), prod(summed))
    if shape != sizes:
        reshaped(reading, node, x, shape)
        x = reading.tensors[node.output[0]]
    return x, mine


def _exchanged(x: Tensor) -> Tensor:
    """The last two axes in each other's place."""
    return replace(x, order=(*x.order[:-2], x.order[-1], x.order[-2]))


def _einsum_of_weights(
    reading: Reading, node: onnx.NodeProto, index: int, weights: np.ndarray, plan: Plan
) -> None:
    if plan.shared:
        reading.unsupported(node, "its weights have an axis of the result that its input has as well")
    x = moved(reading, reading.tensor(node, index, anywhere=True), plan.first)
    left = reading.own_sizes(x)[: plan.left]
    if plan.summed > 1:
        reshaped(reading, node, x, (*left, prod(reading.own_sizes(x)[plan.left :])))
        x = reading.tensors[node.output[0]]
    matrix = weights.transpose(plan.second)
    right = matrix.shape[: plan.right]
    x = reading.arranged(node, x, features_last(x.order))
    if x.order[-1] == 0:
        reading.mixes_batch(node, "its weights mix the samples of the batch")
    y = reading.emit(node, "dense", [x], weights={"kernel": matrix.reshape(prod(right), -1).T})
    reshaped(reading, node, y, (*left, *right))
    reading.rename(node, moved(reading, reading.tensors[node.output[0]], plan.result))


def _grid_sample(reading: Reading, node: onnx.NodeProto) -> None:
    """Maps (batch, channel, height, width) at places (batch, row, column, 2); heads stand beside the batch."""
    maps, places = (reading.tensor(node, index, anywhere=True) for index in range(2))
    mode, padding = attribute(node, "mode", "linear"), attribute(node, "padding_mode", "zeros")
    if (
        mode not in ("linear", "bilinear")
        or padding not in ("zeros", "border")
        or attribute(node, "align_corners", 0)
    ):
        reading.unsupported(
            node,
            f"mode={mode!r}, padding_mode={padding!r}, align_corners={attribute(node, 'align_corners', 0)}, expected "
            "bilinear, zeros or border, and corners that are not aligned",
        )
    if len(reading.own_sizes(maps)) != 4 or reading.free:
        reading.unsupported(node, "its maps are no (batch, channel, height, width)")
    opened = []
    for x, dims in ((maps, (0, 2, 3, 1)), (places, (0, 1, 2, 3))):
        x = moved(reading, x, dims)
        if x.order[0] != 0:
            reading.mixes_batch(node, "the batch does not lead its first axis")
        if x.beside == (0, 0):
            reshaped(reading, node, x, (reading.batch, 1, *reading.own_sizes(x)[1:]))
            x = reading.tensors[node.output[0]]
        opened.append(reading.arranged(node, Tensor(x.layer, x.order), canonical_order(x.rank)))
    y = reading.emit(node, "grid_sample", opened, {"padding": padding})
    heads = reading.sizes(y)[1]
    if maps.beside == (0, 0):
        sizes = reading.sizes(y)
        reshaped(reading, node, y, (sizes[0], *sizes[2:]))
        y = reading.tensors[node.output[0]]
    else:
        y = Tensor(y.layer, y.order, (0, 1 if heads > 1 else 0))
    reading.rename(node, moved(reading, y, (0, 3, 1, 2)))


OPERATORS = {"Einsum": _einsum, "GridSample": _grid_sample}
