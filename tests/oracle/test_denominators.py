"""The divisions of a step are the step: put together again they give what the rules give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.divisions import Division, passed_down
from harness.errors import UnsupportedMethodError
from harness.graph import Layer
from harness.methods import (
    AddedEpsilon,
    AlphaBeta,
    AlphaBetaX,
    BatchNormReverse,
    Bounded,
    Epsilon,
    Flat,
    FusedBatchNorm,
    Gamma,
    Gradient,
    Pass,
    Rule,
    Sign,
    SignedEpsilon,
    StdEpsilon,
    WSquare,
    Z,
    ZPlusFast,
)
from reference_impls.oracle import propagate
from reference_impls.oracle.denominators import divisions
from tests.oracle.layers import dense, integers, layer, linear_layers, seeds, weighted_layers

UNIT = float(np.finfo(np.float64).eps)
KERNEL_RULES: tuple[Rule, ...] = (
    Z(),
    Z(bias=False),
    Z(stabilizer=SignedEpsilon(0.5)),
    Z(stabilizer=AddedEpsilon(0.5)),
    Epsilon(0.25),
    StdEpsilon(0.1),
    AlphaBeta(1, 0),
    AlphaBeta(2, 1),
    AlphaBeta(2, 1, bias=False),
    AlphaBeta(2, 1, split_bias=True),
    AlphaBetaX((2, 0.5), (1, 0.25)),
    ZPlusFast(),
    Gamma(0.25),
    Gamma(0.25, signed=False),
    Sign(0.5),
    WSquare(),
    WSquare(bias=True),
    Flat(),
    Bounded(-4, 4),
    Bounded(-4, 4, times_inputs=False),
)
#: Of a quotient in the share of an input: 2 (alpha) times 4 (an input, or a bound) times 3**4 (the squares of both
#: kernels of a separable convolution).
LARGEST_FACTOR = 2 * 4 * 3**4
BATCH_NORM_RULES: tuple[Rule, ...] = (
    FusedBatchNorm(Epsilon(0.25)),
    FusedBatchNorm(AlphaBeta(2, 1), "two_linear"),
    BatchNormReverse(0.1),
)


def with_bias(one: Layer, seed: int) -> Layer:
    """The layer with a bias of whole numbers."""
    return replace(one, weights={**one.weights, "bias": integers(seed, one.shape[-1])})


def batch_norm() -> Layer:
    return layer(
        "batch_norm",
        (3, 2),
        (3, 2),
        {"epsilon": 0.5},
        gamma=[2.0, -1.0],
        beta=[0.5, 1.0],
        mean=[1.0, -2.0],
        variance=[4.0, 1.0],
    )


def some(one: Layer, seed: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Inputs, and relevance of the output, of two samples."""
    inputs = tuple(integers(seed + place, 2, *shape) for place, shape in enumerate(one.input_shapes))
    return inputs, integers(seed + 9, 2, *one.shape)


def through_divisions(one: Layer, inputs: tuple[np.ndarray, ...], relevance: np.ndarray, rule: Rule) -> list:
    """The relevance of the inputs, stage by stage through the divisions."""
    shares: tuple[np.ndarray, ...] = (relevance,)
    for stage in divisions(one, inputs, rule):
        quotients = tuple(division.counted(shares[0]) / division.stabilized for division in stage)
        shares = passed_down(stage, quotients)
    return list(shares)


def assert_same_step(one: Layer, seed: int, rule: Rule) -> None:
    inputs, relevance = some(one, seed)
    expected = propagate(one, inputs, relevance, rule)
    found = through_divisions(one, inputs, relevance, rule)
    quotients = [
        np.abs(division.counted(relevance) / division.stabilized).sum()
        for stage in divisions(one, inputs, rule)
        for division in stage
    ]
    # The same n products and their sums, in another order (Higham 2002, sec. 4.2), four roundings to a product.
    # The denominators are sums of whole numbers, the same on both sides.
    n = sum(x.size for x in inputs) + relevance.size
    bound = (n + 4) * UNIT * LARGEST_FACTOR * max(1.0, sum(quotients))
    for actual, wanted in zip(found, expected, strict=True):
        assert np.abs(actual - wanted).max() <= bound, f"{rule} at {one.kind}: {actual} instead of {wanted}"


@pytest.mark.parametrize("rule", KERNEL_RULES, ids=str)
@settings(deadline=None, max_examples=25)
@given(weighted_layers, seeds)
def test_divisions_put_together_are_the_rule(rule: Rule, one: Layer, seed: int) -> None:
    assert_same_step(with_bias(one, seed + 5), seed, rule)


@pytest.mark.parametrize("rule", [Z(), Epsilon(0.25)], ids=str)
@settings(deadline=None, max_examples=40)
@given(linear_layers, seeds)
def test_divisions_put_together_are_the_rule_without_a_kernel_too(rule: Rule, one: Layer, seed: int) -> None:
    assert_same_step(one, seed, rule)


