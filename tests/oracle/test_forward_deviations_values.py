"""Other values of layers without weights are found: the deviant outputs are computed here, by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reference_impls.deviations.forward import forward_deviations
from tests.oracle.forward_steps import (
    ROUNDING,
    conv,
    conv_case,
    convolved,
    drawn,
    explained,
    padded,
    residual,
    step_of,
)
from tests.oracle.layers import dense, graph, layer

# Padding ---------------------------------------------------------------------------------------------


def test_padding_on_the_other_side_is_found() -> None:
    """Stride 2 over 6: TensorFlow pads (0, 1), torch (1, 1); both give 3 by 3."""
    one = replace(conv(size=(6, 6), strides=(2, 2), padding=((0, 1), (0, 1))), shape=(3, 3, 4))
    x = drawn(1, 2, 6, 6, 3)
    observed = convolved(padded(x, 1, 1), one.weights["kernel"], one.weights["bias"], stride=2)
    found = explained(
        step_of(one, x),
        observed,
        "forward-padding",
        "1 before and 1 after instead of 0 before and 1 after",
        "torch",
    )
    assert found.alter(step_of(one, x)).layer.attributes["padding"] == ((1, 1), (1, 1))


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
def test_another_filling_of_the_padding_is_found(mode: Any) -> None:
    step, x, kernel, bias = conv_case()
    found = explained(step, convolved(padded(x, 1, 1, mode=mode), kernel, bias), "forward-padding")
    assert found.parameters["mode"] == mode


def test_padding_left_out_shows_in_the_shape() -> None:
    step, x, kernel, bias = conv_case()
    observed = convolved(x, kernel, bias)
    (found,) = forward_deviations(step, observed)
    assert found.cause == "forward-padding" and "pads nothing instead of" in found.words
    assert residual(found.alter(step), observed) <= ROUNDING


def test_a_max_pooling_that_pads_with_zero_is_found() -> None:
    attributes = {"pool_size": (3,), "strides": (1,), "padding": ((1, 1),)}
    one = layer("max_pool1d", (4, 1), (4, 1), attributes)
    x = np.array([-3.0, -1.0, -2.0, -4.0]).reshape(1, 4, 1)
    observed = np.array([0.0, -1.0, -1.0, 0.0]).reshape(1, 4, 1)
    explained(step_of(one, x), observed, "forward-padding", "0 instead of minus infinity")


def test_the_number_in_a_padding_layer_is_found() -> None:
    one = layer("zero_pad", (2, 1), (4, 1), {"padding": ((1, 1),)})
    observed = np.array([0.5, 3.0, 4.0, 0.5]).reshape(1, 4, 1)
    net = graph(one, dense(np.eye(1), name="tail", inputs=("layer",)), input_shape=(2, 1))
    step = step_of(one, np.array([3.0, 4.0]).reshape(1, 2, 1), net=net)
    explained(step, observed, "forward-padding", "pads with 0.5 instead of 0")


# Activations -----------------------------------------------------------------------------------------


def gelu(x: float) -> float:
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


ACTIVATIONS: dict[str, tuple[Any, str]] = {
    "leaky_relu with slope 0.07 instead of relu": (lambda x: x if x > 0 else 0.07 * x, "relu"),
    "elu with alpha 0.7 instead of relu": (lambda x: x if x > 0 else 0.7 * math.expm1(x), "relu"),
    "relu6 instead of relu": (lambda x: min(max(x, 0.0), 6.0), "relu"),
    "relu capped at 2.5 instead of relu": (lambda x: min(max(x, 0.0), 2.5), "relu"),
    "relu is left out": (lambda x: x, "relu"),
    "relu instead of gelu with erf": (lambda x: max(x, 0.0), "gelu"),
    "quick gelu (x * sigmoid(1.702 * x)) instead of gelu": (lambda x: x / (1 + math.exp(-1.702 * x)), "gelu"),
    "swish instead of gelu": (lambda x: x / (1 + math.exp(-x)), "gelu"),
    "swish with beta 1.3 instead of gelu": (lambda x: x / (1 + math.exp(-1.3 * x)), "gelu"),
    "gelu in its tanh form instead of gelu with erf": (
        lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        "gelu",
    ),
    "gelu with erf instead of relu": (gelu, "relu"),
    "hard_swish instead of relu": (lambda x: x * min(max(x + 3, 0), 6) / 6, "relu"),
    "hard_sigmoid instead of relu": (lambda x: min(max(x + 3, 0), 6) / 6, "relu"),
    "sigmoid instead of relu": (lambda x: 1 / (1 + math.exp(-x)), "relu"),
    "tanh instead of relu": (math.tanh, "relu"),
    "softplus instead of relu": (lambda x: math.log1p(math.exp(x)), "relu"),
}


@pytest.mark.parametrize("words", ACTIVATIONS)
def test_another_activation_is_found(words: str) -> None:
    function, kind = ACTIVATIONS[words]
    x = 4 * drawn(2, 5, 60)
    one = layer(kind, (60,), (60,), {"approximate": "none"} if kind == "gelu" else {})
    explained(step_of(one, x), np.vectorize(function)(x), "forward-activation", words)


def test_another_slope_is_said_with_both_values() -> None:
    x = drawn(2, 5, 6)
    one = layer("leaky_relu", (6,), (6,), {"alpha": 0.01})
    observed = np.where(x > 0, x, 0.3 * x)
    explained(
        step_of(one, x), observed, "forward-activation", "slope 0.3 instead of leaky_relu with slope 0.01"
    )


def test_an_activation_too_many_is_found() -> None:
    step, x, kernel, bias = conv_case()
    observed = np.maximum(convolved(padded(x, 1, 1), kernel, bias), 0)
    explained(step, observed, "forward-activation", "relu is applied to its output")


@pytest.mark.parametrize("kind", ["dropout", "relu"])
def test_dropout_left_on_is_found(kind: str) -> None:
    x = np.abs(drawn(0, 10, 200))
    kept = np.random.default_rng(1).random(x.shape) >= 0.25
    one = layer(kind, (200,), (200,), {"rate": 0.25} if kind == "dropout" else {})
    explained(step_of(one, x), x * kept / 0.75, "forward-activation", "dropout is left on (p=0.25)")


def test_zeros_that_are_too_many_for_their_factor_are_no_dropout() -> None:
    x = np.abs(drawn(0, 10, 200))
    kept = np.random.default_rng(1).random(x.shape) >= 0.6
    found = forward_deviations(step_of(layer("relu", (200,), (200,)), x), x * kept / 0.75)
    assert not any("dropout" in each.words for each in found)


# Pooling ---------------------------------------------------------------------------------------------

PADDED_POOL = {"pool_size": (2,), "strides": (2,), "padding": ((1, 1),)}


def test_average_pooling_instead_of_max_pooling_is_found() -> None:
    one = layer("max_pool1d", (4, 1), (2, 1), {"pool_size": (2,), "strides": (2,), "padding": ((0, 0),)})
    x, observed = np.array([1.0, 4.0, -2.0, 8.0]), np.array([2.5, 3.0])
    explained(
        step_of(one, x.reshape(1, 4, 1)),
        observed.reshape(1, 2, 1),
        "pooling",
        "average pooling instead of max",
    )


@pytest.mark.parametrize(("counted", "ends"), [(True, (3.0, 6.0)), (False, (1.5, 3.0))])
def test_the_padding_in_an_average_is_found(counted: bool, ends: tuple[float, float]) -> None:
    """Windows of two over 0 | 3 1 | 5 6 | 0 at the ends: one real entry each."""
    one = layer("average_pool1d", (4, 1), (3, 1), {**PADDED_POOL, "count_include_pad": counted})
    x = np.array([3.0, 1.0, 5.0, 6.0]).reshape(1, 4, 1)
    observed = np.array([ends[0], 3.0, ends[1]]).reshape(1, 3, 1)
    explained(
        step_of(one, x), observed, "pooling", "leaves the padding out" if counted else "counts the padding"
    )


def test_global_max_instead_of_average_is_found() -> None:
    one = layer("global_average_pool", (2, 2, 3), (3,), {"keepdims": False})
    x = drawn(0, 2, 2, 2, 3)
    explained(step_of(one, x), x.max(axis=(1, 2)), "pooling", "max pooling instead of average pooling")


def test_windows_of_another_size_are_found() -> None:
    one = layer("max_pool1d", (7, 1), (3, 1), {"pool_size": (2,), "strides": (2,), "padding": ((0, 0),)})
    x = np.array([1.0, 2.0, 9.0, 3.0, 4.0, 5.0, 7.0]).reshape(1, 7, 1)
    observed = np.array([9.0, 9.0, 7.0]).reshape(1, 3, 1)
    explained(step_of(one, x), observed, "pooling", "windows of (3,) instead of (2,)")
