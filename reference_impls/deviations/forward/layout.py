"""Axes and values in another order: flatten, reshape, permute, concat, and the output of any layer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np

from harness.graph import Graph, Layer
from harness.steps import Deviation, ForwardStep
from reference_impls.deviations.forward.altering import first, then, with_attributes, with_weights
from reference_impls.deviations.forward.sight import Sight

_ORDERS = {"channels_last": "channels_first", "channels_first": "channels_last"}


def readings(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """Other orders that keep the shape of the output."""
    kind = step.layer.kind
    if kind in ("flatten", "reshape"):
        yield from _flattened(step.layer)
    elif kind == "dense":
        yield from _after_flattening(step)
    elif kind == "permute":
        yield from resized(step, step.layer.shape)
    elif kind == "concat":
        yield from _concatenated(step)
    elif kind == "softmax":
        yield from _other_axis(step.layer)
    if kind != "input" and sight.boxes is None:
        yield from _moved(step)


def resized(step: ForwardStep, shape: tuple[int, ...]) -> Iterator[Deviation]:
    """Orders of axes that give an output of ``shape`` (without the batch axis)."""
    layer = step.layer
    axes = range(1, len(layer.shape) + 1)
    if layer.kind == "permute":
        known = tuple(layer.attributes["dims"])
        for dims in permutations(axes):
            if dims != known and tuple(layer.input_shapes[0][axis - 1] for axis in dims) == shape:
                words = f"permutes the axes to {dims} instead of {known}"
                parameters = {"dims": dims, "expected": known}
                yield Deviation("layout", words, with_attributes(shape, dims=dims), parameters)
    elif shape != layer.shape:
        for dims in permutations(axes):
            if tuple(layer.shape[axis - 1] for axis in dims) == shape:
                yield _transposition(layer, dims)


def _flattened(layer: Layer) -> Iterator[Deviation]:
    known = layer.attributes.get("order", "channels_last")
    other = _ORDERS[known]
    words = f"reads the values {other.replace('_', ' ')} instead of {known.replace('_', ' ')}"
    parameters: dict[str, Any] = {"order": other, "expected": known}
    yield Deviation("flatten-order", words, with_attributes(order=other), parameters)
    (shape,) = layer.input_shapes
    for dims in permutations(range(1, len(shape) + 1)):
        order = ", ".join(layer_axes(shape)[axis - 1] for axis in dims)
        words, parameters = f"reads the values in the order ({order})", {"order": dims, "expected": known}
        yield Deviation("flatten-order", words, first(partial(_read, dims=dims)), parameters)


def layer_axes(shape: tuple[int, ...]) -> tuple[str, ...]:
    """The names of the axes of a canonical shape without the batch axis."""
    space = {1: ("length",), 2: ("height", "width")}.get(len(shape) - 1)
    return (*(space or tuple(f"axis {axis}" for axis in range(1, len(shape)))), "channel")


def _read(step: ForwardStep, result: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    x = np.asarray(step.inputs[0], dtype=np.float64)
    return x.transpose(0, *dims).reshape(result.shape)


def _after_flattening(step: ForwardStep) -> Iterator[Deviation]:
    """The rows of a dense kernel in the order of another flattening than the one in front of it."""
    flatten = _flatten_before(step.graph, step.layer)
    if flatten is None:
        return
    (shape,) = flatten.input_shapes
    known = flatten.attributes.get("order", "channels_last")
    places = np.arange(int(np.prod(shape))).reshape(shape)
    axes = layer_axes(shape)
    natural = tuple(range(len(shape)))
    mine = natural if known == "channels_last" else (natural[-1], *natural[:-1])
    for dims in permutations(natural):
        # Row r of the kernel as it should be stands where the other order has that place.
        order = np.empty(places.size, dtype=int)
        order[places.transpose(mine).ravel()] = np.arange(places.size)
        rows = order[places.transpose(dims).ravel()]
        if np.array_equal(rows, np.arange(places.size)):
            continue
        order_words = ", ".join(axes[axis] for axis in dims)
        expected = ", ".join(axes[axis] for axis in mine)
        for chosen, words in (
            (
                np.argsort(rows),
                f"its input is flattened in the order ({order_words}) instead of ({expected})",
            ),
            (
                rows,
                f"its kernel is in the order of an input flattened ({order_words}) instead of ({expected})",
            ),
        ):
            change = partial(_with_rows, rows=chosen)
            yield Deviation("flatten-order", words, change, {"order": order_words, "expected": expected})


def _with_rows(step: ForwardStep, rows: np.ndarray) -> ForwardStep:
    return with_weights(kernel=step.layer.weights["kernel"][rows])(step)


def _flatten_before(graph: Graph, layer: Layer) -> Layer | None:
    """The flatten layer whose order the input of ``layer`` still has, where the order can differ."""
    (name,) = layer.inputs
    try:
        before = graph[name]
    except KeyError:
        return None
    if before.kind == "flatten":
        (shape,) = before.input_shapes
        return before if sum(length > 1 for length in shape) > 1 else None
    if before.traits.keeps_values or before.traits.elementwise:
        return _flatten_before(graph, before)
    return None


def _concatenated(step: ForwardStep) -> Iterator[Deviation]:
    layer = step.layer
    known = layer.attributes["axis"]
    count = len(layer.inputs)
    natural = tuple(range(count))
    orders = list(permutations(natural)) if count <= 4 else [natural[::-1]]
    for axis in range(-len(layer.shape), 0):
        for order in orders:
            if (axis, order) == (known, natural):
                continue
            shapes = [layer.input_shapes[index] for index in order]
            rest = [tuple(np.delete(shape, axis)) for shape in shapes]
            whole = sum(shape[axis] for shape in shapes)
            if len(set(rest)) > 1 or (*rest[0], whole) != (*np.delete(layer.shape, axis), layer.shape[axis]):
                continue
            what = [f"along axis {axis} instead of {known}"] if axis != known else []
            if order != natural:
                what.append(f"with its inputs in the order {order} instead of {natural}")
            parameters = {"axis": axis, "order": order, "expected": known}
            change = first(partial(_joined, axis=axis, order=order))
            yield Deviation("layout", f"concatenates {' and '.join(what)}", change, parameters)


def _joined(step: ForwardStep, result: np.ndarray, axis: int, order: tuple[int, ...]) -> np.ndarray:
    return np.concatenate([np.asarray(step.inputs[index], dtype=np.float64) for index in order], axis=axis)


def _other_axis(layer: Layer) -> Iterator[Deviation]:
    known = layer.attributes["axis"]
    for axis in range(-len(layer.shape), 0):
        if axis != known:
            words = f"softmax runs along axis {axis} instead of {known}"
            parameters = {"axis": axis, "expected": known}
            yield Deviation("layout", words, with_attributes(axis=axis), parameters)


def _moved(step: ForwardStep) -> Iterator[Deviation]:
    """The output with axes exchanged, flipped, or read as if its channels came first."""
    layer = step.layer
    axes = range(1, len(layer.shape) + 1)
    names = layer_axes(layer.shape)
    for dims in permutations(axes):
        if dims != tuple(axes) and tuple(layer.shape[axis - 1] for axis in dims) == layer.shape:
            yield _transposition(layer, dims)
    for axis in axes:
        if layer.shape[axis - 1] > 1 and axis < len(layer.shape):
            words, parameters = f"its {names[axis - 1]} is flipped", {"flipped": names[axis - 1]}
            yield Deviation("layout", words, then(partial(_flipped, axis=axis)), parameters)
    if sum(length > 1 for length in layer.shape) > 1:
        words = "values laid out channels first are read channels last"
        yield Deviation("layout", words, then(_misread_last), {"misread": "channels_last"})
        words = "values laid out channels last are read channels first"
        yield Deviation("layout", words, then(_misread_first), {"misread": "channels_first"})


def _transposition(layer: Layer, dims: tuple[int, ...]) -> Deviation:
    names = layer_axes(layer.shape)
    order = ", ".join(names[axis - 1] for axis in dims)
    words = f"its axes are in the order ({order}) instead of ({', '.join(names)})"
    return Deviation("layout", words, then(partial(_transposed, dims=dims)), {"dims": dims}, generic=True)


def _transposed(step: ForwardStep, result: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    return result.transpose(0, *dims)


def _flipped(step: ForwardStep, result: np.ndarray, axis: int) -> np.ndarray:
    return np.flip(result, axis)


def _misread_last(step: ForwardStep, result: np.ndarray) -> np.ndarray:
    return np.moveaxis(result, -1, 1).reshape(result.shape)


def _misread_first(step: ForwardStep, result: np.ndarray) -> np.ndarray:
    moved = np.moveaxis(result, -1, 1)
    return np.moveaxis(result.reshape(moved.shape), 1, -1)
