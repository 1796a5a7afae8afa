"""The formulas that a reproducer shows: NumPy text that stands for itself, here against the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.diagnosis.measure import apart
from harness.diagnosis.reproducer.formulas import forward_formula, rule_formula, words_of
from harness.graph import Layer
from harness.methods import (
    AddedEpsilon,
    AlphaBeta,
    AlphaBetaX,
    Bounded,
    Deconvolution,
    Epsilon,
    Flat,
    FusedBatchNorm,
    Gamma,
    Gradient,
    GuidedReLU,
    Pass,
    Rule,
    Sign,
    SignedEpsilon,
    StdEpsilon,
    Unprotected,
    WSquare,
    Z,
    ZPlusFast,
)
from reference_impls.oracle import propagate
from reference_impls.oracle.formulas import formula
from reference_impls.oracle.forward import apply
from tests.oracle.layers import layer

#: Sums of tens of terms, in two orders, and denominators that lose a few digits.
ROUNDINGS = 1e-11
RNG = np.random.default_rng(3)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


DENSE = layer("dense", (6,), (4,), kernel=normal(6, 4), bias=normal(4))
WITHOUT_BIAS = layer("dense", (6,), (4,), kernel=normal(6, 4))
CONV1D = layer(
    "conv1d",
    (11, 3),
    (5, 4),
    {"strides": (2,), "dilations": (2,), "padding": ((1, 2),), "groups": 1},
    kernel=normal(3, 3, 4),
    bias=normal(4),
)
CONV2D = layer(
    "conv2d",
    (5, 6, 3),
    (5, 3, 4),
    {"strides": (1, 2), "dilations": (1, 1), "padding": ((1, 1), (0, 1)), "groups": 1},
    kernel=normal(3, 2, 3, 4),
    bias=normal(4),
)
RULES: list[Rule] = [
    Z(),
    Z(bias=False),
    Z(stabilizer=SignedEpsilon(0.1)),
    Z(stabilizer=AddedEpsilon(0.1)),
    Z(stabilizer=Unprotected()),
    Epsilon(0.25),
    Epsilon(0.25, bias=False),
    StdEpsilon(0.25),
    StdEpsilon(0.25, bias=False),
    Sign(),
    Sign(threshold=0.5),
    Sign(threshold=-1, bias=False),
    AlphaBeta(1, 0),
    AlphaBeta(2, 1),
    AlphaBeta(2, 1, bias=False),
    AlphaBeta(2, 1, split_bias=True),
    AlphaBetaX((2, 1), (0.5, 0.25)),
    ZPlusFast(),
    Gamma(0.5),
    Gamma(0.5, signed=False),
    WSquare(),
    WSquare(bias=True),
    Flat(),
    Bounded(-3, 3),
    Gradient(),
]


def computed(text: str, one: Layer, inputs: Any, relevance: Any) -> Any:
    """What ``expected`` of a script gives, run as a script has it: with NumPy and the data."""
    space: dict[str, Any] = {"np": np, "data": dict(one.weights)}
    exec(text, space)
    return space["expected"](list(inputs), relevance)


@pytest.mark.parametrize("one", [DENSE, WITHOUT_BIAS, CONV1D, CONV2D], ids=["dense", "no bias", "1d", "2d"])
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_the_formula_of_a_rule_is_what_the_oracle_computes(rule, one):
    rng = np.random.default_rng(4)
    x, relevance = rng.standard_normal((2, *one.input_shapes[0])), rng.standard_normal((2, *one.shape))
    text = rule_formula(formula(one, rule), one)
    assert text is not None
    assert apart(propagate(one, (x,), relevance, rule), computed(text, one, (x,), relevance)) < ROUNDINGS


@pytest.mark.parametrize("rule", [Gradient(), GuidedReLU(), Deconvolution(), Pass()], ids=repr)
def test_at_a_relu(rule):
    one = layer("relu", (4,), (4,))
    x, relevance = np.array([[1.0, -1, 2, 0]]), np.array([[3.0, 4, -5, 6]])
    text = rule_formula(formula(one, rule), one)
    assert text is not None
    np.testing.assert_array_equal(computed(text, one, (x,), relevance), propagate(one, (x,), relevance, rule))


@pytest.mark.parametrize("rule", [Z(), Epsilon(0.25)], ids=repr)
def test_at_an_add(rule):
    one = layer("add", [(3,), (3,)], (3,))
    x, y, relevance = np.array([[1.0, 2, -1]]), np.array([[3.0, -2, -1]]), np.array([[4.0, 5, 6]])
    text = rule_formula(formula(one, rule), one)
    assert text is not None
    assert apart(propagate(one, (x, y), relevance, rule), computed(text, one, (x, y), relevance)) < 1e-15


@pytest.mark.parametrize("one", [DENSE, WITHOUT_BIAS, CONV1D, CONV2D], ids=["dense", "no bias", "1d", "2d"])
def test_the_forward_pass(one):
    x = np.random.default_rng(4).standard_normal((2, *one.input_shapes[0]))
    text = forward_formula(one)
    assert text is not None
    assert apart((apply(one, (x,)),), computed(text, one, (x,), None)) < ROUNDINGS


@pytest.mark.parametrize(
    ("rule", "one"),
    [
        (
            FusedBatchNorm(Z()),
            layer("batch_norm", (3,), (3,), {"epsilon": 1e-3}, mean=[0] * 3, variance=[1] * 3),
        ),
        (Bounded(times_inputs=False), DENSE),  # nothing but rounding is left of it
        (Gradient(), layer("max_pool1d", (4, 1), (2, 1), {"pool_size": (2,)})),
    ],
    ids=repr,
)
def test_where_there_is_no_short_formula_there_is_none(rule, one):
    assert rule_formula(formula(one, rule), one) is None


def test_the_words_of_a_rule_hold_those_that_it_refers_to():
    words = words_of(Epsilon(0.5))
    assert words.startswith("Epsilon(epsilon=0.5, bias=True)")
    assert "R_x = x * f^T(R / S(z); W)" in words  # Z's, which Epsilon's definition names
    assert "S(z) = z + epsilon * sign(z)" in words  # and SignedEpsilon's
    assert ":class:" not in words and "``" not in words
