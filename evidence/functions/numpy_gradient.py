"""The gradient in NumPy alone, for networks of convolutions, dense layers, batch norms, ReLUs, pools and adds.

A sum over windows is written as a sum over the offsets in a window: what is read at an offset going forward is
added to there going back.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from harness.graph import Graph, Layer
from harness.methods import Method


def gradient(graph: Graph, x: np.ndarray, target: np.ndarray, method: Method) -> np.ndarray:
    """Of the logit of ``target`` (batch,) at ``x`` (batch, *space, channel)."""
    outputs = {graph.input.name: x}
    for layer in graph.layers[1:]:
        outputs[layer.name] = forward(layer, [outputs[name] for name in layer.inputs])
    seed = np.zeros_like(outputs[graph.output])
    seed[np.arange(len(x)), target] = 1
    waiting: dict[str, Any] = {graph.output: seed}
    for layer in reversed(graph.layers[1:]):
        shares = backward(layer, [outputs[name] for name in layer.inputs], waiting.pop(layer.name))
        for name, share in zip(layer.inputs, shares, strict=True):
            waiting[name] = waiting.get(name, 0) + share
    relevance: np.ndarray = waiting[graph.input.name]
    return relevance


def forward(layer: Layer, inputs: list[np.ndarray]) -> np.ndarray:
    x, w = inputs[0], weights(layer, inputs[0].dtype)
    if layer.kind in ("conv1d", "conv2d"):
        kernel = w["kernel"]
        return sum(_read(layer, x, at) @ kernel[at] for at in _offsets(layer)) + w.get("bias", 0)
    if layer.kind == "dense":
        return x @ w["kernel"] + w.get("bias", 0)
    if layer.kind == "batch_norm":
        return (x - w["mean"]) * _batch_norm_factor(layer, w) + w["beta"]
    if layer.kind == "relu":
        return np.maximum(x, 0)
    if layer.kind == "max_pool2d":
        return np.max([_read(layer, x, at) for at in _offsets(layer)], axis=0)
    if layer.kind in ("average_pool1d", "average_pool2d"):
        return np.mean([_read(layer, x, at) for at in _offsets(layer)], axis=0)
    if layer.kind == "global_average_pool":
        return x.mean(axis=tuple(range(1, x.ndim - 1)), keepdims=layer.attributes["keepdims"])
    if layer.kind == "flatten":
        moved = np.moveaxis(x, -1, 1) if layer.attributes["order"] == "channels_first" else x
        return moved.reshape(len(x), -1)
    assert layer.kind == "add", layer.kind
    return x + inputs[1]


def backward(layer: Layer, inputs: list[np.ndarray], gradient: np.ndarray) -> list[np.ndarray]:
    """The gradient of each input, from that of the output."""
    x, w = inputs[0], weights(layer, inputs[0].dtype)
    if layer.kind in ("conv1d", "conv2d"):
        return [_added(layer, x, {at: gradient @ w["kernel"][at].T for at in _offsets(layer)})]
    if layer.kind == "dense":
        return [gradient @ w["kernel"].T]
    if layer.kind == "batch_norm":
        return [gradient * _batch_norm_factor(layer, w)]
    if layer.kind == "relu":
        return [gradient * (x > 0)]
    if layer.kind == "max_pool2d":
        offsets = list(_offsets(layer))
        chosen = np.argmax([_read(layer, x, at) for at in offsets], axis=0)
        return [_added(layer, x, {at: gradient * (chosen == i) for i, at in enumerate(offsets)})]
    if layer.kind in ("average_pool1d", "average_pool2d"):
        share = gradient / np.prod(layer.attributes["pool_size"])
        return [_added(layer, x, dict.fromkeys(_offsets(layer), share))]
    if layer.kind == "global_average_pool":
        space = x.shape[1:-1]
        spread = gradient.reshape(len(x), *(1 for _ in space), x.shape[-1]) / np.prod(space)
        return [np.broadcast_to(spread, x.shape)]
    if layer.kind == "flatten":
        if layer.attributes["order"] == "channels_first":
            return [np.moveaxis(gradient.reshape(len(x), x.shape[-1], *x.shape[1:-1]), 1, -1)]
        return [gradient.reshape(x.shape)]
    assert layer.kind == "add", layer.kind
    return [gradient, gradient]


def weights(layer: Layer, dtype: Any) -> dict[str, np.ndarray]:
    """In the dtype of the run; the graph may hold fewer digits."""
    return {name: array.astype(dtype) for name, array in layer.weights.items()}


def _batch_norm_factor(layer: Layer, w: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(w["gamma"] / np.sqrt(w["variance"] + layer.attributes["epsilon"]))


def _offsets(layer: Layer) -> Iterator[tuple[int, ...]]:
    """The places in a window."""
    kernel = layer.weights.get("kernel")
    size = layer.attributes["pool_size"] if kernel is None else kernel.shape[:-2]
    return product(*(range(n) for n in size))


def _places(layer: Layer, at: tuple[int, ...]) -> tuple[slice, ...]:
    """Where each window has its offset ``at`` in the padded input."""
    space = len(at)
    strides = layer.attributes["strides"]
    dilations = layer.attributes.get("dilations", (1,) * space)
    starts = [offset * dilation for offset, dilation in zip(at, dilations, strict=True)]
    return (
        slice(None),
        *(
            slice(start, start + (count - 1) * stride + 1, stride)
            for start, count, stride in zip(starts, layer.shape[:space], strides, strict=True)
        ),
    )


def _padding(layer: Layer) -> list[tuple[int, int]]:
    return [(0, 0), *layer.attributes["padding"], (0, 0)]


def _read(layer: Layer, x: np.ndarray, at: tuple[int, ...]) -> np.ndarray:
    return np.pad(x, _padding(layer))[_places(layer, at)]


def _added(layer: Layer, x: np.ndarray, shares: dict[tuple[int, ...], np.ndarray]) -> np.ndarray:
    padded = np.zeros_like(np.pad(x, _padding(layer)))
    for at, share in shares.items():
        padded[_places(layer, at)] += share
    inside = tuple(slice(before, before + n) for (before, _), n in zip(_padding(layer), x.shape, strict=True))
    return padded[inside]
