"""Denominators, biases, factors: deviant steps of a dense layer, written out as loops, and the cause found for them.

Every expectation is a double loop over inputs and outputs, ``R_i = sum_j x_i * w_ij * R_j / d_j``, with the ``d_j``
that the faulty implementation divides by. The bound counts the roundings of both computations: a few for each
product and quotient, and one for each term of the two sums, of numbers as large as the terms.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from harness.methods import (
    AddedEpsilon,
    AlphaBeta,
    AlphaBetaX,
    Epsilon,
    Gamma,
    ReplaceZero,
    SignedEpsilon,
    StdEpsilon,
    Unprotected,
    Z,
    ZPlusFast,
)
from reference_impls.deviations.backward import deviations
from reference_impls.deviations.backward.altering import Change, dividing_by
from reference_impls.deviations.backward.estimating import solved
from tests.oracle.layers import dense
from tests.oracle.steps import cause_of, roundings, step

SAMPLES, INS, OUTS = 3, 5, 4
# Drawn so that no sum that is divided by comes near zero (none is below 0.1).
KERNEL = np.random.default_rng(2993).normal(size=(INS, OUTS))
BIAS = np.array([0.7, -0.4, 0.3, -1.1])
X = np.random.default_rng(3993).normal(size=(SAMPLES, INS))
R = np.random.default_rng(3).normal(size=(SAMPLES, OUTS))
LAYER = dense(KERNEL, BIAS, inputs=("x",), name="fc")
#: Products, quotients and both sums, in the test and in the oracle.
TERMS = 4 * (INS + OUTS + 4)


def weighted_sum(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray | float = 0.0) -> np.ndarray:
    """``z_j = b_j + sum_i x_i * w_ij``, as loops."""
    z = np.zeros((len(x), kernel.shape[1])) + bias
    for sample in range(len(x)):
        for j in range(kernel.shape[1]):
            for i in range(kernel.shape[0]):
                z[sample, j] += x[sample, i] * kernel[i, j]
    return z


def shared(divisor: np.ndarray, x: np.ndarray = X, kernel: np.ndarray = KERNEL) -> np.ndarray:
    """``R_i = sum_j x_i * w_ij * R_j / d_j``, as loops."""
    result = np.zeros(x.shape)
    for sample in range(len(x)):
        for i in range(x.shape[1]):
            for j in range(kernel.shape[1]):
                result[sample, i] += x[sample, i] * kernel[i, j] * R[sample, j] / divisor[sample, j]
    return result


Z_OF_X = weighted_sum(X, KERNEL, BIAS)


def bound(divisor: np.ndarray, result: np.ndarray) -> float:
    """Roundings of the quotients count as much more as the denominators have lost by cancellation."""
    lost = np.abs(X) @ np.abs(KERNEL) + np.abs(BIAS)
    absolute = np.abs(X) * (np.abs(R / divisor) * (1 + lost / np.abs(divisor)) @ np.abs(KERNEL).T)
    return roundings(TERMS, absolute, result)


def found(rule, divisor: np.ndarray) -> tuple[str, str]:
    result = shared(divisor)
    return cause_of(step(LAYER, rule, X, R), result, bound(divisor, result))


def outwards(z: np.ndarray, epsilon: float | np.ndarray) -> np.ndarray:
    return z + np.where(z >= 0, epsilon, -epsilon)


# Epsilon -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epsilon", "words"),
    [
        (1e-6, "epsilon is 1e-06 instead of 1e-07"),
        (0.25, "epsilon is 0.25 instead of 1e-07"),
        (3e-5, "epsilon is 3e-05 instead of 1e-07"),
        (0.0375, "epsilon is 0.0375 instead of 1e-07"),
    ],
)
def test_another_epsilon_is_found_with_its_value(epsilon: float, words: str) -> None:
    assert found(Epsilon(1e-7), outwards(Z_OF_X, epsilon)) == ("epsilon-value", words)


def test_an_epsilon_that_nobody_would_write_is_found_too() -> None:
    cause, words = found(Epsilon(0.1), outwards(Z_OF_X, np.pi / 7))
    assert (cause, words) == ("epsilon-value", f"epsilon is {np.pi / 7:g} instead of 0.1")


def test_the_epsilon_of_a_stabilizer_is_found() -> None:
    rule = Z(stabilizer=SignedEpsilon(1e-6))
    expected = ("epsilon-value", "epsilon is 0.001 instead of 1e-06")
    assert found(rule, outwards(Z_OF_X, 1e-3)) == expected


def test_the_epsilon_of_one_that_is_added_whatever_the_sign_is_found_and_its_sign_is_a_form() -> None:
    rule = Z(stabilizer=AddedEpsilon(1e-6))
    expected = ("epsilon-value", "epsilon is 0.001 instead of 1e-06")
    assert found(rule, Z_OF_X + 1e-3) == expected
    cause, words = found(rule, outwards(Z_OF_X, 1e-6))
    assert cause == "stabilizer-form"
    assert "z + 1e-06 on the side of the sign of z instead of z + 1e-06 whatever the sign of z" in words


def test_the_factor_of_the_standard_deviation_is_found() -> None:
    deviations = np.array([np.sqrt(np.mean((x - np.mean(x)) ** 2)) for x in X])
    cause, words = found(StdEpsilon(0.25), outwards(Z_OF_X, 0.5 * deviations[:, None]))
    assert cause == "epsilon-value"
    assert words == "epsilon is 0.5 times the standard deviation of the input instead of 0.25"


def test_another_number_for_an_exact_zero_is_found_where_there_is_one() -> None:
    layer = dense([[1.0, 2.0], [-1.0, 1.0]], inputs=("x",), name="fc")
    x, relevance = np.array([[2.0, 2.0]]), np.array([[3.0, 6.0]])
    # z = (0, 6), s = (3 / 0.5, 1): R_0 = 2 * (6 + 2), R_1 = 2 * (-6 + 1)
    of = step(layer, Z(stabilizer=ReplaceZero(0.25)), x, relevance)
    assert cause_of(of, np.array([[16.0, -10.0]]), 0.0) == (
        "epsilon-value",
        "an exact zero in the denominator is replaced by 0.5 instead of 0.25",
    )


# Forms of the stabilizer -------------------------------------------------------------------------------

RMS_OF_ALL = np.sqrt(sum(z**2 for z in Z_OF_X.ravel()) / Z_OF_X.size)
RMS_OF_EACH = np.sqrt((Z_OF_X**2).sum(axis=1, keepdims=True) / OUTS)


@pytest.mark.parametrize(
    ("divisor", "phrase"),
    [
        (Z_OF_X + 1e-3, "z + 0.001 whatever the sign of z"),
        (Z_OF_X + 0.25 * RMS_OF_ALL + 1e-9, "z + 0.25 * rms(z) + 1e-09, the mean over the whole tensor"),
        (Z_OF_X + 0.25 * RMS_OF_EACH + 1e-9, "z + 0.25 * rms(z) + 1e-09, the mean over each sample"),
        (np.where(Z_OF_X >= 0, 1, -1) * np.maximum(abs(Z_OF_X), 1.25), "z, but at least 1.25 in size"),
        (np.maximum(Z_OF_X, 0.2), "max(z, 0.2)"),
        (Z_OF_X, "not stabilised"),
    ],
)
def test_another_form_of_the_stabilizer_is_found_with_its_epsilon(divisor: np.ndarray, phrase: str) -> None:
    cause, words = found(Epsilon(1e-2), divisor)
    assert cause == "stabilizer-form"
    assert phrase in words
    assert words.endswith("instead of z + 0.01 on the side of the sign")


def test_epsilon_times_the_standard_deviation_of_the_input_is_told_from_epsilon() -> None:
    deviations = X.std(axis=1, keepdims=True)
    cause, words = found(Epsilon(0.25), outwards(Z_OF_X, 0.25 * deviations))
    assert (cause, "0.25 * std(x)" in words) == ("stabilizer-form", True)


def test_a_small_epsilon_where_zeros_are_replaced_is_a_matter_of_the_stabilizer() -> None:
    cause, words = found(Z(), outwards(Z_OF_X, 1e-6))
    assert (cause, "z + 1e-06 on the side of the sign of z" in words) == ("stabilizer-form", True)


def test_nothing_added_at_zero_is_told_from_epsilon_at_zero() -> None:
    layer = dense([[1.0, 2.0], [-1.0, 1.0]], inputs=("x",), name="fc")
    x, relevance = np.array([[2.0, 2.0], [2.0, 1.0]]), np.array([[3.0, 6.5], [3.0, 11.0]])
    # z = (0, 6): 3 / 0 is infinite. z = (1, 5): s = (3 / 1.5, 11 / 5.5), R_0 = 2 * (2 + 4), R_1 = -2 + 2
    of = step(layer, Epsilon(0.5), x, relevance)
    assert cause_of(of, np.array([[np.inf, -np.inf], [12.0, 0.0]]), 0.0) == (
        "stabilizer-form",
        "the denominator is z + 0.5 * sign(z) with nothing added where z is 0 instead of "
        "z + 0.5 on the side of the sign",
    )


def test_a_quotient_taken_as_zero_where_z_is_zero_is_found() -> None:
    layer = dense([[1.0, 2.0], [-1.0, 1.0]], inputs=("x",), name="fc")
    of = step(layer, Z(), np.array([[2.0, 2.0], [2.0, 1.0]]), np.array([[3.0, 6.0], [3.0, 10.0]]))
    # z = (0, 6), s = (0, 1), R = (2 * 2, 2 * 1). z = (1, 5), s = (3, 2), R = (2 * (3 + 4), -3 + 2)
    cause, words = cause_of(of, np.array([[4.0, 2.0], [14.0, -1.0]]), 0.0)
    assert (cause, "taken as 0" in words) == ("stabilizer-form", True)


# Standard deviations -----------------------------------------------------------------------------------


def test_the_other_ddof_is_found() -> None:
    deviations = np.array([np.sqrt(((x - x.mean()) ** 2).sum() / (INS - 1)) for x in X])
    cause, words = found(StdEpsilon(0.25), outwards(Z_OF_X, 0.25 * deviations[:, None]))
    assert (cause, "n - 1 (ddof 1)" in words) == ("std-ddof", True)


def test_a_standard_deviation_of_the_whole_batch_couples_its_samples() -> None:
    mean = X.sum() / X.size
    of_batch = np.sqrt(((X - mean) ** 2).sum() / X.size)
    cause, words = found(StdEpsilon(0.25), outwards(Z_OF_X, 0.25 * of_batch))
    assert (cause, "over the whole batch" in words) == ("batch-coupling", True)


# The bias ----------------------------------------------------------------------------------------------

BARE = weighted_sum(X, KERNEL)


@pytest.mark.parametrize(
    ("divisor", "phrase"),
    [
        (BARE, "the bias is left out of the denominator"),
        (BARE + 2 * BIAS, "the bias is counted twice"),
        (BARE + INS * BIAS, f"once for each of the {INS} inputs"),
        (BARE - BIAS, "subtracted in the denominator"),
        (BARE + np.maximum(BIAS, 0), "the positive part of the bias alone"),
    ],
)
@pytest.mark.parametrize("rule", [Z(), Epsilon(1e-7)])
def test_another_bias_in_the_denominator_is_found(rule, divisor: np.ndarray, phrase: str) -> None:
    divisor = divisor if isinstance(rule, Z) else outwards(divisor, 1e-7)
    cause, words = found(rule, divisor)
    assert (cause, phrase in words) == ("bias-handling", True)


@pytest.mark.parametrize("rule", [Z(bias=False), Epsilon(0.01, bias=False)])
def test_a_bias_where_the_rule_leaves_it_out_is_found(rule) -> None:
    divisor = Z_OF_X if isinstance(rule, Z) else outwards(Z_OF_X, 0.01)
    assert found(rule, divisor)[0] == "bias-handling"


def test_a_bias_shared_out_among_the_inputs_is_found() -> None:
    divisor = outwards(Z_OF_X, 0.01)
    result = np.zeros(X.shape)
    for sample in range(SAMPLES):
        for i in range(INS):
            for j in range(OUTS):
                part = X[sample, i] * KERNEL[i, j] + BIAS[j] / INS
                result[sample, i] += part * R[sample, j] / divisor[sample, j]
    cause, words = cause_of(step(LAYER, Epsilon(0.01), X, R), result, bound(divisor, result))
    assert (cause, f"b / {INS}" in words) == ("bias-handling", True)


# Alpha and beta ----------------------------------------------------------------------------------------

UP, DOWN = np.maximum(KERNEL, 0), np.minimum(KERNEL, 0)
X_UP, X_DOWN = np.maximum(X, 0), np.minimum(X, 0)
B_UP, B_DOWN = np.maximum(BIAS, 0), np.minimum(BIAS, 0)


def positive_share(beside: np.ndarray | float) -> np.ndarray:
    divisor = weighted_sum(X_UP, UP) + weighted_sum(X_DOWN, DOWN) + beside
    return shared(divisor, X_UP, UP) + shared(divisor, X_DOWN, DOWN)


def negative_share(beside: np.ndarray | float) -> np.ndarray:
    divisor = weighted_sum(X_UP, DOWN) + weighted_sum(X_DOWN, UP) + beside
    return shared(divisor, X_UP, DOWN) + shared(divisor, X_DOWN, UP)


def bound_of_shares(result: np.ndarray, alpha: float, beta: float, above=BIAS, below=BIAS) -> float:
    upper = weighted_sum(X_UP, UP) + weighted_sum(X_DOWN, DOWN) + above
    lower = weighted_sum(X_UP, DOWN) + weighted_sum(X_DOWN, UP) + below
    return abs(alpha) * bound(upper, result) + abs(beta) * bound(lower, result)


@pytest.mark.parametrize(
    ("alpha", "beta", "phrase"),
    [
        (1, 2, "exchanged"),
        (2, -1, "added instead of subtracted"),
        (3, 2, "alpha is 3 and beta 2"),
        (1.7, 0.2, "alpha is 1.7 and beta 0.2"),
        (1, 0, "alpha is 1 and beta 0"),
    ],
)
def test_other_factors_of_alpha_beta_are_found(alpha: float, beta: float, phrase: str) -> None:
    result = alpha * positive_share(BIAS) - beta * negative_share(BIAS)
    of = step(LAYER, AlphaBeta(2, 1), X, R)
    cause, words = cause_of(of, result, bound_of_shares(result, alpha, beta))
    assert (cause, phrase in words) == ("alpha-beta", True)


@pytest.mark.parametrize(
    ("rule", "above", "below"),
    [
        (AlphaBeta(2, 1), B_UP, B_DOWN),
        (AlphaBeta(2, 1, split_bias=True), BIAS, BIAS),
        (AlphaBeta(2, 1), 2 * B_UP, 2 * B_DOWN),
        (AlphaBeta(2, 1), 0.0, 0.0),
        (AlphaBeta(2, 1, bias=False), BIAS, BIAS),
        (AlphaBeta(2, 1, bias=False), B_UP, B_DOWN),
    ],
)
def test_another_place_for_the_bias_of_alpha_beta_is_found(rule, above, below) -> None:
    result = 2 * positive_share(above) - negative_share(below)
    assert (
        cause_of(step(LAYER, rule, X, R), result, bound_of_shares(result, 2, 1, above, below))[0]
        == "bias-handling"
    )


def test_other_factors_of_the_four_kinds_of_contribution_are_found() -> None:
    divisor = weighted_sum(X_UP, UP) + B_UP
    result = shared(divisor, X_UP, UP)
    # C(x+, W+) alone
    of = step(LAYER, AlphaBetaX((2, 0), (1, 0)), X, R)
    assert cause_of(of, result, bound(divisor, result))[0] == "alpha-beta"


# Rules -------------------------------------------------------------------------------------------------


def test_another_gamma_is_found_with_its_value() -> None:
    x = np.abs(X)
    raised, bias = KERNEL + 0.7 * UP, BIAS + 0.7 * B_UP
    divisor = weighted_sum(x, raised, bias)
    result = shared(divisor, x, raised)
    of = step(LAYER, Gamma(0.25, signed=False), x, R)
    expected = ("input-layer-rule", "gamma is 0.7 instead of 0.25")
    assert cause_of(of, result, bound(divisor, result)) == expected


def test_the_rule_of_the_neighbour_is_told_by_its_name() -> None:
    hidden = dense(np.eye(INS), inputs=("x",), name="hidden")
    layer = dense(KERNEL, BIAS, inputs=("hidden",), name="fc")
    of = step(layer, AlphaBeta(1, 0), X, R, before=(hidden,), others={"hidden": Epsilon(0.25)})
    divisor = outwards(Z_OF_X, 0.25)
    result = shared(divisor)
    cause, words = cause_of(of, result, bound(divisor, result))
    assert cause == "rule-mapping"
    assert words.startswith("it has the rule of hidden, Epsilon(epsilon=0.25), instead of AlphaBeta(")


def test_another_rule_where_the_input_is_read_has_its_own_name() -> None:
    divisor = weighted_sum(X, UP)
    result = shared(divisor, X, UP)
    cause, words = cause_of(step(LAYER, Epsilon(0.01), X, R), result, bound(divisor, result))
    assert (cause, "ZPlusFast" in words) == ("input-layer-rule", True)


def test_another_rule_behind_other_layers_is_one_of_the_mapping() -> None:
    hidden = dense(np.eye(INS), inputs=("x",), name="hidden")
    layer = dense(KERNEL, BIAS, inputs=("hidden",), name="fc")
    result = np.zeros(X.shape)
    for sample in range(SAMPLES):
        for i in range(INS):
            result[sample, i] = sum(KERNEL[i, j] * R[sample, j] for j in range(OUTS))
    of = step(layer, ZPlusFast(), X, R, before=(hidden,))
    cause, words = cause_of(of, result, roundings(TERMS, np.abs(R) @ np.abs(KERNEL).T, result))
    assert (cause, "Gradient" in words) == ("rule-mapping", True)


# What is left of both ----------------------------------------------------------------------------------


def test_an_unprotected_division_of_zero_by_zero_is_nan() -> None:
    layer = dense([[1.0, 2.0], [-1.0, 1.0]], inputs=("x",), name="fc")
    of = step(layer, Z(), np.array([[2.0, 2.0], [2.0, 1.0]]), np.array([[0.0, 6.0], [3.0, 10.0]]))
    cause, words = cause_of(of, np.array([[np.nan, np.nan], [14.0, -1.0]]), 0.0)
    assert (cause, "unprotected" in words) == ("nan", True)


def test_nan_replaced_by_zero_is_found_where_the_rule_has_nan() -> None:
    layer = dense([[1.0, 2.0], [-1.0, 1.0]], inputs=("x",), name="fc")
    # z = (0, 6) and (1, 5): the first sample is NaN; the second has s = (3, 2), R = 2 * (3 + 4), 1 * (-3 + 2)
    x, relevance = np.array([[2.0, 2.0], [2.0, 1.0]]), np.array([[0.0, 6.0], [3.0, 10.0]])
    of = step(layer, Z(stabilizer=Unprotected()), x, relevance)
    expected = ("nan", "NaN in the result is replaced by 0")
    assert cause_of(of, np.array([[0.0, 0.0], [14.0, -1.0]]), 0.0) == expected


def test_two_at_once_are_found_one_after_the_other() -> None:
    divisor = outwards(BARE + 2 * BIAS, 1e-3)
    result = shared(divisor)
    of = step(LAYER, Epsilon(1e-7), X, R)
    twice = next(each for each in deviations(of, (result,)) if "counted twice" in each.words)
    expected = ("epsilon-value", "epsilon is 0.001 instead of 1e-07")
    assert cause_of(twice.alter(of), result, bound(divisor, result)) == expected


def test_a_step_is_carried_out_once_for_each_value_that_is_tried() -> None:
    """A search that a reader waits for: only a start, which is on the grid, is carried out a second time."""
    values: list[float] = []

    def make(value: float) -> Change:
        values.append(value)
        return dividing_by(lambda _, z: z + value)

    specified = step(LAYER, Epsilon(1e-7), X, R)
    observed = (shared(weighted_sum(X, KERNEL, BIAS) + 0.037),)
    grid = (0.001, 0.01, 0.1, 1.0)
    assert solved(specified, observed, make, grid) == 0.037
    again = [value for value, count in Counter(values).items() if count > 1 and value not in grid]
    # The value that was found is once more compared with round numbers, of which it is one.
    assert len(again) <= 1
