"""What the rules promise for every layer: relevance is shared out, not made or lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.graph import Layer
from harness.methods import AlphaBeta, Bounded, Epsilon, Flat, Gamma, Rule, WSquare, Z
from reference_impls.oracle import linear, propagate
from reference_impls.oracle.linear import Arrays, Weights
from tests.oracle.layers import (
    DIVISIBLE,
    convolutions,
    dense_layers,
    integers,
    linear_layers,
    scales,
    seeds,
    transposed_convolutions,
    weighted_layers,
)

UNIT = np.finfo(np.float64).eps
one_kernel_layers = st.one_of(dense_layers(), scales(), convolutions(), transposed_convolutions())


def inputs_of(one: Layer, seed: int) -> Arrays:
    """Whole numbers: with the whole-number kernels every denominator is exact."""
    return tuple(
        integers(seed + index, 2, *shape, scale=DIVISIBLE) for index, shape in enumerate(one.input_shapes)
    )


def rounding_of(one: Layer, inputs: Arrays, s: np.ndarray, weights: Weights | None = None) -> float:
    """A bound for the rounding of ``sum(x * f^T(s; W))`` and of ``sum(s * f(x; W))``, its own W unless given.

    Either is a sum of the products ``x_i W_ij s_j``; n of them added in any order are off by at most
    n units in the last place of the sum of their absolute values (Higham 2002, sec. 4.2), and each
    product has four roundings of its own (two multiplications, the division in s, the average).
    """
    weights = linear.weights_of(one) if weights is None else weights
    absolute = {name: np.abs(weight) for name, weight in weights.items()}
    magnitude = linear.apply(one, tuple(np.abs(x) for x in inputs), absolute) * np.abs(s)
    terms = sum(x.size for x in inputs) + s.size
    return float((terms + 4) * UNIT * magnitude.sum())


def over(relevance: np.ndarray, z: np.ndarray) -> np.ndarray:
    """``R / S(z)`` with the default stabilizer."""
    return relevance / np.where(z == 0, 1e-7, z)


@settings(deadline=None)
@given(linear_layers, seeds)
def test_z_conserves_what_meets_a_denominator(one: Layer, seed: int) -> None:
    """Where z is not zero all of R arrives; where it is, the contributions cancel, and so do their shares."""
    inputs, relevance = inputs_of(one, seed), integers(seed + 9, 2, *one.shape)
    z = linear.apply(one, inputs, linear.weights_of(one))
    s = over(relevance, z)
    total = sum(part.sum() for part in propagate(one, inputs, relevance, Z()))
    assert abs(total - relevance[z != 0].sum()) <= rounding_of(one, inputs, s)


@settings(deadline=None)
@given(linear_layers, seeds)
def test_epsilon_keeps_the_part_of_the_stabilizer(one: Layer, seed: int) -> None:
    """The inputs receive ``R * z / (z + epsilon * sign(z))``."""
    inputs, relevance = inputs_of(one, seed), integers(seed + 9, 2, *one.shape)
    z = linear.apply(one, inputs, linear.weights_of(one))
    s = relevance / (z + 0.5 * np.where(z >= 0, 1, -1))
    total = sum(part.sum() for part in propagate(one, inputs, relevance, Epsilon(0.5)))
    assert abs(total - (s * z).sum()) <= rounding_of(one, inputs, s)


@settings(deadline=None)
@given(weighted_layers, seeds)
def test_alpha_beta_weighs_the_two_signs_by_alpha_and_beta(one: Layer, seed: int) -> None:
    """``alpha`` times R where z of A is not zero, minus ``beta`` times R where z of B is not."""
    (x,), relevance = inputs_of(one, seed), integers(seed + 9, 2, *one.shape)
    weights = linear.weights_of(one)
    upper = {name: np.maximum(weight, 0) for name, weight in weights.items()}
    lower = {name: np.minimum(weight, 0) for name, weight in weights.items()}
    x_upper, x_lower = np.maximum(x, 0), np.minimum(x, 0)
    activating = linear.apply(one, (x_upper,), upper) + linear.apply(one, (x_lower,), lower)
    inhibiting = linear.apply(one, (x_upper,), lower) + linear.apply(one, (x_lower,), upper)
    expected = 2 * relevance[activating != 0].sum() - relevance[inhibiting != 0].sum()
    s, t = 2 * over(relevance, activating), over(relevance, inhibiting)
    # One term for each product of a part of x and a part of W. The negative parts of the two kernels of a
    # separable convolution multiply to something positive, so even these denominators may cancel to zero.
    products = ((x_upper, upper, s), (x_lower, lower, s), (x_upper, lower, t), (x_lower, upper, t))
    rounding = sum(rounding_of(one, (side,), factor, kernels) for side, kernels, factor in products)
    (part,) = propagate(one, (x,), relevance, AlphaBeta(2, 1))
    assert abs(part.sum() - expected) <= rounding


@pytest.mark.parametrize("rule", [WSquare(), Flat()], ids=["w_square", "flat"])
@settings(deadline=None)
@given(one=weighted_layers, seed=seeds)
def test_rules_of_weights_alone_conserve_and_ignore_the_input(rule: Rule, one: Layer, seed: int) -> None:
    """All of R arrives but that of outputs without any weight; no share is negative, so sums lose nothing."""
    relevance = np.abs(integers(seed + 9, 2, *one.shape))
    (part,) = propagate(one, inputs_of(one, seed), relevance, rule)
    (other,) = propagate(one, inputs_of(one, seed + 1), relevance, rule)
    assert np.array_equal(part, other)
    reached = {
        name: weight**2 if isinstance(rule, WSquare) else np.ones(weight.shape)
        for name, weight in linear.weights_of(one).items()
    }
    z = linear.apply(one, (np.ones((2, *one.input_shapes[0])),), reached)
    expected = relevance[z != 0].sum()
    assert part.min() >= 0
    assert abs(part.sum() - expected) <= (part.size + relevance.size + 4) * UNIT * expected


@settings(deadline=None)
@given(one_kernel_layers, seeds)
def test_gamma_conserves_what_belongs_to_an_output_that_is_not_zero(one: Layer, seed: int) -> None:
    """The denominator is at least as far from zero as the output, on the same side."""
    (x,), relevance = inputs_of(one, seed), integers(seed + 9, 2, *one.shape)
    weights = linear.weights_of(one)
    raised = {name: weight + 2 * np.maximum(weight, 0) for name, weight in weights.items()}
    lowered = {name: weight + 2 * np.minimum(weight, 0) for name, weight in weights.items()}
    x_upper, x_lower = np.maximum(x, 0), np.minimum(x, 0)
    z = linear.apply(one, (x,), weights)
    above = linear.apply(one, (x_upper,), raised) + linear.apply(one, (x_lower,), lowered)
    below = linear.apply(one, (x_upper,), lowered) + linear.apply(one, (x_lower,), raised)
    p, n = np.where(z > 0, over(relevance, above), 0), np.where(z < 0, over(relevance, below), 0)
    products = ((x_upper, raised, p), (x_lower, lowered, p), (x_upper, lowered, n), (x_lower, raised, n))
    rounding = sum(rounding_of(one, (side,), factor, kernels) for side, kernels, factor in products)
    (part,) = propagate(one, (x,), relevance, Gamma(2))
    assert abs(part.sum() - relevance[z != 0].sum()) <= rounding


@settings(deadline=None)
@given(one_kernel_layers, seeds)
def test_bounded_conserves_and_shares_nothing_negative(one: Layer, seed: int) -> None:
    """For x within the bounds, R >= 0 and one kernel: the parts of two do not add up to their product."""
    x = np.random.default_rng(seed).integers(-1, 2, (2, *one.input_shapes[0])).astype(float)
    relevance = np.abs(integers(seed + 9, 2, *one.shape))
    weights = linear.weights_of(one)
    absolute = {name: np.abs(weight) for name, weight in weights.items()}
    # Low is -1 and high is 1: - f(low; W+) - f(high; W-) = f(1; |W|).
    z = linear.apply(one, (x,), weights) + linear.apply(one, (np.ones(x.shape),), absolute)
    rounding = rounding_of(one, (np.abs(x) + 1,), over(relevance, z))
    (part,) = propagate(one, (x,), relevance, Bounded(-1, 1))
    assert part.min() >= -rounding
    assert abs(part.sum() - relevance[z != 0].sum()) <= rounding
