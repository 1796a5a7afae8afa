"""Rules at layers without a kernel: pooling, add, batch norm, scale, activations, the rest."""

from __future__ import annotations

import numpy as np
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
    Rule,
    SignedEpsilon,
    Unprotected,
    WSquare,
    Z,
    ZPlusFast,
)
from tests.reference.one_layer import assert_equal, step


def pool(kind: str, rule: Rule, x: list[float], relevance: list[float], **attributes: object) -> np.ndarray:
    """Windows of two along one axis, one channel."""
    attributes = {"pool_size": (2,), **attributes}
    found = step(kind, rule, [np.reshape(x, (-1, 1))], np.reshape(relevance, (-1, 1)), None, attributes)
    return found[0][:, 0]


def test_average_pooling_shares_by_value() -> None:
    # Averages 2 and 4 (padding left out), R / z = [1, 1]: half of 1 and of 3, and all of 4.
    assert_equal(pool("average_pool1d", Z(), [1, 3, 4], [2, 4], padding="same"), [0.5, 1.5, 4])


def test_average_pooling_that_counts_its_padding_shares_the_same_relevance() -> None:
    # Averages 2 and (4 + 0) / 2 = 2, R / z = [1, 2]: 4 * 1/2 * 2.
    padded = {"padding": ((0, 1),), "count_include_pad": True}
    assert_equal(pool("average_pool1d", Z(), [1, 3, 4], [2, 4], **padded), [0.5, 1.5, 4])


def test_average_pooling_of_values_that_cancel_divides_by_1e_minus_7() -> None:
    assert_equal(pool("average_pool1d", Z(), [1, -1], [1e-7]), [0.5, -0.5])


def test_average_pooling_under_epsilon() -> None:
    # z = 2, S(z) = 2.5, R / S = 2.
    assert_equal(pool("average_pool1d", Epsilon(0.5), [1, 3], [5]), [1, 3])


def test_global_average_pooling_shares_by_value() -> None:
    # Averages over space: 2 and -1, R / z = [3, 6]; a third of each value times that.
    x = [[1, 0], [2, 0], [3, -3]]
    assert_equal(step("global_average_pool", Z(), [x], [6, -6])[0], [[1, 0], [2, 0], [3, -6]])


def test_add_shares_by_value() -> None:
    # Sums 4 and -1, R / z = [2, 3].
    left, right = step("add", Z(), [[1, 1], [3, -2]], [8, -3])
    assert_equal(left, [2, 3])
    assert_equal(right, [6, -6])


def test_add_of_values_that_cancel_divides_by_1e_minus_7() -> None:
    left, right = step("add", Z(), [[1], [-1]], [1e-7])
    assert_equal(left, [1])
    assert_equal(right, [-1])


def test_sums_take_the_stabilizer_of_z() -> None:
    # Sums 4 and -1, S(z) = [4.5, -1.5], R / S = [2, 2]. Average 2, S(z) = 2.5, R / S = 2.
    rule = Z(stabilizer=SignedEpsilon(0.5))
    left, right = step("add", rule, [[1, 1], [3, -2]], [9, -3])
    assert_equal(left, [2, 2])
    assert_equal(right, [6, -4])
    assert_equal(pool("average_pool1d", rule, [1, 3], [5]), [1, 3])


def test_an_unprotected_sum_of_zero_divides() -> None:
    left, right = step("add", Z(stabilizer=Unprotected()), [[1], [-1]], [1])
    assert (left[0], right[0]) == (np.inf, -np.inf)


BATCH_NORM = {"gamma": [2], "beta": [2], "mean": [3], "variance": [2]}
# d = sqrt(2^2 + 5) = 3, where the batch norm itself has sqrt(2 + 5); kernel 2/3, bias 2 - 3/3 = 1.


