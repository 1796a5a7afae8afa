"""Signs, absolute values, what stands for the input, precision, factors, batches: the cause found for each.

Deviant results are written out for small layers; whole numbers and powers of two where they can be exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.methods import (
    AlphaBeta,
    Bounded,
    Epsilon,
    Flat,
    Gradient,
    GuidedReLU,
    Pass,
    Sign,
    WSquare,
    Z,
)
from tests.oracle.layers import dense, layer
from tests.oracle.steps import EPS, cause_of, roundings, step

KERNEL = np.array([[2.0, 1.0, -1.0], [-1.0, 3.0, 2.0], [1.0, -2.0, 4.0], [3.0, 1.0, -2.0]])
BIAS = np.array([1.0, -2.0, 0.5])
X = np.array([[1.0, -2.0, 0.0, 3.0], [-1.5, 0.5, 2.0, 0.0], [0.25, 1.0, -0.5, -3.0]])
R = np.array([[1.0, -2.0, 3.0], [-0.5, 5.5, 1.0], [2.0, 1.0, -1.0]])
LAYER = dense(KERNEL, BIAS, inputs=("x",), name="fc")
Z_OF_X = X @ KERNEL + BIAS


def shared(front: np.ndarray, divisor: np.ndarray, kernel: np.ndarray = KERNEL, relevance=R) -> np.ndarray:
    """``R_i = sum_j front_i * w_ij * R_j / d_j``, as loops."""
    result = np.zeros(X.shape)
    for sample in range(len(X)):
        for i in range(X.shape[1]):
            for j in range(kernel.shape[1]):
                result[sample, i] += (
                    front[sample, i] * kernel[i, j] * relevance[sample, j] / divisor[sample, j]
                )
    return result


def bound(front, divisor, kernel, result) -> float:
    """One rounding for each of the two products, the quotient and the seven additions, on both sides, doubled."""
    return roundings(40, np.abs(front) * (np.abs(R / divisor) @ np.abs(kernel).T), result)


def found(rule, front, divisor, kernel=KERNEL, relevance=R) -> tuple[str, str]:
    result = shared(front, divisor, kernel, relevance)
    limit = bound(front, divisor, kernel, result)
    return cause_of(step(LAYER, rule, X, R), result, limit)


# The SIGN rule -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threshold", "signs", "phrase"),
    [
        (0.0, np.where(X > 0, 1, -1), "(> instead of >=)"),
        (0.0, np.sign(X), "0/0 is replaced by 0"),
        (0.0, np.where(X >= 0.5, 1, -1), "the threshold is 0.5 instead of 0"),
        (0.0, np.where(X >= 1.75, 1, -1), "the threshold is 2 instead of 0"),
        (0.5, np.where(X > 0.5, 1, -1), "(> instead of >=)"),
        (0.5, np.where(X >= 0, 1, -1), "the threshold is 0 instead of 0.5"),
        (0.5, np.ones(X.shape), "1 everywhere"),
        (-1.0, np.where(X >= -1.0, 1, -1), "where the rule takes 1 everywhere"),
    ],
)
def test_other_signs_are_found(threshold: float, signs: np.ndarray, phrase: str) -> None:
    cause, words = found(Sign(threshold), signs, Z_OF_X)
    assert (cause, phrase in words) == ("sign-threshold", True), words


def test_a_sign_of_zero_over_zero_is_nan() -> None:
    result = np.where(X == 0, np.nan, shared(np.sign(X), Z_OF_X))
    limit = bound(np.ones(X.shape), Z_OF_X, KERNEL, result[X != 0])
    assert cause_of(step(LAYER, Sign(), X, R), result, limit)[0] == "nan"


# Cut off ------------------------------------------------------------------------------------------------


def test_clipped_relevance_of_the_output_is_found() -> None:
    cause, words = found(Z(), X, Z_OF_X, relevance=np.maximum(R, 0))
    assert (cause, "relevance of the output" in words) == ("negative-clipped", True)


def test_clipped_results_are_found() -> None:
    result = shared(X, Z_OF_X)
    limit = bound(X, Z_OF_X, KERNEL, np.maximum(result, 0))
    cause, words = cause_of(step(LAYER, Z(), X, R), np.maximum(result, 0), limit)
    assert (cause, "values of the result" in words) == ("negative-clipped", True)


def test_clipped_contributions_over_the_whole_sum_are_found() -> None:
    contributions = np.maximum(X[:, :, None] * KERNEL[None], 0)
    result = np.einsum("bij,bj->bi", contributions, R / Z_OF_X)
    cause, words = cause_of(step(LAYER, Z(), X, R), result, bound(X, Z_OF_X, KERNEL, result))
    assert (cause, "negative contributions" in words) == ("negative-clipped", True)


def test_clipped_inputs_are_found() -> None:
    x = np.maximum(X, 0)
    assert found(Epsilon(0.5), x, _outwards(x @ KERNEL + BIAS, 0.5))[0] == "negative-clipped"


def test_clipped_relevance_at_an_activation_that_passes_it_on_is_found() -> None:
    relu = layer("relu", (3,), (3,), name="relu", inputs=("x",))
    assert cause_of(step(relu, Pass(), Z_OF_X, R), np.maximum(R, 0), 0.0)[0] == "negative-clipped"


# Absolute values -----------------------------------------------------------------------------------------


def test_absolute_contributions_are_found_with_what_became_of_the_bias() -> None:
    absolute, kernel = np.abs(X), np.abs(KERNEL)
    cause, words = found(Z(), absolute, absolute @ kernel + np.abs(BIAS), kernel)
    assert (cause, "with |b|" in words) == ("absolute-contributions", True)


def test_a_sum_of_absolute_contributions_below_signed_ones_is_found() -> None:
    cause, words = found(Epsilon(0.5), X, np.abs(X) @ np.abs(KERNEL) + 0.5)
    assert (cause, "keep their sign" in words) == ("absolute-contributions", True)


def test_the_absolute_denominator_is_found() -> None:
    assert found(Z(), X, np.abs(Z_OF_X))[0] == "absolute-contributions"


# What stands for the input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("in_front", "below", "phrase"),
    [
        (False, True, "stands in the denominator instead"),
        (True, True, "in the denominator and in front"),
        (True, False, "in front, as a factor"),
    ],
)
@pytest.mark.parametrize(("rule", "kernel"), [(Flat(), np.ones(KERNEL.shape)), (WSquare(), KERNEL**2)])
def test_the_real_input_under_flat_and_w_square_is_found(
    rule: Any, kernel: np.ndarray, in_front: bool, below: bool, phrase: str
) -> None:
    # Sums of the inputs that are not zero: signxai2's flat hook divides by them.
    ones = np.ones(X.shape)
    cause, words = found(rule, X if in_front else ones, (X if below else ones) @ kernel, kernel)
    assert (cause, phrase in words) == ("flat-input", True)


def test_ones_under_another_rule_are_found() -> None:
    ones = np.ones(X.shape)
    cause, words = found(Z(), X, ones @ KERNEL + BIAS)
    assert (cause, "ones stand in the denominator" in words) == ("flat-input", True)


@pytest.mark.parametrize(
    ("low", "high", "phrase"),
    [(1.0, -2.0, "exchanged"), (-0.5, 0.5, "-0.5 and 0.5"), (-3.0, 3.0, "-3 and 3")],
)
def test_other_bounds_are_found(low: float, high: float, phrase: str) -> None:
    up, down = np.maximum(KERNEL, 0), np.minimum(KERNEL, 0)
    lows, highs = np.full(X.shape, low), np.full(X.shape, high)
    divisor = X @ KERNEL - lows @ up - highs @ down
    assert np.abs(divisor).min() >= 0.25
    parts = [(X, KERNEL), (-lows, up), (-highs, down)]
    result = sum((shared(front, divisor, kernel) for front, kernel in parts), np.zeros(X.shape))
    limit = sum(bound(front, divisor, kernel, result) for front, kernel in parts)
    cause, words = cause_of(step(LAYER, Bounded(-2.0, 1.0), X, R), result, limit)
    assert (cause, phrase in words) == ("input-layer-rule", True), words


@pytest.mark.parametrize(
    ("low", "high", "phrase"),
    [
        ((-2.5, -3.5, -4.0, -3.0), (3.0, 5.0, 2.5, 4.0), "in reverse order"),
        (-4.0, 5.0, "one pair for all channels"),
    ],
)
def test_other_bounds_of_the_channels_are_found(low: Any, high: Any, phrase: str) -> None:
    """The rule has -3, -4, -3.5, -2.5 and 4, 2.5, 5, 3."""
    up, down = np.maximum(KERNEL, 0), np.minimum(KERNEL, 0)
    lows, highs = np.broadcast_to(low, X.shape), np.broadcast_to(high, X.shape)
    divisor = X @ KERNEL - lows @ up - highs @ down
    parts = [(X, KERNEL), (-lows, up), (-highs, down)]
    result = sum((shared(front, divisor, kernel) for front, kernel in parts), np.zeros(X.shape))
    limit = sum(bound(front, divisor, kernel, result) for front, kernel in parts)
    rule = Bounded((-3.0, -4.0, -3.5, -2.5), (4.0, 2.5, 5.0, 3.0))
    cause, words = cause_of(step(LAYER, rule, X, R), result, limit)
    assert (cause, phrase in words) == ("input-layer-rule", True), words


# Before and after the activation --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "attributes", "after"),
    [
        ("leaky_relu", {"alpha": 0.125}, np.where(Z_OF_X > 0, Z_OF_X, 0.125 * Z_OF_X)),
        ("swish", {}, Z_OF_X / (1 + np.exp(-Z_OF_X))),
    ],
)
def test_the_output_after_the_activation_in_the_denominator_is_found(kind, attributes, after) -> None:
    follower = layer(kind, (3,), (3,), attributes, inputs=("fc",), name="act")
    result = shared(X, after)
    of = step(LAYER, Z(), X, R, after=(follower,))
    cause, words = cause_of(of, result, 8 * bound(X, after, KERNEL, result))
    assert (cause, f"act ({kind})" in words) == ("preactivation", True)


def test_a_relu_in_the_denominator_is_found_where_something_is_below_zero() -> None:
    follower = layer("relu", (3,), (3,), inputs=("fc",), name="act")
    after = np.maximum(Z_OF_X, 0) + 0.5
    assert (Z_OF_X < 0).any()
    result = shared(X, after)
    of = step(LAYER, Epsilon(0.5), X, R, after=(follower,))
    assert cause_of(of, result, bound(X, after, KERNEL, result))[0] == "preactivation"


def test_a_derivative_at_the_output_is_found() -> None:
    tanh = layer("tanh", (3,), (3,), inputs=("x",), name="act")
    result = R * (1 - np.tanh(np.tanh(Z_OF_X)) ** 2)
    cause, words = cause_of(step(tanh, Gradient(), Z_OF_X, R), result, 16 * EPS)
    assert (cause, "at its output" in words) == ("preactivation", True)


def test_a_derivative_of_one_at_zero_is_found() -> None:
    relu = layer("relu", (4,), (4,), inputs=("x",), name="act")
    relevance = np.array([[3.0, 5.0, 7.0, 2.0], [1.0, 2.0, 3.0, -4.0], [2.0, 2.0, 2.0, 2.0]])
    # Zeros of X are at (0, 2) and (1, 3).
    result = np.where(X >= 0, relevance, 0.0)
    cause, words = cause_of(step(relu, Gradient(), X, relevance), result, 0.0)
    assert (cause, words) == ("rule-mapping", "the derivative at 0 is 1 instead of 0")


def test_guided_backpropagation_for_the_gradient_is_another_rule() -> None:
    relu = layer("relu", (3,), (3,), inputs=("x",), name="act")
    result = np.where(Z_OF_X > 0, np.maximum(R, 0), 0.0)
    assert cause_of(step(relu, Gradient(), Z_OF_X, R), result, 0.0)[0] == "rule-mapping"
    result = np.where(Z_OF_X > 0, R, 0.0)
    assert cause_of(step(relu, GuidedReLU(), Z_OF_X, R), result, 0.0)[0] == "rule-mapping"


# Factors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "phrase"),
    [
        (4.4, "the result is 4.4 times that of the rule"),
        (20.8, "20.8 times"),
        (1 / 12, "1/12 times"),
        (0.25, "1/4 times that of the rule: one over the number of inputs"),
        (-1.0, "the sign of the result is reversed"),
    ],
)
def test_a_factor_that_nothing_explains_is_a_scale(factor: float, phrase: str) -> None:
    of = step(LAYER, AlphaBeta(1, 0), X, R)
    positive = np.maximum(X, 0) @ np.maximum(KERNEL, 0) + np.minimum(X, 0) @ np.minimum(KERNEL, 0) + BIAS
    share = shared(np.maximum(X, 0), positive, np.maximum(KERNEL, 0))
    share += shared(np.minimum(X, 0), positive, np.minimum(KERNEL, 0))
    result = factor * share
    cause, words = cause_of(of, result, bound(X, positive, KERNEL, share))
    assert (cause, phrase in words) == ("scale", True), words


def test_a_conserving_rescaling_is_found() -> None:
    unscaled = shared(X, Z_OF_X)
    factors = R.sum(axis=1) / unscaled.sum(axis=1)
    result = unscaled * factors[:, None]
    # The sum that is divided by has the error of all its terms.
    absolute = np.abs(X) * (np.abs(R / Z_OF_X) @ np.abs(KERNEL).T)
    lost = 1 + absolute.sum(axis=1) / np.abs(unscaled.sum(axis=1))
    limit = roundings(40, absolute * (np.abs(factors) * lost)[:, None], result)
    cause, words = cause_of(step(LAYER, Z(), X, R), result, limit)
    assert (cause, "sum is that of the relevance" in words) == ("scale", True)


# Batches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        (lambda result: 3 * result, "multiplied by the 3 samples"),
        (lambda result: result / 3, "divided by the 3 samples"),
        (lambda result: np.stack([result.sum(axis=0)] * 3), "the sum of the batch's results"),
        (lambda result: np.stack([result[0]] * 3), "the result of the first"),
    ],
)
def test_samples_that_depend_on_each_other_are_found(change, phrase: str) -> None:
    result = change(shared(X, Z_OF_X))
    cause, words = cause_of(step(LAYER, Z(), X, R), result, 3 * bound(X, Z_OF_X, KERNEL, result))
    assert (cause, phrase in words) == ("batch-coupling", True)


# Precision -------------------------------------------------------------------------------------------------


def to_bits(x: np.ndarray, significant: int) -> np.ndarray:
    """Rounded to that many significant binary digits, ties to even: the mantissa is scaled to a whole number."""
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.round(mantissa * 2.0**significant), exponent - significant)


DRAWN = np.random.default_rng(5)
WIDE = dense(DRAWN.normal(size=(6, 5)), DRAWN.normal(size=5), inputs=("x",), name="fc")
WIDE_X, WIDE_R = DRAWN.normal(size=(2, 6)), DRAWN.normal(size=(2, 5))


@pytest.mark.parametrize(
    ("name", "significant"), [("tf32", 11), ("bfloat16", 8), ("float16", 11), ("float32", 24)]
)
def test_operands_of_fewer_digits_are_found_with_the_format(name: str, significant: int) -> None:
    kernel = to_bits(WIDE.weights["kernel"], significant)
    x, bias = to_bits(WIDE_X, significant), to_bits(WIDE.weights["bias"], significant)
    if name == "float16":
        # Below 2**-14 float16 has fewer digits than tf32: one input is made so small.
        tiny = np.array(WIDE_X)
        tiny[:, 0] = 1.2345e-7
        x[:, 0] = np.round(1.2345e-7 * 2.0**24) / 2.0**24
    else:
        tiny = WIDE_X
    s = to_bits(WIDE_R / (x @ kernel + bias), significant)
    result = x * (s @ kernel.T)
    absolute = np.abs(x) * (np.abs(s) @ np.abs(kernel).T)
    cause, words = cause_of(step(WIDE, Z(), tiny, WIDE_R), result, roundings(40, absolute, result))
    assert (cause, words.endswith(f"rounded to {name}")) == ("precision", True)


def test_a_rounded_result_is_found_with_its_format() -> None:
    wide = step(WIDE, Gradient(), WIDE_X, WIDE_R)
    result = (WIDE_R @ WIDE.weights["kernel"].T).astype(np.float16).astype(np.float64)
    cause, words = cause_of(wide, result, 0.0)
    assert (cause, words) == ("precision", "the result is rounded to float16")


def test_an_overflow_of_half_precision_is_found() -> None:
    relevance = np.array([[3e5, 1.0, -7e4]])
    relu = layer("relu", (3,), (3,), inputs=("x",), name="act")
    result = np.array([[np.inf, 1.0, -np.inf]])
    assert cause_of(step(relu, Pass(), relevance, relevance), result, 0.0)[0] in ("nan", "precision")


def _outwards(z: np.ndarray, epsilon: float) -> np.ndarray:
    return z + np.where(z >= 0, epsilon, -epsilon)
