"""Every rule on layers so small that the numbers in the comments are worked out by hand.

Unless said otherwise all intermediate numbers are exact in float64, and so is the comparison.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import InvalidInputError, UnsupportedMethodError
from harness.graph import Layer
from harness.methods import (
    AlphaBeta,
    Bounded,
    Epsilon,
    Flat,
    FusedBatchNorm,
    Gradient,
    Pass,
    ReplaceZero,
    Rule,
    WSquare,
    Z,
)
from reference_impls.oracle import propagate
from tests.oracle.layers import FEW_ROUNDINGS, dense, layer, relevances

# Z and Epsilon at a dense layer ----------------------------------------------------------------------

# z = (1*1 - 2*2 + 1, 1*-1 - 2*3 + 0) = (-2, -7); R / z = (-2, -1)
MIXED = dense([[1, -1], [2, 3]], [1, 0])


def test_z_shares_by_contribution_and_the_bias_keeps_its_part() -> None:
    # x0: 1 * (1*-2 + -1*-1) = -1; x1: -2 * (2*-2 + 3*-1) = 14; the bias keeps 1*-2
    assert relevances(MIXED, Z(), [4, 7], [1, -2]) == [[-1, 14]]


def test_z_without_bias_shares_everything_among_the_inputs() -> None:
    # z = (-3, -7): the same quotients for R = (6, 7), and -1 + 14 = 6 + 7
    assert relevances(MIXED, Z(bias=False), [6, 7], [1, -2]) == [[-1, 14]]


# z = (1 - 1, 1 - 2) = (0, -1)
CANCELLING = dense([[1, 1], [1, 2]])


def test_z_replaces_only_the_exact_zero() -> None:
    # R / S(z) = (2 / 0.5, 3 / -1) = (4, -3); x0: 4 - 3; x1: -(4 - 6)
    assert relevances(CANCELLING, Z(stabilizer=ReplaceZero(0.5)), [2, 3], [1, -1]) == [[1, 2]]


def test_z_replaces_zero_by_1e_7_unless_told_otherwise() -> None:
    # R / S(z) = (2e7, -3); x0: 2e7 - 3; x1: -(2e7 - 6)
    (found,) = relevances(CANCELLING, Z(), [2, 3], [1, -1])
    assert found == pytest.approx([2e7 - 3, -2e7 + 6], rel=FEW_ROUNDINGS)


def test_epsilon_moves_away_from_zero_and_takes_zero_as_positive() -> None:
    # R / S(z) = (2 / 0.5, 3 / -1.5) = (4, -2); x0: 4 - 2; x1: -(4 - 4)
    assert relevances(CANCELLING, Epsilon(0.5), [2, 3], [1, -1]) == [[2, 0]]


def test_epsilon_knows_a_bias_and_can_leave_it_out() -> None:
    # z = 2*1 + 1 = 3, S = 3.5, R = 7: 2 * 1 * 2; without bias z = 2, S = 2.5, R = 5: 2 * 1 * 2
    one = dense([[1]], [1])
    assert relevances(one, Epsilon(0.5), [7], [2]) == [[4]]
    assert relevances(one, Epsilon(0.5, bias=False), [5], [2]) == [[4]]


# Alpha-beta ------------------------------------------------------------------------------------------

# x = (2, -1). Contributions to neuron 0: 6, -1; bias -2. To neuron 1: 6, -1; bias 3.
BIASED = dense([[3, 3], [1, 1]], [-2, 3])


def test_alpha_beta_puts_the_whole_bias_into_both_denominators() -> None:
    # A: denominators (6 - 2, 6 + 3) = (4, 9), R over them (3, 2); x0: 2 * 3 * (3 + 2) = 30; x1: 0
    assert relevances(BIASED, AlphaBeta(1, 0), [12, 18], [2, -1]) == [[30, 0]]
    # B: denominators (-1 - 2, -1 + 3) = (-3, 2), R over them (-4, 9); x0: 0; x1: -1 * 1 * (-4 + 9) = -5
    # 2 A - B = (60, 0 + 5)
    assert relevances(BIASED, AlphaBeta(2, 1), [12, 18], [2, -1]) == [[60, 5]]


def test_alpha_beta_without_bias_leaves_it_out_of_both() -> None:
    # A: denominators (6, 6), R over them (2, 3); x0: 2 * 3 * (2 + 3) = 30; x1: 0
    # B: denominators (-1, -1), R over them (-12, -18); x1: -1 * 1 * (-12 - 18) = 30
    assert relevances(BIASED, AlphaBeta(1, 0, bias=False), [12, 18], [2, -1]) == [[30, 0]]
    assert relevances(BIASED, AlphaBeta(2, 1, bias=False), [12, 18], [2, -1]) == [[60, -30]]


# x = (2, -1). Contributions to neuron 0: 2, 2 (the second from two negatives). To neuron 1: -6, -4.
ONE_SIGN_EACH = dense([[1, -3], [-2, 4]])


def test_negative_inputs_times_negative_weights_are_positive_contributions() -> None:
    # A: denominators (4, none), R / 4 = 2; x0: 2 * 1 * 2; x1: -1 * -2 * 2
    assert relevances(ONE_SIGN_EACH, AlphaBeta(1, 0), [8, 10], [2, -1]) == [[4, 4]]
    # B: denominators (none, -10), R / -10 = -1; x0: 2 * -3 * -1 = 6; x1: -1 * 4 * -1 = 4
    assert relevances(ONE_SIGN_EACH, AlphaBeta(2, 1), [8, 10], [2, -1]) == [[2, 4]]


def test_a_beta_of_zero_leaves_the_negative_side_uncomputed() -> None:
    # x = (1, 1e-300): the only negative contribution is -1e-300, and 1e10 over it overflows.
    one = dense([[1], [-1]])
    assert relevances(one, AlphaBeta(1, 0), [1e10], [1, 1e-300]) == [[1e10, 0]]


# The rules that see weights only ---------------------------------------------------------------------


def test_w_square_shares_by_squared_weights_whatever_the_input_and_the_bias() -> None:
    # squares (1 4 / 9 0), column sums (10, 4), R over them (0.5, 2): x0: 0.5 + 8; x1: 4.5
    one = dense([[1, -2], [3, 0]], [100, 100])
    assert relevances(one, WSquare(), [5, 8], [7, -7]) == [[8.5, 4.5]]


def test_w_square_drops_the_relevance_of_a_neuron_without_weights() -> None:
    # column sums (10, 0), R over them (0.5, 8 / 1e-7), the latter times 0
    assert relevances(dense([[1, 0], [3, 0]]), WSquare(), [5, 8], [7, -7]) == [[0.5, 4.5]]


def test_flat_shares_equally_whatever_weights_input_and_bias() -> None:
    # R / 2 = (2.5, 4) to each
    assert relevances(dense([[1, -2], [3, 0]], [100, 100]), Flat(), [5, 8], [7, -7]) == [[6.5, 6.5]]


# Bounded ---------------------------------------------------------------------------------------------

# x = (0.5, -0.5): f(x) = (0.5, -2.5); W+ = (2 0 / 1 4), W- = (0 -1 / 0 0)
BETWEEN = dense([[2, -1], [1, 4]], [100, 100])


def test_bounded_shares_by_the_distance_from_both_bounds() -> None:
    # f(-1; W+) = (-3, -4), f(1; W-) = (0, -1): denominators (3.5, 2.5), R over them (2, 2)
    # x * f^T(s; W) = (1, -5); + f^T(s; W+) = (4, 10); - f^T(s; W-) = (2, 0)
    assert relevances(BETWEEN, Bounded(-1, 1), [7, 5], [0.5, -0.5]) == [[7, 5]]


def test_bounded_takes_other_bounds() -> None:
    # f(0; W+) = 0, f(2; W-) = (0, -2): denominators (0.5, -0.5), R over them (2, -2)
    # x * f^T(s; W) = 0.5 * (4 + 2), -0.5 * (2 - 8) = (3, 3); - 2 * f^T(s; W-) = (-2 * 2, 0)
    assert relevances(BETWEEN, Bounded(0, 2), [1, 1], [0.5, -0.5]) == [[-1, 3]]


def test_bounded_takes_bounds_of_each_channel() -> None:
    """W = (2 -1 / -1 3), low (-1, -2), high (2, 1): -f(low; W+) = (2, 6), -f(high; W-) = (1, 2) at each place.

    x = (1, 0): z = (2, -1) + (3, 8) = (5, 7); s = (2, 1). Channel 1: 1 * 3 + 1 * 4 + 2 * 1; channel 2: 0 + 2 * 3 + 2.
    x = (0, 1): z = (-1, 3) + (3, 8) = (2, 11); s = (2, 1). Channel 1: 0 + 4 + 2; channel 2: 1 * 1 + 6 + 2.
    """
    geometry = {"strides": (1,), "dilations": (1,), "groups": 1, "padding": ((0, 0),)}
    one = layer("conv1d", (2, 2), (2, 2), geometry, kernel=[[[2, -1], [-1, 3]]])
    rule = Bounded((-1, -2), (2, 1))
    assert relevances(one, rule, [[10, 7], [4, 11]], [[1, 0], [0, 1]]) == [[9, 8, 6, 9]]


# Convolutions ----------------------------------------------------------------------------------------

# x = (1, 2, -1), padded 0 1 2 -1, windows (0, 1) and (2, -1), kernel (2, 3): z = (3, 1)
PADDED = layer(
    "conv1d",
    (3, 1),
    (2, 1),
    {"strides": (2,), "dilations": (1,), "groups": 1, "padding": ((1, 0),)},
    kernel=[[[2]], [[3]]],
)


@pytest.mark.parametrize(
    ("rule", "relevance", "expected"),
    [
        # s = (2, 5): 1 * 3 * 2, 2 * 2 * 5, -1 * 3 * 5
        (Z(), [6, 5], [6, 20, -15]),
        # A: denominators (3, 4), s = (2, 5): 1 * 3 * 2, 2 * 2 * 5, 0
        (AlphaBeta(1, 0), [6, 20], [6, 20, 0]),
        # B: denominators (none, -3), t = -5: x2: -1 * 3 * -5 = 15; denominator A now 4: s = 15 / 4
        (AlphaBeta(2, 1), [6, 15], [12, 30, -15]),
        # squares (4, 9): denominators (9, 13), s = (1, 2): the padding has no part of the first window
        (WSquare(), [9, 26], [9, 8, 18]),
        # ones: denominators (1, 2), s = (6, 2.5)
        (Flat(), [6, 5], [6, 2.5, 2.5]),
        # f(-1; W+) = (-3, -5): denominators (6, 6), s = (1, 2); x * back = (3, 8, -6), + back = (3, 4, 6)
        (Bounded(-1, 1), [6, 12], [6, 12, 0]),
        # 3 * 1, 2 * 2, 3 * 2
        (Gradient(), [1, 2], [3, 4, 6]),
    ],
)
def test_a_strided_padded_convolution(rule: Rule, relevance: list[float], expected: list[float]) -> None:
    assert relevances(PADDED, rule, relevance, [1, 2, -1]) == [expected]


def test_a_depthwise_convolution_keeps_the_channels_apart() -> None:
    # x = (2, -1), two kernels each: z = (2, 4, -3, 4), s = (1, 2, -3, 1)
    # x0: 2 * (1*1 + 2*2) = 10; x1: -1 * (3*-3 + -4*1) = 13
    one = layer(
        "conv1d",
        (1, 2),
        (1, 4),
        {"strides": (1,), "dilations": (1,), "groups": 2, "padding": ((0, 0),)},
        kernel=[[[1, 2, 3, -4]]],
    )
    assert relevances(one, Z(), [2, 8, 9, 4], [2, -1]) == [[10, 13]]


# Depthwise (1, -2), then pointwise (3, -1): the channels count 3 and 2.
SEPARABLE = layer(
    "separable_conv1d",
    (1, 2),
    (1, 1),
    {"strides": (1,), "dilations": (1,), "padding": ((0, 0),)},
    depthwise_kernel=[[[1], [-2]]],
    pointwise_kernel=[[3], [-1]],
)


@pytest.mark.parametrize(
    ("rule", "relevance", "expected"),
    [
        # z = 3 + 2 = 5, s = 2
        (Z(), [10], [6, 4]),
        # Positive parts (1, 0) and (3, 0): channel 1 has none, though the product of its kernels, 2, is one.
        (AlphaBeta(1, 0), [6], [6, 0]),
        # Negative parts (0, -2) and (0, -1) multiply to (0, 2): t = 6 / 2, B = (0, 6); 2 A - B
        (AlphaBeta(2, 1), [6], [12, -6]),
        # f(-1; W+) = -3, f(1; W-) = 2: denominator 5 + 3 - 2 = 6, s = 1; x0: 3 + 3 - 0; x1: 2 + 0 - 2
        (Bounded(-1, 1), [6], [6, 0]),
        # squares (1, 4) and (9, 1): 9 and 4
        (WSquare(), [26], [18, 8]),
        (Flat(), [26], [13, 13]),
    ],
)
def test_a_separable_convolution_has_each_kernel_replaced_on_its_own(
    rule: Rule, relevance: list[float], expected: list[float]
) -> None:
    assert relevances(SEPARABLE, rule, relevance, [1, 1]) == [expected]


# Layers without weights ------------------------------------------------------------------------------


def average_pooling(counted: bool) -> Layer:
    """x = (3, 1, -1): windows (pad, 3) and (1, -1); the second average is zero."""
    attributes = {"pool_size": (2,), "strides": (2,), "padding": ((1, 0),), "count_include_pad": counted}
    return layer("average_pool1d", (3, 1), (2, 1), attributes)


@pytest.mark.parametrize("counted", [True, False])
def test_z_at_average_pooling_shares_by_value_and_never_with_the_padding(counted: bool) -> None:
    # The only entry of window 0 gets its 6, counted or not; window 1: 4 / 0.5 = 8, half of it times 1 and -1
    rule = Z(stabilizer=ReplaceZero(0.5))
    assert relevances(average_pooling(counted), rule, [6, 4], [3, 1, -1]) == [[6, 4, -4]]


@pytest.mark.parametrize(("counted", "expected"), [(True, [3, 2, 2]), (False, [6, 2, 2])])
def test_the_gradient_of_average_pooling_sees_the_divisor(counted: bool, expected: list[float]) -> None:
    assert relevances(average_pooling(counted), Gradient(), [6, 4], [3, 1, -1]) == [expected]


def test_z_at_global_average_pooling_shares_by_value() -> None:
    # mean 2, R / 2 = 2, half of it times 3 and 1
    one = layer("global_average_pool", (2, 1), (1,), {"keepdims": False})
    assert relevances(one, Z(), [4], [3, 1]) == [[3, 1]]


ADD = layer("add", [(1,), (1,)], (1,))


def test_z_at_add_shares_by_value() -> None:
    # 3 - 1 = 2, R / 2 = 2
    assert relevances(ADD, Z(), [4], [3], [-1]) == [[6], [-2]]


def test_z_at_add_blows_up_where_the_inputs_cancel() -> None:
    # 3 / 1e-7 times 2 and -2
    plus, minus = relevances(ADD, Z(), [3], [2], [-2])
    assert plus == pytest.approx([6e7], rel=FEW_ROUNDINGS)
    assert minus == pytest.approx([-6e7], rel=FEW_ROUNDINGS)


def test_epsilon_at_add_uses_its_own_stabilizer() -> None:
    # z = 0 counts as positive: 3 / 0.5 times 2 and -2
    assert relevances(ADD, Epsilon(0.5), [3], [2], [-2]) == [[12], [-12]]


def test_z_at_add_shares_with_a_repeated_input_what_its_copies_got() -> None:
    # (1, 3) + (1, 1) = (2, 4), R over it (2, 1): the single 1 gets 2 + 1
    one = layer("add", [(2, 1), (1, 1)], (2, 1))
    assert relevances(one, Z(), [4, 4], [1, 3], [1]) == [[2, 3], [3]]


# Batch norm ------------------------------------------------------------------------------------------


def batch_norm(epsilon: float = 9.0, **weights: list[float]) -> Layer:
    """Mean 3, variance 4, epsilon 9: fused, d = sqrt(4**2 + 9) = 5; the network divides by sqrt(13)."""
    return layer("batch_norm", (1,), (1,), {"epsilon": epsilon}, mean=[3], variance=[4], **weights)


@pytest.mark.parametrize(
    ("rule", "relevance", "expected"),
    [
        # kernel 10 / 5 = 2, bias 2.6 - 3 / 5 = 2, x = 3: z = 6 + 2 = 8
        (Z(), 16, 12),
        (Z(bias=False), 12, 12),
        # S(z) = 8.5, s = 2
        (Epsilon(0.5), 17, 12),
        # A: 6 + 2 again; B: 0 + 2, no contributions
        (AlphaBeta(1, 0), 16, 12),
        (AlphaBeta(2, 1), 16, 24),
        (AlphaBeta(1, 0, bias=False), 12, 12),
        (WSquare(), 16, 16),
        (Flat(), 16, 16),
        # f(-1; W+) = -2: denominator 6 + 2, s = 2: 3 * 2 * 2 + 2 * 2
        (Bounded(-1, 1), 16, 16),
    ],
)
def test_a_fused_batch_norm_squares_the_variance(rule: Any, relevance: float, expected: float) -> None:
    # 2.6 - 0.6 rounds once, hence the one tolerance that is not zero.
    one = batch_norm(gamma=[10], beta=[2.6])
    ((found,),) = relevances(one, FusedBatchNorm(rule), [relevance], [3])
    assert found == pytest.approx(expected, rel=FEW_ROUNDINGS)


def test_a_batch_norm_without_gamma_and_beta_has_them_one_and_zero() -> None:
    # kernel 1 / 5, bias -3 / 5, x = 8: z = 1; 8 / 5 * R
    ((found,),) = relevances(batch_norm(), FusedBatchNorm(Z()), [5], [8])
    assert found == pytest.approx(8, rel=2 * FEW_ROUNDINGS)


def test_the_gradient_of_a_batch_norm_is_that_of_the_network() -> None:
    # sqrt(4 + 12) = 4, gamma / 4
    assert relevances(batch_norm(epsilon=12.0, gamma=[2]), Gradient(), [4], [8]) == [[2]]


# Pass and gradient -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["relu", "softmax"])
def test_pass_hands_relevance_on_where_the_gradient_would_not(kind: str) -> None:
    one = layer(kind, (2,), (2,), {"axis": -1})
    assert relevances(one, Pass(), [3, 4], [-1, 2]) == [[3, 4]]


def test_the_gradient_of_a_product_is_the_other_factor() -> None:
    one = layer("multiply", [(1,), (1,)], (1,))
    assert relevances(one, Gradient(), [5], [2], [3]) == [[15], [10]]


# What has no reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("relu", Z()),
        ("add", AlphaBeta(1, 0)),
        ("batch_norm", Epsilon()),
        ("dense", FusedBatchNorm(Z())),
        ("max_pool2d", Flat()),
    ],
)
def test_a_rule_where_it_has_no_reading_is_an_error_that_names_both(kind: str, rule: Rule) -> None:
    one = layer(kind, (1,), (1,))
    with pytest.raises(UnsupportedMethodError, match=rf"{type(rule).__name__} .*'layer' \({kind}\)"):
        relevances(one, rule, [1], [1])


def test_pass_at_a_layer_that_changes_the_shape_is_an_error() -> None:
    with pytest.raises(UnsupportedMethodError, match=r"'layer' \(dense\).*assign Gradient"):
        relevances(dense([[1, 2]]), Pass(), [1, 1], [1])


def test_what_is_no_rule_is_an_error_that_names_it() -> None:
    with pytest.raises(UnsupportedMethodError, match="no terms for the rule str; "):
        propagate(dense([[1]]), (np.ones((1, 1)),), np.ones((1, 1)), "Z")  # type: ignore[arg-type]


@pytest.mark.parametrize(("x", "relevance"), [((1, 3), (1, 1)), ((1, 2), (1, 2)), ((2, 2), (1, 1))])
def test_arrays_that_do_not_fit_are_errors_that_name_the_layer(
    x: tuple[int, int], relevance: tuple[int, int]
) -> None:
    with pytest.raises(InvalidInputError, match=r"'layer' \(dense\) was given .* expected"):
        propagate(dense([[1], [1]]), (np.ones(x),), np.ones(relevance), Z())
