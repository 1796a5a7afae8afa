"""Z with other stabilizers, Epsilon by the deviation of the input and the fast z+ rule, worked out by hand.

Unless said otherwise all intermediate numbers are exact in float64, and so is the comparison.
"""

from __future__ import annotations

from math import inf, isnan
from typing import Any

import numpy as np
import pytest

from harness.errors import UnsupportedMethodError
from harness.graph import Layer
from harness.methods import SignedEpsilon, StdEpsilon, Unprotected, Z, ZPlusFast
from reference_impls.oracle import propagate
from tests.oracle.layers import FEW_ROUNDINGS, dense, layer, relevances

# Stabilizers -----------------------------------------------------------------------------------------


def test_an_unprotected_division_by_zero_is_infinite_and_nothing_over_it_is_no_number() -> None:
    # z = (1 - 1, 1 - 2) = (0, -1); R / z = (1 / 0, 0): x0: inf, x1: -inf
    one = dense([[1, 1], [1, 2]])
    assert relevances(one, Z(stabilizer=Unprotected()), [1, 0], [1, -1]) == [[inf, -inf]]
    ((first, second),) = relevances(one, Z(stabilizer=Unprotected()), [0, 0], [1, -1])
    assert isnan(first)
    assert isnan(second)


def test_an_unprotected_division_by_anything_else_is_exact() -> None:
    # z = 1, R / z = 1e9
    assert relevances(dense([[1]]), Z(stabilizer=Unprotected()), [1e9], [1]) == [[1e9]]


ADD = layer("add", [(1,), (1,)], (1,))
HALF = Z(stabilizer=SignedEpsilon(0.5))


@pytest.mark.parametrize(
    ("relevance", "inputs", "expected"),
    [
        # z = 1, S = 1.5, s = 2
        (3, ([3], [-2]), [[6], [-4]]),
        # z = -1, S = -1.5, s = -2
        (3, ([-3], [2]), [[6], [-4]]),
        # z = 0 counts as positive: S = 0.5, s = 4
        (2, ([2], [-2]), [[8], [-8]]),
    ],
)
def test_z_at_add_takes_a_signed_epsilon(relevance: float, inputs: Any, expected: Any) -> None:
    assert relevances(ADD, HALF, [relevance], *inputs) == expected


@pytest.mark.parametrize(("counted", "shares"), [(True, [4, 4, -4]), (False, [3, 4, -4])])
def test_z_at_average_pooling_takes_a_signed_epsilon(counted: bool, shares: list[float]) -> None:
    # x = (2, 1, -1), windows (pad, 2) and (1, -1), the second average is 0: S = 0.5, 4 / 0.5 * 1 / 2 = 4
    # Padding counted: average 1, S = 1.5, R = 6, s = 4, 2 * 4 / 2. Not counted: average 2, S = 2.5, R = 3.75, s = 1.5
    attributes = {"pool_size": (2,), "strides": (2,), "padding": ((1, 0),), "count_include_pad": counted}
    one = layer("average_pool1d", (3, 1), (2, 1), attributes)
    assert relevances(one, HALF, [6 if counted else 3.75, 4], [2, 1, -1]) == [shares]


def test_z_at_global_average_pooling_takes_a_signed_epsilon() -> None:
    # mean -2, S = -2.5, s = 2, half of it times -3 and -1
    one = layer("global_average_pool", (2, 1), (1,), {"keepdims": False})
    assert relevances(one, HALF, [-5], [-3, -1]) == [[-3, -1]]


# Epsilon times the standard deviation of the input ---------------------------------------------------

#: Half the deviation of (1, 3), which is 1 around the mean 2, counting both values: epsilon 0.5.
SUM, DIFFERENCE = dense([[1], [1]]), dense([[3], [-1]])


