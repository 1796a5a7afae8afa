"""Another pooling: of the maximum or the average, with or without the padding, over other windows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.graph import KINDS, Layer
from harness.steps import Deviation, ForwardStep
from reference_impls.deviations.forward.altering import (
    Pointwise,
    computed,
    first,
    then,
    with_attributes,
    with_layer,
)
from reference_impls.deviations.forward.sight import Sight
from reference_impls.oracle.windows import pooling_windows

CAUSE = "pooling"
_LARGEST_WINDOW = 4


def readings(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """Of a pooling layer, other poolings with the output shape of the step."""
    yield from resized(step, step.layer.shape)
    layer = step.layer
    if layer.traits.family == "maximum":
        yield _other_kind(layer, "max", "average", "max pooling")
        yield Deviation(CAUSE, "takes the smallest value of each window, not the largest", first(_smallest))
        yield Deviation(CAUSE, "takes the value of largest size of each window", first(_largest_size))
    if layer.traits.family == "average":
        yield _other_kind(layer, "average", "max", "average pooling")
        entries = float(pooling_windows(layer).entries)
        if layer.attributes.get("count_include_pad", True) or not _padded(layer):
            words = "sums over each window and does not divide by its size"
            summed = then(Pointwise(lambda step, result: result * entries))
            yield Deviation(CAUSE, words, summed, {"factor": entries, "expected": 1.0})
    if "count_include_pad" in layer.attributes and _padded(layer):
        counted = not layer.attributes["count_include_pad"]
        words = "counts the padding in its averages" if counted else "leaves the padding out of its averages"
        change = with_attributes(count_include_pad=counted)
        yield Deviation(CAUSE, words, change, {"count_include_pad": counted, "expected": not counted})


def resized(step: ForwardStep, shape: tuple[int, ...]) -> Iterator[Deviation]:
    """The same pooling over windows of another size or stride that come to ``shape`` (without the batch axis)."""
    layer = step.layer
    if not layer.traits.pooling or layer.traits.places == "pooled":
        return
    known = tuple(layer.attributes["pool_size"])
    strides = tuple(layer.attributes["strides"])
    axes = len(known)
    for size in range(1, _LARGEST_WINDOW + 1):
        for stride in range(1, _LARGEST_WINDOW + 1):
            pools, steps = (size,) * axes, (stride,) * axes
            if (pools, steps) != (known, strides) and _fits(layer, pools, steps, shape):
                what = [f"windows of {pools} instead of {known}"] if pools != known else []
                what += [f"strides of {steps} instead of {strides}"] if steps != strides else []
                parameters = {"pool_size": pools, "strides": steps, "expected": (known, strides)}
                change = with_attributes(shape, pool_size=pools, strides=steps)
                yield Deviation(CAUSE, f"pools with {' and '.join(what)}", change, parameters)


def _fits(layer: Layer, pools: tuple[int, ...], strides: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    padded = [
        length + sum(pair)
        for length, pair in zip(layer.input_shapes[0], layer.attributes["padding"], strict=False)
    ]
    counts = tuple(
        (length - size) // stride + 1 for length, size, stride in zip(padded, pools, strides, strict=True)
    )
    # A window that lies in the padding alone has no largest value, and no average.
    alone = any(
        max(pair) >= size and max(pair) > 0
        for pair, size in zip(layer.attributes["padding"], pools, strict=True)
    )
    return counts == shape[:-1] and layer.shape[-1] == shape[-1] and not alone


def _padded(layer: Layer) -> bool:
    return any(map(any, layer.attributes.get("padding", ())))


def _other_kind(layer: Layer, was: str, becomes: str, name: str) -> Deviation:
    kind = layer.kind.replace(was, becomes)
    attributes = {**KINDS[kind].defaults, **layer.attributes}
    change = with_layer(kind=kind, attributes=attributes)
    words, parameters = f"{becomes} pooling instead of {name}", {"pooling": becomes, "expected": was}
    return Deviation(CAUSE, words, change, parameters)


def _smallest(step: ForwardStep, result: np.ndarray) -> np.ndarray:
    return -computed(step.layer, (-np.asarray(step.inputs[0]),))


def _largest_size(step: ForwardStep, result: np.ndarray) -> np.ndarray:
    negative = _smallest(step, result)
    return np.where(-negative > result, negative, result)
