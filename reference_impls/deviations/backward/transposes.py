"""Ways back through a convolution that pad, or place, differently from the forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from harness.graph import Layer
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import Change, deviation, with_formula, with_relevance
from reference_impls.deviations.backward.terms import Arithmetic, Transpose, carried, has_terms
from reference_impls.oracle import linear
from reference_impls.oracle.linear import Arrays, Weights
from reference_impls.oracle.windows import convolution_windows

Padding = tuple[tuple[int, int], ...]
_NAMES = {1: ("the only spatial axis",), 2: ("the height", "the width")}


def transposes(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """``f^T`` with another padding, moved by one place, or without the places that no stride reaches."""
    layer = step.layer
    if step.whole is not None or not layer.traits.convolution or not has_terms(step):
        return
    padding: Padding = tuple((before, after) for before, after in layer.attributes["padding"])
    names = _NAMES[len(padding)]
    yield from _of_rest(layer)
    exchanged = tuple((after, before) for before, after in padding)
    if exchanged != padding:
        words = "the transpose has the padding before and after exchanged"
        yield _told(words, partial(_padded, exchanged))
    for axis, name in enumerate(names):
        for by, way in ((1, "forwards"), (-1, "backwards")):
            before, after = padding[axis]
            if before - by >= 0 and after + by >= 0:
                moved = (*padding[:axis], (before - by, after + by), *padding[axis + 1 :])
                words = f"the transpose is moved one place {way} along {name}, with what lies in the padding there"
                yield _told(words, partial(_padded, moved))
            words = f"the transpose is moved one place {way} along {name}, with zeros where nothing is left"
            yield _told(words, _then(partial(_shifted, axis=axis, by=by)))


def _of_rest(layer: Layer) -> Iterator[Deviation]:
    """Strides leave a rest, which a transposed convolution has only where it is told to by its output padding."""
    if layer.traits.transposed:
        rest = tuple(layer.attributes.get("output_padding", ()))
        if any(rest):
            words = "the relevance of the output padding is dropped on the way back"
            yield deviation("layout", words, with_relevance(partial(_without_end, rest)))
        return
    rest = _rest(layer)
    if any(rest):
        words = "the output padding of the transpose is dropped: the last places, which it makes, get nothing"
        yield _told(words, _then(partial(_without_end, rest)))
        words = "the output padding of the transpose is put before the first place instead of behind the last"
        yield _told(words, _then(partial(_late, rest)))


def _rest(layer: Layer) -> tuple[int, ...]:
    """How many places of the padded input lie behind the last window, per axis."""
    kernel = layer.weights.get("kernel", layer.weights.get("depthwise_kernel"))
    assert kernel is not None
    windows = convolution_windows(layer, kernel.shape)
    space = windows.padded_space(layer.input_shapes[0][:-1])
    return tuple(
        (length - dilation * (size - 1) - 1) % stride
        for length, size, stride, dilation in zip(
            space, windows.size, windows.strides, windows.dilations, strict=True
        )
    )


def _told(words: str, transpose: Transpose) -> Deviation:
    change: Change = with_formula(partial(carried, arithmetic=Arithmetic(transpose=transpose)))
    return deviation("layout", words, change)


def _padded(padding: Padding, layer: Layer, s: np.ndarray, weights: Weights) -> Arrays:
    other = replace(layer, attributes={**layer.attributes, "padding": padding})
    return linear.transpose(other, s, weights)


def _then(change: Callable[[np.ndarray], np.ndarray]) -> Transpose:
    return lambda layer, s, weights: tuple(map(change, linear.transpose(layer, s, weights)))


def _shifted(x: np.ndarray, axis: int, by: int) -> np.ndarray:
    """``x`` (batch, *space, channel) moved along a spatial axis, zeros coming in."""
    result = np.roll(x, by, axis=axis + 1)
    gap = slice(0, by) if by > 0 else slice(x.shape[axis + 1] + by, None)
    result[(slice(None),) * (axis + 1) + (gap,)] = 0.0
    return result


def _without_end(rest: tuple[int, ...], x: np.ndarray) -> np.ndarray:
    result = x.copy()
    for axis, places in enumerate(rest, start=1):
        result[(slice(None),) * axis + (slice(x.shape[axis] - places, None),)] = 0.0
    return result


def _late(rest: tuple[int, ...], x: np.ndarray) -> np.ndarray:
    for axis, places in enumerate(rest):
        x = _shifted(x, axis, places) if places else x
    return x
