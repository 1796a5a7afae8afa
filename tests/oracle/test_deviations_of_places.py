"""Pooling, batch norm, branches, groups, axes: deviant results written out as loops, and the cause found for each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.graph import Layer
from harness.methods import (
    AlphaBeta,
    BatchNormReverse,
    Epsilon,
    FusedBatchNorm,
    Gradient,
    SignedEpsilon,
    Z,
)
from tests.oracle.layers import apart, dense, integers, layer
from tests.oracle.steps import EPS, cause_of, roundings, step

# Max pooling ---------------------------------------------------------------------------------------------

#: Windows of two, a stride of two: (3, 3), (1, 2), (0, 0).
TIED = np.array([3.0, 3.0, 1.0, 2.0, 0.0, 0.0]).reshape(1, 6, 1)
OF_WINDOWS = np.array([4.0, 6.0, -8.0]).reshape(1, 3, 1)


def pooling(kind: str = "max_pool1d", length: int = 6, **attributes: Any) -> Layer:
    shared = {"pool_size": (2,), "strides": (2,), "padding": ((0, 0),)} | attributes
    before, after = shared["padding"][0]
    count = (length + before + after - shared["pool_size"][0]) // shared["strides"][0] + 1
    return layer(kind, (length, 1), (count, 1), shared, inputs=("x",), name="pool")


@pytest.mark.parametrize(
    ("result", "phrase"),
    [
        ([2, 2, 0, 6, -4, -4], "share the relevance equally"),
        ([4, 4, 0, 6, -8, -8], "get the whole relevance"),
        ([0, 4, 0, 6, 0, -8], "the last gets the relevance"),
        ([2, 2, 3, 3, -4, -4], "as in average pooling"),
        ([2, 2, 2, 4, 0, 0], "in proportion to the entries"),
    ],
)
def test_other_ways_to_share_out_a_window_of_max_pooling_are_found(result: list[float], phrase: str) -> None:
    observed = np.array(result, dtype=np.float64).reshape(1, 6, 1)
    cause, words = cause_of(step(pooling(), Gradient(), TIED, OF_WINDOWS), observed, EPS)
    assert (cause, phrase in words) == ("pooling", True), words


def test_the_epsilon_rule_at_a_maximum_is_found() -> None:
    """Of the windows (1, -2) and (-3, -1), with 4 and 6: 4 * 1 / (1 + e) and 6 * -1 / (-1 + e) or 6 * -1 / (-1 - e)."""
    x = np.array([1.0, -2.0, -3.0, -1.0]).reshape(1, 4, 1)
    relevance = np.array([4.0, 6.0]).reshape(1, 2, 1)
    of = step(pooling(length=4), Gradient(), x, relevance)
    for epsilon in (1e-8, 1e-6, 1e-4):
        for below, form in ((-1 + epsilon, "whatever the sign"), (-1 - epsilon, "on the side of the sign")):
            observed = np.array([4 / (1 + epsilon), 0.0, 0.0, -6 / below]).reshape(1, 4, 1)
            cause, words = cause_of(of, observed, EPS)
            assert (cause, f"z + {epsilon:g}" in words, form in words) == ("pooling", True, True), words


def test_relevance_overwritten_where_windows_overlap_is_found() -> None:
    # Windows (1, 5), (5, 2), (2, 3) of 5 - 2 + 1: the 5 wins twice and keeps the second.
    x = np.array([1.0, 5.0, 2.0, 3.0]).reshape(1, 4, 1)
    relevance = np.array([4.0, 6.0, 7.0]).reshape(1, 3, 1)
    observed = np.array([0.0, 6.0, 0.0, 7.0]).reshape(1, 4, 1)
    of = step(pooling(length=4, strides=(1,)), Gradient(), x, relevance)
    cause, words = cause_of(of, observed, 0.0)
    assert (cause, "overlap" in words) == ("pooling", True)


# Average pooling -----------------------------------------------------------------------------------------


def average(counts: bool) -> Layer:
    return pooling("average_pool1d", 5, padding=((1, 0),), count_include_pad=counts)


PADDED_X = np.array([3.0, 1.0, 2.0, 4.0, 5.0]).reshape(1, 5, 1)


@pytest.mark.parametrize(
    ("counts", "result", "phrase"),
    [
        # Windows (pad, x0), (x1, x2), (x3, x4): the first is divided by two although one entry is real.
        (False, [2, 3, 3, -4, -4], "counts the padded places"),
        (True, [4, 3, 3, -4, -4], "leaves out the padded places"),
    ],
)
def test_padding_counted_differently_is_found(counts: bool, result: list[float], phrase: str) -> None:
    observed = np.array(result, dtype=np.float64).reshape(1, 5, 1)
    cause, words = cause_of(step(average(counts), Gradient(), PADDED_X, OF_WINDOWS), observed, EPS)
    assert (cause, phrase in words) == ("pooling", True), words


def test_the_gradient_of_an_average_for_its_proportional_shares_is_found() -> None:
    x = np.array([3.0, 1.0, 1.0, 2.0, 5.0, 1.0]).reshape(1, 6, 1)
    of = step(pooling("average_pool1d", 6), Z(), x, OF_WINDOWS)
    observed = np.array([2.0, 2.0, 3.0, 3.0, -4.0, -4.0]).reshape(1, 6, 1)
    assert cause_of(of, observed, EPS)[0] == "pooling"
    of = step(pooling("average_pool1d", 6), Gradient(), x, OF_WINDOWS)
    observed = np.array([3.0, 1.0, 2.0, 4.0, -8 * 5 / 6, -8 / 6]).reshape(1, 6, 1)
    assert cause_of(of, observed, 4 * EPS)[0] == "pooling"


def test_a_window_divided_by_its_size_twice_is_found() -> None:
    of = step(pooling("average_pool1d", 6), Gradient(), TIED, OF_WINDOWS)
    observed = np.array([1.0, 1.0, 1.5, 1.5, -2.0, -2.0]).reshape(1, 6, 1)
    cause, words = cause_of(of, observed, 0.0)
    assert (cause, "twice" in words) == ("pooling", True)


# Batch norm ----------------------------------------------------------------------------------------------

GAMMA, BETA = np.array([2.0, -0.5]), np.array([0.25, 1.5])
MEAN, VARIANCE = np.array([0.5, -1.0]), np.array([4.0, 0.25])
NORM = layer(
    "batch_norm",
    (2,),
    (2,),
    {"epsilon": 1e-3},
    inputs=("x",),
    name="bn",
    gamma=GAMMA,
    beta=BETA,
    mean=MEAN,
    variance=VARIANCE,
)
NORM_X, NORM_R = np.array([[1.0, -2.0], [3.0, 0.25]]), np.array([[1.5, 2.0], [-1.0, 4.0]])
SLOPE = GAMMA / np.sqrt(VARIANCE + 1e-3)


def test_other_readings_of_batch_norm_are_found() -> None:
    of = step(NORM, BatchNormReverse(), NORM_X, NORM_R)
    assert cause_of(of, NORM_R, 0.0)[0] == "batchnorm"
    assert cause_of(of, NORM_R * SLOPE, 4 * EPS)[0] == "batchnorm"


def test_the_line_that_batch_norm_computes_is_told_from_the_published_one() -> None:
    line = SLOPE * NORM_X + BETA - SLOPE * MEAN
    observed = NORM_X * SLOPE * NORM_R / line
    of = step(NORM, FusedBatchNorm(Z()), NORM_X, NORM_R)
    cause, words = cause_of(of, observed, 64 * EPS)
    assert (cause, "the line it computes" in words) == ("batchnorm", True)


def test_another_epsilon_of_batch_norm_is_found() -> None:
    observed = NORM_R * GAMMA / np.sqrt(VARIANCE + 1e-5)
    cause, words = cause_of(step(NORM, Gradient(), NORM_X, NORM_R), observed, 4 * EPS)
    assert (cause, words) == ("batchnorm", "the layer's epsilon is 1e-05 instead of 0.001")


def test_a_batch_norm_merged_into_the_layer_before_it_is_found() -> None:
    kernel, bias = np.array([[1.0, 2.0], [-3.0, 1.0]]), np.array([0.5, 1.0])
    fc = dense(kernel, bias, inputs=("x",), name="fc")
    norm = layer(
        "batch_norm", (2,), (2,), {"epsilon": 1e-3}, inputs=("fc",), name="bn", mean=MEAN, variance=VARIANCE
    )
    scale = 1 / np.sqrt(VARIANCE + 1e-3)
    z = (NORM_X @ kernel + bias - MEAN) * scale
    observed = NORM_X * ((NORM_R / z) @ (kernel * scale).T)
    cause, words = cause_of(step(fc, Z(), NORM_X, NORM_R, after=(norm,)), observed, 64 * EPS)
    assert (cause, words) == ("batchnorm", "the weights are those with bn merged in")


# Branches ------------------------------------------------------------------------------------------------

LEFT, RIGHT = np.array([[1.0, -2.0, 4.0]]), np.array([[3.0, 6.0, 4.0]])
SUM_R = np.array([[8.0, -4.0, 2.0]])


def joined(kind: str, **attributes: Any) -> Layer:
    return layer(kind, [(3,), (3,)], (3,), attributes, inputs=("x", "x"), name="join")


@pytest.mark.parametrize(
    ("left", "right", "phrase"),
    [
        (SUM_R, SUM_R, "the whole relevance instead of its share"),
        (SUM_R / 2, SUM_R / 2, "an equal share"),
        (SUM_R, 0 * SUM_R, "branch 1 (x) gets the whole relevance"),
        (0 * SUM_R, SUM_R, "branch 2 (x) gets the whole relevance"),
        (np.array([[2.0, -1.0, 1.0]]), np.array([[6.0, -3.0, 1.0]]), "absolute values of the branches"),
        (np.array([[4.0, 4.0, 2.0]]), np.array([[12.0, -12.0, 2.0]]), "twice its share"),
    ],
)
def test_other_shares_for_the_branches_of_an_add_are_found(left, right, phrase: str) -> None:
    # The rule's own: R * x / (x + y), that is (2, 2, 1) and (6, -6, 1).
    cause, words = cause_of(step(joined("add"), Z(), (LEFT, RIGHT), SUM_R), (left, right), EPS)
    assert (cause, phrase in words) == ("residual-split", True), words


def test_an_add_that_has_the_z_rule_whatever_is_asked_for_has_another_rule() -> None:
    observed = (np.array([[2.0, 2.0, 1.0]]), np.array([[6.0, -6.0, 1.0]]))
    cause, words = cause_of(step(joined("add"), Gradient(), (LEFT, RIGHT), SUM_R), observed, EPS)
    assert (cause, words) == ("rule-mapping", "it has the rule Z() instead of Gradient()")


def test_slices_of_a_concatenation_given_to_the_wrong_branches_are_found() -> None:
    concat = layer("concat", [(1,), (2,)], (3,), {"axis": -1}, inputs=("x", "y"), name="join")
    of = step(concat, Gradient(), (np.ones((1, 1)), np.ones((1, 2))), SUM_R)
    cause, words = cause_of(of, (np.array([[2.0]]), np.array([[8.0, -4.0]])), 0.0)
    assert (cause, "reversed order" in words) == ("residual-split", True)


# Groups --------------------------------------------------------------------------------------------------


def convolution(kernel: np.ndarray, size: int, groups: int = 1, padding: int = 0, **weights: Any) -> Layer:
    """Square, stride one; kernel (height, width, in / groups, out)."""
    ins, outs = kernel.shape[2] * groups, kernel.shape[3]
    count = size + 2 * padding - kernel.shape[0] + 1
    attributes = {
        "strides": (1, 1),
        "dilations": (1, 1),
        "groups": groups,
        "padding": ((padding, padding), (padding, padding)),
    }
    return layer(
        "conv2d",
        (size, size, ins),
        (count, count, outs),
        attributes,
        inputs=("x",),
        name="conv",
        kernel=kernel,
        **weights,
    )


def transposed(s: np.ndarray, kernel: np.ndarray, size: int, padding: int = 0) -> np.ndarray:
    """``f^T(s; W)`` of a square convolution in one group, as loops over windows, offsets and channels."""
    padded = np.zeros((len(s), size + 2 * padding, size + 2 * padding, kernel.shape[2]))
    for b, top, left, out in np.ndindex(*s.shape):
        for down, right, channel in np.ndindex(*kernel.shape[:3]):
            padded[b, top + down, left + right, channel] += (
                s[b, top, left, out] * kernel[down, right, channel, out]
            )
    return padded[:, padding : padding + size, padding : padding + size]


def test_a_missing_division_by_the_groups_is_found() -> None:
    kernel = integers(1, 2, 2, 1, 4)
    conv = convolution(kernel, 3, groups=2)
    x, relevance = integers(2, 1, 3, 3, 2), integers(3, 1, 2, 2, 4)
    observed = np.zeros(x.shape)
    for group in range(2):
        of_group = slice(2 * group, 2 * group + 2)
        part = transposed(relevance[..., of_group], kernel[..., of_group], 3)
        observed[..., group] = 2 * part[..., 0]
    cause, words = cause_of(step(conv, Gradient(), x, relevance), observed, 0.0)
    assert (cause, "2 groups is missing" in words) == ("head-normalisation", True)


# Axes ----------------------------------------------------------------------------------------------------

SQUARE = convolution(integers(11, 2, 2, 2, 3), 4)
SQUARE_X, SQUARE_R = integers(12, 2, 4, 4, 2), integers(13, 2, 3, 3, 3)


def test_a_flipped_kernel_is_found() -> None:
    observed = transposed(SQUARE_R, SQUARE.weights["kernel"][::-1, ::-1], 4)
    cause, words = cause_of(step(SQUARE, Gradient(), SQUARE_X, SQUARE_R), observed, 0.0)
    assert (cause, "flipped" in words) == ("layout", True)


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        (lambda x: x.swapaxes(1, 2), "the result has height and width exchanged"),
        (lambda x: x[..., ::-1], "the result has channels in reversed order"),
        (lambda x: np.moveaxis(x, -1, 1).reshape(x.shape), "channels first read as channels last"),
    ],
)
def test_a_rearranged_result_is_found(change, phrase: str) -> None:
    observed = change(transposed(SQUARE_R, SQUARE.weights["kernel"], 4))
    cause, words = cause_of(step(SQUARE, Gradient(), SQUARE_X, SQUARE_R), observed, 0.0)
    assert (cause, phrase in words) == ("layout", True), words


def test_relevance_with_height_and_width_exchanged_is_found() -> None:
    observed = transposed(SQUARE_R.swapaxes(1, 2), SQUARE.weights["kernel"], 4)
    cause, words = cause_of(step(SQUARE, Gradient(), SQUARE_X, SQUARE_R), observed, 0.0)
    assert (cause, "relevance of the output is taken with height and width" in words) == ("layout", True)


def test_batch_and_tokens_exchanged_as_they_lie_are_found() -> None:
    relevance = integers(14, 2, 5, 3)
    fc = layer("dense", (5, 2), (5, 3), inputs=("x",), name="fc", kernel=integers(15, 2, 3))
    # (T, B, C) memory read as (B, T, C).
    read = relevance.swapaxes(0, 1).reshape(2, 5, 3)
    observed = np.einsum("btj,ij->bti", read, fc.weights["kernel"])
    cause, words = cause_of(step(fc, Gradient(), integers(16, 2, 5, 2), relevance), observed, 0.0)
    assert (cause, "batch and first axis exchanged" in words) == ("layout", True)


@pytest.mark.parametrize("order", ["channels_last", "channels_first"])
def test_values_flattened_in_the_other_order_are_found(order: str) -> None:
    flat = layer("flatten", (2, 3, 4), (24,), {"order": order}, inputs=("x",), name="flat")
    relevance = np.arange(24.0)[None]
    last, first = relevance.reshape(1, 2, 3, 4), np.moveaxis(relevance.reshape(1, 4, 2, 3), 1, -1)
    observed = first if order == "channels_last" else last
    cause, _ = cause_of(step(flat, Gradient(), np.ones((1, 2, 3, 4)), relevance), observed, 0.0)
    assert cause == "flatten-order"


def test_a_dense_layer_behind_a_flatten_in_the_other_order_is_found() -> None:
    flat = layer("flatten", (2, 3, 2), (12,), {"order": "channels_last"}, inputs=("x",), name="flat")
    fc = dense(integers(17, 12, 3), inputs=("flat",), name="fc")
    x, relevance = integers(18, 1, 12), integers(19, 1, 3)
    result = relevance @ fc.weights["kernel"].T
    observed = np.moveaxis(result.reshape(1, 2, 3, 2), -1, 1).reshape(1, 12)
    cause, _ = cause_of(step(fc, Gradient(), x, relevance, before=(flat,)), observed, 0.0)
    assert cause == "flatten-order"


# Convolutions --------------------------------------------------------------------------------------------


def test_another_epsilon_of_a_convolution_is_found() -> None:
    kernel, x, relevance = (
        apart(1, 2, 2, 2, 3),
        apart(2, 1, 4, 4, 2),
        apart(3, 1, 5, 5, 3),
    )
    conv = convolution(kernel, 4, padding=1, bias=np.array([0.3, -0.2, 0.1]))
    z = np.zeros(relevance.shape) + conv.weights["bias"]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for place in np.ndindex(5, 5, 3):
        top, left, out = place
        window = padded[0, top : top + 2, left : left + 2]
        z[0, top, left, out] += sum(window[i] * kernel[(*i, out)] for i in np.ndindex(2, 2, 2))
    s = relevance / (z + 0.03 * np.where(z >= 0, 1, -1))
    observed = x * transposed(s, kernel, 4, padding=1)
    absolute = np.abs(x) * transposed(np.abs(s) * (1 + 50 / np.abs(z)), np.abs(kernel), 4, padding=1)
    of = step(conv, Epsilon(0.1), x, relevance)
    limit = roundings(64, absolute, observed)
    assert cause_of(of, observed, limit) == ("epsilon-value", "epsilon is 0.03 instead of 0.1")
    rule = AlphaBeta(1, 0, stabilizer=SignedEpsilon(0.1))
    cause, words = cause_of(step(conv, rule, x, relevance), observed, limit)
    assert (cause, "Epsilon(epsilon=0.03)" in words) == ("input-layer-rule", True)


def test_a_pass_for_the_gradient_is_found_where_shapes_allow_it() -> None:
    act = layer("sigmoid", (3,), (3,), inputs=("x",), name="act")
    cause, words = cause_of(step(act, Gradient(), LEFT, SUM_R), SUM_R, 0.0)
    assert (cause, words) == ("rule-mapping", "it has the rule Pass() instead of Gradient()")
