"""Every LRP rule at a dense layer; the numbers are worked out beside them.

Kernels are written (in, out): a row is what one input sends, a column what one output receives.
"""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import UnsupportedMethodError
from harness.methods import (
    AddedEpsilon,
    AlphaBeta,
    AlphaBetaX,
    Bounded,
    Epsilon,
    Flat,
    Gamma,
    Rule,
    Sign,
    SignedEpsilon,
    StdEpsilon,
    Unprotected,
    WSquare,
    Z,
    ZPlusFast,
)
from tests.reference.one_layer import assert_equal, step

X = [1, -2]
KERNEL = [[2, 1], [1, -1]]
BIAS = [1, 0]
# z = x W + b = [2 - 2 + 1, 1 + 2 + 0] = [1, 3]


def dense(rule: Rule, x: object, kernel: object, relevance: object, bias: object = None) -> np.ndarray:
    weights = {"kernel": kernel} if bias is None else {"kernel": kernel, "bias": bias}
    return step("dense", rule, [x], relevance, weights)[0]


def test_z_shares_relevance_in_proportion_to_the_products_and_gives_the_bias_its_part() -> None:
    # R / z = [1/1, 6/3] = [1, 2]; R_x = [1 * (2*1 + 1*2), -2 * (1*1 - 1*2)]; the bias keeps 1 of 7.
    assert_equal(dense(Z(), X, KERNEL, [1, 6], BIAS), [4, 2])


def test_z_without_bias_takes_it_out_of_the_denominator_whose_zero_becomes_1e_minus_7() -> None:
    # z = [0, 3] and R / S(z) = [1 / 1e-7, 2]; a constant rounded to float32 would be off by 1e-8.
    assert_equal(dense(Z(bias=False), X, KERNEL, [1, 6], BIAS), [2 / 1e-7 + 2, -2 * (1 / 1e-7 - 2)])


def test_z_without_bias_at_a_layer_without_one_is_z() -> None:
    assert_equal(dense(Z(bias=False), [1, 3], [[2], [4]], [7]), [1, 6])


def test_z_replaces_nothing_but_an_exact_zero() -> None:
    # z = 1 - (1 - 2^-30) = 2^-30, far below 1e-7, stays: R / z = 1.
    assert_equal(dense(Z(), [1, 1], [[1], [-1 + 2**-30]], [2**-30]), [1, -1 + 2**-30])


def test_z_with_a_signed_epsilon_is_the_epsilon_rule() -> None:
    rule = Z(stabilizer=SignedEpsilon(0.5))
    assert_equal(dense(rule, X, KERNEL, [3, 7], BIAS), dense(Epsilon(0.5), X, KERNEL, [3, 7], BIAS))


def test_an_epsilon_that_is_added_whatever_the_sign_takes_a_negative_denominator_to_zero() -> None:
    # z = [2 - 2 - 2, 1 + 2 - 1] = [-2, 2], S(z) = [-1, 3], R / S = [-3, 2]; R_x = [1 * (-6 + 2), -2 * (-3 - 2)].
    added = Z(stabilizer=AddedEpsilon(1))
    assert_equal(dense(added, X, KERNEL, [3, 6], [-2, -1]), [-4, 10])
    # An epsilon of 2 makes the first -2 + 2: R / 0.
    assert np.isinf(dense(Z(stabilizer=AddedEpsilon(2)), X, KERNEL, [3, 6], [-2, -1])).all()


def test_without_protection_a_zero_divides() -> None:
    # z = [0, 3]: R / z is infinite, or 0/0.
    unprotected = Z(bias=False, stabilizer=Unprotected())
    np.testing.assert_array_equal(dense(unprotected, X, KERNEL, [1, 6], BIAS), [np.inf, -np.inf])
    assert np.isnan(dense(unprotected, X, KERNEL, [0, 6], BIAS)).all()
    assert_equal(dense(Z(stabilizer=Unprotected()), X, KERNEL, [1, 6], BIAS), [4, 2])


def test_without_negative_inputs_an_unprotected_zero_makes_nan_of_what_they_would_have_contributed() -> None:
    # x+ W+ + b- = 1 - 1 = 0, s = inf: x+ * W+ s = inf, x- * W- s = 0 * (0 * inf).
    assert np.isnan(dense(AlphaBeta(1, 0, stabilizer=Unprotected()), [1], [[1]], [1], [-1])).all()


def test_epsilon_widens_the_denominator_away_from_zero() -> None:
    # S(z) = [1.5, 3.5], R / S = [2, 2]; R_x = [1 * (4 + 2), -2 * (2 - 2)].
    assert_equal(dense(Epsilon(0.5), X, KERNEL, [3, 7], BIAS), [6, 0])


