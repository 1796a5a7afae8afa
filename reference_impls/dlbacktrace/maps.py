"""Each layer with a kernel as linear maps in a row, each with weights that a rule may replace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harness.graph import Layer
from reference_impls.dlbacktrace.windows import convolution_windows, gather, scatter


@dataclass(frozen=True, eq=False)
class Linear:
    """``y = apply(x, kernel) + bias`` and ``x = back(y, kernel)``, its transpose without the bias.

    ``apply``: (batch, *input shape) to (batch, *output shape); ``kernel`` stands beside both, because a rule puts parts
    of it in its place. ``bias``: (out,), zeros where the layer has none.
    """

    apply: Callable[[np.ndarray, np.ndarray], np.ndarray]
    back: Callable[[np.ndarray, np.ndarray], np.ndarray]
    kernel: np.ndarray
    bias: np.ndarray


def maps_of(layer: Layer, dtype: np.dtype) -> tuple[Linear, ...]:
    """The maps of ``layer``, a kind with a kernel, in forward order: two for a separable convolution, else one."""
    weights = {name: np.asarray(array, dtype) for name, array in layer.weights.items()}
    bias = weights.get("bias", np.zeros(layer.shape[-1], dtype))
    if layer.kind == "dense":
        return (Linear(lambda x, w: x @ w, lambda s, w: s @ w.T, weights["kernel"], bias),)
    if "pointwise_kernel" in weights:
        depthwise = weights["depthwise_kernel"]
        grouped = depthwise.reshape(*depthwise.shape[:-2], 1, -1)
        between = np.zeros(grouped.shape[-1], dtype)
        mixing = Linear(lambda x, w: x @ w, lambda s, w: s @ w.T, weights["pointwise_kernel"], bias)
        return _convolution(layer, grouped, between, layer.input_shapes[0][-1]), mixing
    if layer.traits.transposed:
        return (_transposed(layer, weights["kernel"], bias),)
    return (_convolution(layer, weights["kernel"], bias, layer.attributes["groups"]),)


def _convolution(layer: Layer, kernel: np.ndarray, bias: np.ndarray, groups: int) -> Linear:
    windows, space = convolution_windows(layer, kernel.shape), layer.input_shapes[0][:-1]
    return Linear(
        lambda x, w: gather(x, w, windows, groups),
        lambda s, w: scatter(s, w, windows, groups, space),
        kernel,
        bias,
    )


def _transposed(layer: Layer, kernel: np.ndarray, bias: np.ndarray) -> Linear:
    """The transpose of the convolution that has its input and output channels exchanged."""
    groups, exchanged = layer.attributes["groups"], kernel.swapaxes(-1, -2)
    windows = convolution_windows(layer, exchanged.shape)

    def back(s: np.ndarray, w: np.ndarray) -> np.ndarray:
        met = gather(s, w, windows, groups)
        # Output padding of a stride or more makes room for windows that no input belongs to.
        return met[tuple(slice(length) for length in (None, *layer.input_shapes[0]))]

    return Linear(lambda x, w: scatter(x, w, windows, groups, layer.shape[:-1]), back, exchanged, bias)
