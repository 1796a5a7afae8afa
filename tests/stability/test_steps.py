"""Denominators, condition and growth of single steps, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from harness.graph import Layer
from harness.methods import Epsilon, Gamma, Gradient, Z
from harness.stability.arrays import counts_of
from harness.stability.denominators import denominators_of
from reference_impls.oracle.denominators import divisions
from tests.oracle.layers import dense, graph
from tests.stability.networks import SmallModel, analysed, at, chain, one_rule, two_layers

UNIT = float(np.finfo(np.float64).eps)


def test_denominators_of_a_layer_by_hand() -> None:
    """z = (4, 1): epsilon 0.5 makes 4.5 and 1.5; rms sqrt((16 + 1) / 2)."""
    found = at(analysed(*two_layers(), one_rule(Epsilon(0.5))), "a").denominators
    assert found is not None
    assert found.smallest == 1.5
    # Of two values a quantile lies on the line between them.
    assert found.quantiles[-1] == pytest.approx(3.0, rel=4 * UNIT)
    assert found.rms == pytest.approx(8.5**0.5, rel=4 * UNIT)
    assert found.zeros == 0


def test_how_much_relevance_passes_through_small_denominators() -> None:
    """z = (100, 0.01, 1e-7): rms 57.7; below a thousandth are two, with 3 of 4 |R|, below a millionth one, with 1."""
    one = dense([[100.0, 0.01, 1e-7]])
    stages = divisions(one, (np.ones((1, 1)),), Z())
    found = denominators_of(stages, np.array([[1.0, -2.0, 1.0]]))
    assert found is not None
    assert found.passing == (0.25, 0.75)
    assert found.smallest == 1e-7


def test_relevance_counts_only_where_the_rule_divides_it() -> None:
    """z = (10, -1e-9): gamma divides each output on its own side of zero, so one quarter passes the small one."""
    one = dense([[10.0, -1e-9]])
    found = denominators_of(divisions(one, (np.ones((1, 1)),), Gamma(0.0)), np.array([[3.0, 1.0]]))
    assert found is not None
    assert found.passing == (0.25, 0.25)


def test_a_rule_without_division_has_no_denominators() -> None:
    assert at(analysed(*two_layers(), one_rule(Gradient())), "a").denominators is None


def test_growth_is_what_is_made_of_both_signs() -> None:
    """a passes (-1, 6) on from (4, 2): 7 / 6."""
    found = at(analysed(*two_layers(), one_rule(Z())), "a")
    assert found.growth == pytest.approx(7 / 6, rel=8 * UNIT)
    assert (found.largest, found.counts.positive, found.counts.negative) == (4, 2, 0)


def test_a_sum_that_cancels_to_a_millionth_loses_six_digits() -> None:
    """z = sum of eight +1 and eight -(1 - 2**-20) times x = 1, so 2**-17, from terms of size one.

    Each x moves by 2**-53 or 2**-52, at random, so z by about the root of 16 such moves, 2**-51 to 2**-50, over
    2**-17; the noise put in is 2**-53 to 2**-52. The condition is thus about 2**18; a factor of four either way
    is what chance does to sixteen signs in the largest of three draws.
    """
    weights = [[1.0]] * 8 + [[-(1.0 - 2.0**-20)]] * 8
    model = chain(dense(weights, name="out", inputs=("x",)), inputs=16)
    found = analysed(model, np.ones((1, 16)), one_rule(Z(), head="one"))
    assert 2**16 <= at(found, "out").condition <= 2**20
    # Sixteen shares of about 2**17 each, of both signs, for a relevance of one.
    assert at(found, "out").growth == pytest.approx(2**21, rel=1e-5)
    assert "out makes 2.1e+06 times the relevance it is given" in found.sentence


def test_a_step_without_cancellation_keeps_its_digits() -> None:
    """All terms positive: z moves by no more than x does, so the shares by at most twice that and R's own."""
    model = chain(dense(np.full((16, 1), 0.5), name="out", inputs=("x",)), inputs=16)
    found = analysed(model, np.linspace(1, 2, 16)[None], one_rule(Z(), head="one"))
    assert 0 < at(found, "out").condition <= 3


def test_equal_values_in_a_max_pooling_are_decided_by_rounding() -> None:
    """Sixteen windows of two equal values: a unit in the last place moves R from the first to the second.

    k moved of 16 are a relative movement of sqrt(2 k / 16), at least a third; the noise put in is at most 2**-52.
    """
    pool = Layer(
        "pool",
        "max_pool1d",
        ("x",),
        ((32, 1),),
        (16, 1),
        ("batch", "time", "channel"),
        {"pool_size": (2,), "strides": (2,), "padding": ((0, 0),)},
    )
    flat = Layer("flat", "flatten", ("pool",), ((16, 1),), (16,), ("batch", "feature"))
    out = dense(np.ones((16, 1)), name="out", inputs=("flat",))
    model = SmallModel(graph(pool, flat, out, input_shape=(32, 1)))
    found = analysed(model, np.ones((1, 32, 1)), one_rule(Z()))
    assert at(found, "pool").condition > 2**50
    assert "gets the relevance at pool" in found.sentence


def test_a_layer_that_no_relevance_reaches_has_no_condition() -> None:
    """The logit is negative, its positive part zero."""
    model = chain(dense([[-1.0]], name="out", inputs=("x",)), inputs=1)
    found = analysed(model, [[1.0]], one_rule(Z(), head="relu_logit"))
    assert np.isnan(at(found, "out").condition)
    assert found.sentence.startswith("No relevance arrives anywhere")


def test_counts_tell_nan_and_infinity_from_signs() -> None:
    found = counts_of(np.array([-1.0, -0.0, 0.0, 2.0, 3.0, np.nan, -np.inf, np.inf]))
    assert (found.negative, found.zero, found.positive, found.nan, found.inf) == (1, 2, 2, 1, 2)