def test_epsilon_takes_the_sign_of_z_and_plus_for_zero() -> None:
    # z = [-1, 0], S(z) = [-1.5, 0.5], R / S = [-2, 2]; R_x = [-1*-2 + 1*2, 0*-2 - 1*2].
    assert_equal(dense(Epsilon(0.5), [1, 1], [[-1, 1], [0, -1]], [3, 1]), [4, -2])


def test_epsilon_without_bias_takes_it_out_of_the_denominator() -> None:
    # z = [0, 3], S(z) = [0.5, 3.5], R / S = [2, 2].
    assert_equal(dense(Epsilon(0.5, bias=False), X, KERNEL, [1, 7], BIAS), [6, 0])


def test_the_default_epsilon_is_1e_minus_7_in_float64_too() -> None:
    assert_equal(dense(Epsilon(), [1, 1], [[1], [-1]], [1]), [1 / 1e-7, -1 / 1e-7])


def test_std_epsilon_widens_by_the_standard_deviation_of_the_input() -> None:
    # std([1, -2]) = 1.5, twice that is 3: S(z) = [4, 6], R / S = [1, 2].
    assert_equal(dense(StdEpsilon(2), X, KERNEL, [4, 12], BIAS), [4, 2])


def test_std_epsilon_without_bias_takes_it_out_of_the_denominator() -> None:
    # z = [0, 3], S(z) = [3, 6].
    assert_equal(dense(StdEpsilon(2, bias=False), X, KERNEL, [3, 12], BIAS), [4, 2])


def test_std_epsilon_takes_the_sign_of_z() -> None:
    # std([1, 3]) = 1, z = -2, S(z) = -3, R / S = -1.
    assert_equal(dense(StdEpsilon(1), [1, 3], [[1], [-1]], [3]), [-1, 3])


def test_std_epsilon_of_a_constant_input_replaces_an_exact_zero() -> None:
    assert_equal(dense(StdEpsilon(1), [2, 2], [[1], [-1]], [1e-7]), [2, -2])
    # z = 6 stays as it is: R / z = 1.
    assert_equal(dense(StdEpsilon(1), [2, 2], [[1], [2]], [6]), [2, 4])


def test_std_epsilon_takes_all_values_of_a_sample_together() -> None:
    # Rows [1] and [3]: std 1, z = [2, 6], S(z) = [3, 7], R / S = [1, 1].
    assert_equal(dense(StdEpsilon(1), [[1], [3]], [[2]], [[3], [7]]), [[2], [6]])


def test_sign_shares_by_weight_with_the_sign_of_the_input() -> None:
    # R / z = [1, 2], f^T = [2*1 + 1*2, 1*1 - 1*2] = [4, -1], signs [1, -1].
    assert_equal(dense(Sign(), X, KERNEL, [1, 6], BIAS), [4, 1])


def test_sign_of_zero_is_plus() -> None:
    # z = [-2 + 1, 2], R / z = [-1, 1], f^T = [-2 + 1, -1 - 1].
    assert_equal(dense(Sign(), [0, -2], KERNEL, [1, 2], BIAS), [-1, 2])


def test_sign_without_bias_takes_it_out_of_the_denominator() -> None:
    # z = [0, 3], R / S(z) = [0, 2], f^T = [2, -2].
    assert_equal(dense(Sign(bias=False), X, KERNEL, [0, 6], BIAS), [2, 2])


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        pytest.param(0.5, [4, 1], id="0.25 is below 0.5"),
        pytest.param(0.25, [4, -1], id="0.25 is not below itself"),
    ],
)
def test_sign_compares_with_its_threshold(threshold: float, expected: list[float]) -> None:
    # z = [2 + 0.25 + 1, 1 - 0.25], R / z = [1, 2], f^T = [4, -1].
    assert_equal(dense(Sign(threshold), [1, 0.25], KERNEL, [3.25, 1.5], BIAS), expected)


def test_a_sign_threshold_of_minus_one_or_below_makes_every_sign_plus() -> None:
    # z = -5, R / z = 1.
    for threshold, sign in ((-0.5, -1), (-1, 1), (-1.5, 1)):
        assert_equal(dense(Sign(threshold), [-2, -3], [[1], [1]], [-5]), [sign, sign])


