"""Every rule at one dense layer: positive and negative inputs, weights and biases, and zero denominators.

x = (2, -1, 1), W = [[1, -2], [3, -1], [-1, 2]] (in, out), b = (1, -1): the outputs are
z = (2 - 3 - 1 + 1, -4 + 1 + 2 - 1) = (-1, -2), without bias (-2, -1).
"""

from __future__ import annotations

import numpy as np
import pytest

from harness.methods import AlphaBeta, Bounded, Epsilon, Flat, ReplaceZero, SignedEpsilon, WSquare, Z
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
        # W^2 sums to (1 + 9 + 1, 4 + 1 + 4): s = (1, 2).
        pytest.param(WSquare(), [11, 18], [9, 11, 9], id="w_square"),
        # Ones sum to (3, 3): s = (1, 2).
        pytest.param(Flat(), [3, 6], [3, 3, 3], id="flat"),
        # xW = (-2, -1), -1 W+ = (-4, -2), 2 W- = (-2, -6): s = R / (4, 7) = (1, 2);
        # x * W s = (-6, -1, 3), -1 * W+ s = (-1, -3, -4), 2 * W- s = (-8, -4, -2).
        pytest.param(Bounded(-1, 2), [4, 14], [3, 6, 9], id="bounded"),
        # With low 0 the middle term vanishes: s = R / (-2 + 2, -1 + 6) = (0 / 1e-7, 2);
        # x * W s = (-8, 2, 4), 2 * W- s = (-8, -4, 0).
        pytest.param(Bounded(0, 2), [0, 10], [0, 6, 4], id="bounded from zero"),
    ],
)
def test_rule(rule, relevance, expected, dtype):
    (found,) = step("dense", rule, [X], relevance, {"kernel": W, "bias": B}, dtype=dtype)
    assert found.dtype == dtype
    assert_equal(found, expected)


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
    (found,) = prepared.propagate(graph["layer"], (x,), np.array([[3, 4], [4, -2.0]]), at_layer(Z()))
    assert_equal(found, [[2, 7, -1], [-1, 2, 1]])
