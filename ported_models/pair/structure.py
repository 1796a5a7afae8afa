"""What two aligned layers differ in by themselves, whatever an example input makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from harness.graph import Graph, Layer
from ported_models.pair.align import apart

#: Weights that may be absent on one side, and what stands for them.
_ABSENT = {"gamma": 1.0, "beta": 0.0, "bias": 0.0}
#: Attributes that say nothing about what is computed, or are compared through `torch_order`.
_IGNORED = ("order", "rate")


def difference(ours: Layer, theirs: Layer, order: np.ndarray | None) -> str | None:
    """One phrase on the first difference in kind, attributes or weights; None where there is none.

    ``order``: the indices that bring the torch layer's input features into canonical order, where it
    needs them. Weights may differ by one float32 rounding on either side.
    """
    if ours.kind != theirs.kind:
        return f"{theirs.kind} in torch, {ours.kind} in Keras"
    for key, expected in ours.attributes.items():
        found = theirs.attributes.get(key)
        if key == "target" and ours.shape == theirs.shape:
            continue  # the same shape, said channels first
        if key not in _IGNORED and found != expected:
            return f"{key} is {found} in torch, {expected} in Keras"
    for key in sorted({*ours.weights, *theirs.weights}):
        phrase = _weights_differ(key, ours, theirs, order)
        if phrase is not None:
            return phrase
    return None


def with_same_numbers(keras: Graph, torch: Graph, orders: Mapping[str, np.ndarray]) -> Graph:
    """The torch graph with Keras' numbers where a layer's weights are the same but for one float32 rounding.

    A weight that one side keeps in float64, or makes anew with every call, is the number that the other side
    keeps in float32. ``orders`` as in `PortedPair.torch_order`; both graphs have the same names.
    """
    ours = {layer.name: layer for layer in keras}

    def same(theirs: Layer) -> Layer:
        mine = ours.get(theirs.name)
        if mine is None or mine.kind != theirs.kind:
            return theirs
        order = orders.get(theirs.inputs[0]) if theirs.inputs else None
        weights = {
            key: _taken_over(mine.weights.get(key), array, order) for key, array in theirs.weights.items()
        }
        return replace(theirs, weights=weights)

    return replace(torch, layers=tuple(same(layer) for layer in torch))


def _taken_over(mine: np.ndarray | None, theirs: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    if mine is None or mine.shape != theirs.shape:
        return theirs
    if order is not None and len(order) == len(theirs):
        mine = mine[np.argsort(order)]
    return theirs if apart(mine, theirs).any() else mine.astype(np.float64)


def _weights_differ(key: str, ours: Layer, theirs: Layer, order: np.ndarray | None) -> str | None:
    first, second = ours.weights.get(key), theirs.weights.get(key)
    if key in _ABSENT and (first is None) != (second is None):
        present = first if second is None else second
        absent = np.full_like(present, _ABSENT[key])
        first, second = (first, absent) if second is None else (absent, second)
    if first is None or second is None or first.shape != second.shape:
        shapes = [None if array is None else array.shape for array in (second, first)]
        return f"{key} has shape {shapes[0]} in torch, {shapes[1]} in Keras"
    if order is not None and len(order) == len(second):
        if key == "kernel" and ours.kind == "dense" and not apart(first, second).any():
            return "kernel rows are in channels-last order, torch's flatten before it is channels-first"
        second = second[order]
    far = apart(first, second)
    if far.any():
        largest = np.abs(first.astype(np.float64) - second).max()
        return f"{far.sum()} of {far.size} values of {key} differ, by up to {largest:.3g}"
    return None
