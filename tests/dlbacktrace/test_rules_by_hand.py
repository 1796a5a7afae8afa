"""Both sides against numbers worked out by hand; the working stands beside each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.methods import (
    SATURATIONS,
    Backtrace,
    BacktraceLstm,
    BacktraceStart,
    Contrast,
    EqualShare,
    LargestShare,
    MagnitudeShare,
    Pass,
    Rule,
    Saturation,
)
from ported_impls.dlbacktrace.start import start as ported_start
from reference_impls.dlbacktrace.start import start as reference_start
from tests.dlbacktrace.sides import SIDES, layer_of

LINE, WINDOWS = Backtrace("linear"), Backtrace("convolution")
#: A bound of 0 that does not count, as in the package's convolution.
UNBOUND = Saturation("mono", low=0.0, zero="none")


@pytest.fixture(params=sorted(SIDES))
def side(request: pytest.FixtureRequest) -> Any:
    return SIDES[request.param]


def dense(contributions: list[float], bias: float | None = None) -> Any:
    """A dense layer of one output with these contributions at an input of ones."""
    weights = {"kernel": [[each] for each in contributions]}
    if bias is not None:
        weights["bias"] = [bias]
    return layer_of("dense", [(len(contributions),)], weights=weights)


def shares(
    side: Any, contributions: list[float], rule: Rule, *relevance: float, bias: float | None = None
) -> Any:
    """What each contribution gets: of one relevance, or of two."""
    layer = dense(contributions, bias)
    received = tuple(np.asarray([[each]], np.float64) for each in relevance)
    (found,) = side(layer, (np.ones((1, len(contributions))),), received, rule)
    return [each[0].tolist() for each in found]


@pytest.mark.parametrize(
    ("contributions", "bias", "rule", "relevance", "expected"),
    [
        # P = 3, N = 2, b+ = 1: D = 6.
        pytest.param([3, -2], 1, LINE, 12, [6, 4], id="line"),
        pytest.param([3, -2], 1, WINDOWS, 12, [6, 4], id="windows"),
        # b- counts by its size as well: D = 3 + 2 + 1.
        pytest.param([3, -2], -1, LINE, 12, [6, 4], id="negative bias in line"),
        pytest.param([3, -2], -1, WINDOWS, 12, [6, 4], id="negative bias in windows"),
        # No negative one: N counts as 1 in line, D = 1 + 2 + 1; in windows D = 3.
        pytest.param([1, 2], None, LINE, 8, [2, 4], id="one side in line"),
        pytest.param([1, 2], None, WINDOWS, 6, [2, 4], id="one side in windows"),
        # t = 3 - 5 < 0: P counts as 1, D = 1 + 5, and hands its relevance on all the same.
        pytest.param([3, -5], None, Backtrace("linear", SATURATIONS["relu"]), 6, [3, 5], id="relu in line"),
        # A bound of 0 is none in the package's convolution; and one, it is held against t = 3 + 5.
        pytest.param([3, -5], None, Backtrace("convolution", UNBOUND), 8, [3, 5], id="relu in windows"),
        # t = 3 - 5 = -2 is neither below -2 nor above 2; t = 3 - 6 is: D = 1 + 6.
        pytest.param(
            [3, -5], None, Backtrace("linear", SATURATIONS["tanh"]), 8, [3, 5], id="tanh at its bound"
        ),
        pytest.param([3, -6], None, Backtrace("linear", SATURATIONS["tanh"]), 7, [3, 6], id="tanh below it"),
        # t = 3 + 5 > 2: the negative side gets nothing, D stays 8.
        pytest.param(
            [3, -5], None, Backtrace("convolution", SATURATIONS["tanh"]), 8, [3, 0], id="tanh in windows"
        ),
        # t = 0.5 + 0.25 is inside: both get their share. Without a bound reached D = 0.75.
        pytest.param(
            [0.5, -0.25],
            None,
            Backtrace("convolution", SATURATIONS["tanh"]),
            0.75,
            [0.5, 0.25],
            id="tanh inside",
        ),
        # mono with no negative contribution: t = 1 < 2 says that the negative side counts; it has nothing.
        pytest.param([1], None, Backtrace("convolution", SATURATIONS["tanh"]), 1, [1], id="tanh, one side"),
        # f(60 - 1e-30) = f(60): the negative side is saturated and counts as 1.
        pytest.param(
            [60, -1e-30], None, Backtrace("linear", SATURATIONS["swish"]), 61, [60, 1e-30], id="swish in line"
        ),
        # |f(3 + 1e-7) - f(3)| is below 1e-5: the negative side gets nothing.
        pytest.param(
            [3, -1e-7],
            None,
            Backtrace("convolution", SATURATIONS["swish"]),
            3 + 1e-7,
            [3, 0],
            id="swish in windows",
        ),
        # f(8) = 7.98 is neither f(3) = 2.71 nor f(-5) = -0.11.
        pytest.param(
            [3, -5], None, Backtrace("convolution", SATURATIONS["swish"]), 8, [3, 5], id="swish inside"
        ),
        # "linear" has no range: nothing is saturated.
        pytest.param([3, -5], None, Backtrace("linear", SATURATIONS["linear"]), 8, [3, 5], id="linear"),
    ],
)
def test_contributions_get_their_part_of_the_relevance(
    side: Any,
    contributions: list[float],
    bias: float | None,
    rule: Rule,
    relevance: float,
    expected: list[float],
) -> None:
    (found,) = shares(side, contributions, rule, relevance, bias=bias)
    assert found == pytest.approx(expected, rel=1e-14, abs=1e-40)


def test_an_output_without_contributions_hands_nothing_on(side: Any) -> None:
    for rule in (LINE, WINDOWS):
        assert shares(side, [0, 0], rule, 5.0) == [[0, 0]]


@pytest.mark.parametrize(
    ("contributions", "bias", "rule", "received", "favour", "against"),
    [
        # t = 3 + 1 - 2 > 0 and 10 > 4: the positive one speaks for the target, the negative one against it.
        pytest.param([3, -2], 1, Contrast("linear"), (10, 4), [10, 0], [0, 4], id="straight"),
        pytest.param([3, -2], 1, Contrast("convolution"), (10, 4), [10, 0], [0, 4], id="straight in windows"),
        # 4 < 10: the other way round.
        pytest.param([3, -2], 1, Contrast("linear"), (4, 10), [0, 4], [10, 0], id="crossed"),
        # t = 3 - 4 - 2 < 0 and 4 < 10.
        pytest.param([3, -2], -4, Contrast("linear"), (4, 10), [4, 0], [0, 10], id="straight below zero"),
        pytest.param([3, -2], -4, Contrast("convolution"), (10, 4), [0, 10], [4, 0], id="crossed below zero"),
        # Of equal ones: crossed in line, nothing in windows.
        pytest.param([3, -2], None, Contrast("linear"), (6, 6), [0, 6], [6, 0], id="equal in line"),
        pytest.param([3, -2], None, Contrast("convolution"), (6, 6), [0, 0], [0, 0], id="equal in windows"),
        # t = 0.
        pytest.param([2, -2], None, Contrast("linear"), (10, 4), [0, 0], [0, 0], id="no output"),
        # Contributions of one sign get both in line; in windows the negative side has nobody to get it.
        pytest.param([1, 3], None, Contrast("linear"), (8, 4), [2, 6], [1, 3], id="one side"),
        pytest.param([-1, -3], None, Contrast("linear"), (8, 4), [2, 6], [1, 3], id="the other side"),
        pytest.param([1, 3], None, Contrast("convolution"), (8, 4), [2, 6], [0, 0], id="one side in windows"),
    ],
)
def test_contrast_tells_what_speaks_for_the_target_and_against_it(
    side: Any,
    contributions: list[float],
    bias: float | None,
    rule: Rule,
    received: tuple[float, float],
    favour: list[float],
    against: list[float],
) -> None:
    assert shares(side, contributions, rule, *received, bias=bias) == [favour, against]


def one(side: Any, layer: Any, x: Any, relevance: Any, rule: Rule) -> list[Any]:
    """The relevance of each input of one sample in default mode."""
    inputs = tuple(np.asarray(each, np.float64)[None] for each in x)
    found = side(layer, inputs, (np.asarray(relevance, np.float64)[None],), rule)
    return [shares[0][0].squeeze().tolist() for shares in found]


def test_the_largest_value_gets_the_relevance_of_its_window(side: Any) -> None:
    layer = layer_of("max_pool1d", [(4, 1)], {"pool_size": (2,)})
    # 3 of (1, 3); 2 and 2 are equal.
    assert one(side, layer, [[[1], [3], [2], [2]]], [[5], [4]], LargestShare()) == [[0, 5, 2, 2]]


def test_a_window_of_negative_values_loses_its_relevance_to_padded_zeros(side: Any) -> None:
    layer = layer_of("max_pool1d", [(2, 1)], {"pool_size": (2,), "padding": ((1, 1),)})
    x, relevance = [[[-1], [-2]]], [[4], [6]]
    assert one(side, layer, x, relevance, LargestShare("zero")) == [[0, 0]]
    assert one(side, layer, x, relevance, LargestShare("lowest")) == [[4, 6]]


def test_overlapping_windows_add_up_and_padding_is_cut_off(side: Any) -> None:
    layer = layer_of("average_pool1d", [(3, 1)], {"pool_size": (2,), "strides": (1,), "padding": ((1, 0),)})
    # Windows (0, 1), (1, -3), (-3, 4): shares (-, 2), (1, 3), (3, 4) of 2, 4 and 7.
    assert one(side, layer, [[[1], [-3], [4]]], [[2], [4], [7]], MagnitudeShare()) == [[3, 6, 4]]


def test_a_global_average_shares_by_size(side: Any) -> None:
    layer = layer_of("global_average_pool", [(2, 2)])
    # Channel 0: |1|, |-3| of 8; channel 1: zeros, and nothing.
    assert one(side, layer, [[[1, 0], [-3, 0]]], [8, 5], MagnitudeShare()) == [[[2, 0], [6, 0]]]


def test_a_sum_shares_equally_or_by_size(side: Any) -> None:
    layer = layer_of("add", [(2,), (2,)])
    x, relevance = [[1, 0], [-3, 0]], [8, 5]
    assert one(side, layer, x, relevance, EqualShare()) == [[4, 2.5], [4, 2.5]]
    assert one(side, layer, x, relevance, MagnitudeShare()) == [[2, 0], [6, 0]]


def test_a_product_shares_equally_and_sums_over_what_was_repeated(side: Any) -> None:
    graph_layer = layer_of("multiply", [(2, 2), (2, 2)])
    x = [[[1, 2], [3, 4]], [[1, 1], [1, 1]]]
    assert one(side, graph_layer, x, [[2, 4], [6, 8]], EqualShare())[0] == [[1, 2], [3, 4]]


def test_a_token_gets_the_sum_over_its_features(side: Any) -> None:
    layer = layer_of("embedding", [(2,)], weights={"kernel": [[0, 0, 0], [1, 2, 3]]})
    assert one(side, layer, [[1, 0]], [[1, 2, 3], [4, 5, 6]], Pass()) == [[6, 15]]


def test_an_lstm_of_one_unit_hands_on_what_its_candidate_carries(side: Any) -> None:
    # Gates i, f, g, o; only g reads the input: i = f = o = 1/2, g = tanh(1), c = g / 2, h = tanh(c) / 2.
    layer = layer_of(
        "lstm",
        [(1, 1)],
        {"sequences": False},
        {"kernel": [[0, 0, 1, 0]], "recurrent_kernel": [[0, 0, 0, 0]], "bias": [0, 0, 0, 0]},
    )
    # h = o * tanh(c): |h - o| = (1 - tanh c) / 2 to o, |h - tanh c| = tanh(c) / 2 to tanh(c): of 1, tanh(c) to the
    # cell; f * c' = 0, so all of it to i * g: 1 - g of it to i, g of it to g, which reads the input alone.
    expected = np.tanh(np.tanh(1) / 2) * np.tanh(1)
    assert one(side, layer, [[[1]]], [1], BacktraceLstm()) == [pytest.approx(expected, rel=1e-14)]


def test_a_separable_convolution_is_two(side: Any) -> None:
    # Depthwise: channel 0 times 2, channel 1 times -1; pointwise (3, 1): contributions 3 * 2 and 1 * -1 at ones.
    layer = layer_of(
        "separable_conv1d",
        [(1, 2)],
        weights={"depthwise_kernel": [[[2], [-1]]], "pointwise_kernel": [[3], [1]]},
    )
    # D = 6 + 1; each channel then hands all on to its one input.
    assert one(side, layer, [[[1, 1]]], [[7]], WINDOWS) == [[6, 1]]


OUTPUTS = [[1.0, 3.0, -1.0]]


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (BacktraceStart(), [0, 100, 0]),
        (BacktraceStart(scaler=None, multiplier=2), [0, 6, 0]),
        (BacktraceStart("bbox-regression", scaler=3, multiplier=1), [1, 1, 1]),
        (BacktraceStart("bbox-regression", scaler=None, multiplier=1), [0, 3, 0]),
        # Above 0.5 are two outputs.
        (BacktraceStart("binary-segmentation", scaler=3, multiplier=1), [1.5, 1.5, 0]),
        (BacktraceStart("binary-segmentation", scaler=None, multiplier=1), [1, 3, 0]),
        (BacktraceStart("binary-segmentation", scaler=3, multiplier=1, threshold=5), [0, 0, 0]),
        (BacktraceStart(scaler=None, part="against", multiplier=1), [1, 0, -1]),
        # The others sum to 0: they are not scaled.
        (BacktraceStart(scaler=4, part="against", multiplier=1), [1, 0, -1]),
        (BacktraceStart(scaler=4, part="for", multiplier=1), [0, 4, 0]),
    ],
)
def test_where_relevance_starts(start: BacktraceStart, expected: list[float]) -> None:
    import torch

    outputs, target = np.asarray(OUTPUTS), np.asarray([1])
    assert reference_start(outputs, target, start).tolist() == [expected]
    assert ported_start(torch.tensor(outputs), torch.tensor(target), start).tolist() == [expected]
    assert start.relevance(outputs, target).tolist() == [expected]


def test_what_speaks_against_the_only_output_is_what_it_lacks_to_one() -> None:
    import torch

    start = BacktraceStart(scaler=None, multiplier=1, part="against")
    outputs, target = np.asarray([[0.25], [2.0]]), np.asarray([0, 0])
    assert reference_start(outputs, target, start).tolist() == [[0.75], [0]]
    assert ported_start(torch.tensor(outputs), torch.tensor(target), start).tolist() == [[0.75], [0]]
    assert start.relevance(outputs, target).tolist() == [[0.75], [0]]


def test_others_are_scaled_to_the_scaler() -> None:
    import torch

    start = BacktraceStart(scaler=6, multiplier=1, part="against")
    outputs, target = np.asarray([[1.0, 3.0, 2.0]]), np.asarray([1])
    assert reference_start(outputs, target, start).tolist() == [[2, 0, 4]]
    assert ported_start(torch.tensor(outputs), torch.tensor(target), start).tolist() == [[2, 0, 4]]
