"""Layers without a kernel, batch norms, and what a rule does at a layer that it is not for."""

from __future__ import annotations

import pytest

from harness.errors import UnsupportedMethodError
from harness.methods import (
    AlphaBeta,
    AlphaBetaX,
    BatchNormReverse,
    Bounded,
    Deconvolution,
    Epsilon,
    Flat,
    FusedBatchNorm,
    Gradient,
    GuidedReLU,
    Pass,
    SignedEpsilon,
    WSquare,
    Z,
    ZPlusFast,
)
from tests.port.one_layer import assert_equal, step


def test_add_shares_relevance_in_proportion_to_its_inputs():
    # First value: z = 1 + 3, s = 2. Second: z = 2 - 2 = 0, replaced by 1e-7.
    first, second = step("add", Z(), [[1, 2], [3, -2]], [8, 1])
    assert_equal(first, [2, 2 / 1e-7])
    assert_equal(second, [6, -2 / 1e-7])


def test_add_of_three_with_epsilon():
    # z = 1 + 2 - 5 = -2, S = -3, s = 2.
    received = step("add", Epsilon(1), [[1], [2], [-5]], [-6])
    assert [array.tolist() for array in received] == [[2], [4], [-10]]


@pytest.mark.parametrize("rule", [Epsilon(1), Z(stabilizer=SignedEpsilon(1))], ids=["epsilon", "z"])
def test_average_pooling_with_a_signed_stabilizer(rule):
    # z = -2, S = -3: s = 1, half of it for each.
    (found,) = step("average_pool1d", rule, [[[-1], [-3]]], [[-3]], attributes={"pool_size": (2,)})
    assert_equal(found, [[-0.5], [-1.5]])


def test_add_with_a_signed_stabilizer():
    # z = 1 + 2, S = 3 + 3: s = 2.
    received = step("add", Z(stabilizer=SignedEpsilon(3)), [[1], [2]], [12])
    assert [array.tolist() for array in received] == [[2], [4]]


@pytest.mark.parametrize(("counted", "last"), [(False, 2 * 5), (True, 0.5 * 4 * 5)])
def test_average_pooling_at_a_padded_edge(counted, last):
    # Windows (1, 3) and (5, padding): z = (2, 5), or (2, 2.5) where the padding counts; R = (4, 10).
    (found,) = step(
        "average_pool1d",
        Z(),
        [[[1], [3], [5]]],
        [[4], [10]],
        attributes={"pool_size": (2,), "padding": "same", "count_include_pad": counted},
    )
    assert_equal(found, [[1], [3], [last]])


def test_global_average_pooling_of_zero_mean():
    # z = 0 is replaced by 1e-7; each value has a quarter.
    (found,) = step("global_average_pool", Z(), [[[[1], [-1]], [[2], [-2]]]], [4])
    s = 4 / 1e-7
    assert_equal(found, [[[s / 4], [-s / 4]], [[s / 2], [-s / 2]]])


@pytest.mark.parametrize(
    ("rule", "x", "relevance", "expected"),
    [
        # d = sqrt(4**2 + 9) = 5: kernel 2/5, bias 1 - 3/5 = 0.4; z = 1.6 + 0.4, s = 2.
        pytest.param(Z(), 4, 4, 4 * 0.4 * 2, id="z"),
        pytest.param(Z(bias=False), 4, 4, 4, id="z without bias"),
        # S = 2 + 1.
        pytest.param(Epsilon(1), 4, 6, 4 * 0.4 * 2, id="epsilon"),
        # x+ W+ + b+ = 1.6 + 0.4.
        pytest.param(AlphaBeta(1, 0), 4, 4, 4 * 0.4 * 2, id="alpha 1 beta 0"),
        # Negative x: A = 0, x- W+ = -1.6, with the bias -1.2, t = -2.5, B = -1.6 * -2.5.
        pytest.param(AlphaBeta(2, 1), -4, 3, -4, id="alpha 2 beta 1"),
        pytest.param(WSquare(), 4, 3, 3, id="w_square"),
        pytest.param(Flat(), 4, 3, 3, id="flat"),
        pytest.param(ZPlusFast(), 4, 3, 3, id="z plus fast"),
        # x W = 1.6, low W+ = -0.4, high W- = 0: s = 3 / 2 = 1.5; 1.6 * 1.5 - (-0.4 * 1.5).
        pytest.param(Bounded(-1, 1), 4, 3, 3, id="bounded"),
        # Activating 1.6 + 0.4, s = 2, C = 3.2; W- = 0, so nothing is inhibited.
        pytest.param(AlphaBetaX((2, 0), (1, 0)), 4, 4, 6.4, id="alpha beta x"),
    ],
)
def test_batch_norm_as_a_line_with_squared_variance(rule, x, relevance, expected):
    (found,) = step(
        "batch_norm",
        FusedBatchNorm(rule),
        [[x]],
        [relevance],
        {"gamma": [2], "beta": [1], "mean": [3], "variance": [4]},
        {"epsilon": 9},
    )
    # 1 - 3/5 and 1.6 are rounded before they cancel: up to four times the roundings of the others.
    assert found[0] == pytest.approx(expected, rel=32 * 2.0**-52)