# Output 1 has weights (1, 2) and bias 1, output 2 weights (-3, -1) and bias -2; x+ = (2, 0), x- = (0, -1).
# Activators: 1) 2*1 + 1 = 3, s = 6/3 = 2.      2) -1*-1 - 2 = -1, s = 8/-1 = -8.
# Inhibitors: 1) -1*2 + 1 = -1, t = 6/-1 = -6.  2) 2*-3 - 2 = -8, t = 8/-8 = -1.
# A = [2*1*2, -1*-1*-8] = [4, -8], B = [2*-3*-1, -1*2*-6] = [6, 12].
# Without bias: activators 2 and 1, s = 3 and 8, A = [6, 8];
# inhibitors -2 and -6, t = -3 and -4/3, B = [8, 6].
@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param(AlphaBeta(1, 0), [4, -8], id="alpha 1 beta 0: A"),
        pytest.param(AlphaBeta(2, 1), [2, -28], id="alpha 2 beta 1: 2A - B"),
        pytest.param(AlphaBeta(1, 0, bias=False), [6, 8], id="alpha 1 beta 0 without bias"),
        pytest.param(AlphaBeta(2, 1, bias=False), [4, 10], id="alpha 2 beta 1 without bias"),
    ],
)
def test_alpha_beta_keeps_positive_and_negative_contributions_apart(
    rule: Rule, expected: list[float]
) -> None:
    assert_equal(dense(rule, [2, -1], [[1, -3], [2, -1]], [6, 8], [1, -2]), expected)


# The same layer with the bias split: A has b+, B has b-.
# Activators: 1) 2*1 + 1 = 3, s = 2.   2) -1*-1 = 1, s = 8.    A = [2*1*2, -1*-1*8] = [4, 8].
# Inhibitors: 1) -1*2 = -2, t = -3.    2) 2*-3 - 2 = -8, t = -1. B = [2*-3*-1, -1*2*-3] = [6, 6].
@pytest.mark.parametrize(("alpha", "beta", "expected"), [(1, 0, [4, 8]), (2, 1, [2, 10])])
def test_alpha_beta_with_split_bias_counts_each_sign_of_the_bias_once(
    alpha: float, beta: float, expected: list[float]
) -> None:
    rule = AlphaBeta(alpha, beta, split_bias=True)
    assert_equal(dense(rule, [2, -1], [[1, -3], [2, -1]], [6, 8], [1, -2]), expected)


def test_alpha_beta_with_split_bias_leaves_the_negative_bias_out_where_no_input_is_negative() -> None:
    # f(x+; W+, b+) + f(x-; W-) = 3 + 0, s = 2.
    assert_equal(dense(AlphaBeta(1, 0, split_bias=True), [1, 2], [[1], [1]], [6], [-1]), [2, 4])


# The same layer again; each kind of contribution divided by its own sum, an empty one by 1e-7.
# C(x+, W+): 2*1 + 1 = 3, s = 2:   [2*1*2, 0] = [4, 0].   C(x-, W-): -1*-1 - 2 = -1, s = -8: [0, -1*-1*-8] = [0, -8].
# C(x+, W-): 2*-3 - 2 = -8, s = -1: [2*-3*-1, 0] = [6, 0]. C(x-, W+): -1*2 + 1 = -1, s = -6: [0, -1*2*-6] = [0, 12].
@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param(AlphaBetaX((2, 0), (1, 0)), [2 * 4 - 6, 0], id="iNNvestigate's X2m100"),
        pytest.param(AlphaBetaX((2, 3), (1, 5)), [2 * 4 - 6, 3 * -8 - 5 * 12], id="four factors"),
    ],
)
def test_alpha_beta_x_divides_each_kind_of_contribution_by_its_own_sum(
    rule: Rule, expected: list[float]
) -> None:
    assert_equal(dense(rule, [2, -1], [[1, -3], [2, -1]], [6, 8], [1, -2]), expected)


def test_z_plus_fast_keeps_the_sign_of_the_input_and_ignores_the_bias() -> None:
    # W+ = [[1, 0], [2, 0]], z = [3 - 2, 0], R / z = 6 at output 1.
    assert_equal(dense(ZPlusFast(), [3, -1], [[1, -3], [2, -1]], [6, 8], [1, -2]), [18, -12])


def test_gamma_as_first_written_raises_the_positive_weights_and_bias() -> None:
    # W^ = [3, -1], b^ = 1.5: z = 3 - 2 + 1.5 = 2.5, R / z = 2.
    assert_equal(dense(Gamma(0.5, signed=False), [1, 2], [[2], [-1]], [5], [1]), [6, -4])


def test_gamma_of_a_positive_output_raises_what_makes_it_positive() -> None:
    # z = 2 + 2 + 1. W^ = [2, -2], b^ = 2, Wv = [1, -4]: 2*2 + 2 + -1*-4 = 10, R / z = 0.5; [2*2*0.5, -1*-4*0.5].
    assert_equal(dense(Gamma(1), [2, -1], [[1], [-2]], [5], [1]), [2, 2])


