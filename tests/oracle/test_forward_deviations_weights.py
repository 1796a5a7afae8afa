"""Other weights, normalised or not, are found: the deviant outputs are computed here, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.steps import ForwardStep
from reference_impls.deviations.forward import forward_deviations
from tests.oracle.forward_steps import (
    ROUNDING,
    SINGLE,
    conv,
    conv_case,
    convolved,
    drawn,
    explained,
    padded,
    step_of,
)
from tests.oracle.layers import dense, graph, layer

# Epsilon ---------------------------------------------------------------------------------------------


def batch_norm_case() -> tuple[ForwardStep, np.ndarray, dict[str, np.ndarray]]:
    weights = {
        "gamma": drawn(0, 4) + 2.0,
        "beta": drawn(1, 4),
        "mean": drawn(2, 4),
        "variance": np.array([0.002, 0.05, 0.4, 3.0]),
    }
    x = drawn(3, 6, 5, 4)
    one = layer("batch_norm", (5, 4), (5, 4), {"epsilon": 1e-3}, **weights)
    return step_of(one, x), x, weights


def normalised(x: np.ndarray, w: dict[str, np.ndarray], epsilon: float) -> np.ndarray:
    return (x - w["mean"]) / np.sqrt(w["variance"] + epsilon) * w["gamma"] + w["beta"]


@pytest.mark.parametrize(("epsilon", "phrase"), [(1e-5, "1e-05"), (0.0, "0"), (3.7e-4, "0.00037")])
def test_the_epsilon_of_a_batch_norm_is_found(epsilon: float, phrase: str) -> None:
    """From a list of habits, or solved (3.7e-4 is nobody's habit)."""
    step, x, weights = batch_norm_case()
    found = explained(
        step, normalised(x, weights, epsilon), "forward-epsilon", f"epsilon is {phrase} instead of 1e-03"
    )
    assert found.alter(step).layer.attributes["epsilon"] == epsilon


def test_the_epsilon_is_found_from_float32() -> None:
    step, x, weights = batch_norm_case()
    observed = normalised(x, weights, 3.7e-4).astype(np.float32)
    explained(step, observed, "forward-epsilon", "0.00037 instead of 1e-03", bound=SINGLE)


def layer_norm_case() -> tuple[ForwardStep, np.ndarray, np.ndarray, np.ndarray]:
    x, gamma, beta = 0.1 * drawn(0, 2, 5, 8), drawn(1, 8), drawn(2, 8)
    one = layer("layer_norm", (5, 8), (5, 8), {"epsilon": 1e-3, "axes_count": 1}, gamma=gamma, beta=beta)
    return step_of(one, x), x, gamma, beta


@pytest.mark.parametrize(("epsilon", "phrase"), [(1e-12, "1e-12"), (2.5e-4, "0.00025")])
def test_the_epsilon_of_a_layer_norm_is_found(epsilon: float, phrase: str) -> None:
    step, x, gamma, beta = layer_norm_case()
    centred = x - x.mean(-1, keepdims=True)
    observed = centred / np.sqrt(x.var(-1, keepdims=True) + epsilon) * gamma + beta
    explained(step, observed, "forward-epsilon", f"epsilon is {phrase} instead of 1e-03")


def test_epsilon_outside_of_the_root_is_found() -> None:
    step, x, gamma, beta = layer_norm_case()
    observed = (x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True) + 1e-3) * gamma + beta
    explained(step, observed, "forward-epsilon", "added to the standard deviation")


def test_an_unbiased_variance_in_a_layer_norm_is_found() -> None:
    step, x, gamma, beta = layer_norm_case()
    variance = x.var(-1, keepdims=True) * 8 / 7
    observed = (x - x.mean(-1, keepdims=True)) / np.sqrt(variance + 1e-3) * gamma + beta
    explained(step, observed, "std-ddof", "n - 1 instead of n")


# Batch norm ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ddof", [0, 1])
def test_statistics_of_the_batch_are_found(ddof: int) -> None:
    step, x, weights = batch_norm_case()
    statistics = {"mean": x.mean((0, 1)), "variance": x.var((0, 1), ddof=ddof)}
    found = explained(step, normalised(x, weights | statistics, 1e-3), "batch-coupling", "training mode")
    assert found.parameters["ddof"] == ddof


def test_a_batch_norm_left_out_is_found() -> None:
    step, x, _ = batch_norm_case()
    explained(step, x, "batchnorm", "left out")


@pytest.mark.parametrize("name", ["gamma", "beta", "mean"])
def test_a_missing_weight_of_a_batch_norm_is_found(name: str) -> None:
    step, x, weights = batch_norm_case()
    neutral = np.ones(4) if name == "gamma" else np.zeros(4)
    explained(step, normalised(x, weights | {name: neutral}, 1e-3), "forward-weights", f"{name} is left out")


