"""LRP rules at convolutions: strides, asymmetric padding, groups, separable and transposed kernels."""

from __future__ import annotations

import numpy as np
import pytest

from harness.methods import AlphaBeta, Bounded, Flat, Rule, WSquare, Z
from tests.reference.one_layer import assert_equal, step


def series(
    rule: Rule, x: list[float], taps: list[float], relevance: list[float], **attributes: object
) -> np.ndarray:
    """One channel in, one out, bias 1."""
    kernel = np.asarray(taps, float).reshape(-1, 1, 1)
    weights = {"kernel": kernel, "bias": [1]}
    found = step(
        "conv1d", rule, [np.reshape(x, (-1, 1))], np.reshape(relevance, (-1, 1)), weights, attributes
    )
    return found[0][:, 0]


def test_z_with_stride_2_and_same_padding_which_tensorflow_puts_behind() -> None:
    # Windows (1 2 3), (3 4 .): z = 1+2+6+1 = 10 and 3+4+1 = 8; R / z = [1, 2]; the third value is in both.
    found = series(Z(), [1, 2, 3, 4], [1, 1, 2], [10, 16], padding="same", strides=(2,))
    assert_equal(found, [1, 2, 3 * (2 * 1 + 1 * 2), 4 * 2])


def test_flat_counts_only_what_a_window_holds_of_the_input() -> None:
    # Three values in the first window and two in the second: R / z = [3/3, 4/2].
    assert_equal(series(Flat(), [9, 9, 9, 9], [5, 0, -5], [3, 4], padding="same", strides=(2,)), [1, 1, 3, 2])


def test_w_square_with_dilation_reaches_every_other_value() -> None:
    # Taps 1 and 4 squared at distance 2; z = 5, then R / z = [1, 2] for the windows (0, 2) and (1, 3).
    assert_equal(series(WSquare(), [0, 0, 0, 0], [1, -2], [5, 10], dilations=(2,)), [1, 2, 4, 8])


def test_bounded_leaves_the_padding_out() -> None:
    # Window (x0 x1): z = 3 - (-1)*2 = 5. Window (x1 .): z = 1*2 - (-1)*1 = 3. R / z = [1, 2].
    # R_x = (x + 1) * w * R / z summed: [(1+1)*1*1, (2+1)*(1*1) + (2+1)*1*2], all weights 1 and positive.
    found = series(Bounded(low=-1, high=1), [1, 2], [1, 1], [5, 6], padding="same")
    assert_equal(found, [2, 9])


def test_bounded_takes_bounds_of_each_channel() -> None:
    # W = (2 -1 / -1 3), low (-1, -2), high (2, 1): -f(low; W+) - f(high; W-) = (2, 6) + (1, 2) at each place.
    # x = (1, 0): z = (2, -1) + (3, 8), s = (2, 1): (1*3 + 1*4 + 2*1, 2*3 + 1*2).
    # x = (0, 1): z = (-1, 3) + (3, 8), s = (2, 1): (1*4 + 2*1, 1*1 + 2*3 + 1*2).
    rule = Bounded(low=(-1, -2), high=(2, 1))
    (found,) = step("conv1d", rule, [[[1, 0], [0, 1]]], [[10, 7], [4, 11]], {"kernel": [[[2, -1], [-1, 3]]]})
    assert_equal(found, [[9, 8], [6, 9]])


def test_z_at_an_image_with_same_padding() -> None:
    # Kernel [[1, 2], [3, 4]] on [[1, 2], [3, 4]], padded below and to the right; with R = z every R / z is 1,
    # so each value keeps itself times the weights that reach it.
    image = np.array([[1, 2], [3, 4]])
    z = [[1 * 1 + 2 * 2 + 3 * 3 + 4 * 4, 1 * 2 + 3 * 4], [1 * 3 + 2 * 4, 1 * 4]]
    expected = [[1 * 1, 2 * (2 + 1)], [3 * (3 + 1), 4 * (4 + 3 + 2 + 1)]]
    kernel = image.reshape(2, 2, 1, 1)
    (found,) = step(
        "conv2d", Z(), [image[..., None]], np.reshape(z, (2, 2, 1)), {"kernel": kernel}, {"padding": "same"}
    )
    assert_equal(found[..., 0], expected)


def test_z_at_an_image_with_padding_on_one_side_only() -> None:
    # One row of padding above: windows (. x0) and (x0 x1) along the height, taps 2 (upper) and 3 (lower).
    # z = [3*1, 2*1 + 3*2] = [3, 8]; R / z = [1, 2].
    kernel = np.reshape([2, 3], (2, 1, 1, 1))
    (found,) = step(
        "conv2d",
        Z(),
        [np.reshape([1, 2], (2, 1, 1))],
        np.reshape([3, 16], (2, 1, 1)),
        {"kernel": kernel},
        {"padding": ((1, 0), (0, 0))},
    )
    assert_equal(found.ravel(), [1 * (3 * 1 + 2 * 2), 2 * 3 * 2])