def test_gamma_of_a_negative_output_raises_what_makes_it_negative() -> None:
    # z = -2 - 2 - 1. Wv = [-2, 2], bv = -2, W^ = [-1, 4]: 2*-2 - 2 + -1*4 = -10, R / z = -0.5.
    assert_equal(dense(Gamma(1), [2, -1], [[-1], [2]], [5], [-1]), [2, 2])


def test_gamma_gives_nothing_for_an_output_of_zero() -> None:
    assert_equal(dense(Gamma(1), [1, 1], [[1], [-1]], [5]), [0, 0])


def test_alpha_beta_counts_the_negative_bias_among_the_activators_even_where_no_input_is_negative() -> None:
    # f(x+; W+, b+) + f(x-; W-, b-) = (3 + 0) + (0 - 1) = 2, s = 4/2.
    assert_equal(dense(AlphaBeta(1, 0), [1, 2], [[1], [1]], [4], [-1]), [2, 4])


def test_alpha_beta_counts_the_positive_bias_among_the_inhibitors_even_where_no_input_is_negative() -> None:
    # A: z = 2 + 1 = 3, s = 2, [2*2, 0]. B: z = -3 + 1 = -2, t = -3, [0, 1*-3*-3]. R_x = 2A - B.
    assert_equal(dense(AlphaBeta(2, 1), [2, 1], [[1], [-3]], [6], [1]), [8, -9])


def test_alpha_beta_without_any_activator_gives_nothing() -> None:
    # z = 0 becomes 1e-7, but every product is zero.
    assert_equal(dense(AlphaBeta(1, 0), [1, 2], [[-1], [-1]], [5]), [0, 0])


def test_w_square_shares_by_squared_weights_whatever_the_input() -> None:
    # Column sums of W^2 = [[1, 4], [9, 0]] are [10, 4]; R / z = [1, 1].
    assert_equal(dense(WSquare(), [-7, 0], [[1, 2], [3, 0]], [10, 4], [5, 5]), [5, 9])


def test_w_square_of_a_dead_column_divides_by_1e_minus_7_and_gives_nothing() -> None:
    assert_equal(dense(WSquare(), [1, 1], [[0, 1], [0, 1]], [3, 4]), [2, 2])


def test_w_square_with_bias_counts_its_square_in_the_denominator() -> None:
    # z = [10 + 2^2, 4]; R / z = [1, 1].
    assert_equal(dense(WSquare(bias=True), [-7, 0], [[1, 2], [3, 0]], [14, 4], [-2, 0]), [5, 9])


def test_flat_shares_evenly_whatever_input_and_weights() -> None:
    assert_equal(dense(Flat(), [-7, 0], [[1, 0], [-3, 0]], [10, 4], [5, 5]), [7, 7])


def test_bounded_measures_the_input_from_the_end_of_the_range_that_each_weight_points_to() -> None:
    # Output 1, weights (2, -1):  z = 2 - (-1*2) - (2*-1) = 6, s = 12/6 = 2.
    # Output 2, weights (-1, 3): z = -1 - (-1*3) - (2*-1) = 4, s = 4/4 = 1.
    # R_1 = 1*(2*2 - 1*1) + 1*(2*2) - 2*(-1*1) = 3 + 4 + 2; R_2 = 0 + 1*(3*1) - 2*(-1*2) = 3 + 4.
    found = dense(Bounded(low=-1, high=2), [1, 0], [[2, -1], [-1, 3]], [12, 4], [5, 5])
    assert_equal(found, [9, 7])


def test_bounded_without_its_factors_is_nothing() -> None:
    # The layer above: f^T(s; W) - (f^T(s; W+) + f^T(s; W-)), whole numbers, so no rounding is left.
    rule = Bounded(low=-1, high=2, times_inputs=False)
    assert_equal(dense(rule, [1, 0], [[2, -1], [-1, 3]], [12, 4], [5, 5]), [0, 0])


def test_a_dense_layer_acts_on_the_last_axis_of_each_row() -> None:
    # Rows [1, 3] and [2, 0] with kernel [2, 4]: z = 14 and 4, R / z = 1 and 3.
    found = dense(Z(), [[1, 3], [2, 0]], [[2], [4]], [[14], [12]])
    assert_equal(found, [[2, 12], [12, 0]])


def test_a_kernel_rule_at_a_layer_without_kernel_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedMethodError, match=r"'layer' \(relu\): rule AlphaBeta needs a layer with"):
        step("relu", AlphaBeta(1, 0), [[1.0]], [1])
