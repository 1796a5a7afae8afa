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


def difference(keras: Layer, torch: Layer, order: np.ndarray | None) -> str | None:
    """One phrase on the first difference in kind, attributes or weights; None where there is none.

    ``order``: the indices that bring the torch layer's input features into canonical order, where it
    needs them. Weights may differ by one float32 rounding on either side.
    """
    if keras.kind != torch.kind:
        return f"{torch.kind} in torch, {keras.kind} in Keras"
    for key, expected in keras.attributes.items():
        value = torch.attributes.get(key)
        if key == "target" and keras.shape == torch.shape:
            continue  # the same shape, said channels first
        if key not in _IGNORED and value != expected:
            return f"{key} is {value} in torch, {expected} in Keras"
    for key in sorted({*keras.weights, *torch.weights}):
        phrase = _weights_differ(key, keras, torch, order)
        if phrase is not None:
            return phrase
    return None


def with_same_numbers(keras: Graph, torch: Graph, orders: Mapping[str, np.ndarray]) -> Graph:
    """The torch graph with Keras' numbers where a layer's weights are the same but for one float32 rounding.

    A weight that one side keeps in float64, or makes anew with every call, is the number that the other side
    keeps in float32. ``orders`` as in `PortedPair.torch_order`; both graphs have the same names.
    """
    by_name = {layer.name: layer for layer in keras}

    def same(counterpart: Layer) -> Layer:
        mine = by_name.get(counterpart.name)
        if mine is None or mine.kind != counterpart.kind:
            return counterpart
        order = orders.get(counterpart.inputs[0]) if counterpart.inputs else None
        weights = {
            key: _taken_over(mine.weights.get(key), array, order)
            for key, array in counterpart.weights.items()
        }
        return replace(counterpart, weights=weights)

    return replace(torch, layers=tuple(same(layer) for layer in torch))


def _taken_over(first: np.ndarray | None, second: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    if first is None or first.shape != second.shape:
        return second
    if order is not None and len(order) == len(second):
        first = first[np.argsort(order)]
    return second if apart(first, second).any() else first.astype(np.float64)


def _weights_differ(key: str, keras: Layer, torch: Layer, order: np.ndarray | None) -> str | None:
    first, second = keras.weights.get(key), torch.weights.get(key)
    if key in _ABSENT and (first is None) != (second is None):
        present = first if second is None else second
        absent = np.full_like(present, _ABSENT[key])
        first, second = (first, absent) if second is None else (absent, second)
    if first is None or second is None or first.shape != second.shape:
        shapes = [None if array is None else array.shape for array in (second, first)]
        return f"{key} has shape {shapes[0]} in torch, {shapes[1]} in Keras"
    if order is not None and len(order) == len(second):
        if key == "kernel" and keras.kind == "dense" and not apart(first, second).any():
            return "kernel rows are in channels-last order, torch's flatten before it is channels-first"
        second = second[order]
    far = apart(first, second)
    if far.any():
        largest = np.abs(first.astype(np.float64) - second).max()
        return f"{far.sum()} of {far.size} values of {key} differ, by up to {largest:.3g}"
    return None