def test_exchanged_weights_of_a_batch_norm_are_found() -> None:
    step, x, weights = batch_norm_case()
    exchanged = weights | {"gamma": weights["beta"], "beta": weights["gamma"]}
    explained(step, normalised(x, exchanged, 1e-3), "forward-weights", "gamma and beta are exchanged")


def test_a_variance_without_its_root_is_found() -> None:
    step, x, w = batch_norm_case()
    observed = (x - w["mean"]) / (w["variance"] + 1e-3) * w["gamma"] + w["beta"]
    explained(step, observed, "forward-weights", "divides by the variance and not by its root")


def test_the_channels_of_one_weight_in_another_order_are_found() -> None:
    step, x, weights = batch_norm_case()
    observed = normalised(x, weights | {"mean": weights["mean"][::-1]}, 1e-3)
    explained(step, observed, "forward-weights", "mean: the channels are in reverse order")


# Weights ---------------------------------------------------------------------------------------------

SHUFFLED = np.array([2, 0, 3, 1])
REARRANGED = {
    "flipped along its height": lambda kernel: kernel[::-1],
    "rotated by 180 degrees": lambda kernel: kernel[::-1, ::-1],
    "height and width exchanged": lambda kernel: kernel.swapaxes(0, 1),
    "input channels in reverse order": lambda kernel: kernel[:, :, ::-1],
    "output channels in reverse order": lambda kernel: kernel[..., ::-1],
    "laid out as (out, in, height, width) and read as": lambda kernel: kernel.transpose(3, 2, 0, 1).reshape(
        kernel.shape
    ),
    "input channels in another order (0 and 1 exchanged)": lambda kernel: kernel[:, :, [1, 0, 2]],
    "output channels in another order (2, 0, 3, 1), the bias as it should": lambda kernel: kernel[
        ..., SHUFFLED
    ],
    "is multiplied by 1.5": lambda kernel: 1.5 * kernel,
    "is negated": lambda kernel: -kernel,
}


@pytest.mark.parametrize("words", REARRANGED)
def test_a_kernel_that_is_rearranged_is_found(words: str) -> None:
    step, x, kernel, bias = conv_case()
    observed = convolved(padded(x, 1, 1), REARRANGED[words](kernel), bias)
    found = explained(step, observed, "forward-weights", words)
    altered = found.alter(step).layer.weights["kernel"]
    assert np.allclose(altered, REARRANGED[words](kernel), rtol=ROUNDING)


def test_a_transposed_square_kernel_of_a_dense_layer_is_found() -> None:
    kernel, x = drawn(0, 5, 5), drawn(1, 3, 5)
    explained(
        step_of(dense(kernel), x), x @ kernel.T, "forward-weights", "input and output channels exchanged"
    )


@pytest.mark.parametrize(("times", "words"), [(0, "left out"), (2, "added twice"), (-1, "subtracted")])
def test_a_bias_that_is_not_added_once_is_found(times: int, words: str) -> None:
    step, x, kernel, bias = conv_case()
    explained(step, convolved(padded(x, 1, 1), kernel, times * bias), "forward-weights", f"bias is {words}")


def test_the_weights_of_another_layer_are_found() -> None:
    step, x, _, bias = conv_case()
    other = replace(conv(seed=20), name="other")
    net = graph(step.layer, other, input_shape=(6, 5, 3))
    here = replace(step, graph=net)
    kernel = other.weights["kernel"]
    observed = convolved(padded(x, 1, 1), kernel, other.weights["bias"])
    explained(here, observed, "forward-weights", "has the weights of other")
    observed = convolved(padded(x, 1, 1), kernel, bias)
    explained(here, observed, "forward-weights", "has the kernel of other and its own bias")


def test_a_few_other_weights_are_counted_and_named() -> None:
    step, x, kernel, bias = conv_case()
    changed = kernel.copy()
    changed[1, 2, 0, 3] += 0.5
    changed[0, 0, 1, 1] -= 0.25
    words = (
        f"2 of 108 weights of its kernel differ, most at (1, 2, 0, 3): {changed[1, 2, 0, 3]:.4g} instead of"
    )
    # What is solved for is as exact as the patches are independent, and no more.
    condition = 100
    found = explained(
        step, convolved(padded(x, 1, 1), changed, bias), "forward-weights", words, bound=condition * ROUNDING
    )
    assert found.generic


def test_an_output_that_is_no_linear_function_is_not_explained_by_weights() -> None:
    step, x, kernel, bias = conv_case()
    observed = np.sin(3 * convolved(padded(x, 1, 1), kernel, bias))
    assert not any(
        "weights of its kernel differ" in each.words for each in forward_deviations(step, observed)
    )