@pytest.mark.parametrize(
    ("rule", "relevance", "expected"),
    [
        # d = 5 as above, u = 8/5 - 3/5 = 1, y = 2u + 1 = 3. Second line: s = 2, R_u = 2u * 2 = 4.
        # First line: z = 1, s = 4, R_x = 8/5 * 4.
        pytest.param(Z(), 6, 6.4, id="z"),
        # Each line hands on what it gets; one line, 0.4 x + 0.4, would have given 3.2 of 3.6.
        pytest.param(Z(bias=False), 6, 6, id="z without bias"),
        # S = 3 + 1: s = 1.5, R_u = 3; S = 1 + 1: s = 1.5, R_x = 1.6 * 1.5.
        pytest.param(Epsilon(1), 6, 2.4, id="epsilon"),
        # Second line: 2u + 1 = 3, s = 2, C = 4, R_u = 8. First line: x+ W+ = 1.6, b+ = 0, s = 8 / 1.6, C = 8;
        # x+ W- + b- = 0 - 0.6, but W- = 0: R_x = 2 * 8.
        pytest.param(AlphaBetaX((2, 0), (1, 0)), 6, 16, id="alpha beta x"),
    ],
)
def test_batch_norm_as_two_lines(rule, relevance, expected):
    (found,) = step(
        "batch_norm",
        FusedBatchNorm(rule, "two_linear"),
        [[8]],
        [relevance],
        {"gamma": [2], "beta": [1], "mean": [3], "variance": [4]},
        {"epsilon": 9},
    )
    assert found[0] == pytest.approx(expected, rel=32 * 2.0**-52)


@pytest.mark.parametrize(
    ("x", "relevance", "epsilon", "expected"),
    [
        # d = sqrt(7 + 9) = 4, y = 2 * (8 - 4) / 4 + 1 = 3: 8 * (3 - 1) * R / (4 * 3 + 4).
        (8, 6, 4, 6),
        # y = 2 * -4/4 + 1 = -1, denominator -4 * -1 = 4: 0 * ...
        (0, 6, 4, 0),
        # y = 2 * -8/4 + 1 = -3, denominator 24; -4 * (-3 - 1) * 6 / (24 + 8).
        (-4, 6, 8, 3),
        # y = 2 * -1/4 + 1 = 0.5, denominator -1 * 0.5 - 1.5: 3 * -0.5 * 8 / -2.
        (3, 8, 1.5, 6),
        # x is the mean: 0 / S(0), and S(0) = +epsilon.
        (4, 6, 1e-7, 0),
    ],
)
def test_batch_norm_by_its_own_rule(x, relevance, epsilon, expected):
    (found,) = step(
        "batch_norm",
        BatchNormReverse(epsilon),
        [[x]],
        [relevance],
        {"gamma": [2], "beta": [1], "mean": [4], "variance": [7]},
        {"epsilon": 9},
    )
    assert_equal(found, [expected])


def test_batch_norm_by_its_own_rule_without_beta_along_the_channels():
    # Channels with d = 5 and 4: y = (20 - 10) / 5 = 2 and (20 + 4) / 4 = 6; without beta y cancels, and
    # R_x = x * R / (x - mean) = 20 * R / 10 and 20 * R / 24.
    (found,) = step(
        "batch_norm",
        BatchNormReverse(2.0**-60),
        [[[20, 20]]],
        [[3, 6]],
        {"mean": [10, -4], "variance": [9, 0]},
        {"epsilon": 16},
    )
    assert_equal(found, [[6, 5]])


def test_batch_norm_without_gamma_and_beta_runs_along_the_channels():
    # Two positions, channels with d = sqrt(9 + 16) = 5 and sqrt(0 + 16) = 4: kernels 1/5 and 1/4,
    # biases -10/5 and 4/4. x = 20: z = 2, 6; x = 40: z = 6, 11. R = z: R_x = x * kernel.
    (found,) = step(
        "batch_norm",
        FusedBatchNorm(Z()),
        [[[20, 20], [40, 40]]],
        [[2, 6], [6, 11]],
        {"mean": [10, -4], "variance": [3, 0]},
        {"epsilon": 16},
    )
    assert_equal(found, [[4, 5], [8, 10]])


