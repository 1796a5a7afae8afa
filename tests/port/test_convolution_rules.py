"""The rules at convolutions: strides, asymmetric padding, groups, separable and transposed kernels."""

from __future__ import annotations

import pytest

from harness.methods import AlphaBeta, Bounded, Flat, WSquare, Z
from tests.port.one_layer import assert_equal, step


def column(*values):
    """A series of one channel, (length, 1)."""
    return [[value] for value in values]


@pytest.mark.parametrize(
    ("rule", "relevance", "expected"),
    [
        # z = (1 - 2 + 6, 3 - 4 + 0): s = (1, -1).
        pytest.param(Z(), (5, 1), (1, -2, 3 * (2 - 1), 4), id="z"),
        # The padding holds no relevance: the windows have 3 and 2 values, s = (1, 2).
        pytest.param(Flat(), (3, 4), (1, 1, 1 + 2, 2), id="flat"),
        # Squared taps (1, 1, 4), windows sum to 6 and 2: s = (1, 2).
        pytest.param(WSquare(), (6, 4), (1, 1, 4 + 2, 2), id="w_square"),
        # Activating: (1 + 6, 3), s = (1, 2); nothing negative in x, so only x+ W+.
        pytest.param(AlphaBeta(1, 0), (7, 6), (1, 0, 3 * (2 + 2), 0), id="alpha 1 beta 0"),
    ],
)
def test_conv1d_with_stride_two_and_padding_only_at_the_end(rule, relevance, expected):
    # 4 values, 3 taps (1, -1, 2), stride 2, "same": one zero after the last value, none before.
    (found,) = step(
        "conv1d",
        rule,
        [column(1, 2, 3, 4)],
        column(*relevance),
        {"kernel": [[[1]], [[-1]], [[2]]]},
        {"strides": (2,), "padding": "same"},
    )
    assert_equal(found, column(*expected))


def test_bounded_takes_bounds_of_each_channel():
    # Kernel rows (2, -1) and (-1, 3); lows (-1, -2), highs (2, 1). At each place the lows take (-2, -6) off, the
    # highs (-1, -2). First place (1, 0): z = (2 + 3, -1 + 8), s = (2, 1); x W s = (3, .), low W+ s = (-4, -6),
    # high W- s = (-2, -2). Second place (0, 1): z = (-1 + 3, 3 + 8), s = (2, 1); x W s = (., 1).
    (found,) = step(
        "conv1d",
        Bounded((-1, -2), (2, 1)),
        [[[1, 0], [0, 1]]],
        [[10, 7], [4, 11]],
        {"kernel": [[[2, -1], [-1, 3]]]},
    )
    assert_equal(found, [[3 + 4 + 2, 6 + 2], [4 + 2, 1 + 6 + 2]])


def test_conv2d_with_padding_only_at_the_bottom_right():
    # [[1, 2], [3, 4]] under the taps [[1, 0], [-1, 2]]: z = [[1 - 3 + 8, 2 - 4], [3, 4]].
    # s = [[1, -1], [1, 1]]; e.g. the last value has 2*1 - 1*(-1) + 0*1 + 1*1 = 4.
    taps = [[[[1]], [[0]]], [[[-1]], [[2]]]]
    (found,) = step(
        "conv2d",
        Z(),
        [[[[1], [2]], [[3], [4]]]],
        [[[6], [2]], [[3], [4]]],
        {"kernel": taps},
        {"padding": "same"},
    )
    assert_equal(found, [[[1], [2 * -1]], [[3 * 0], [4 * 4]]])


@pytest.mark.parametrize(
    ("rule", "relevance", "expected"),
    [
        # z = (1 + 6, -2 + 4), s = (1, 2).
        pytest.param(Z(), (7, 4), [[1, -4], [6, 8]], id="z"),
        # Two values per window and group: s = (1, 2).
        pytest.param(Flat(), (2, 4), [[1, 2], [1, 2]], id="flat"),
    ],
)
def test_depthwise_convolution_keeps_the_channels_apart(rule, relevance, expected):
    # Two channels, x = [[1, 2], [3, 4]], taps (1, 2) for the first and (-1, 1) for the second.
    (found,) = step(
        "conv1d",
        rule,
        [[[1, 2], [3, 4]]],
        [relevance],
        {"kernel": [[[1, -1]], [[2, 1]]]},
        {"groups": 2},
    )
    assert_equal(found, expected)


@pytest.mark.parametrize(
    ("rule", "x", "relevance", "expected"),
    [
        # Through the product of the kernels, (3, 2): z = 6 - 2 + 1, s = 1.
        pytest.param(Z(), (2, -1), 5, (6, -2), id="z"),
        # Each kernel's positive part: (0, 2) then (0, 1), of x+ = (0, 3): 6. Each kernel's negative part:
        # (-1, 0) then (-3, 0), of x- = (-2, 0): -6, although the product of the kernels is positive there.
        # With the bias 6 - 6 + 1 = 1, s = 2: R = (-2 * 3 * 2, 3 * 2 * 2).
        pytest.param(AlphaBeta(1, 0), (-2, 3), 2, (-12, 12), id="alpha 1 beta 0"),
        # (1, 4) then (9, 1): 13.
        pytest.param(WSquare(), (2, -1), 13, (9, 4), id="w_square"),
        pytest.param(Flat(), (2, -1), 2, (1, 1), id="flat"),
    ],
)
def test_separable_convolution_has_each_kernel_modified_on_its_own(rule, x, relevance, expected):
    # One position, two channels: depthwise (-1, 2), pointwise (-3, 1), bias 1.
    (found,) = step(
        "separable_conv1d",
        rule,
        [[x]],
        [[relevance]],
        {"depthwise_kernel": [[[-1], [2]]], "pointwise_kernel": [[-3], [1]], "bias": [1]},
    )
    assert_equal(found, [expected])


def test_transposed_convolution():
    # (1, 2) with taps (1, -1, 2) at stride 2: z = (1, -1, 2 + 2, -2, 4), s = (1, -1, 1, -1, 1):
    # both values meet 1*1 - 1*(-1) + 2*1 = 4.
    (found,) = step(
        "conv_transpose1d",
        Z(),
        [column(1, 2)],
        column(1, 1, 4, 2, 4),
        {"kernel": [[[1]], [[-1]], [[2]]]},
        {"strides": (2,)},
    )
    assert_equal(found, column(4, 8))
