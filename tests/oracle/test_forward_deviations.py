"""What a layer does differently in its forward pass is found: the deviant outputs are computed by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.backends import capability
from harness.steps import ForwardStep
from reference_impls.deviations.forward import carry_forward, forward_deviations
from reference_impls.deviations.forward.sight import look
from reference_impls.oracle import PreparedOracle
from tests.oracle.forward_steps import (
    ROUNDING,
    SINGLE,
    conv,
    conv_case,
    convolved,
    drawn,
    explained,
    padded,
    residual,
    step_of,
)
from tests.oracle.layers import dense, layer

# Nothing wrong ---------------------------------------------------------------------------------------


def cases() -> list[ForwardStep]:
    positive = np.abs(drawn(3, 4)) + 0.5
    norm = layer(
        "batch_norm",
        (5, 4),
        (5, 4),
        {"epsilon": 1e-3},
        gamma=positive,
        beta=positive,
        mean=positive,
        variance=positive,
    )
    return [
        conv_case()[0],
        step_of(norm, drawn(4, 3, 5, 4)),
        step_of(layer("gelu", (7,), (7,), {"approximate": "none"}), drawn(5, 6, 7)),
        step_of(dense(drawn(6, 7, 3), drawn(7, 3)), drawn(8, 9, 7)),
        step_of(layer("add", [(4,), (4,)], (4,)), drawn(1, 3, 4), drawn(2, 3, 4)),
    ]


@pytest.mark.parametrize("step", cases(), ids=lambda step: step.layer.kind)
def test_a_healthy_output_has_no_deviation(step: ForwardStep) -> None:
    assert forward_deviations(step, carry_forward(step)) == []


@pytest.mark.parametrize("step", cases(), ids=lambda step: step.layer.kind)
def test_rounding_to_float32_is_no_deviation_of_a_float32_candidate(step: ForwardStep) -> None:
    """Whatever is offered comes hardly nearer than the step itself: the rounding is still there."""
    observed = carry_forward(step).astype(np.float32)
    own = residual(step, observed)
    assert all(residual(each.alter(step), observed) > own / 2 for each in forward_deviations(step, observed))


def test_the_prepared_oracle_offers_it() -> None:
    step = conv_case()[0]
    oracle = PreparedOracle(step.graph)
    assert capability(oracle, "deviations") is oracle
    assert np.array_equal(oracle.carry_forward(step), carry_forward(step))
    observed = np.maximum(carry_forward(step), 0)
    assert [each.words for each in oracle.forward_deviations(step, observed)] == [
        each.words for each in forward_deviations(step, observed)
    ]


# Any layer -------------------------------------------------------------------------------------------


def test_one_factor_is_found() -> None:
    x = drawn(0, 3, 4)
    found = explained(step_of(layer("tanh", (4,), (4,)), x), 1.7 * np.tanh(x), "scale", "1.7 times")
    assert found.generic


def test_nan_is_counted() -> None:
    step, x, kernel, bias = conv_case()
    observed = convolved(padded(x, 1, 1), kernel, bias)
    observed[1, 2, 3, 0], observed[2, 0, 0, 1] = np.nan, np.inf
    first = forward_deviations(step, observed)[0]
    assert (
        first.cause == "nan" and "1 NaN and 1 Inf among 480 values, the first at (1, 2, 3, 0)" in first.words
    )
    healthy = np.isfinite(observed)
    assert np.allclose(
        carry_forward(first.alter(step))[healthy], observed[healthy], rtol=ROUNDING, atol=ROUNDING
    )


def shortened(values: np.ndarray, bits: int) -> np.ndarray:
    """Rounded to a significand of ``bits`` bits, by scaling: no format, no bit pattern."""
    fraction, exponent = np.frexp(values)
    return np.ldexp(np.rint(fraction * 2.0**bits), exponent - bits)


@pytest.mark.parametrize(("bits", "name"), [(8, "bfloat16"), (11, "tf32")])
def test_rounded_operands_are_found(bits: int, name: str) -> None:
    step, x, kernel, bias = conv_case()
    observed = convolved(padded(shortened(x, bits), 1, 1), shortened(kernel, bits), shortened(bias, bits))
    words = f"computes in {name}: inputs, weights and bias rounded"
    # float32 of all values in between: the format is told from the size of the difference alone.
    explained(step, observed.astype(np.float32), "precision", words, bound=SINGLE)


def test_a_bias_that_is_added_in_full_is_told_from_a_rounded_one() -> None:
    step, x, kernel, bias = conv_case()
    observed = convolved(padded(shortened(x, 11), 1, 1), shortened(kernel, 11), bias)
    explained(step, observed, "precision", "computes in tf32: inputs and weights rounded")


@pytest.mark.parametrize(("bits", "name"), [(8, "bfloat16"), (11, "float16")])
def test_rounded_operands_and_output_are_found(bits: int, name: str) -> None:
    step, x, kernel, bias = conv_case()
    z = convolved(padded(shortened(x, bits), 1, 1), shortened(kernel, bits), shortened(bias, bits))
    words = f"computes in {name}: inputs, weights, bias and output rounded"
    explained(step, shortened(z, bits), "precision", words)


def test_rounded_weights_are_found() -> None:
    step, x, kernel, bias = conv_case()
    observed = convolved(padded(x, 1, 1), shortened(kernel, 8), shortened(bias, 8))
    explained(step, observed, "precision", "computes in bfloat16: weights and bias rounded")


def test_an_overflow_of_float16_is_its_precision() -> None:
    kernel = np.array([[40000.0, 1.0]])
    x = np.array([[2.0], [1.0], [0.1]])
    step = step_of(dense(kernel), x)
    with np.errstate(over="ignore"):
        observed = (x.astype(np.float16) * kernel.astype(np.float16)).astype(np.float64)
    assert np.isinf(observed[0, 0])
    assert "precision" in {each.cause for each in forward_deviations(step, observed)}


def test_a_float64_run_in_float32_is_found() -> None:
    kernel, x = drawn(0, 50, 7), drawn(1, 9, 50)
    observed = (x.astype(np.float32) @ kernel.astype(np.float32)).astype(np.float64)
    (first, *_) = forward_deviations(step_of(dense(kernel), x), observed)
    assert first.cause == "precision" and first.parameters["format"] == "float32"


# Two at once, and large layers -----------------------------------------------------------------------


def test_two_faults_are_found_one_after_the_other() -> None:
    step, x, kernel, _ = conv_case()
    observed = np.maximum(convolved(padded(x, 1, 1), kernel, np.zeros(4)), 0)
    pairs = [
        (one.words, other.words, residual(other.alter(one.alter(step)), observed))
        for one in forward_deviations(step, observed)
        for other in forward_deviations(one.alter(step), observed)
    ]
    best = min(pairs, key=lambda pair: pair[2])
    assert best[2] <= ROUNDING
    assert any(
        {"relu is applied to its output", "the bias is left out"} == set(pair[:2]) and pair[2] <= ROUNDING
        for pair in pairs
    )


def test_an_excerpt_is_the_excerpt_of_the_whole() -> None:
    """What is looked at of a large layer is what carrying it out on the whole gives there."""
    one = replace(
        conv(size=(301, 200), channels=(3, 64), strides=(2, 1), padding=((0, 2), (1, 1))),
        shape=(151, 200, 64),
    )
    step = step_of(one, drawn(0, 1, 301, 200, 3))
    sight = look(step, carry_forward(step))
    assert sight.boxes is not None and sight.base.size < sight.observed.size
    assert sight.residual(step) <= ROUNDING
    altered = forward_deviations(step, np.maximum(carry_forward(step), 0))[0].alter(step)
    assert np.allclose(sight.of(altered), np.maximum(sight.base, 0), rtol=ROUNDING)


def test_a_large_layer_is_explained_by_an_excerpt() -> None:
    one = conv(size=(200, 200), channels=(3, 64))
    step = step_of(one, drawn(0, 1, 200, 200, 3))
    flipped = replace(one, weights={**one.weights, "kernel": one.weights["kernel"][::-1, ::-1]})
    observed = carry_forward(replace(step, layer=flipped))
    explained(step, observed, "forward-weights", "rotated by 180 degrees")
    bare = replace(
        one, attributes={**one.attributes, "padding": ((0, 0), (0, 0))}, input_shapes=((202, 202, 3),)
    )
    filled = ForwardStep(bare, (padded(step.inputs[0], 1, 1, mode="reflect"),), step.graph)
    explained(step, carry_forward(filled), "forward-padding", "reflects the input without its edge")