def test_groups_do_not_see_each_other() -> None:
    # Channels 1, 2 make z = 1*1 + 2*2 = 5, channels 3, 4 make 3*3 + 4*4 = 25; R / z = [1, 2].
    kernel = np.array([[[1, 3], [2, 4]]])
    (found,) = step("conv1d", Z(), [[[1, 2, 3, 4]]], [[5, 50]], {"kernel": kernel}, {"groups": 2})
    assert_equal(found, [[1, 4, 18, 32]])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # One value per output: all relevance of outputs 1, 2 goes to channel 1, of 3, 4 to channel 2.
        pytest.param(Flat(), [3, 7], id="flat"),
        # The negative weight makes no activator: the relevance of output 2 is lost.
        pytest.param(AlphaBeta(1, 0), [1, 7], id="alpha 1 beta 0"),
    ],
)
def test_a_depthwise_convolution_with_two_kernels_per_channel(rule: Rule, expected: list[float]) -> None:
    kernel = np.reshape([1, -1, 2, 4], (1, 1, 1, 4))
    (found,) = step("conv2d", rule, [[[[2, 3]]]], [[[1, 2, 3, 4]]], {"kernel": kernel}, {"groups": 2})
    assert_equal(found, [[expected]])


SEPARABLE = [
    # Depthwise [1, -2], pointwise [3, -1]: together [3, 2], z = 2*3 + 5*2 = 16.
    pytest.param(Z(), [2, 5], [1, -2], [3, -1], 16, [6, 10], id="z"),
    # Each kernel keeps its own positive part: [1, 0], then [3, 0]; two negatives make no activator.
    pytest.param(AlphaBeta(1, 0), [2, 5], [1, -2], [3, -1], 6, [6, 0], id="alpha 1 beta 0"),
    # x- = [-1, 0] meets [-1, 0], then [-3, 0]: -3; x+ = [0, 2] meets [0, 2], then [0, 1]: 4; z = 1.
    pytest.param(AlphaBeta(1, 0), [-1, 2], [-1, 2], [-3, 1], 1, [-3, 4], id="alpha 1 beta 0, negative input"),
    # Squares [1, 4] and [9, 1]: z = 9 + 4.
    pytest.param(WSquare(), [2, 5], [1, -2], [3, -1], 13, [9, 4], id="w square"),
    pytest.param(Flat(), [2, 5], [1, -2], [3, -1], 2, [1, 1], id="flat"),
]


@pytest.mark.parametrize("kind", ["separable_conv1d", "separable_conv2d"])
@pytest.mark.parametrize(("rule", "x", "depthwise", "pointwise", "relevance", "expected"), SEPARABLE)
def test_a_separable_convolution_has_each_kernel_changed_on_its_own(
    kind: str,
    rule: Rule,
    x: list[float],
    depthwise: list[float],
    pointwise: list[float],
    relevance: float,
    expected: list[float],
) -> None:
    space = (1,) * int(kind[-2])
    weights = {
        "depthwise_kernel": np.reshape(depthwise, (*space, 2, 1)),
        "pointwise_kernel": np.reshape(pointwise, (2, 1)),
    }
    (found,) = step(kind, rule, [np.reshape(x, (*space, 2))], np.full((*space, 1), relevance), weights)
    assert_equal(found.ravel(), expected)


def test_a_transposed_convolution_with_stride_2() -> None:
    # Output [1*1, 1*3, 2*1, 2*3] = [1, 3, 2, 6]; R / z = [1, 1, 2, 1].
    kernel = np.reshape([1, 3], (2, 1, 1))
    (found,) = step(
        "conv_transpose1d", Z(), [[[1], [2]]], [[1], [3], [4], [6]], {"kernel": kernel}, {"strides": (2,)}
    )
    assert_equal(found.ravel(), [1 * (1 + 3), 2 * (1 * 2 + 3 * 1)])


def test_a_transposed_convolution_with_two_channels_in_and_a_negative_weight() -> None:
    # z = 1*3 + 2*-4 = -5, R / z = 1; the activator alone: z = 3, R / z = -5/3.
    kernel = np.reshape([3, -4], (1, 1, 2, 1))
    weights = {"kernel": kernel}
    assert_equal(step("conv_transpose2d", Z(), [[[[1, 2]]]], [[[-5]]], weights)[0], [[[3, -8]]])
    assert_equal(step("conv_transpose2d", AlphaBeta(1, 0), [[[[1, 2]]]], [[[-5]]], weights)[0], [[[-5, 0]]])
