"""Another order, other branches, other ends are found: the deviant outputs are computed here, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.steps import ForwardStep
from reference_impls.deviations.forward import forward_deviations
from tests.oracle.forward_steps import (
    conv,
    conv_case,
    convolved,
    drawn,
    explained,
    padded,
    step_of,
)
from tests.oracle.layers import dense, graph, layer

# Order of values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "other"), [("channels_last", (0, 3, 1, 2)), ("channels_first", (0, 1, 2, 3))]
)
def test_another_order_of_flattening_is_found(order: str, other: tuple[int, ...]) -> None:
    x = drawn(0, 2, 2, 3, 4)
    one = layer("flatten", (2, 3, 4), (24,), {"order": order})
    explained(step_of(one, x), x.transpose(other).reshape(2, 24), "flatten-order", "channels")


def test_flattening_width_first_is_found() -> None:
    x = drawn(0, 2, 2, 3, 4)
    one = layer("flatten", (2, 3, 4), (24,), {"order": "channels_last"})
    observed = x.transpose(0, 2, 1, 3).reshape(2, 24)
    explained(step_of(one, x), observed, "flatten-order", "(width, height, channel)")


def test_a_dense_kernel_in_the_order_of_another_flattening_is_found() -> None:
    """Trained behind a channels-first flatten, put behind a channels-last one."""
    flatten = layer("flatten", (2, 3, 4), (24,), {"order": "channels_last"}, inputs=("x",), name="flatten")
    kernel, h = drawn(0, 24, 5), drawn(1, 3, 24)
    one = dense(kernel, inputs=("flatten",))
    read = kernel.reshape(2, 3, 4, 5).transpose(2, 0, 1, 3).reshape(24, 5)
    step = step_of(
        one,
        h,
        net=graph(flatten, one, dense(np.eye(5), name="tail", inputs=("layer",)), input_shape=(2, 3, 4)),
    )
    explained(step, h @ read, "flatten-order", "(channel, height, width) instead of (height, width, channel)")


def test_other_axes_of_a_permutation_are_found() -> None:
    x = drawn(0, 2, 3, 3, 3)
    one = layer("permute", (3, 3, 3), (3, 3, 3), {"dims": (2, 1, 3)})
    explained(step_of(one, x), x.transpose(0, 3, 1, 2), "layout", "(3, 1, 2) instead of (2, 1, 3)")


def test_concatenated_inputs_in_another_order_are_found() -> None:
    a, b = drawn(0, 2, 3), drawn(1, 2, 3)
    one = layer("concat", [(3,), (3,)], (6,), {"axis": -1})
    explained(
        step_of(one, a, b), np.concatenate([b, a], -1), "layout", "in the order (1, 0) instead of (0, 1)"
    )


def test_channels_in_another_order_are_found() -> None:
    x = drawn(0, 2, 5, 4)
    observed = np.maximum(x, 0)[..., ::-1]
    explained(step_of(layer("relu", (5, 4), (5, 4)), x), observed, "layout", "channels in reverse order")


def test_exchanged_axes_show_in_the_shape() -> None:
    x = drawn(0, 2, 5, 4)
    observed = np.maximum(x, 0).transpose(0, 2, 1)
    (found,) = forward_deviations(step_of(layer("relu", (5, 4), (5, 4)), x), observed)
    assert found.cause == "layout" and "(channel, length) instead of (length, channel)" in found.words


# Branches --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ((1, 0), "leaves input 1 (input_1) out"),
        ((2, 1), "counts input 0 (input_0) twice"),
        ((1, -1), "subtracts input 1 (input_1)"),
        ((1, 0.3), "counts input 1 (input_1) 0.3 times"),
    ],
)
def test_inputs_of_a_sum_that_are_not_counted_once_are_found(times: tuple[float, float], words: str) -> None:
    a, b = drawn(0, 3, 4), drawn(1, 3, 4)
    step = step_of(layer("add", [(4,), (4,)], (4,)), a, b)
    explained(step, times[0] * a + times[1] * b, "residual-split", words, "forward pass")


def test_a_product_instead_of_a_sum_is_found() -> None:
    a, b = drawn(0, 3, 4), drawn(1, 3, 4)
    explained(
        step_of(layer("add", [(4,), (4,)], (4,)), a, b), a * b, "residual-split", "multiplies its inputs"
    )


# Input and output ------------------------------------------------------------------------------------


def first_layer() -> tuple[ForwardStep, np.ndarray, np.ndarray, np.ndarray]:
    """A convolution that reads an image of values from 0 to 1 that is as high as wide."""
    one = replace(conv(size=(6, 6)), inputs=("x",))
    x = np.random.default_rng(5).uniform(size=(3, 6, 6, 3))
    net = graph(one, dense(np.eye(4), name="tail", inputs=("layer",)), input_shape=(6, 6, 3))
    return step_of(one, x, net=net), x, one.weights["kernel"], one.weights["bias"]


CAFFE = np.array([103.939, 116.779, 123.68])
INPUTS = {
    "reverse order (BGR instead of RGB": lambda x: x[..., ::-1],
    "divided by 255": lambda x: x / 255,
    "multiplied by 255": lambda x: 255 * x,
    "2 * x - 1": lambda x: 2 * x - 1,
    "divided by 127.5 and has 1 subtracted": lambda x: x / 127.5 - 1,
    "ImageNet's mean and std": lambda x: (x - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
    "reverse order and is multiplied by 255 and has Caffe's mean (103.939": (
        lambda x: 255 * x[..., ::-1] - CAFFE
    ),
    "3 * x + 0.2 instead of x": lambda x: 3 * x + 0.2,
    "(2, 3, 4) * x + (0.5, 0.25, 0.125) instead": lambda x: x * [2, 3, 4] + [0.5, 0.25, 0.125],
    "(2, 3, 4) * x with its channels in reverse order": lambda x: x[..., ::-1] * [2, 3, 4],
    "height and width exchanged": lambda x: x.swapaxes(1, 2),
    "flipped left to right": lambda x: x[:, :, ::-1],
}


@pytest.mark.parametrize("words", INPUTS)
def test_another_input_is_found_at_the_layer_that_reads_it(words: str) -> None:
    step, x, kernel, bias = first_layer()
    observed = convolved(padded(INPUTS[words](x), 1, 1), kernel, bias)
    # The coefficients that are solved for have an error of their own, before they are rounded to few digits.
    explained(step, observed, "preprocessing", words)


@pytest.mark.parametrize("words", INPUTS)
def test_another_input_is_found_where_it_is_handed_in(words: str) -> None:
    step, x, _, _ = first_layer()
    explained(replace(step, layer=step.graph.input), INPUTS[words](x), "preprocessing", words)


def test_a_clipped_input_is_found() -> None:
    step, x, _, _ = first_layer()
    here = replace(step, layer=step.graph.input, inputs=(3 * x - 1,))
    explained(here, np.clip(3 * x - 1, 0, 1), "preprocessing", "clipped to [0, 1]")


def test_a_scale_inside_the_network_is_no_preprocessing() -> None:
    step, x, kernel, bias = conv_case()
    found = forward_deviations(step, convolved(padded(x / 255, 1, 1), kernel, bias))
    assert "preprocessing" not in {each.cause for each in found}


ENDS = {
    "softmax": lambda z: np.exp(z) / np.exp(z).sum(-1, keepdims=True),
    "log-softmax": lambda z: z - np.log(np.exp(z).sum(-1, keepdims=True)),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_softmax_that_was_kept_is_found_at_the_output_only(name: str) -> None:
    one, x = dense(drawn(0, 5, 4), drawn(1, 4)), drawn(2, 3, 5)
    observed = ENDS[name](x @ one.weights["kernel"] + one.weights["bias"])
    explained(
        step_of(one, x, net=graph(one, input_shape=(5,))), observed, "softmax-kept", f"through a {name} "
    )
    assert "softmax-kept" not in {each.cause for each in forward_deviations(step_of(one, x), observed)}
