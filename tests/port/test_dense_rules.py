"""Every rule at one dense layer: positive and negative inputs, weights and biases, and zero denominators.

x = (2, -1, 1), W = [[1, -2], [3, -1], [-1, 2]] (in, out), b = (1, -1): the outputs are
z = (2 - 3 - 1 + 1, -4 + 1 + 2 - 1) = (-1, -2), without bias (-2, -1).
"""

from __future__ import annotations

import numpy as np
import pytest

from harness.methods import (
    AddedEpsilon,
    AlphaBeta,
    AlphaBetaX,
    Bounded,
    Epsilon,
    Flat,
    Gamma,
    ReplaceZero,
    Sign,
    SignedEpsilon,
    StdEpsilon,
    Unprotected,
    WSquare,
    Z,
    ZPlusFast,
)
from ported_impls.backend import TorchBackend
from ported_models.model import PortedModel
from tests.port.one_layer import assert_equal, at_layer, one_layer, step

X = [2, -1, 1]
W = [[1, -2], [3, -1], [-1, 2]]
B = [1, -1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("rule", "relevance", "expected"),
    [
        # s = R/z = (-3, -2); W s = (1, -7, -1).
        pytest.param(Z(), [3, 4], [2, 7, -1], id="z"),
        # s = R / (-2, -1) = (-2, -3); W s = (4, -3, -4).
        pytest.param(Z(bias=False), [4, 3], [8, 3, -4], id="z without bias"),
        # S(z) = (-2, -3); s = (-2, -3) again.
        pytest.param(Epsilon(1), [4, 9], [8, 3, -4], id="epsilon"),
        # S(z) = (-2 - 1, -1 - 1); s = (-2, -3) again.
        pytest.param(Epsilon(1, bias=False), [6, 6], [8, 3, -4], id="epsilon without bias"),
        pytest.param(Z(stabilizer=SignedEpsilon(1)), [4, 9], [8, 3, -4], id="z, signed stabilizer"),
        # S(z) = (-1 + 4, -2 + 4): s = (2, -2); W s = (6, 8, -6).
        pytest.param(Z(stabilizer=AddedEpsilon(4)), [6, -4], [12, -8, -6], id="z, epsilon added"),
        # x+ W+ + x- W- = (2, 2 + 1), with b (3, 2): s = (2, 5);
        # x+ * W+ s = (2*2, 0, 1*10), x- * W- s = (0, -1 * -5, 0).
        pytest.param(AlphaBeta(1, 0), [6, 10], [4, 5, 10], id="alpha 1 beta 0"),
        # x+ W- + x- W+ = (-1 - 3, -4), with b (-3, -5): t = (-2, -2);
        # x+ * W- t = (2*4, 0, 1*2), x- * W+ t = (0, -1 * -6, 0); twice the above minus this.
        pytest.param(AlphaBeta(2, 1), [6, 10], [0, 4, 18], id="alpha 2 beta 1"),
        # Denominators (2, 3): s = (2, 4).
        pytest.param(AlphaBeta(1, 0, bias=False), [4, 12], [4, 4, 8], id="alpha 1 beta 0 without bias"),
        # Second denominators (-4, -4): t = (-1, -3), B = (2*6, -1 * -3, 1*1).
        pytest.param(AlphaBeta(2, 1, bias=False), [4, 12], [-4, 5, 15], id="alpha 2 beta 1 without bias"),
        # Only b+ in the first denominators, (2 + 1, 3): s = (4, 5); x+ * W+ s = (2*4, 0, 10), x- * W- s = (0, 5, 0).
        pytest.param(AlphaBeta(1, 0, split_bias=True), [12, 15], [8, 5, 10], id="alpha 1 beta 0, split bias"),
        # Only b- in the second, (-4, -4 - 1): t = (-3, -3), B = (2*6, -1 * -9, 3); twice the above minus this.
        pytest.param(AlphaBeta(2, 1, split_bias=True), [12, 15], [4, 1, 17], id="alpha 2 beta 1, split bias"),
        # x+ W+ + b+ = (2 + 1, 2), s = (1, 5): C = (2*1, 0, 10); x+ W- + b- = (-1, -4 - 1), t = (-3, -2):
        # C = (2*4, 0, 3); twice the first minus the second.
        pytest.param(AlphaBetaX((2, 0), (1, 0)), [3, 10], [-4, 0, 17], id="alpha beta x"),
        # x W+ = (2 - 3, 2): s = (-3, 2), W+ s = (-3, -9, 4).
        pytest.param(ZPlusFast(), [3, 4], [-6, 9, 4], id="z plus fast"),
        # W + 2 W+ = [[3, -2], [9, -1], [-1, 6]], b + 2 b+ = (3, -1): z = (-1, 2), s = (-3, 2),
        # W^ s = (-13, -29, 15).
        pytest.param(Gamma(2, signed=False), [3, 4], [-26, 29, 15], id="gamma as first written"),
        # Both outputs are negative. x+ with W + W- and b + b-: (0, -6) + (1, -2); x- with W + W+: (-6, 1).
        # S = (-5, -7), n = (-1, -2): x+ * (7, ., -2), x- * (., -4, .).
        pytest.param(Gamma(1), [5, 14], [14, 4, -2], id="gamma, negative outputs"),
        # s = (-3, -2), W s = (1, -7, -1); the sign of x in front of it.
        pytest.param(Sign(), [3, 4], [1, 7, -1], id="sign"),
        pytest.param(Sign(1.5), [3, 4], [1, 7, 1], id="sign above 1.5"),
        pytest.param(Sign(2), [3, 4], [1, 7, 1], id="sign at the threshold itself"),
        pytest.param(Sign(-1), [3, 4], [1, -7, -1], id="sign from -1 on is positive everywhere"),
        # s = (-2, -3): W s = (4, -3, -4).
        pytest.param(Sign(bias=False), [4, 3], [4, 3, -4], id="sign without bias"),
        # W^2 sums to (1 + 9 + 1, 4 + 1 + 4): s = (1, 2).
        pytest.param(WSquare(), [11, 18], [9, 11, 9], id="w_square"),
        # The squared bias is one more.
        pytest.param(WSquare(bias=True), [12, 20], [9, 11, 9], id="w_square with bias"),
        # Ones sum to (3, 3): s = (1, 2).
        pytest.param(Flat(), [3, 6], [3, 3, 3], id="flat"),
        # xW = (-2, -1), -1 W+ = (-4, -2), 2 W- = (-2, -6): s = R / (4, 7) = (1, 2);
        # x * W s = (-6, -1, 3), -1 * W+ s = (-1, -3, -4), 2 * W- s = (-8, -4, -2).
        pytest.param(Bounded(-1, 2), [4, 14], [3, 6, 9], id="bounded"),
        # With low 0 the middle term vanishes: s = R / (-2 + 2, -1 + 6) = (0 / 1e-7, 2);
        # x * W s = (-8, 2, 4), 2 * W- s = (-8, -4, 0).
        pytest.param(Bounded(0, 2), [0, 10], [0, 6, 4], id="bounded from zero"),
        # W s - (W+ s + W- s), whatever s: also where a bound of zero makes a whole part zero.
        pytest.param(Bounded(-1, 2, times_inputs=False), [4, 14], [0, 0, 0], id="bounded without inputs"),
        pytest.param(Bounded(0, 2, times_inputs=False), [4, 10], [0, 0, 0], id="from zero, without inputs"),
    ],
)
def test_rule(rule, relevance, expected, dtype):
    (found,) = step("dense", rule, [X], relevance, {"kernel": W, "bias": B}, dtype=dtype)
    assert found.dtype == dtype
    assert_equal(found, expected)


