"""Axes and channels in another order, and values that are flattened in another order.

Of an excerpt these are made where it has the whole input (few output channels, in all places). What rearranges the
outputs, of which it has a few, is made on the whole layer, with relevance at these outputs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    with_attributes,
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
    before = {
        words: chained(with_all_outputs, with_relevance(function))
        for words, function in _arrangements(outputs, len(step.relevance))
    }
    for words, function in after:
        yield _deviation(f"the result has {words}", then(partial(_if_it_fits, function)))
    for words, change in before.items():
        yield _deviation(f"the relevance of the output is taken with {words}", change)
    for words, function in after:
        yield _deviation(f"the input is taken with {words}", with_inputs(partial(_if_it_fits, function)))
    for words, function in after:
        if words in before:
            both = chained(before[words], with_inputs(partial(_if_it_fits, function)))
            yield _deviation(
                f"input and relevance are both taken with {words}, and the result is left so", both
            )
    yield from _kernels(step)
    yield from _shifts(step)
    if step.layer.kind == "permute":
        words = "the axes are permuted as in the forward pass instead of back"
        if step.inputs[0].shape == step.relevance.transpose(0, *step.layer.attributes["dims"]).shape:
            dims = step.layer.attributes["dims"]
            again = with_formula(lambda step: (step.relevance.transpose(0, *dims),))
            yield deviation("layout", words, again)
        words = "the values are put in the shape of the input as they lie, without permuting them back"
        lying = with_formula(lambda step: (step.relevance.reshape(step.inputs[0].shape),))
        yield deviation("layout", words, lying)


def _deviation(words: str, change: Change) -> Deviation:
    return deviation("layout", words, change, generic=True)


def _if_it_fits(function: Rearranged, x: np.ndarray) -> np.ndarray:
    changed = function(x)
    return changed if changed.shape == x.shape else x


def _arrangements(shape: tuple[int, ...], batch: int) -> list[tuple[str, Rearranged]]:
    """Rearrangements that keep the shape (batch, *shape)."""
    arrangements: list[tuple[str, Rearranged]] = []
    axes = len(shape)
    if axes == 3 and shape[0] == shape[1] > 1:
        arrangements.append(("height and width exchanged", lambda x: x.swapaxes(1, 2)))
    for axis in range(axes):
        if shape[axis] > 1:
            name = _name(axis, axes)
            arrangements.append((f"{name} in reversed order", partial(np.flip, axis=axis + 1)))
    if axes >= 2:
        if prod(shape[:-1]) > 1 and shape[-1] > 1:
            arrangements.append(("values that lie channels first read as channels last", _first_read_last))
            arrangements.append(("values that lie channels last read as channels first", _last_read_first))
        if axes == 3 and shape[0] != shape[1] and min(shape[:2]) > 1:
            arrangements.append(
                ("height and width exchanged in the order of the values", partial(_exchanged_as_they_lie, 1))
            )
    if axes >= 1 and batch > 1 and prod(shape) > 1:
        arrangements.append(
            ("batch and first axis exchanged in the order of the values", partial(_exchanged_as_they_lie, 0))
        )
        if shape[0] == batch:
            arrangements.append(("batch and first axis exchanged", lambda x: x.swapaxes(0, 1)))
    return arrangements


def _name(axis: int, axes: int) -> str:
    if axis == axes - 1:
        return "channels" if axes > 1 else "features"
    if axes == 3:
        return ("height", "width")[axis]
    return "the first axis"


def _first_read_last(x: np.ndarray, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Values that lie channels first read as channels last; those of flattened arrays have a ``shape``."""
    lying = x.reshape(len(x), *shape) if shape else x
    return np.moveaxis(lying, -1, 1).reshape(x.shape)


def _last_read_first(x: np.ndarray, shape: tuple[int, ...] = ()) -> np.ndarray:
    *space, channels = shape or x.shape[1:]
    return np.moveaxis(x.reshape(len(x), channels, *space), 1, -1).reshape(x.shape)


def _exchanged_as_they_lie(axis: int, x: np.ndarray) -> np.ndarray:
    return x.swapaxes(axis, axis + 1).reshape(x.shape)


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
            yield deviation("layout", f"the padding is taken with {words}", with_attributes(padding=other))


# Flattening --------------------------------------------------------------------------------------------


def flattenings(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """A flatten or reshape undone in another order, or the dense layer behind one with values in another order."""
    layer = step.layer
    if layer.kind in ("flatten", "reshape") and len(layer.input_shapes[0]) > 1:
        order = layer.attributes.get("order", "channels_last")
        other = "channels_last" if order == "channels_first" else "channels_first"
        words = f"relevance is put back in {_in_words(other)} order instead of {_in_words(order)}"
        yield deviation("flatten-order", words, with_attributes(order=other), {"order": other})
        if layer.kind == "flatten" and len(layer.input_shapes[0]) == 3:
            words = f"relevance is put back with width before height instead of in {_in_words(order)} order"
            yield deviation("flatten-order", words, then(_width_first))
        return
    flat = _flattened_before(step)
    if flat is None or not has_whole_input(step):
        return
    for words, function in (
        ("channels-first", partial(_first_read_last, shape=flat)),
        ("channels-last where it is channels-first", partial(_last_read_first, shape=flat)),
    ):
        sentence = f"the result is in {words} order of the flattened values"
        yield deviation("flatten-order", sentence, then(function))
        sentence = f"the input is taken in {words} order of the flattened values"
        yield deviation("flatten-order", sentence, with_inputs(function))


def _in_words(order: str) -> str:
    return order.replace("_", "-")


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
