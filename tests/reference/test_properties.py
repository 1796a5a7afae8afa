"""What must hold at any layer: conservation under every rule, and transposes that are transposes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.methods import Bounded, Flat, Gradient, Rule, WSquare, Z
from tests.reference.one_layer import model_of, step

EPS = np.finfo(float).eps
#: Products and sums that an element of these layers passes on its way in and out: at most 2 * 36 taps.
SUMS = 72

#: The rules that drop nothing: alpha-beta leaves out an output that has no activator or no inhibitor.
RULES = [Z(bias=False), WSquare(), Flat(), Bounded(low=-5, high=5)]

# Every kind of kernel layer with strides, padding, dilation and groups somewhere: input shape, kernels and
# attributes, and the shape of the output.
LAYERS: dict[
    str, tuple[str, tuple[int, ...], dict[str, tuple[int, ...]], dict[str, Any], tuple[int, ...]]
] = {
    "dense": ("dense", (6,), {"kernel": (6, 4)}, {}, (4,)),
    "conv1d, stride 2, padding 2 and 0": (
        "conv1d",
        (7, 3),
        {"kernel": (3, 3, 4)},
        {"strides": (2,), "padding": ((2, 0),)},
        (4, 4),
    ),
    "conv2d, same, stride 2": (
        "conv2d",
        (6, 5, 2),
        {"kernel": (3, 3, 2, 4)},
        {"strides": (2, 2), "padding": "same"},
        (3, 3, 4),
    ),
    "conv2d, dilation 2, two groups": (
        "conv2d",
        (6, 5, 4),
        {"kernel": (2, 2, 2, 6)},
        {"dilations": (2, 2), "groups": 2},
        (4, 3, 6),
    ),
    "depthwise conv2d, strides 2 and 1": (
        "conv2d",
        (6, 5, 3),
        {"kernel": (3, 2, 1, 3)},
        {"strides": (2, 1), "groups": 3},
        (2, 4, 3),
    ),
    "separable conv2d": (
        "separable_conv2d",
        (5, 5, 2),
        {"depthwise_kernel": (3, 3, 2, 2), "pointwise_kernel": (4, 3)},
        {"padding": "same"},
        (5, 5, 3),
    ),
    "transposed conv2d, stride 2, cropped": (
        "conv_transpose2d",
        (3, 4, 2),
        {"kernel": (3, 3, 2, 3)},
        {"strides": (2, 2), "padding": ((1, 0), (0, 1))},
        (6, 8, 3),
    ),
}


def random_layer(layer: str) -> tuple[str, np.ndarray, np.ndarray, dict[str, np.ndarray], dict[str, Any]]:
    """Kind, input, something of the shape of the output, weights without bias, attributes."""
    kind, shape, kernels, attributes, output = LAYERS[layer]
    rng = np.random.default_rng(3)
    weights = {key: rng.standard_normal(size) for key, size in kernels.items()}
    return kind, rng.standard_normal(shape), rng.standard_normal(output), weights, attributes


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_without_bias_a_rule_conserves_relevance(rule: Rule, layer: str) -> None:
    kind, x, relevance, weights, attributes = random_layer(layer)
    (received,) = step(kind, rule, [x], relevance, weights, attributes)
    assert abs(received.sum() - relevance.sum()) <= SUMS * EPS * np.abs(received).sum()


@pytest.mark.parametrize("layer", LAYERS)
def test_the_gradient_of_a_kernel_layer_is_its_transpose(layer: str) -> None:
    """``<f(x), s> = <x, f^T(s)>``, with ``f(x)`` from the Keras twin and not from the backend."""
    kind, x, s, weights, attributes = random_layer(layer)
    twin = model_of(kind, [x], weights, attributes).keras("float64")
    forward = np.sum(np.asarray(twin(x[None]))[0] * s)
    (transposed,) = step(kind, Gradient(), [x], s, weights, attributes)
    assert abs(forward - np.sum(x * transposed)) <= SUMS * EPS * np.abs(x * transposed).sum()