@pytest.mark.parametrize(
    ("rule", "x", "relevance", "expected"),
    [
        pytest.param(Z(), 3, 3, 2, id="z: 3 * 2/3 * 3/(2 + 1)"),
        pytest.param(Z(bias=False), 3, 3, 3, id="z without bias: 3 * 2/3 * 3/2"),
        pytest.param(Epsilon(0.5), 3, 3.5, 2, id="epsilon: 3 * 2/3 * 3.5/3.5"),
        pytest.param(AlphaBeta(1, 0), -3, 3, 0, id="alpha 1 beta 0: no activator but the bias"),
        pytest.param(AlphaBeta(2, 1), -3, 3, -6, id="alpha 2 beta 1: 0 - (-3 * 2/3 * 3/(-2 + 1))"),
        pytest.param(WSquare(), 3, 7, 7, id="w square: all of it"),
        pytest.param(Flat(), 3, 7, 7, id="flat: all of it"),
        pytest.param(AlphaBetaX((2, 0), (1, 0)), 3, 3, 4, id="alpha-beta x: 2 * 3 * 2/3 * 3/(2 + 1) - 0"),
        pytest.param(ZPlusFast(), -3, 3, 3, id="z plus fast: all of it"),
        pytest.param(Bounded(-1, 2), 3, 7, 7, id="bounded: all of it"),
    ],
)
def test_batch_norm_is_explained_by_innvestigates_line(
    rule: Rule, x: float, relevance: float, expected: float
) -> None:
    found = step("batch_norm", FusedBatchNorm(rule), [[x]], [relevance], BATCH_NORM, {"epsilon": 5})
    assert_equal(found[0], [expected])


def test_batch_norm_without_gamma_and_beta_has_one_and_zero() -> None:
    # kernel 1/3, bias -3/3: z = 6/3 - 1 = 1, R = 5: 6 * 1/3 * 5.
    weights = {key: BATCH_NORM[key] for key in ("mean", "variance")}
    assert_equal(step("batch_norm", FusedBatchNorm(Z()), [[6]], [5], weights, {"epsilon": 5})[0], [10])


def test_batch_norm_has_a_line_per_channel() -> None:
    # Channel 2: d = sqrt(0 + 1) = 1, kernel 1, bias 0: all passes. Channel 1: d = 3, z = 6/3 - 1.
    weights = {"mean": [3, 0], "variance": [np.sqrt(8), 0]}
    found = step(
        "batch_norm", FusedBatchNorm(Z()), [[[6, 2], [6, 4]]], [[5, 7], [1, 8]], weights, {"epsilon": 1}
    )
    np.testing.assert_allclose(found[0], [[10, 7], [2, 8]], rtol=1e-14)


def test_the_line_of_a_batch_norm_is_computed_in_float64() -> None:
    # Numbers that float32 has not; z = x * k, so the relevance passes to a few roundings.
    weights = {"gamma": [0.1], "beta": [0.3], "mean": [0.7], "variance": [0.9]}
    d = np.sqrt(0.9**2 + 1e-3)
    kernel, bias = 0.1 / d, 0.3 - 0.7 / d
    found = step("batch_norm", FusedBatchNorm(Z()), [[0.2]], [1], weights)
    # The denominator is a difference of numbers up to 0.8 and some 0.4 large: it doubles a rounding.
    np.testing.assert_allclose(
        found[0], [0.2 * kernel / (0.2 * kernel + bias)], rtol=16 * np.finfo(float).eps
    )


# Two lines: u = x / 3 - 1, then 2 u + 2. For x = 6: u = 1, output 4.
@pytest.mark.parametrize(
    ("rule", "relevance", "expected"),
    [
        pytest.param(Z(), 4, 4, id="z: 1 * 2 * 4/4 = 2, then 6/3 * 2/1"),
        pytest.param(Z(bias=False), 5, 5, id="z without bias: all of it"),
        pytest.param(Epsilon(1), 5, 2, id="epsilon: 1 * 2 * 5/(4 + 1) = 2, then 6/3 * 2/(1 + 1)"),
        pytest.param(
            AlphaBetaX((2, 0), (1, 0)), 4, 8, id="alpha-beta x: 2 * 1*2 * 4/4 = 4, then 2 * 6/3 * 4/2"
        ),
    ],
)
def test_batch_norm_as_two_lines_is_explained_line_by_line(
    rule: Rule, relevance: float, expected: float
) -> None:
    two = FusedBatchNorm(rule, "two_linear")
    assert_equal(step("batch_norm", two, [[6]], [relevance], BATCH_NORM, {"epsilon": 5})[0], [expected])


