"""Grad-CAM on networks whose map can be worked out by hand, and the resizing of the map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from harness.errors import MethodDoesNotApplyError
from harness.methods import method
from harness.trace import Trace
from ported_models.build import Builder
from ported_models.model import PortedModel
from reference_impls.tensorflow import TensorFlowBackend
from tests.prepared import ready
from tests.reference.one_layer import assert_equal


def explain(model: PortedModel, x: np.ndarray, name: str, **options: Any) -> Trace:
    return ready(TensorFlowBackend(), model, "float64").explain(x, method(name), **options)


# Gradients of the logit at the four places of each channel: mean 2 and mean 100.
GRADIENTS = np.array([[1, 97], [2, 99], [3, 101], [2, 103]])


def image_network(second_filter: float = -1) -> PortedModel:
    """``relu``, then every other pixel of channel 0 times 1 and times ``second_filter``, ``relu``, one logit."""
    kernel = np.zeros((1, 1, 3, 2))
    kernel[0, 0, 0] = [1, second_filter]
    builder = Builder("image", (4, 4, 3))
    builder.add("relu", "first")
    builder.add("conv2d", "conv", attributes={"strides": (2, 2)}, weights={"kernel": kernel})
    builder.add("relu", "conv_relu")
    builder.add("flatten", "flat")
    builder.add("dense", "logit", weights={"kernel": GRADIENTS.reshape(8, 1)})
    return PortedModel.from_graph(builder.graph())


def image(*pixels: float) -> np.ndarray:
    """An image of which the convolution sees these four pixels."""
    x = np.full((1, 4, 4, 3), 9.0)
    x[0, ::2, ::2, 0] = np.reshape(pixels, (2, 2))
    return x


# The convolution gives [x, -x], its relu [x, 0] for x = 0, 2, 3, 4: h = 2 x, m = x / 4 = [0, 0.5, 0.75, 1].
# Without the relu h would be 2 x - 100 x, and nothing positive.
PIXELS = (0, 2, 3, 4)
# In 8 bits, cut off: 0, 127 (of 127.5), 191 (of 191.25), 255.
EIGHT_BITS = np.array([[0, 127], [191, 255]])

# From two values to four, output i stands at (i + 1/2) / 2, the inputs at 1/2 and 3/2. The cubic with a = -1/2
# is 0.8671875 at distance 1/4, 0.2265625 at 3/4 and -0.0703125 at 5/4; Pillow makes the weights sum to one.
OUTER = np.array([0.8671875, -0.0703125]) / 0.796875
INNER = np.array([0.8671875, 0.2265625]) / 1.09375
WEIGHTS = np.stack([OUTER, INNER, INNER[::-1], OUTER[::-1]])


def rounded(values: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(values + 0.5), 0, 255)


#: Pillow resizes rows, rounds to 8 bits, then columns.
RESIZED = rounded(WEIGHTS @ rounded(EIGHT_BITS @ WEIGHTS.T))


def test_the_map_is_scaled_to_8_bits_resized_by_a_cubic_and_repeated_over_the_channels() -> None:
    found = explain(image_network(), image(*PIXELS), "grad_cam").attribution
    for channel in range(3):
        assert_array_equal(found[0, :, :, channel], RESIZED)
    # Corners overshoot and are cut off; between them the values are neither linear nor those of the corners.
    assert (RESIZED[0, 0], RESIZED[3, 3]) == (0, 255)


def test_the_map_belongs_to_the_activation_inside_a_layer() -> None:
    by_name = explain(image_network(), image(*PIXELS), "grad_cam:layer=conv")
    assert_array_equal(by_name.attribution[0, :, :, 0], RESIZED)


def test_layers_hold_the_plain_gradient_down_to_the_cam_layer_and_zeros_below() -> None:
    for name in ("grad_cam", "guided_grad_cam"):
        trace = explain(image_network(), image(*PIXELS), name)
        assert_equal(trace.layers["logit"].relevance, [[1]])
        assert_array_equal(trace.layers["flat"].relevance, GRADIENTS.reshape(1, 8))
        assert_array_equal(trace.layers["conv_relu"].relevance, GRADIENTS.reshape(1, 2, 2, 2))
        for below in ("conv", "first", "input"):
            assert not trace.layers[below].relevance.any()
        assert_array_equal(trace.layers["conv"].activation[0, ..., 0].ravel(), PIXELS)


def test_the_smallest_value_of_the_map_becomes_zero() -> None:
    # m = [1, 2, 3, 5] / 5: minus 1/5, over 4/5: [0, 1/4, 1/2, 1], in 8 bits 0, 63, 127, 255.
    found = explain(image_network(), image(1, 2, 3, 5), "grad_cam").attribution[0, :, :, 0]
    assert_array_equal(found, rounded(WEIGHTS @ rounded(np.array([[0, 63], [127, 255]]) @ WEIGHTS.T)))


def test_a_map_without_any_positive_value_is_black() -> None:
    assert not explain(image_network(0), image(0, 0, 0, 0), "grad_cam").attribution.any()


def test_guided_grad_cam_is_the_map_times_the_guided_gradient_of_the_layers_sum() -> None:
    # d sum(relu(x), relu(-x)) / d x is 1 at the pixels above zero that the convolution sees.
    found = explain(image_network(), image(*PIXELS), "guided_grad_cam").attribution[0]
    expected = np.zeros((4, 4, 3))
    for row, column in ((0, 2), (2, 0), (2, 2)):
        expected[row, column, 0] = RESIZED[row, column]
    assert_array_equal(found, expected)


def test_the_guided_factor_rectifies_at_every_relu_on_the_way() -> None:
    # Filters 1 and -3 on x = -1, and a relu before them: nothing positive comes back from 1 - 3 where both are on.
    kernel = np.zeros((1, 1, 1, 2))
    kernel[0, 0, 0] = [1, -3]
    builder = Builder("negative", (2, 2, 1))
    builder.add("relu", "first")
    weights = {"kernel": kernel, "bias": np.array([0.0, 10])}
    builder.add("conv2d", "conv", weights=weights)
    builder.add("relu", "conv_relu")
    builder.add("flatten", "flat")
    builder.add("dense", "logit", weights={"kernel": np.ones((8, 1))})
    model = PortedModel.from_graph(builder.graph())
    # x = 4 switches the second filter off: 1 comes back; x = 1, 2 leave it on: 1 - 3; x = 0 is off itself.
    # h = x + relu(10 - 3 x) = 10, 8, 6, 4: m over its range 1, 2/3, 1/3, 0.
    x = np.reshape([0.0, 1, 2, 4], (1, 2, 2, 1))
    assert not explain(model, x, "guided_grad_cam").attribution.any()
    assert explain(model, x, "grad_cam").attribution[0, 0, 0, 0] == 255
    # x = 20: h = 20, the largest of all, and the only one that lets 1 through.
    x = np.reshape([0.0, 1, 2, 20], (1, 2, 2, 1))
    assert_array_equal(explain(model, x, "guided_grad_cam").attribution.ravel(), [0, 0, 0, 255])


def test_the_step_of_a_layer_in_grad_cam_is_that_of_its_trace_the_plain_gradient() -> None:
    model = image_network()
    prepared = ready(TensorFlowBackend(), model, "float64")
    ones = np.ones((1, 2, 2, 2))
    (share,) = prepared.step(model.graph["conv_relu"], (ones,), -ones, method("guided_grad_cam"))
    assert_array_equal(share, -ones)


def test_each_sample_has_a_map_of_its_own() -> None:
    first, second = image(*PIXELS), image(5, 1, 1, 1)
    both = explain(image_network(), np.concatenate([first, second]), "grad_cam").attribution
    assert_array_equal(both[:1], explain(image_network(), first, "grad_cam").attribution)
    assert_array_equal(both[1:], explain(image_network(), second, "grad_cam").attribution)


def series_network(gradient: float = 1) -> PortedModel:
    """Every other value of a series of five, then one logit."""
    builder = Builder("series", (5, 1))
    builder.add("conv1d", "conv", attributes={"strides": (2,)}, weights={"kernel": np.ones((1, 1, 1))})
    builder.add("flatten", "flat")
    builder.add("dense", "logit", weights={"kernel": np.full((3, 1), gradient)})
    return PortedModel.from_graph(builder.graph())


def series(*values: float) -> np.ndarray:
    x = np.full((1, 5, 1), 9.0)
    x[0, ::2, 0] = values
    return x


def test_the_map_of_a_series_is_interpolated_linearly_from_end_to_end() -> None:
    # h = [1, 4, -2], m = [0.25, 1, 0], read at 0, 0.5, 1, 1.5, 2.
    found = explain(series_network(), series(1, 4, -2), "grad_cam_timeseries").attribution
    assert_array_equal(found.ravel(), [0.25, 0.625, 1, 0.5, 0])


def test_the_map_of_a_series_below_zero_is_zero() -> None:
    found = explain(series_network(), series(-1, -2, -3), "grad_cam_timeseries").attribution
    assert_array_equal(found, np.zeros((1, 5, 1)))


def test_the_map_of_a_series_that_is_zero_is_not_a_number() -> None:
    found = explain(series_network(), series(0, 0, -1), "grad_cam_timeseries").attribution
    assert np.isnan(found).all()


def test_grad_cam_for_images_refuses_a_series() -> None:
    with pytest.raises(MethodDoesNotApplyError, match="inputs with 2 spatial axes"):
        explain(series_network(), series(1, 4, -2), "grad_cam")
