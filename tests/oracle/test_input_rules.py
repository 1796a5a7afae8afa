"""The rules for the layer that sees the input, on layers worked out by hand. All numbers are exact."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from harness.backends import backend_named
from harness.methods import Bounded, Sign, WSquare, method
from ported_models import PortedModel
from ported_models.build import Builder
from reference_impls.deviations.backward import carry_out
from reference_impls.deviations.backward.input_values import _bounded
from reference_impls.oracle import propagate
from tests.oracle.layers import dense, layer, relevances
from tests.oracle.steps import step
from tests.prepared import ready

# Sign ------------------------------------------------------------------------------------------------

# x = (1, -2): z = (1 - 4 + 1, -1 - 6 + 0) = (-2, -7); R / z = (-2, -1), back: (-2 + 1, -4 - 3) = (-1, -7)
MIXED = dense([[1, -1], [2, 3]], [1, 0])


@pytest.mark.parametrize(
    ("threshold", "signs"),
    [
        (0, (1, -1)),
        (-0.5, (1, -1)),
        # At the threshold the sign is 1.
        (1, (1, -1)),
        (1.5, (-1, -1)),
        # -2 is below -1, but a -1 that is not below the threshold is overwritten with 1.
        (-1, (1, 1)),
        (-1.5, (1, 1)),
    ],
)
def test_sign_puts_the_sign_of_the_input_in_place_of_the_input(
    threshold: float, signs: tuple[int, int]
) -> None:
    assert relevances(MIXED, Sign(threshold), [4, 7], [1, -2]) == [[signs[0] * -1, signs[1] * -7]]


def test_sign_of_zero_is_one() -> None:
    # z = 2, s = 3
    assert relevances(dense([[5], [1]]), Sign(), [6], [0, 2]) == [[15, 3]]


def test_sign_can_leave_the_bias_out() -> None:
    # z = (-3, -7): the same quotients for R = (6, 7)
    assert relevances(MIXED, Sign(bias=False), [6, 7], [1, -2]) == [[-1, 7]]


@pytest.mark.parametrize("backend", ["oracle", "tensorflow", "torch"])
@pytest.mark.parametrize(
    ("mu", "signs"), [(0, (1, -1)), (-0.5, (1, -1)), (-1, (1, 1)), (-1.5, (1, 1)), (-3, (1, 1))]
)
def test_signxai2_divides_by_the_deviation_and_has_no_sign_below_minus_one(
    backend: str, mu: float, signs: tuple[int, int]
) -> None:
    """z = (-2, -7), std(x) = 1.5, twice that: S = (-5, -10). R = (z0, 0): s = (2 / 5, 0), back (1, 2) * 2 / 5."""
    b = Builder("mixed", (2,))
    b.add("dense", "logits", weights={"kernel": np.array([[1.0, -1], [2, 3]]), "bias": np.array([1.0, 0])})
    one = method(f"epsilon_stdx_sign:mu={mu},signstdfactor=2")
    trace = ready(backend_named(backend), PortedModel.from_graph(b.graph())).explain(
        np.array([[1.0, -2.0]]), one, np.array([0])
    )
    np.testing.assert_allclose(trace.attribution, [[signs[0] * 0.4, signs[1] * 0.8]], rtol=1e-14)


# W-square --------------------------------------------------------------------------------------------


def test_the_squared_bias_of_w_square_keeps_its_part() -> None:
    # squares 1, 9 and 4: s = 28 / 14
    one = dense([[1], [-3]], [-2])
    assert relevances(one, WSquare(bias=True), [28], [7, -7]) == [[2, 18]]


# Bounded as signxai has it ---------------------------------------------------------------------------

WITHOUT_INPUTS = Bounded(-1, 1, times_inputs=False)


def test_bounded_without_the_inputs_leaves_nothing() -> None:
    # Denominators (3.5, 2.5), s = (2, 2): (2, 10) - ((4, 10) + (-2, 0)) = (0, 0); with the inputs (7, 5)
    assert relevances(dense([[2, -1], [1, 4]]), WITHOUT_INPUTS, [7, 5], [0.5, -0.5]) == [[0, 0]]


def test_bounded_without_the_inputs_adds_the_two_parts_before_it_subtracts_them() -> None:
    """1 - 2**-54 rounds to 1, of the whole and of the sum of the parts: nothing is left.

    Part by part, (1 - 1) + 2**-54, the rounding would show.
    """
    # x = 0: the denominators are 1 and 2**-54, and R over them 1
    one = dense([[1, -(2.0**-54)]])
    assert relevances(one, WITHOUT_INPUTS, [1, 2.0**-54], [0]) == [[0]]


def test_bounded_without_the_inputs_is_the_rounding_of_the_sum() -> None:
    """Kernel (1, -1, 2**-53), x = 0: denominators 2, s = 1. Entry 2 meets all three, in this order.

    Whole: (1 - 1) + 2**-53. Parts: 1 + 2**-53 rounds to 1, and -1.
    """
    geometry = {"strides": (1,), "dilations": (1,), "groups": 1, "padding": ((0, 0),)}
    one = layer("conv1d", (5, 1), (3, 1), geometry, kernel=np.reshape([1, -1, 2.0**-53], (3, 1, 1)))
    assert relevances(one, WITHOUT_INPUTS, [2, 2, 2], np.zeros(5)) == [[0, 0, 2.0**-53, 0, 0]]


def test_bounded_without_the_inputs_leaves_something_of_two_kernels() -> None:
    """Depthwise (1, -2), pointwise (3, 1): together (3, -2); the parts make (3, 0) and (0, 0).

    x = (1, 1): the denominator is 1 + 3 - 0 = 4, s = 2: (6, -4) - (6, 0).
    """
    one = layer(
        "separable_conv1d",
        (1, 2),
        (1, 1),
        {"strides": (1,), "dilations": (1,), "padding": ((0, 0),)},
        depthwise_kernel=[[[1], [-2]]],
        pointwise_kernel=[[3], [1]],
    )
    assert relevances(one, WITHOUT_INPUTS, [8], [1, 1]) == [[0, -4]]


@pytest.mark.parametrize("formula", [None, partial(_bounded, ((-1.0, -2.0), (1.0, 3.0), True, True))])
def test_bounds_of_channels_hold_at_each_of_several_places(formula: Any) -> None:
    """A row of two places of two channels each, as an excerpt of patches has them: bounds are those of the channel."""
    one = dense([[1.0, -2.0], [3.0, 1.0], [-1.0, 2.0], [2.0, 1.0]])
    x, relevance = np.array([[0.5, 1.0, -0.5, 2.0]]), np.array([[3.0, -2.0]])
    each = Bounded((-1.0, -2.0, -1.0, -2.0), (1.0, 3.0, 1.0, 3.0))
    (expected,) = propagate(one, (x,), relevance, each)
    rule = Bounded((-1.0, -2.0), (1.0, 3.0))
    of = replace(step(one, each, x, relevance), rule=rule, formula=formula)
    (given,) = carry_out(of)
    np.testing.assert_allclose(given, expected, rtol=1e-14)