def test_gamma_at_positive_outputs():
    # Everything of the layer above with the other sign: S = (5, 7), p = (1, 2), W^ p and Wv p as there.
    kernel, bias = -np.array(W), -np.array(B)
    (found,) = step("dense", Gamma(1), [X], [5, 14], {"kernel": kernel, "bias": bias})
    assert_equal(found, [14, 4, -2])


def test_gamma_at_an_output_of_zero_gives_nothing():
    (found,) = step("dense", Gamma(1), [[1, 1]], [2], {"kernel": [[1], [-1]]})
    assert found.tolist() == [0, 0]


def test_alpha_beta_x_with_all_four_kinds_of_contribution():
    # x = (1, -1, 1, -1), w = (2, -4, -3, 5), b = 1: denominators 2 + 1, 4, -3, -5 + 1, so s = 4, 3, -4, -3 and
    # C = (2*4), (-1 * -4 * 3), (-3 * -4), (-1 * 5 * -3).
    (found,) = step(
        "dense",
        AlphaBetaX((2, 3), (5, 7)),
        [[1, -1, 1, -1]],
        [12],
        {"kernel": [[2], [-4], [-3], [5]], "bias": [1]},
    )
    assert_equal(found, [2 * 8, 3 * 12, -5 * 12, -7 * 15])


