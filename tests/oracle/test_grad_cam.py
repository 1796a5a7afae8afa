"""Grad-CAM and guided Grad-CAM on networks worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.errors import MethodDoesNotApplyError
from harness.graph import Graph, Layer
from harness.methods import (
    GRADIENT,
    Assignment,
    Composite,
    GradCam,
    Gradient,
    GuidedReLU,
    Method,
    method,
)
from tests.oracle.layers import FEW_ROUNDINGS, dense, graph, layer
from tests.oracle.whole import explain

CAM = Method("cam", GRADIENT, "one", procedure=GradCam())
GUIDED = Method(
    "guided",
    Composite((Assignment(GuidedReLU(), kinds=("relu",)), Assignment(Gradient()))),
    "one",
    procedure=GradCam(guided=True),
)
SERIES = replace(CAM, procedure=GradCam(resize="linear"))


def convolution(
    source: str, name: str, before: tuple[int, ...], after: tuple[int, ...], kernel: Any, stride: int = 1
) -> Layer:
    """A convolution with windows of one entry, ``stride`` apart; ``kernel`` is (in, out)."""
    axes = len(before) - 1
    attributes = {
        "strides": (stride,) * axes,
        "dilations": (1,) * axes,
        "groups": 1,
        "padding": ((0, 0),) * axes,
    }
    weights = np.reshape(kernel, (*(1,) * axes, before[-1], after[-1]))
    return layer(f"conv{axes}d", before, after, attributes, (source,), name, kernel=weights)


def averaged(source: str, before: tuple[int, ...], kernel: Any) -> tuple[Layer, Layer]:
    """A global average pooling and a dense layer behind it."""
    channels = (before[-1],)
    pooled = layer("global_average_pool", before, channels, {"keepdims": False}, (source,), "pool")
    return pooled, dense(kernel, inputs=("pool",), name="logits")


def image_network(side: int = 2, stride: int = 1, kernel: Any = ((2, 0), (1, -1))) -> Graph:
    """A = (x, -x) at every ``stride``-th pixel; logits = ``kernel`` applied to the mean of A."""
    inner = (side // stride, side // stride, 2)
    return graph(
        convolution("x", "conv", (side, side, 1), inner, [[1, -1]], stride),
        *averaged("conv", inner, kernel),
        input_shape=(side, side, 1),
    )


def image(rows: Any) -> np.ndarray:
    return np.array(rows, dtype=np.float64)[None, :, :, None]


#: Target 0: gradients 2 / 4 and 1 / 4 everywhere, h = x / 2 - x / 4 = (1, 2, -1, 0), m = (1/2, 1, 0, 0).
X = image([[4, 8], [-4, 0]])
FIRST = np.array([0])


def test_the_map_is_the_positive_part_of_the_weighted_channels_on_0_to_255() -> None:
    # 255 / 2 is cut off to 127
    trace = explain(image_network(), X, CAM, FIRST)
    assert trace.attribution[0, :, :, 0].tolist() == [[127, 255], [0, 0]]


def test_the_minimum_is_moved_to_zero_where_everything_is_positive() -> None:
    # h = (3, 2, 1, 1) / 4, m = (1, 2/3, 1/3, 1/3), minus 1/3: (2/3, 1/3, 0, 0), over 2/3 times 255: 127.5
    trace = explain(image_network(), image([[3, 2], [1, 1]]), CAM, FIRST)
    assert trace.attribution[0, :, :, 0].tolist() == [[255, 127], [0, 0]]


def test_the_map_is_resized_like_an_8_bit_image() -> None:
    x = np.zeros((1, 6, 6, 1))
    x[0, ::3, ::3, 0] = X[0, :, :, 0]
    small = np.array([[127, 255], [0, 0]], dtype=np.uint8)
    expected = np.asarray(Image.fromarray(small).resize((6, 6), Image.Resampling.BICUBIC))
    trace = explain(image_network(6, stride=3), x, CAM, FIRST)
    assert np.array_equal(trace.attribution[0, :, :, 0], expected.astype(np.float64))
    assert trace.attribution.dtype == np.float64


def test_the_map_is_repeated_over_the_channels_of_the_input() -> None:
    network = graph(
        convolution("x", "conv", (2, 2, 3), (2, 2, 1), [[1], [1], [0]]),
        *averaged("conv", (2, 2, 1), [[1]]),
        input_shape=(2, 2, 3),
    )
    x = np.concatenate([X, np.zeros_like(X), X], axis=-1)
    # A = x0, gradient 1 / 4: m = (1/2, 1, 0, 0)
    expected = [[[127] * 3, [255] * 3], [[0] * 3, [0] * 3]]
    assert explain(network, x, CAM).attribution[0].tolist() == expected


def test_the_layers_hold_the_gradient_down_to_the_map_and_nothing_below() -> None:
    trace = explain(image_network(), X, CAM, FIRST)
    found = {name: one.relevance for name, one in trace.layers.items()}
    assert found["logits"].tolist() == [[1, 0]]
    assert found["pool"].tolist() == [[2, 1]]
    assert found["conv"].tolist() == np.full((1, 2, 2, 2), [0.5, 0.25]).tolist()
    assert found["x"].tolist() == np.zeros((1, 2, 2, 1)).tolist()


def test_a_layer_before_the_map_that_other_layers_read_too_has_no_relevance_either() -> None:
    """The first convolution is read by the CAM layer and, past it, by the add."""
    shape = (2, 2, 1)
    network = graph(
        convolution("x", "first", shape, shape, [[1]]),
        convolution("first", "second", shape, shape, [[1]]),
        layer("add", [shape, shape], shape, {}, ("first", "second"), "add"),
        *averaged("add", shape, [[4]]),
        input_shape=shape,
    )
    trace = explain(network, X, CAM)
    found = {name: one.relevance.ravel().tolist() for name, one in trace.layers.items()}  # type: ignore[union-attr]
    assert found["second"] == [1, 1, 1, 1]
    assert found["first"] == [0, 0, 0, 0]


def test_each_sample_is_scaled_by_its_own_largest_value() -> None:
    both = explain(image_network(), np.concatenate([X, 10 * X]), CAM, np.array([0, 0]))
    assert both.attribution[0].tolist() == both.attribution[1].tolist()


@pytest.mark.parametrize("x", [image([[0, 0], [0, 0]]), image([[-4, -8], [-4, -1]])])
def test_a_map_without_a_positive_value_is_black(x: np.ndarray) -> None:
    """h = 0 makes m = 0/0, no number, which 8 bits turn into 0; h below 0 makes m = 0."""
    assert not explain(image_network(), x, CAM, FIRST).attribution.any()


def test_the_map_of_a_named_layer_is_that_of_the_activation_named_after_it() -> None:
    """Of the two convolutions the first: its ReLU gives (x, 0), of which the second makes x."""
    inner, shape = (2, 2, 2), (2, 2, 1)
    network = graph(
        convolution("x", "first", shape, inner, [[1, -1]]),
        layer("relu", inner, inner, {}, ("first",), "first_relu"),
        convolution("first_relu", "second", inner, shape, [[1], [2]]),
        *averaged("second", shape, [[4]]),
        input_shape=shape,
    )
    named = replace(CAM, procedure=GradCam(layer="first"))
    # w = (1, 2): h = relu(x) + 2 relu(-x) = (4, 8, 8, 0); before the ReLU it would be -x and more
    trace = explain(network, X, named)
    assert trace.attribution[0, :, :, 0].tolist() == [[127, 255], [255, 0]]
    assert trace.layers["first"].relevance is not None
    assert not trace.layers["first"].relevance.any()


# Guided ----------------------------------------------------------------------------------------------


def guided_network(kernel: Any, after: Any = ((1,),)) -> Graph:
    """A = kernel applied to r = relu(-x); behind it a ReLU, the mean, and the logit."""
    shape, inner = (2, 2, 1), (2, 2, np.shape(kernel)[-1])
    return graph(
        convolution("x", "minus", shape, shape, [[-1]]),
        layer("relu", shape, shape, {}, ("minus",), "r"),
        convolution("r", "conv", shape, inner, kernel),
        layer("relu", inner, inner, {}, ("conv",), "behind"),
        *averaged("behind", inner, after),
        input_shape=shape,
    )


def test_the_guided_map_is_multiplied_by_the_guided_gradient_of_all_of_the_layer() -> None:
    """A = (3 r, r): the gradient of its sum by r is 4, by x it is -4 where x is below 0.

    x = (-4, -8, -2, 1): r = (4, 8, 2, 0), h = 2 * 3 r / 4 for a logit of twice channel 0: m = r / 8.
    """
    network = guided_network([[3, 1]], [[2], [0]])
    trace = explain(network, image([[-4, -8], [-2, 1]]), GUIDED)
    # 255 / 2, 255, 255 / 4 cut off
    assert trace.attribution[0, :, :, 0].tolist() == [[127 * -4, 255 * -4], [63 * -4, 0]]


def test_the_guided_gradient_stops_where_it_is_negative() -> None:
    """A = (3 r, -5 r): the gradient of its sum by r is -2, which the ReLU in between cuts off."""
    network = guided_network([[3, -5]], [[2], [0]])
    x = image([[-4, -8], [-2, 1]])
    assert not explain(network, x, GUIDED).attribution.any()
    plain = replace(GUIDED, composite=GRADIENT)
    assert explain(network, x, plain).attribution[0, :, :, 0].tolist() == [[127 * 2, 255 * 2], [63 * 2, 0]]


def test_the_weights_of_a_guided_map_are_the_plain_gradient() -> None:
    """A = r = (4, 8, 2, 0), the logit -4 times the mean of relu(A): a guided ReLU behind A would stop the -1."""
    trace = explain(guided_network([[1]], [[-4]]), image([[-4, -8], [-2, 1]]), GUIDED)
    relevance = trace.layers["conv"].relevance
    assert relevance is not None
    assert relevance.ravel().tolist() == [-1, -1, -1, 0]


# Time series -----------------------------------------------------------------------------------------


def series_network(length: int, stride: int) -> Graph:
    """A = x at every ``stride``-th step, the logit its mean."""
    inner = (length // stride, 1)
    return graph(
        convolution("x", "conv", (length, 2), inner, [[1], [0]], stride),
        *averaged("conv", inner, [[1]]),
        input_shape=(length, 2),
    )


def series(*values: float) -> np.ndarray:
    """The values in the first of two channels."""
    return np.stack([np.array(values), np.zeros(len(values))], axis=-1)[None]


def test_a_map_over_time_is_drawn_with_straight_lines_and_not_rounded() -> None:
    # h = (2, 4) / 2, m = (1/2, 1), read at 0, 1/3, 2/3, 1
    trace = explain(series_network(4, 2), series(2, 9, 4, 9), SERIES)
    expected = np.array([1 / 2, 2 / 3, 5 / 6, 1])
    assert np.abs(trace.attribution[0, :, 0] - expected).max() <= FEW_ROUNDINGS
    assert trace.attribution[0, :, 0].tolist() == trace.attribution[0, :, 1].tolist()


def test_a_map_over_time_that_is_zero_is_no_number_and_one_below_zero_is_zero() -> None:
    # 0 / 0 and max(h, 0) / max(h) = 0 / -1
    assert np.isnan(explain(series_network(2, 1), series(0, 0), SERIES).attribution).all()
    assert explain(series_network(2, 1), series(-2, -4), SERIES).attribution.tolist() == [[[0, 0], [0, 0]]]


# What does not apply ---------------------------------------------------------------------------------


def test_a_map_of_an_image_is_not_made_of_a_time_series() -> None:
    with pytest.raises(MethodDoesNotApplyError, match="grad_cam is for inputs with 2 spatial axes"):
        explain(series_network(2, 1), series(1, 2), method("grad_cam"))
