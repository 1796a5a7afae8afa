"""Rules at layers without a kernel: pooling, add, batch norm, scale, activations, the rest."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import UnsupportedMethodError
from harness.methods import AlphaBeta, Epsilon, Flat, FusedBatchNorm, Gradient, Pass, Rule, WSquare, Z
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
