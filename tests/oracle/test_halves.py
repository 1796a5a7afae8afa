"""A rule at each half of a separable convolution: numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest

from harness.graph import Layer
from harness.methods import AlphaBeta, Epsilon
from harness.steps import Deviation, Step
from reference_impls.deviations.backward import carry_out, deviations
from tests.oracle.layers import layer
from tests.oracle.steps import cause_of, step


def separable(depthwise: list[float], pointwise: list[float]) -> Layer:
    """One place, two channels, one output: ``z = sum of p_c d_c x_c``."""
    return layer(
        "separable_conv1d",
        (1, 2),
        (1, 1),
        {"strides": (1,), "dilations": (1,), "padding": ((0, 0),)},
        inputs=("x",),
        name="separable",
        depthwise_kernel=np.array(depthwise).reshape(1, 2, 1),
        pointwise_kernel=np.array(pointwise).reshape(2, 1),
    )


def twice(of: Step) -> Deviation:
    (found,) = (each for each in deviations(of, of.inputs) if each.cause == "rule-twice")
    return found


def test_epsilon_is_absorbed_at_each_half() -> None:
    """u = (2, 6), z = 8, R = 9: R_u = u * 9 / (8 + 1) = (2, 6); R_x = u * R_u / (u + 1) = (4/3, 36/7)."""
    of = step(separable([2.0, 3.0], [1.0, 1.0]), Epsilon(1.0), np.array([[[1.0, 2.0]]]), np.array([[[9.0]]]))
    (result,) = carry_out(twice(of).alter(of))
    np.testing.assert_allclose(result, [[[4 / 3, 36 / 7]]], rtol=1e-15)
    assert cause_of(of, result, 1e-14)[0] == "rule-twice"


def test_alpha_beta_separates_signs_at_each_half() -> None:
    """u = (-2, 6) at x = (1, 2), p = (-1, 1): z = 2 + 6 = 8 = R, R_u = (2, 6).

    Going on, the negative product of channel 0 gets nothing; the whole layer, whose kernel is p d = (2, 3), gives it 2.
    """
    of = step(
        separable([-2.0, 3.0], [-1.0, 1.0]), AlphaBeta(1, 0), np.array([[[1.0, 2.0]]]), np.array([[[8.0]]])
    )
    (result,) = carry_out(twice(of).alter(of))
    np.testing.assert_allclose(result, [[[0.0, 6.0]]], rtol=1e-15)


@pytest.mark.parametrize("kind", ["conv1d", "dense"])
def test_another_layer_has_no_halves(kind: str) -> None:
    attributes = (
        {"strides": (1,), "dilations": (1,), "groups": 1, "padding": ((0, 0),)} if kind == "conv1d" else {}
    )
    shape = (1, 2) if kind == "conv1d" else (2,)
    kernel = np.ones((1, 2, 1)) if kind == "conv1d" else np.ones((2, 1))
    of = step(
        layer(kind, shape, (*shape[:-1], 1), attributes, inputs=("x",), name="other", kernel=kernel),
        Epsilon(1.0),
        np.ones((1, *shape)),
        np.ones((1, *shape[:-1], 1)),
    )
    assert not any(each.cause == "rule-twice" for each in deviations(of, of.inputs))
