"""The further readings of alpha-beta, and gamma, on layers worked out by hand. All numbers are exact."""

from __future__ import annotations

from math import isnan

import pytest

from harness.methods import AlphaBeta, AlphaBetaX, Gamma, ReplaceZero, SignedEpsilon, Unprotected, Z
from tests.oracle.layers import dense, relevances

# Alpha-beta with the bias split by sign --------------------------------------------------------------

# x = (2, -1). Contributions to neuron 0: 6, -1; bias -2. To neuron 1: 6, -1; bias 3.
BIASED = dense([[3, 3], [1, 1]], [-2, 3])


def test_a_split_bias_counts_where_its_sign_is() -> None:
    # A: denominators (6 + 0, 6 + 3), s = (2, 2); x0: 2 * 3 * 4 = 24; x1: 0
    assert relevances(BIASED, AlphaBeta(1, 0, split_bias=True), [12, 18], [2, -1]) == [[24, 0]]
    # B: denominators (-1 - 2, -1 + 0), t = (-4, -18); x0: 0; x1: -1 * 1 * -22 = 22; 2 A - B
    assert relevances(BIASED, AlphaBeta(2, 1, split_bias=True), [12, 18], [2, -1]) == [[48, -22]]


def test_a_split_bias_can_be_left_out_too() -> None:
    # A: denominators (6, 6), s = (2, 3)
    rule = AlphaBeta(1, 0, bias=False, split_bias=True)
    assert relevances(BIASED, rule, [12, 18], [2, -1]) == [[30, 0]]


def test_a_split_bias_is_not_counted_with_the_negative_inputs_either() -> None:
    # x = (-1, -2): A: f(x+) = b+ = 1, f(x-; W-) = 2: s = R / 3 = 2; x0: -1 * -2 * 2 = 4
    # B: f(x+) = b- = 0, f(x-; W+) = -6: t = 6 / -6 = -1; x1: -2 * 3 * -1 = 6
    one = dense([[-2], [3]], [1])
    assert relevances(one, AlphaBeta(1, 0, split_bias=True), [6], [-1, -2]) == [[4, 0]]
    assert relevances(one, AlphaBeta(2, 1, split_bias=True), [6], [-1, -2]) == [[8, -6]]


# Alpha-beta with a factor for each kind of contribution ----------------------------------------------

#: One input for each pair of signs at x = (2, -1, 2, -1): contributions 6, 4, -10, -1.
FOUR_KINDS = [[3], [-4], [-5], [1]]
FACTORS = AlphaBetaX(alpha=(2, 3), beta=(5, 7))


def test_alpha_beta_x_normalises_four_kinds_of_contribution_each_on_its_own() -> None:
    # b = 2 counts with W+: C(x+, W+) = 6 + 2, s = 5: 30; C(x-, W-) = 4, s = 10: 40;
    # C(x+, W-) = -10, s = -4: 2 * -5 * -4 = 40; C(x-, W+) = -1 + 2, s = 40: -1 * 1 * 40 = -40
    assert relevances(dense(FOUR_KINDS, [2]), FACTORS, [40], [2, -1, 2, -1]) == [
        [2 * 30, 3 * 40, -5 * 40, -7 * -40]
    ]


def test_alpha_beta_x_counts_a_negative_bias_with_the_negative_weights() -> None:
    # b = -2: C(x+, W+) = 6, s = 4: 24; C(x-, W-) = 4 - 2, s = 12: 48;
    # C(x+, W-) = -10 - 2, s = -2: 20; C(x-, W+) = -1, s = -24: 24
    assert relevances(dense(FOUR_KINDS, [-2]), FACTORS, [24], [2, -1, 2, -1]) == [
        [2 * 24, 3 * 48, -5 * 20, -7 * 24]
    ]


def test_alpha_beta_x_2m100_shares_with_positive_inputs_only() -> None:
    rule = AlphaBetaX(alpha=(2, 0), beta=(1, 0))
    assert relevances(dense(FOUR_KINDS, [2]), rule, [40], [2, -1, 2, -1]) == [[60, 0, -40, 0]]


def test_alpha_beta_x_replaces_the_zero_of_a_kind_that_cancels() -> None:
    # C(x-, W+) = -1 + 1 = 0, s = 4 / 0.5: -1 * 1 * 8
    rule = AlphaBetaX(alpha=(0, 0), beta=(0, 1), stabilizer=ReplaceZero(0.5))
    assert relevances(dense([[1]], [1]), rule, [4], [-1]) == [[8]]


