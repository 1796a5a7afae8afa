"""Forward steps and deviant outputs for the tests of forward deviations, written out."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from harness.diagnosis.causes import CAUSES
from harness.graph import Graph, Layer
from harness.steps import Deviation, ForwardStep
from reference_impls.deviations.forward import carry_forward, forward_deviations
from tests.oracle.layers import dense, graph, layer

#: One rounding for each of at most 100 operations that lead to any value of these tests.
ROUNDING = 100 * np.finfo(np.float64).eps
#: The same for values that were handed over in float32.
SINGLE = 100 * 2.0**-24


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def step_of(one: Layer, *inputs: np.ndarray, net: Graph | None = None) -> ForwardStep:
    """The step of a layer in the middle of a network, or of ``net``."""
    tail = dense(np.eye(2), name="tail", inputs=("nowhere",))
    return ForwardStep(one, inputs, net or graph(one, tail, input_shape=one.input_shapes[0]))


def residual(step: ForwardStep, observed: np.ndarray) -> float:
    return float(np.linalg.norm(carry_forward(step) - observed) / np.linalg.norm(observed))


def explained(
    step: ForwardStep, observed: np.ndarray, cause: str, *words: str, bound: float = ROUNDING
) -> Deviation:
    """The deviation that comes first; it must be of that cause, say so, and reproduce what was observed."""
    assert residual(step, observed) > 10 * bound, "the case shows no difference"
    first = forward_deviations(step, observed)[0]
    assert first.cause == cause in CAUSES, first.words
    assert residual(first.alter(step), observed) <= bound, first.words
    for word in words:
        assert word in first.words
    return first


def conv(
    seed: int = 0, size: tuple[int, int] = (6, 5), channels: tuple[int, int] = (3, 4), **more: Any
) -> Layer:
    kernel = drawn(seed, 3, 3, *channels)
    attributes = {"strides": (1, 1), "dilations": (1, 1), "groups": 1, "padding": ((1, 1), (1, 1))} | more
    return layer(
        "conv2d",
        (*size, channels[0]),
        (*size, channels[1]),
        attributes,
        kernel=kernel,
        bias=drawn(seed + 1, channels[1]),
    )


def convolved(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, stride: int = 1) -> np.ndarray:
    """The loops of an unpadded convolution."""
    height, width = kernel.shape[:2]
    rows, columns = (x.shape[1] - height) // stride + 1, (x.shape[2] - width) // stride + 1
    y = np.empty((len(x), rows, columns, kernel.shape[-1]))
    for i, j in product(range(rows), range(columns)):
        patch = x[:, i * stride : i * stride + height, j * stride : j * stride + width]
        y[:, i, j] = np.einsum("bhwc,hwco->bo", patch, kernel) + bias
    return y


def padded(x: np.ndarray, before: int, after: int, **how: Any) -> np.ndarray:
    return np.pad(x, ((0, 0), (before, after), (before, after), (0, 0)), **how)


def conv_case() -> tuple[ForwardStep, np.ndarray, np.ndarray, np.ndarray]:
    one, x = conv(), drawn(9, 4, 6, 5, 3)
    return step_of(one, x), x, one.weights["kernel"], one.weights["bias"]