def test_alpha_beta_x_of_nothing_but_zeros_is_zero():
    (found,) = step("dense", AlphaBetaX((0, 0), (0, 0)), [[1, 2]], [3], {"kernel": [[1], [1]]})
    assert found.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("x", "kernel", "expected"),
    [
        # (1, 3) has deviation 1: S = 4 + 2, s = 2.
        ([1, 3], [1, 1], [2, 6]),
        # S = -4 - 2, s = -2.
        ([1, 3], [-1, -1], [2, 6]),
        # No deviation: S = 4, s = 3; and 1 - 1 = 0 is replaced.
        ([2, 2], [1, 1], [6, 6]),
        ([1, 1], [1, -1], [12 / 1e-7, -12 / 1e-7]),
    ],
)
def test_epsilon_as_a_multiple_of_the_deviation_of_the_input(x, kernel, expected):
    (found,) = step("dense", StdEpsilon(2), [x], [12], {"kernel": [[each] for each in kernel]})
    assert_equal(found, expected)


def test_the_deviation_is_that_of_each_sample_over_all_its_places_and_channels():
    # Samples [[1, 1], [3, 3]] and twice that: deviations 1 and 2. One tap over two channels: z = (2, 6) and
    # (4, 12), S = (4, 8) and (8, 16) with factor 2; R = S: s = 1, R_x = x.
    x = np.array([[[1.0, 1], [3, 3]], [[2, 2], [6, 6]]])
    graph = one_layer("conv1d", [(2, 2)], {"kernel": [[[1], [1]]]})
    prepared = TorchBackend().prepare(PortedModel.from_graph(graph), "float64")
    relevance = np.array([[[4.0], [8]], [[8], [16]]])
    (found,) = prepared.step(graph["layer"], (x,), relevance, at_layer(StdEpsilon(2)))
    assert_equal(found, x)


def test_epsilon_by_the_deviation_without_bias():
    # z = 4 without the bias of 6, S = 4 + 2.
    kernel = {"kernel": [[1], [1]], "bias": [6]}
    (found,) = step("dense", StdEpsilon(2, bias=False), [[1, 3]], [12], kernel)
    assert_equal(found, [2, 6])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # z is the bias (1, -1): s = (1, -1), W s = (3, 4, -3), and the sign of zero is +1.
        (Sign(), [3, 4, -3]),
        # z = 0 is replaced: s = (1, -1) / 1e-7.
        (Sign(bias=False), [3 / 1e-7, 4 / 1e-7, -3 / 1e-7]),
    ],
)
def test_sign_gives_relevance_to_an_input_of_zeros(rule, expected):
    (found,) = step(
        "dense", rule, [[0, 0, 0]], [1, -1] if not rule.bias else [1, 1], {"kernel": W, "bias": B}
    )
    assert_equal(found, expected)


def test_an_unprotected_zero_divides():
    (found,) = step("dense", Z(stabilizer=Unprotected()), [[1, 1]], [2], {"kernel": [[1], [-1]]})
    assert found.tolist() == [np.inf, -np.inf]
    (found,) = step("dense", Z(stabilizer=Unprotected()), [[1, 1]], [0], {"kernel": [[1], [-1]]})
    assert np.isnan(found).all()