# Gamma -----------------------------------------------------------------------------------------------

#: W = (2, -1), b = 1. With gamma 1: W^ = (4, -1), b^ = 2, Wv = (2, -2), bv = 1.
LIFTED = dense([[2], [-1]], [1])


@pytest.mark.parametrize("signed", [True, False])
def test_gamma_counts_positive_weights_more_where_no_input_is_negative(signed: bool) -> None:
    # x = (2, 1): z = 4; 8 - 1 + 2 = 9, s = 2: 2 * 4 * 2, 1 * -1 * 2
    assert relevances(LIFTED, Gamma(1, signed), [18], [2, 1]) == [[16, -2]]


def test_gamma_as_first_written_keeps_the_sign_of_a_negative_input() -> None:
    # x = (2, -1): 8 + 1 + 2 = 11, s = 2: 2 * 4 * 2, -1 * -1 * 2
    assert relevances(LIFTED, Gamma(1, signed=False), [22], [2, -1]) == [[16, 2]]


def test_gamma_counts_negative_inputs_with_negative_weights_more_where_the_output_is_positive() -> None:
    # z = 6; f(x+; W^, b^) = 8 + 2, f(x-; Wv) = 2: 12, s = 2: 2 * 4 * 2, -1 * -2 * 2
    assert relevances(LIFTED, Gamma(1), [24], [2, -1]) == [[16, 4]]


def test_gamma_counts_negative_contributions_more_where_the_output_is_negative() -> None:
    # x = (-2, 1): z = -4; f(x+; Wv, bv) = -2 + 1, f(x-; W^) = -8: -9, s = -2: -2 * 4 * -2, 1 * -2 * -2
    assert relevances(LIFTED, Gamma(1), [18], [-2, 1]) == [[16, 4]]


def test_gamma_shares_nothing_where_the_output_is_zero() -> None:
    # x = (1, 3): z = 2 - 3 + 1 = 0; as first written f = 4 - 3 + 2 = 3, s = 2: 1 * 4 * 2, 3 * -1 * 2
    assert relevances(LIFTED, Gamma(1), [6], [1, 3]) == [[0, 0]]
    assert relevances(LIFTED, Gamma(1, signed=False), [6], [1, 3]) == [[8, -6]]


def test_a_negative_bias_is_lowered_where_the_output_is_negative() -> None:
    # W = 2, b = -5, x = 1: z = -3; bv = -10: 2 - 10 = -8, s = 16 / -8: 1 * 2 * -2. Raised it would stay -5.
    assert relevances(dense([[2]], [-5]), Gamma(1), [16], [1]) == [[-4]]
    # As first written: W^ = 4, b^ = -5: -1, s = -16: 1 * 4 * -16
    assert relevances(dense([[2]], [-5]), Gamma(1, signed=False), [16], [1]) == [[-64]]


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("x", [[2, -1], [-2, 1]])
def test_gamma_zero_is_z(signed: bool, x: list[float]) -> None:
    # z = 6 or -4: 12 over either is exact
    assert relevances(LIFTED, Gamma(0, signed), [12], x) == relevances(LIFTED, Z(), [12], x)


def test_gamma_has_a_stabilizer() -> None:
    # x = (2, 1): S = 9 + 1, s = 2
    assert relevances(LIFTED, Gamma(1, stabilizer=SignedEpsilon(1)), [20], [2, 1]) == [[16, -2]]


def test_gamma_gives_nothing_to_the_side_the_output_is_not_on() -> None:
    # W = (1, -1), gamma 1, x = (1, 2): z = -1. Side of z > 0: W^ = (2, -1), 2 - 2 = 0, and 0 over it.
    # Side of z < 0: Wv = (1, -2), 1 - 4 = -3, s = -2: 1 * 1 * -2, 2 * -2 * -2
    assert relevances(dense([[1], [-1]]), Gamma(1), [6], [1, 2]) == [[-2, 8]]
    # Unprotected, the 0 over 0 of the other side is no number and spoils the sum, as in Zennit.
    ((first, second),) = relevances(dense([[1], [-1]]), Gamma(1, stabilizer=Unprotected()), [6], [1, 2])
    assert isnan(first)
    assert isnan(second)
