"""Grad-CAM on maps small enough to follow, and the attributions that need no run."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from harness.errors import HarnessError, MethodDoesNotApplyError
from harness.methods import (
    GRADIENT,
    Assignment,
    Composite,
    GradCam,
    Gradient,
    GuidedReLU,
    InputItself,
    InputPlusNoise,
    Method,
    UniformNoise,
)
from ported_impls.backend import TorchBackend
from ported_models.build import Builder
from ported_models.model import PortedModel
from tests.prepared import ready

GUIDED = Composite((Assignment(GuidedReLU(), kinds=("relu",)), Assignment(Gradient())))
#: The largest of these is 4, so the map is (0.25, 0.5; 1, 0): 63.75, 127.5, 255 and 0 of 255.
PLANE = [[1.0, 2], [4, -3]]
LEVELS = [[63, 127], [255, 0]]


def image_network(weights=(4.0, -1, 2, 3), relu: bool = False) -> Builder:
    """2 x 2 x 3; a convolution that copies the first channel; one logit with ``weights`` for its places."""
    b = Builder("image", (2, 2, 3))
    b.add("conv2d", "conv", weights={"kernel": np.array([[[[1.0], [0], [0]]]])})
    if relu:
        b.add("relu", "conv_relu")
    b.add("flatten", "flat")
    b.add("dense", "head", weights={"kernel": np.array(weights)[:, None]})
    return b


def explained(builder: Builder, x, procedure, composite=GRADIENT, dtype="float64", layers=True):
    prepared = ready(TorchBackend(), PortedModel.from_graph(builder.graph()), dtype)
    return prepared.explain(
        np.asarray(x, dtype), Method("test", composite, head="one", procedure=procedure), layers=layers
    )


def image(first, second=((7, 7), (7, 7))) -> np.ndarray:
    return np.stack([np.array(first, float), np.array(second, float), np.full((2, 2), 7.0)], axis=-1)[None]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_grad_cam_is_the_map_in_whole_numbers_for_every_channel(dtype):
    # The weight of the channel is (4 - 1 + 2 + 3) / 4 = 2, which the largest value takes out again.
    trace = explained(image_network(), image(PLANE), GradCam(), dtype=dtype)
    assert trace.attribution.dtype == dtype
    assert [trace.attribution[0, ..., channel].tolist() for channel in range(3)] == [LEVELS] * 3


def test_the_smallest_value_of_the_map_is_moved_to_zero():
    # (1, 0.25; 0.5, 0.25) less 0.25 is (0.75, 0; 0.25, 0), by 0.75: 255 and 85.
    trace = explained(image_network(), image([[4, 1], [2, 1]]), GradCam())
    assert trace.attribution[0, ..., 0].tolist() == [[255, 0], [85, 0]]


@pytest.mark.parametrize(
    ("weights", "plane"),
    [((4.0, -1, 2, 3), [[0, 0], [0, 0]]), ((4.0, -1, 2, 3), [[-1, -2], [-1, -2]]), ((1.0, -1, 0, 0), PLANE)],
    ids=["zero everywhere", "negative everywhere", "weight zero"],
)
def test_a_map_without_positive_value_is_zero(weights, plane):
    assert not explained(image_network(weights), image(plane), GradCam()).attribution.any()


def test_channels_are_weighted_by_the_mean_of_their_relevance():
    # The first two channels copied; the places of the first weigh 1 or 3, those of the second -1: means 2 and -1.
    b = Builder("channels", (2, 2, 3))
    b.add("conv2d", "conv", weights={"kernel": np.eye(3)[None, None, :, :2]})
    b.add("flatten", "flat")
    b.add("dense", "head", weights={"kernel": np.array([1.0, -1, 3, -1, 1, -1, 3, -1])[:, None]})
    # h = 2a - b = (2 - 1, 4 - 0; 6 - 2, 2 - 4) = (1, 4; 4, -2): (0.25, 1; 1, 0).
    trace = explained(b, image([[1, 2], [3, 1]], [[1, 0], [2, 4]]), GradCam())
    assert trace.attribution[0, ..., 0].tolist() == [[63, 255], [255, 0]]


def test_the_map_is_resized_by_pillow_and_each_sample_has_its_own():
    b = Builder("larger", (4, 4, 1))
    b.add("conv2d", "conv", attributes={"strides": (2, 2)}, weights={"kernel": np.ones((1, 1, 1, 1))})
    b.add("flatten", "flat")
    b.add("dense", "head", weights={"kernel": np.ones((4, 1))})
    x = np.zeros((2, 4, 4, 1))
    x[0, ::2, ::2, 0], x[1, ::2, ::2, 0] = PLANE, [[0, 0], [0, 5]]
    found = explained(b, x, GradCam()).attribution
    for sample, levels in zip(found, (LEVELS, [[0, 0], [0, 255]]), strict=True):
        picture = Image.fromarray(np.array(levels, np.uint8))
        expected = np.asarray(picture.resize((4, 4), Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(sample[..., 0], expected)


def series(weights=(1.0, 1), length: int = 3) -> Builder:
    """``length`` x 1 (taps 1, 0, so the last value is not seen), one logit."""
    b = Builder("series", (length, 1))
    b.add("conv1d", "conv", weights={"kernel": np.array([[[1.0]], [[0]]])})
    b.add("flatten", "flat")
    b.add("dense", "head", weights={"kernel": np.array(weights)[:, None]})
    return b


def test_a_series_is_resized_linearly():
    # The map is (1/4, 4/4), at the places 0, 1/2 and 1.
    trace = explained(series(), [[[1], [4], [9]]], GradCam(resize="linear"))
    assert trace.attribution.tolist() == [[[0.25], [0.625], [1]]]


def test_a_series_whose_map_is_zero_everywhere_is_nan():
    trace = explained(series(), [[[0], [0], [9]]], GradCam(resize="linear"))
    assert np.isnan(trace.attribution).all()


def test_a_series_whose_map_is_negative_everywhere_is_zero():
    trace = explained(series(), [[[-1], [-4], [9]]], GradCam(resize="linear"))
    assert trace.attribution.ravel().tolist() == [0, 0, 0]


def test_guided_grad_cam_is_the_map_times_the_gradient_of_the_sum_of_the_layer():
    # d sum(relu(conv)) / dx: one at the first channel where it is positive. The layer of "conv" is its ReLU.
    trace = explained(image_network(relu=True), image(PLANE), GradCam("conv", guided=True), GUIDED)
    assert trace.attribution[0, ..., 0].tolist() == [[63, 127], [255, 0]]
    assert not trace.attribution[0, ..., 1:].any()


def test_the_guided_factor_is_guided_and_the_map_is_not():
    # A ReLU before the convolution with taps (1, -2): the sum has the gradient 1, -2 at the two channels,
    # of which guided backpropagation keeps the 1. The map: h = (1 - 2 * 0, 4 - 2 * 1) for weights 1.
    b = Builder("inner", (2, 2, 3))
    b.add("relu", "first")
    b.add("conv2d", "conv", weights={"kernel": np.array([[[[1.0], [-2], [0]]]])})
    b.add("flatten", "flat")
    b.add("dense", "head", weights={"kernel": np.ones((4, 1))})
    x = image([[1, 4], [1, 1]], [[0, 1], [0, 0]])
    trace = explained(b, x, GradCam(guided=True), GUIDED)
    # h = (1, 2; 1, 1): the map (0.5, 1; 0.5, 0.5) less 0.5, by 0.5.
    assert trace.attribution[0, ..., 0].tolist() == [[0, 255], [0, 0]]
    assert not trace.attribution[0, ..., 1:].any()


def test_layers_show_the_gradient_down_to_the_cam_layer():
    trace = explained(image_network(relu=True), image(PLANE), GradCam("conv"))
    relevances = {name: layer.relevance[0].ravel().tolist() for name, layer in trace.layers.items()}
    weights = [4, -1, 2, 3]
    assert relevances == {
        "input": [0] * 12,
        "conv": [0] * 4,
        "conv_relu": weights,
        "flat": weights,
        "head": [1],
    }
    assert trace.layers["conv"].activation[0, ..., 0].tolist() == PLANE


def test_without_layers_the_map_is_the_same():
    full, short = (
        explained(image_network(), image(PLANE), GradCam(), layers=layers) for layers in (True, False)
    )
    np.testing.assert_array_equal(full.attribution, short.attribution)
    assert short.layers == {}


@pytest.mark.parametrize("layer", ["nowhere", "head"])
def test_a_layer_that_grad_cam_cannot_take(layer):
    with pytest.raises(HarnessError, match=layer):
        explained(image_network(), image(PLANE), GradCam(layer))


def test_the_input_itself():
    trace = explained(image_network(), image(PLANE), InputItself())
    np.testing.assert_array_equal(trace.attribution, image(PLANE))
    # Logit 4 * 1 - 1 * 2 + 2 * 4 - 3 * 3.
    assert (trace.logits.tolist(), trace.target.tolist(), trace.layers) == ([[1]], [0], {})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_input_with_noise(dtype):
    trace = explained(image_network(), image(PLANE), InputPlusNoise(scale=2, seed=5), dtype=dtype)
    noise = np.random.default_rng(5).standard_normal((1, 2, 2, 3)) * 2
    np.testing.assert_array_equal(trace.attribution, image(PLANE).astype(dtype) + noise.astype(dtype))
    assert trace.layers == {}


def test_uniform_noise_is_the_same_for_every_sample_and_channel():
    x = np.concatenate([image(PLANE)] * 2)
    trace = explained(image_network(), x, UniformNoise(seed=1))
    plane = np.random.RandomState(1).uniform(-1, 1, (2, 2))
    for sample in range(2):
        for channel in range(3):
            np.testing.assert_array_equal(trace.attribution[sample, ..., channel], plane)


def test_a_method_is_checked_against_the_network_first():
    with pytest.raises(MethodDoesNotApplyError, match="2 spatial axes"):
        explained(series(), [[[1], [4], [9]]], GradCam())