@pytest.mark.parametrize(
    ("one", "rule", "relevance", "x", "expected"),
    [
        # z = 4, S = 4.5, s = 2
        (SUM, StdEpsilon(0.5), 9, [1, 3], [2, 6]),
        # z = -4, S = -4.5
        (SUM, StdEpsilon(0.5), 9, [-1, -3], [2, 6]),
        # z = 3 - 3 = 0 counts as positive: S = 0.5, s = 2
        (DIFFERENCE, StdEpsilon(0.5), 1, [1, 3], [6, -6]),
        # z = 4 + 1 = 5, S = 5.5, s = 2; without the bias 4.5 again
        (dense([[1], [1]], [1]), StdEpsilon(0.5), 11, [1, 3], [2, 6]),
        (dense([[1], [1]], [1]), StdEpsilon(0.5, bias=False), 9, [1, 3], [2, 6]),
        # All values equal: epsilon 0, z = 4
        (SUM, StdEpsilon(0.5), 8, [2, 2], [4, 4]),
    ],
)
def test_std_epsilon_moves_by_a_part_of_the_inputs_deviation(
    one: Layer, rule: StdEpsilon, relevance: float, x: list[float], expected: list[float]
) -> None:
    assert relevances(one, rule, [relevance], x) == [expected]


def test_std_epsilon_replaces_a_zero_where_the_input_does_not_deviate() -> None:
    # z = 2 - 2, deviation 0: s = 1 / 1e-7
    (found,) = relevances(dense([[1], [-1]]), StdEpsilon(0.5), [1], [2, 2])
    assert found == pytest.approx([2e7, -2e7], rel=FEW_ROUNDINGS)


def test_std_epsilon_is_each_samples_own() -> None:
    # (1, 3): as above. (0, 8): deviation 4, epsilon 2, z = 8, S = 10, s = 2. Both together deviate by 3.08.
    (found,) = propagate(SUM, (np.array([[1.0, 3], [0, 8]]),), np.array([[9.0], [20]]), StdEpsilon(0.5))
    assert found.tolist() == [[2, 6], [0, 16]]


def test_std_epsilon_of_a_convolution_sees_all_places_and_channels() -> None:
    # x = 1, 3 in place 0 and 1, 3 in place 1: deviation 1; z = 1 + 3 at both, S = 4.5, s = (2, 4)
    geometry = {"strides": (1,), "dilations": (1,), "groups": 1, "padding": ((0, 0),)}
    one = layer("conv1d", (2, 2), (2, 1), geometry, kernel=[[[1], [1]]])
    assert relevances(one, StdEpsilon(0.5), [9, 18], [1, 3, 1, 3]) == [[2, 6, 4, 12]]


def test_std_epsilon_has_no_reading_at_a_layer_without_weights() -> None:
    with pytest.raises(UnsupportedMethodError, match=r"StdEpsilon has no reading at layer 'layer' \(add\)"):
        relevances(ADD, StdEpsilon(0.5), [1], [1], [2])


# The fast z+ rule ------------------------------------------------------------------------------------


def test_z_plus_fast_sees_positive_weights_only() -> None:
    # W+ = (2 0 / 0 4): z = (2, 4), s = (3, 2)
    one = dense([[2, -1], [-3, 4]], [100, 100])
    assert relevances(one, ZPlusFast(), [6, 8], [1, 1]) == [[6, 8]]


def test_z_plus_fast_keeps_the_sign_of_a_negative_input() -> None:
    # x = (2, -1): z = (6 - 1, 6 - 1), s = (2, 3): x0: 2 * 3 * 5; x1: -1 * 1 * 5
    one = dense([[3, 3], [1, 1]], [-2, 3])
    assert relevances(one, ZPlusFast(), [10, 15], [2, -1]) == [[30, -5]]


def test_z_plus_fast_shares_nothing_without_a_positive_weight() -> None:
    # z = 0, s = 5 / 1e-7, times weights of 0
    assert relevances(dense([[-1], [-2]]), ZPlusFast(), [5], [1, 1]) == [[0, 0]]
