"""What Keras does with a faulty setting is found: the deviant outputs are Keras's own."""

from __future__ import annotations

import keras
import numpy as np

from harness.graph import Layer
from harness.steps import ForwardStep
from reference_impls.deviations.forward import carry_forward, forward_deviations
from tests.oracle.layers import dense, graph, layer

#: Half a unit of float32 for each of a hundred operations.
SINGLE = 100 * 2.0**-24


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def explained(one: Layer, x: np.ndarray, observed: np.ndarray, cause: str, *words: str) -> None:
    tail = dense(np.eye(2), name="tail", inputs=("nowhere",))
    step = ForwardStep(one, (x,), graph(one, tail, input_shape=one.input_shapes[0]))
    first = forward_deviations(step, observed)[0]
    assert first.cause == cause, first.words
    assert all(word in first.words for word in words), first.words
    error = np.linalg.norm(carry_forward(first.alter(step)) - observed) / np.linalg.norm(observed)
    assert error <= SINGLE, first.words


def test_a_same_convolution_with_stride_where_padding_is_symmetric() -> None:
    kernel, x = drawn(0, 3, 3, 2, 4), drawn(1, 2, 8, 8, 2)
    attributes = {"strides": (2, 2), "dilations": (1, 1), "groups": 1, "padding": ((1, 1), (1, 1))}
    one = layer("conv2d", (8, 8, 2), (4, 4, 4), attributes, kernel=kernel)
    observed = np.asarray(keras.ops.conv(x, kernel, strides=2, padding="same"))
    explained(
        one, x, observed, "forward-padding", "0 before and 1 after instead of 1 before and 1 after", "'same'"
    )


def test_a_batch_norm_with_the_epsilon_of_keras() -> None:
    weights = {"gamma": drawn(0, 4), "beta": drawn(1, 4), "mean": drawn(2, 4), "variance": drawn(3, 4) ** 2}
    one, x = layer("batch_norm", (5, 4), (5, 4), {"epsilon": 1e-5}, **weights), drawn(4, 3, 5, 4)
    module = keras.layers.BatchNormalization()
    module.build(x.shape)
    module.set_weights(list(weights.values()))
    explained(one, x, np.asarray(module(x)), "forward-epsilon", "epsilon is 1e-03 instead of 1e-05")


def test_the_leaky_slope_of_keras() -> None:
    x = drawn(0, 4, 20)
    observed = np.asarray(keras.layers.LeakyReLU()(x))
    one = layer("leaky_relu", (20,), (20,), {"alpha": 0.01})
    explained(one, x, observed, "forward-activation", "slope 0.3 instead of leaky_relu with slope 0.01")


def test_a_flatten_of_channels_last_data() -> None:
    one, x = layer("flatten", (2, 3, 4), (24,), {"order": "channels_first"}), drawn(0, 2, 2, 3, 4)
    explained(
        one,
        x,
        np.asarray(keras.layers.Flatten()(x)),
        "flatten-order",
        "channels last instead of channels first",
    )