def test_batch_norm_as_two_lines_without_gamma_and_beta_is_one_line() -> None:
    # u = 6/3 - 1 = 1, and 1 u + 0 passes all of R = 5: 6/3 * 5/1.
    weights = {key: BATCH_NORM[key] for key in ("mean", "variance")}
    two = FusedBatchNorm(Z(), "two_linear")
    assert_equal(step("batch_norm", two, [[6]], [5], weights, {"epsilon": 5})[0], [10])


REVERSED = {"gamma": [2], "beta": [1], "mean": [1], "variance": [3]}
# With the layer's epsilon 1: y = 2 * (x - 1) / sqrt(3 + 1) + 1 = x, so R_x = x * (x - 1) * R / S((x - 1) * x).


@pytest.mark.parametrize(
    ("x", "epsilon", "relevance", "expected"),
    [
        pytest.param(3, 2, 4, 3, id="3 * 2 * 4 / (6 + 2)"),
        pytest.param(0.5, 0.25, 2, 1, id="minus below zero: 0.5 * -0.5 * 2 / (-0.25 - 0.25)"),
    ],
)
def test_the_rule_of_batch_norms_own_divides_by_its_input_times_its_output(
    x: float, epsilon: float, relevance: float, expected: float
) -> None:
    found = step("batch_norm", BatchNormReverse(epsilon), [[x]], [relevance], REVERSED, {"epsilon": 1})
    assert_equal(found[0], [expected])


def test_the_rule_of_batch_norms_own_takes_a_zero_as_positive() -> None:
    # beta -2: y = 3 - 1 - 2 = 0; 3 * 2 * 1 / 0.5.
    weights = {**REVERSED, "beta": [-2]}
    found = step("batch_norm", BatchNormReverse(0.5), [[3]], [1], weights, {"epsilon": 1})
    assert_equal(found[0], [12])


def test_the_rule_of_batch_norms_own_takes_a_missing_beta_as_zero() -> None:
    # y = 2 / 2 = 1; 3 * 1 * 4 / (2 * 1 + 2).
    weights = {key: REVERSED[key] for key in ("mean", "variance")}
    assert_equal(step("batch_norm", BatchNormReverse(2), [[3]], [4], weights, {"epsilon": 1})[0], [3])


def test_the_rule_of_batch_norms_own_elsewhere_is_refused() -> None:
    with pytest.raises(UnsupportedMethodError, match="rule BatchNormReverse needs a batch norm"):
        step("relu", BatchNormReverse(), [[1]], [1])


def test_batch_norm_under_a_bare_rule_is_refused() -> None:
    with pytest.raises(UnsupportedMethodError, match=r"'layer' \(batch_norm\): rule Z needs"):
        step("batch_norm", Z(), [[1]], [1], BATCH_NORM)


def test_the_line_of_a_batch_norm_elsewhere_is_refused() -> None:
    with pytest.raises(
        UnsupportedMethodError, match=r"'layer' \(relu\): rule FusedBatchNorm needs a batch norm"
    ):
        step("relu", FusedBatchNorm(Z()), [[1]], [1])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param(Z(), 4, id="z: 2 * 2 * 5/(4 + 1)"),
        pytest.param(AlphaBeta(1, 0, bias=False), 5, id="alpha 1 beta 0 without bias: all of it"),
        pytest.param(Flat(), 5, id="flat: all of it"),
    ],
)
def test_a_scale_is_a_line_under_the_rule_itself(rule: Rule, expected: float) -> None:
    assert_equal(step("scale", rule, [[2]], [5], {"kernel": [2], "bias": [1]})[0], [expected])


@pytest.mark.parametrize("kind", ["relu", "sigmoid", "softmax"])
def test_pass_hands_relevance_on_unchanged(kind: str) -> None:
    assert_equal(step(kind, Pass(), [[-1, 2]], [3, 4])[0], [3, 4])


def test_pass_through_a_layer_that_changes_the_shape_is_refused() -> None:
    with pytest.raises(
        UnsupportedMethodError, match="rule Pass needs a single input of the shape of the output"
    ):
        step("flatten", Pass(), [[[1, 2]]], [1, 2])


