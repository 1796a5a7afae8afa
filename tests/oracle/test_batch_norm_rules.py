"""Batch norms read as one line, as two lines, and by their own input and output, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import UnsupportedMethodError
from harness.graph import Layer
from harness.methods import (
    AlphaBeta,
    AlphaBetaX,
    BatchNormReverse,
    Bounded,
    Epsilon,
    Flat,
    FusedBatchNorm,
    WSquare,
    Z,
    ZPlusFast,
)
from tests.oracle.layers import FEW_ROUNDINGS, layer, relevances


def batch_norm(mean: float, variance: float, epsilon: float, **weights: list[float]) -> Layer:
    return layer("batch_norm", (1,), (1,), {"epsilon": epsilon}, mean=[mean], variance=[variance], **weights)


#: d = sqrt(2**2 + 12) = 4: u = x / 4 - 2, then 3 u + 1. The network itself divides by sqrt(14).
TWO_LINES = batch_norm(8, 2, 12, gamma=[3], beta=[1])


@pytest.mark.parametrize(
    ("rule", "relevance", "expected"),
    [
        # x = 12: u = 1. Line 2: z = 4, s = 2, 1 * 3 * 2 = 6. Line 1: z = 1, s = 6, 12 / 4 * 6 = 18
        (Z(), 8, 18),
        # Line 2: z = 3, s = 2. Line 1: z = 3, s = 2
        (Z(bias=False), 6, 6),
        # Line 2: S = 4.5, s = 2. Line 1: S = 1.5, s = 4
        (Epsilon(0.5), 9, 12),
        # Line 1: denominator 3 + 0 of x+, the bias -2 of x-: 1
        (AlphaBeta(1, 0), 8, 18),
        # Line 2: 3 + 1, s = 2. Line 1: 3 + b+ = 3, s = 2
        (AlphaBeta(1, 0, split_bias=True), 8, 6),
        # Twice each time. Line 2: 3 + 1, s = 2, 6 * 2 = 12. Line 1: 3, s = 4, 12 * 2 = 24
        (AlphaBetaX((2, 0), (1, 0)), 8, 24),
        (ZPlusFast(), 6, 6),
        (WSquare(), 8, 8),
        (Flat(), 8, 8),
    ],
)
def test_two_lines_are_gone_through_one_after_the_other(rule: Any, relevance: float, expected: float) -> None:
    assert relevances(TWO_LINES, FusedBatchNorm(rule, "two_linear"), [relevance], [12]) == [[expected]]


def test_bounded_bounds_the_input_of_either_line() -> None:
    # u = 1 and line 2: 3 + 3 = 6 over it 1, 1 * 3 + 1 * 3 = 6; line 1: 3 + 0.25, all of it back
    ((found,),) = relevances(TWO_LINES, FusedBatchNorm(Bounded(-1, 1), "two_linear"), [6], [12])
    assert found == pytest.approx(6, rel=2 * FEW_ROUNDINGS)


def test_one_line_and_two_lines_differ_where_gamma_scales_the_mean() -> None:
    # One line: 3 / 4 * 12 + (1 - 2) = 8, R / 8 = 1, 9 * 1. Two lines: 18, see above.
    assert relevances(TWO_LINES, FusedBatchNorm(Z()), [8], [12]) == [[9]]


def test_two_lines_without_gamma_and_beta_have_them_one_and_zero() -> None:
    # u = 1. Line 2: z = 1, R = 5 as it is. Line 1: z = 1, 3 * 5
    one = batch_norm(8, 2, 12)
    assert relevances(one, FusedBatchNorm(Z(), "two_linear"), [5], [12]) == [[15]]


@pytest.mark.parametrize(
    ("rule", "relevance", "expected"),
    [
        # One line 2 x + 2, x = 3: without bias 6, s = 2
        (ZPlusFast(), 12, 12),
        # 6 + 2, s = 2, twice 12
        (AlphaBetaX((2, 0), (1, 0)), 16, 24),
        (AlphaBeta(1, 0, split_bias=True), 16, 12),
        # 6 + 2 against 2**2 / (2**2 + 2**2) of R
        (WSquare(bias=True), 16, 8),
    ],
)
def test_the_newer_rules_at_one_line(rule: Any, relevance: float, expected: float) -> None:
    # d = sqrt(4**2 + 9) = 5, kernel 10 / 5, bias 3 - 5 / 5
    one = batch_norm(5, 4, 9, gamma=[10], beta=[3])
    assert relevances(one, FusedBatchNorm(rule), [relevance], [3]) == [[expected]]


def test_a_rule_that_is_none_of_a_line_is_an_error_that_names_it() -> None:
    rule: Any = BatchNormReverse()
    with pytest.raises(
        UnsupportedMethodError, match=r"'layer' was given the rule BatchNormReverse, expected"
    ):
        relevances(TWO_LINES, FusedBatchNorm(rule), [1], [1])


# By its own input and output -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("beta", "x", "relevance", "expected"),
    [
        # y = 4 * (10 - 8) / 2 + 1 = 5: 10 * 4 * 5 / (2 * 5 + 2.5)
        (1, 10, 5, 16),
        # y = -4 + 1 = -3: 6 * -4 * 17 / (-2 * -3 + 2.5)
        (1, 6, 17, -48),
        # y = 4 - 6 = -2: 10 * 4 * 13 / (2 * -2 - 2.5)
        (-6, 10, 13, -80),
        # y = 0 and the denominator, which counts as positive: 10 * 4 * 1 / 2.5
        (-4, 10, 1, 16),
        # At the mean: 8 * 0 / 2.5
        (1, 8, 5, 0),
    ],
)
def test_the_reverse_of_a_batch_norm_is_z_on_the_line_it_computes(
    beta: float, x: float, relevance: float, expected: float
) -> None:
    one = batch_norm(8, 3, 1, gamma=[4], beta=[beta])
    assert relevances(one, BatchNormReverse(2.5), [relevance], [x]) == [[expected]]


def test_the_reverse_without_gamma_and_beta_has_them_one_and_zero() -> None:
    # y = (10 - 8) / 2 = 1: 10 * 1 * 9 / (2 + 2.5)
    assert relevances(batch_norm(8, 3, 1), BatchNormReverse(2.5), [9], [10]) == [[20]]


def test_the_reverse_has_no_reading_elsewhere() -> None:
    with pytest.raises(UnsupportedMethodError, match=r"BatchNormReverse .*'layer' \(relu\)"):
        relevances(layer("relu", (1,), (1,)), BatchNormReverse(), [1], [1])
