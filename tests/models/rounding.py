"""How far two float64 evaluations of one layer may be apart when only the order of operations differs.

A sum of ``n`` products, in any order, is off by at most ``n u / (1 - n u)`` times the sum of their
magnitudes, ``u = eps / 2`` (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1).
Two evaluations are therefore at most ``n eps`` times that magnitude apart, to first order. Each bound
below is ``operations * eps * magnitude``, elementwise; 0 for layers that only move or select values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from harness.graph import Graph, Layer
from ported_models.twins import torch_twin
from ported_models.twins.forward import torch_logits

EPS = np.finfo(np.float64).eps


def rounding_bound(graph: Graph, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Elementwise bound for the last layer of a one-layer ``graph`` that gave ``y`` for ``x``."""
    layer = graph[graph.output]
    if layer.kind in _LINEAR:
        magnitude = torch_logits(torch_twin.build(absolute(graph), "float64"), np.abs(x))
        return _LINEAR[layer.kind](layer) * EPS * magnitude
    if layer.kind in _NONLINEAR:
        return _NONLINEAR[layer.kind](layer, x, y) * EPS
    return np.zeros_like(y)


def absolute(graph: Graph) -> Graph:
    """``graph`` with absolute weights: of an absolute input, it gives the sum of all products' magnitudes."""
    layers = tuple(
        replace(layer, weights={key: np.abs(array) for key, array in layer.weights.items()})
        for layer in graph
    )
    return replace(graph, layers=layers)


def _kernel_terms(layer: Layer) -> int:
    """Products per output (a multiplication and an addition each count once in ``n``), and the bias."""
    return math.prod(layer.weights["kernel"].shape[:-1]) + 2


def _separable_terms(layer: Layer) -> int:
    space = layer.weights["depthwise_kernel"].shape[:-2]
    return math.prod(space) + layer.weights["pointwise_kernel"].shape[0] + 3


def _pooled_terms(layer: Layer) -> int:
    """A sum, a division, and a second one where a border is counted out."""
    window = layer.attributes["pool_size"] if "pool_size" in layer.attributes else layer.input_shapes[0][:-1]
    return math.prod(window) + 3


_CONVOLUTIONS = tuple(f"{kind}{space}d" for kind in ("conv", "conv_transpose") for space in (1, 2, 3))
_LINEAR: dict[str, Callable[[Layer], int]] = {
    **dict.fromkeys(("dense", *_CONVOLUTIONS), _kernel_terms),
    **dict.fromkeys(("separable_conv1d", "separable_conv2d"), _separable_terms),
    **dict.fromkeys(
        ("average_pool1d", "average_pool2d", "average_pool3d", "global_average_pool"), _pooled_terms
    ),
    "scale": lambda layer: 2,
    "affine": lambda layer: 2,
    "resample": lambda layer: layer.weights["matrix"].shape[1],
    "add": lambda layer: 1,
    "matmul": lambda layer: layer.input_shapes[0][-1],
    "multiply": lambda layer: math.prod(layer.input_shapes[0]) + 2,
}


def _upsample(layer: Layer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Up to four products; a place among ``size`` values, and so its weight, is off by ``size`` of them."""
    if layer.attributes["interpolation"] == "nearest":
        return np.zeros_like(y)
    return np.full_like(y, (4 + 2 * max(layer.input_shapes[0])) * np.abs(x).max())


def _batch_norm(layer: Layer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``gamma / d * x + (beta - mean * gamma / d)``, in this order or another: 8 operations at most."""
    weights = layer.weights
    slope = np.abs(weights.get("gamma", 1.0)) / np.sqrt(weights["variance"] + layer.attributes["epsilon"])
    return 8 * (slope * (np.abs(x) + np.abs(weights["mean"])) + np.abs(weights.get("beta", 0.0)))


def _layer_norm(layer: Layer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """With ``m = max |x|``, ``d^2 = variance + epsilon``, ``n`` values: the mean is off by ``n m`` roundings.

    The variance is off by ``n m^2`` (as the mean of squares, the worse formula), which moves the result
    by half of ``|x - mean| / d`` times ``n m^2 / d^2``, and ``|x - mean| / d`` is at most ``sqrt n``.
    """
    return _normalised(layer, x, y, tuple(range(-layer.attributes["axes_count"], 0)))


def _group_norm(layer: Layer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The same over the places and the channels of a group, in (batch, places, group, channel)."""
    groups = layer.attributes["groups"]
    shape = (x.shape[0], -1, groups, x.shape[-1] // groups)
    weights = {key: array.reshape(shape[2:]) for key, array in layer.weights.items()}
    grouped = replace(layer, weights=weights)
    return _normalised(grouped, x.reshape(shape), y.reshape(shape), (1, 3)).reshape(x.shape)


def _normalised(layer: Layer, x: np.ndarray, y: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    n = math.prod(x.shape[axis] for axis in axes)
    m = np.abs(x).max(axes, keepdims=True)
    d = np.sqrt(x.var(axes, keepdims=True) + layer.attributes["epsilon"])
    gamma, beta = np.abs(layer.weights.get("gamma", 1.0)), np.abs(layer.weights.get("beta", 0.0))
    return (n + 8) * gamma * (m / d + math.sqrt(n) * (m / d) ** 2) + beta + np.abs(y)


def _rms_norm(layer: Layer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A sum of ``n`` squares, all positive, under a root, a quotient and a product: each relative to the result."""
    n = math.prod(layer.shape[-layer.attributes["axes_count"] :])
    return (n + 8) * np.abs(y)


def _grid_sample(layer: Layer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Four products with weights of 4 operations; a place among ``size`` pixels is off by 4 of their number.

    What is between pixels moves by at most twice the largest value of the map from one to the next; ``x`` holds the
    maps and the places, both of which its largest value bounds.
    """
    largest = np.abs(x).max()
    reach = max(layer.input_shapes[0][1:3]) * (largest + 1)
    return np.full_like(y, (4 * 8 + 2 * 2 * 4 * reach) * largest)


def _softmax(layer: Layer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``exp`` makes its argument's error, ``2 max |x|`` roundings, a relative one; then come ``n`` sums."""
    return (2 * layer.shape[layer.attributes["axis"]] + 4 * np.abs(x).max() + 8) * y


def _smooth(layer: Layer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """At most 8 operations, none of whose results is beyond ``|x| + |y| + 1``."""
    return 8 * (np.abs(x) + np.abs(y) + 1)


def _power(layer: Layer, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A sum of ``size`` squares, all positive, a power and a quotient: each of them relative to the result."""
    return (layer.attributes["window"] + 12) * np.abs(y)


_NONLINEAR: dict[str, Callable[[Layer, np.ndarray, np.ndarray], np.ndarray]] = {
    **dict.fromkeys(("elu", "selu", "sigmoid", "tanh", "swish", "gelu", "mish"), _smooth),
    "softmax": _softmax,
    "batch_norm": _batch_norm,
    **dict.fromkeys(("hard_swish", "hard_sigmoid", "sqrt"), _smooth),
    **dict.fromkeys(("lrn",), _power),
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "rms_norm": _rms_norm,
    "grid_sample": _grid_sample,
    "upsample": _upsample,
}