@pytest.mark.parametrize(
    ("kind", "x", "expected"),
    [
        pytest.param("relu", [-1, 0, 2], [0, 0, 5], id="relu, zero at zero"),
        pytest.param("relu6", [0, 3, 6, 7], [0, 5, 0, 0], id="relu6, zero at both ends"),
    ],
)
def test_the_gradient_of_an_activation(kind: str, x: list[float], expected: list[float]) -> None:
    assert_equal(step(kind, Gradient(), [x], np.full(len(x), 5))[0], expected)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param(Gradient(), [0, 5, -5], id="gradient"),
        pytest.param(GuidedReLU(), [0, 5, 0], id="guided: where input and relevance are positive"),
        pytest.param(Deconvolution(), [5, 5, 0], id="deconvolution: where relevance is positive"),
    ],
)
def test_three_ways_back_through_a_relu(rule: Rule, expected: list[float]) -> None:
    assert_equal(step("relu", rule, [[-1, 2, 3]], [5, 5, -5])[0], expected)


def test_guided_backprop_keeps_the_slope_of_other_activations() -> None:
    found = step("leaky_relu", GuidedReLU(), [[-1, 2, 3]], [4, 4, -4], None, {"alpha": 0.25})
    assert_equal(found[0], [1, 4, 0])


@pytest.mark.parametrize("rule", [GuidedReLU(), Deconvolution()])
def test_rectifying_rules_are_for_activations(rule: Rule) -> None:
    with pytest.raises(UnsupportedMethodError, match=r"\(flatten\): rule .* needs an activation"):
        step("flatten", rule, [[[1, 2]]], [1, 2])


def test_the_gradient_of_max_pooling_goes_to_the_first_of_equal_values() -> None:
    assert_equal(pool("max_pool1d", Gradient(), [2, 2, 1, 3], [5, 7]), [5, 0, 0, 7])


def test_first_among_equals_is_meant_row_by_row() -> None:
    # The maximum 3 stands at (0, 1) and (1, 0) of the window: row 0 comes first.
    image = np.reshape([1, 3, 3, 2], (2, 2, 1))
    (found,) = step("max_pool2d", Gradient(), [image], [[[5]]], None, {"pool_size": (2, 2)})
    assert_equal(found[..., 0], [[0, 5], [0, 0]])


@pytest.mark.parametrize("value", [-1, 0])
def test_the_padding_of_a_max_pooling_never_gets_relevance(value: float) -> None:
    # Windows (. x0) and (x0 x1): x0 is the maximum of both, though padding with zeros would be no smaller.
    padded = {"padding": ((1, 0),), "strides": (1,)}
    assert_equal(pool("max_pool1d", Gradient(), [value, value - 1], [1, 2], **padded), [3, 0])


def test_global_max_pooling_goes_to_the_maximum_of_each_channel() -> None:
    assert_equal(step("global_max_pool", Gradient(), [[[1, 9], [4, 2]]], [5, 7])[0], [[0, 7], [5, 0]])


def test_the_gradient_of_a_product_is_the_other_factor() -> None:
    left, right = step("multiply", Gradient(), [[2], [3]], [5])
    assert_equal(left, [15])
    assert_equal(right, [10])


def test_concatenation_is_taken_apart_again() -> None:
    left, right = step("concat", Gradient(), [[[1]], [[2], [3]]], [[4], [5], [6]], None, {"axis": -2})
    assert_equal(left, [[4]])
    assert_equal(right, [[5], [6]])


def test_padding_loses_its_relevance_and_flatten_reorders_it() -> None:
    (cropped,) = step("zero_pad", Gradient(), [[[1], [2]]], [[9], [3], [4]], None, {"padding": ((1, 0),)})
    assert_equal(cropped, [[3], [4]])
    # Channels first: the values of channel 0, then those of channel 1.
    (moved,) = step(
        "flatten", Gradient(), [[[0, 0], [0, 0]]], [1, 2, 3, 4], None, {"order": "channels_first"}
    )
    assert_equal(moved, [[1, 3], [2, 4]])


def test_the_gradient_of_a_dense_layer_leaves_input_and_bias_out() -> None:
    weights = {"kernel": [[2, 1], [1, -1]], "bias": [1, 0]}
    assert_equal(step("dense", Gradient(), [[0, 7]], [1, 6], weights)[0], [2 + 6, 1 - 6])