def test_scale_is_a_layer_with_a_kernel():
    # z = 2*3 + 1 = 7.
    (found,) = step("scale", Z(), [[3]], [7], {"kernel": [2], "bias": [1]})
    assert_equal(found, [6])
    (found,) = step("scale", AlphaBeta(2, 1), [[3]], [4], {"kernel": [-2], "bias": [-2]})
    # A = 0; z- = -6 - 2, t = -0.5, B = 3 * -2 * -0.5.
    assert_equal(found, [-3])


@pytest.mark.parametrize("kind", ["relu", "softmax", "tanh"])
def test_pass_hands_relevance_through_an_activation_unchanged(kind):
    (found,) = step(kind, Pass(), [[-1, 0, 2]], [3, 4, 5])
    assert found.tolist() == [3, 4, 5]


@pytest.mark.parametrize(
    ("kind", "attributes", "rule", "expected"),
    [
        ("relu", {}, GuidedReLU(), [0, 0, 6]),
        ("relu", {}, Deconvolution(), [4, 0, 6]),
        ("leaky_relu", {"alpha": 0.5}, GuidedReLU(), [2, 0, 6]),
        ("leaky_relu", {"alpha": 0.5}, Deconvolution(), [4, 0, 6]),
        ("relu6", {}, GuidedReLU(per_edge=True), [0, 0, 6]),
    ],
)
def test_rectified_gradients_at_an_activation(kind, attributes, rule, expected):
    (found,) = step(kind, rule, [[-1, 2, 3]], [4, -5, 6], attributes=attributes)
    assert_equal(found, expected)


def test_pass_at_a_square_permutation_does_not_permute():
    relevance = [[1, 2], [3, 4]]
    (found,) = step("permute", Pass(), [[[5, 6], [7, 8]]], relevance, attributes={"dims": (2, 1)})
    assert found.tolist() == relevance
    (found,) = step("permute", Gradient(), [[[5, 6], [7, 8]]], relevance, attributes={"dims": (2, 1)})
    assert found.tolist() == [[1, 3], [2, 4]]


def test_gradient_of_a_relu_stops_where_it_is_closed():
    (found,) = step("relu", Gradient(), [[-1, 0, 2]], [3, 4, 5])
    assert found.tolist() == [0, 0, 5]


def test_gradient_through_max_pooling_goes_to_the_first_of_equal_values():
    (found,) = step(
        "max_pool1d", Gradient(), [[[2], [2], [1], [3]]], [[5], [7]], attributes={"pool_size": (2,)}
    )
    assert found.tolist() == [[5], [0], [0], [7]]


def test_gradient_through_multiply_is_the_other_factor():
    first, second = step("multiply", Gradient(), [[2, -1], [3, 4]], [5, 1])
    assert first.tolist() == [15, 4]
    assert second.tolist() == [10, -1]


def test_gradient_through_concat_is_cut_where_it_was_joined():
    received = step("concat", Gradient(), [[1, 2], [3, 4]], [5, 6, 7, 8])
    assert [array.tolist() for array in received] == [[5, 6], [7, 8]]


def test_flatten_brings_relevance_back_to_channels_last():
    (found,) = step("flatten", Gradient(), [[[[1, 2], [3, 4]]]], [5, 6, 7, 8])
    assert found.tolist() == [[[5, 6], [7, 8]]]


@pytest.mark.parametrize(
    ("kind", "rule", "inputs", "named"),
    [
        ("relu", AlphaBeta(1, 0), [[1, 2]], "AlphaBeta needs a layer with a kernel"),
        ("add", Flat(), [[1, 2], [1, 2]], "Flat needs a layer with a kernel"),
        ("relu", FusedBatchNorm(Z()), [[1, 2]], "FusedBatchNorm needs a batch norm"),
        ("relu", BatchNormReverse(), [[1, 2]], "BatchNormReverse needs a batch norm"),
        ("add", GuidedReLU(), [[1, 2], [1, 2]], "GuidedReLU needs an activation"),
        ("add", Deconvolution(), [[1, 2], [1, 2]], "Deconvolution needs an activation"),
        ("add", Pass(), [[1, 2], [1, 2]], "Pass needs one input of the shape of its output"),
    ],
)
def test_a_rule_at_a_layer_that_it_is_not_for_is_an_error_that_names_both(kind, rule, inputs, named):
    with pytest.raises(UnsupportedMethodError, match=rf"{named}.*'layer' \({kind}"):
        step(kind, rule, inputs, [1, 1])
