"""Axes and channels in another order, and values that are flattened in another order.

Of an excerpt these are made where it has the whole input (few output channels, in all places). What rearranges the
outputs, of which it has a few, is made on the whole layer, with relevance at these outputs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from math import prod

import numpy as np

from harness.graph import Layer
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import (
    Change,
    chained,
    deviation,
    then,
    with_formula,
    with_inputs,
    with_relevance,
    with_weights,
)
from reference_impls.deviations.backward.kinds import placed
from reference_impls.deviations.backward.wholes import has_whole_input, whole_of, with_all_outputs
from reference_impls.oracle.linear import Arrays

Rearranged = Callable[[np.ndarray], np.ndarray]


def layouts(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """What is rearranged: the result, the relevance of the output, the input; and a kernel in another order."""
    if not has_whole_input(step):
        return
    outputs = whole_of(step).layer.shape
    after = _arrangements(step.layer.input_shapes[0], len(step.inputs[0]))
    before = [
        (words, _of_outputs(function)) for words, function in _arrangements(outputs, len(step.relevance))
    ]
    for words, function in after:
        yield _told(f"the result has {words}", then(partial(_if_it_fits, function)))
    for words, change in before:
        yield _told(f"the relevance of the output is taken with {words}", change)
    for words, function in after:
        yield _told(f"the input is taken with {words}", with_inputs(partial(_if_it_fits, function)))
    own = dict(before)
    for words, function in after:
        if words in own:
            both = chained(own[words], with_inputs(partial(_if_it_fits, function)))
            yield _told(f"input and relevance are both taken with {words}, and the result is left so", both)
    yield from _kernels(step)
    yield from _shifts(step)
    if step.layer.kind == "permute":
        words = "the axes are permuted as in the forward pass instead of back"
        if step.inputs[0].shape == step.relevance.transpose(0, *step.layer.attributes["dims"]).shape:
            yield deviation("layout", words, with_formula(_permuted_again))
        words = "the values are put in the shape of the input as they lie, without permuting them back"
        yield deviation("layout", words, with_formula(_as_they_lie))


def _told(words: str, change: Change) -> Deviation:
    return deviation("layout", words, change, generic=True)


def _of_outputs(function: Rearranged) -> Change:
    """``function(R)`` in the place of the relevance of all outputs."""
    return lambda step: with_relevance(function)(with_all_outputs(step))


def _if_it_fits(function: Rearranged, x: np.ndarray) -> np.ndarray:
    changed = function(x)
    return changed if changed.shape == x.shape else x


def _arrangements(shape: tuple[int, ...], batch: int) -> list[tuple[str, Rearranged]]:
    """Rearrangements that keep the shape (batch, *shape)."""
    found: list[tuple[str, Rearranged]] = []
    axes = len(shape)
    if axes == 3 and shape[0] == shape[1] > 1:
        found.append(("height and width exchanged", lambda x: x.swapaxes(1, 2)))
    for axis in range(axes):
        if shape[axis] > 1:
            name = _name(axis, axes)
            found.append((f"{name} in reversed order", partial(np.flip, axis=axis + 1)))
    if axes >= 2:
        if prod(shape[:-1]) > 1 and shape[-1] > 1:
            found.append(("values that lie channels first read as channels last", _channels_first_read_last))
            found.append(("values that lie channels last read as channels first", _channels_last_read_first))
        if axes == 3 and shape[0] != shape[1] and min(shape[:2]) > 1:
            found.append(("height and width exchanged in the order of the values", _lying_transposed))
    if axes >= 1 and batch > 1 and prod(shape) > 1:
        found.append(("batch and first axis exchanged in the order of the values", _batch_second))
        if shape[0] == batch:
            found.append(("batch and first axis exchanged", lambda x: x.swapaxes(0, 1)))
    return found


def _name(axis: int, axes: int) -> str:
    if axis == axes - 1:
        return "channels" if axes > 1 else "features"
    if axes == 3:
        return ("height", "width")[axis]
    return "the first axis"


def _channels_first_read_last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, -1, 1).reshape(x.shape)


def _channels_last_read_first(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x.reshape(x.shape[0], x.shape[-1], *x.shape[1:-1]), 1, -1)


def _lying_transposed(x: np.ndarray) -> np.ndarray:
    return x.swapaxes(1, 2).reshape(x.shape)


def _batch_second(x: np.ndarray) -> np.ndarray:
    return x.swapaxes(0, 1).reshape(x.shape)


# Kernels -----------------------------------------------------------------------------------------------


def _kernels(step: Step) -> Iterator[Deviation]:
    kernel = whole_of(step).layer.weights.get("kernel")
    if kernel is None or kernel.ndim < 2:
        return
    if step.layer.traits.convolution:
        space = tuple(range(kernel.ndim - 2))
        if prod(kernel.shape[:-2]) > 1:
            words = "the kernel is flipped along its spatial axes"
            yield deviation("layout", words, with_weights(partial(_kernel, partial(np.flip, axis=space))))
        if len(space) == 2 and kernel.shape[0] == kernel.shape[1] > 1:
            words = "the kernel has height and width exchanged"
            yield deviation("layout", words, with_weights(partial(_kernel, lambda each: each.swapaxes(0, 1))))
    if kernel.shape[-1] == kernel.shape[-2] > 1:
        words = "the kernel has input and output channels exchanged"
        exchanged = with_weights(partial(_kernel, lambda each: each.swapaxes(-1, -2)))
        yield deviation("layout", words, chained(with_all_outputs, exchanged))


def _kernel(change: Rearranged, layer: Layer, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**weights, "kernel": change(weights["kernel"])}


# Shifts ------------------------------------------------------------------------------------------------


def _shifts(step: Step) -> Iterator[Deviation]:
    """Paddings that are cut off, or put back, on the wrong side."""
    if step.layer.traits.family != "edge":
        return
    padding = step.layer.attributes["padding"]
    for words, other in (
        ("before and after exchanged", tuple((after, before) for before, after in padding)),
        ("all of it before", tuple((before + after, 0) for before, after in padding)),
        ("all of it after", tuple((0, before + after) for before, after in padding)),
    ):
        if other != tuple(tuple(pair) for pair in padding):
            yield deviation("layout", f"the padding is taken with {words}", partial(_padded, other))


def _padded(padding: tuple[tuple[int, int], ...], step: Step) -> Step:
    return replace(step, layer=replace(step.layer, attributes={**step.layer.attributes, "padding": padding}))


def _permuted_again(step: Step) -> Arrays:
    return (step.relevance.transpose(0, *step.layer.attributes["dims"]),)


def _as_they_lie(step: Step) -> Arrays:
    return (step.relevance.reshape(step.inputs[0].shape),)


# Flattening --------------------------------------------------------------------------------------------


def flattenings(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """A flatten or reshape undone in another order, or the dense layer behind one with values in another order."""
    layer = step.layer
    if layer.kind in ("flatten", "reshape") and len(layer.input_shapes[0]) > 1:
        order = layer.attributes.get("order", "channels_last")
        other = "channels_last" if order == "channels_first" else "channels_first"
        words = f"relevance is put back in {_said(other)} order instead of {_said(order)}"
        yield deviation("flatten-order", words, partial(_in_order, other), {"order": other})
        if layer.kind == "flatten" and len(layer.input_shapes[0]) == 3:
            words = f"relevance is put back with width before height instead of in {_said(order)} order"
            yield deviation("flatten-order", words, then(_width_first))
        return
    flat = _flattened_before(step)
    if flat is None or not has_whole_input(step):
        return
    for words, function in (
        ("channels-first", partial(_flat_channels_first, flat)),
        ("channels-last where it is channels-first", partial(_flat_channels_last, flat)),
    ):
        yield deviation(
            "flatten-order", f"the result is in {words} order of the flattened values", then(function)
        )
        sentence = f"the input is taken in {words} order of the flattened values"
        yield deviation("flatten-order", sentence, with_inputs(function))


def _said(order: str) -> str:
    return order.replace("_", "-")


def _in_order(order: str, step: Step) -> Step:
    return replace(step, layer=replace(step.layer, attributes={**step.layer.attributes, "order": order}))


def _width_first(x: np.ndarray) -> np.ndarray:
    batch, height, width, channels = x.shape
    return x.reshape(batch, width, height, channels).swapaxes(1, 2)


def _flattened_before(step: Step) -> tuple[int, ...] | None:
    """The shape that the layer's input had before it was flattened, through dropout and activations; None without."""
    layer = placed(step)
    if step.layer.kind != "dense" or layer is None:
        return None
    before = step.graph[layer.inputs[0]]
    while before.traits.elementwise or before.traits.family == "identity":
        before = step.graph[before.inputs[0]]
    shapes = before.input_shapes
    return shapes[0] if before.kind == "flatten" and len(shapes[0]) > 1 else None


def _flat_channels_first(shape: tuple[int, ...], x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x.reshape(len(x), *shape), -1, 1).reshape(x.shape)


def _flat_channels_last(shape: tuple[int, ...], x: np.ndarray) -> np.ndarray:
    *space, channels = shape
    return np.moveaxis(x.reshape(len(x), channels, *space), 1, -1).reshape(x.shape)