@pytest.mark.parametrize("rule", BATCH_NORM_RULES, ids=str)
@given(seed=seeds)
def test_divisions_put_together_are_the_rule_of_a_batch_norm(rule: Rule, seed: int) -> None:
    assert_same_step(batch_norm(), seed, rule)


def everything_of(division: Division) -> np.ndarray:
    held = division.contributions + division.bias
    return held if division.other is None else held + division.other


@pytest.mark.parametrize("rule", [*KERNEL_RULES, *BATCH_NORM_RULES], ids=str)
@settings(deadline=None, max_examples=25)
@given(st.data(), seeds)
def test_contributions_are_what_is_passed_down(rule: Rule, data: st.DataObject, seed: int) -> None:
    """``sum of back(s)`` is ``sum of s * contributions``, and the denominator holds nothing unnamed."""
    if rule in BATCH_NORM_RULES:
        one = batch_norm()
    else:
        one = with_bias(data.draw(weighted_layers), seed + 5)
    inputs, s = some(one, seed)
    for stage in divisions(one, inputs, rule):
        for division in stage:
            down = sum(float(part.sum()) for part in division.back(s))
            up = float((s * division.contributions).sum())
            size = sum(float(np.abs(part).sum()) for part in division.back(np.abs(s)))
            magnitude = size + float(np.abs(s * division.contributions).sum()) + 1.0
            n = s.size + sum(x.size for x in inputs)
            assert abs(down - up) <= 64 * n * UNIT * magnitude
            # One rounding for each of the two additions.
            rounding = 2 * UNIT * np.abs(everything_of(division))
            assert (np.abs(division.denominator - everything_of(division)) <= rounding).all()


def test_a_denominator_by_hand() -> None:
    """z = 1*2 + 3*(-1) + 0.5 = -0.5; epsilon 0.25 makes it -0.75; 0.5 of it is bias, -1 contribution."""
    ((division,),) = divisions(dense([[2.0], [-1.0]], [0.5]), (np.array([[1.0, 3.0]]),), Epsilon(0.25))
    assert division.denominator.tolist() == [[-0.5]]
    assert division.stabilized.tolist() == [[-0.75]]
    assert division.contributions.tolist() == [[-1.0]]
    assert np.broadcast_to(division.bias, (1, 1)).tolist() == [[0.5]]
    # One of relevance: the quotient -4/3, times 1*2 and 3*(-1).
    (share,) = division.back(1.0 / division.stabilized)
    assert share.ravel() == pytest.approx([-8 / 3, 4.0], rel=4 * UNIT)


def test_an_epsilon_added_whatever_the_sign_brings_a_negative_denominator_nearer_to_zero() -> None:
    """The layer above: z = -0.5, and 0.25 makes it -0.25."""
    rule = Z(stabilizer=AddedEpsilon(0.25))
    ((division,),) = divisions(dense([[2.0], [-1.0]], [0.5]), (np.array([[1.0, 3.0]]),), rule)
    assert division.stabilized.tolist() == [[-0.25]]
    (share,) = division.back(1.0 / division.stabilized)
    assert share.ravel().tolist() == [-8.0, 12.0]


def test_alpha_beta_divides_twice_and_names_its_factors() -> None:
    """x = (1, 2), W = (3, -1): the positive contribution is 3, the negative -2; b = -1 counts in both."""
    ((activating, inhibiting),) = divisions(
        dense([[3.0], [-1.0]], [-1.0]), (np.array([[1.0, 2.0]]),), AlphaBeta(2, 1)
    )
    assert (activating.factor, inhibiting.factor) == (2, -1)
    assert activating.denominator.item() == 3 - 1
    assert inhibiting.denominator.item() == -2 - 1


def test_gamma_counts_relevance_on_one_side_of_zero() -> None:
    """z = (1, -1): the first output is divided in the first division, the second in the other."""
    ((above, below),) = divisions(dense([[1.0, -1.0]]), (np.array([[1.0]]),), Gamma(0.5))
    relevance = np.array([[5.0, 7.0]])
    assert above.counted(relevance).tolist() == [[5.0, 0.0]]
    assert below.counted(relevance).tolist() == [[0.0, 7.0]]


@pytest.mark.parametrize("rule", [Pass(), Gradient()], ids=str)
def test_rules_that_do_not_divide_have_no_divisions(rule: Rule) -> None:
    assert divisions(dense([[1.0]]), (np.ones((1, 1)),), rule) == ()


def test_a_batch_norm_with_a_rule_of_no_kernel_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedMethodError, match="'layer' was given the rule Pass"):
        divisions(batch_norm(), (np.ones((1, 3, 2)),), FusedBatchNorm(Pass()))  # type: ignore[arg-type]