def test_without_negative_inputs_an_unprotected_zero_makes_nan_of_what_they_would_have_contributed():
    # x+ W+ + b- = 1 - 1 = 0, s = inf: x+ * W+ s = inf, x- * W- s = 0 * (0 * inf).
    (found,) = step(
        "dense", AlphaBeta(1, 0, stabilizer=Unprotected()), [[1]], [1], {"kernel": [[1]], "bias": [-1]}
    )
    assert np.isnan(found).all()


def test_without_negative_inputs_the_bias_of_the_part_not_run_stays_in_the_denominator():
    # x+ W+ = 4; x- is zero, its output is b- = -2: s = 6 / (4 - 2) = 3; R = (1*3*1, 3*3*1).
    (found,) = step("dense", AlphaBeta(1, 0), [[1, 3]], [6], {"kernel": [[1], [1]], "bias": [-2]})
    assert_equal(found, [3, 9])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # z = 1 - 1 = 0 becomes the replacement.
        pytest.param(Z(), [2 / 1e-7, -2 / 1e-7], id="z"),
        pytest.param(Z(stabilizer=ReplaceZero(0.5)), [4, -4], id="z, another replacement"),
        # sign(0) is +1: s = 2 / 0.5.
        pytest.param(Epsilon(0.5), [4, -4], id="epsilon"),
        # x * (W s) = (s, -s), low * (W+ s) = (-s, 0), high * (W- s) = (0, -s) with s = 2 / (0 + 1 + 1).
        pytest.param(Bounded(-1, 1), [2, 0], id="bounded"),
    ],
)
def test_zero_output(rule, expected):
    (found,) = step("dense", rule, [[1, 1]], [2], {"kernel": [[1], [-1]]})
    assert_equal(found, expected)


@pytest.mark.parametrize(
    ("rule", "kernel"),
    [(AlphaBeta(1, 0), [[-1], [-2]]), (WSquare(), [[0], [0]]), (Z(), [[0], [0]])],
    ids=["alpha-beta, nothing activates", "w_square, no weights", "z, no weights"],
)
def test_relevance_that_finds_no_way_is_lost_not_nan(rule, kernel):
    (found,) = step("dense", rule, [[1, 1]], [3], {"kernel": kernel})
    assert found.tolist() == [0, 0]


@pytest.mark.parametrize(
    "rule", [Z(), Z(bias=False), AlphaBeta(2, 1)], ids=["z", "z without bias", "alpha-beta"]
)
def test_an_input_of_zeros_takes_no_relevance(rule):
    (found,) = step("dense", rule, [[0, 0, 0]], [3, 4], {"kernel": W, "bias": B})
    assert found.tolist() == [0, 0, 0]


def test_alpha_beta_inhibition_alone():
    # A = 0 as above; z- = -1 - 2, t = 3 / -3, B = (1, 2): 2 A - B.
    (found,) = step("dense", AlphaBeta(2, 1), [[1, 1]], [3], {"kernel": [[-1], [-2]]})
    assert_equal(found, [-1, -2])


def test_dense_acts_on_the_last_axis_of_a_sequence():
    # Per position: z = (1*1 + 2*3, 3*1 + 4*3) = (7, 15), R = z: s = 1, R_x = x * W.
    (found,) = step("dense", Z(), [[[1, 2], [3, 4]]], [[7], [15]], {"kernel": [[1], [3]]})
    assert_equal(found, [[1, 6], [3, 12]])


def test_a_sample_does_not_see_the_others_of_its_batch():
    x = np.array([X, [1, 1, 1]], float)
    # Second sample: z = (1 + 3 - 1 + 1, -2 - 1 + 2 - 1) = (4, -2), s = (1, 1): R = x * W s.
    graph = one_layer("dense", [(3,)], {"kernel": W, "bias": B})
    prepared = TorchBackend().prepare(PortedModel.from_graph(graph), "float64")
    (found,) = prepared.step(graph["layer"], (x,), np.array([[3, 4], [4, -2.0]]), at_layer(Z()))
    assert_equal(found, [[2, 7, -1], [-1, 2, 1]])
