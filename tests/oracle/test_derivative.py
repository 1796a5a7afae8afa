"""The derivatives: against central differences, and by hand where a function has a kink or a tie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from harness.errors import UnsupportedLayerError
from harness.graph import Layer
from reference_impls.oracle import derivative, forward
from tests.oracle.layers import apart, layer, seeds

#: Half the width of a difference. Powers of two: the steps themselves round nothing away.
STEP = 2.0**-13
UNIT = np.finfo(np.float64).eps

IMAGE = (4, 6, 2)
STATISTICS = {"mean": [0.5, -1.0], "variance": [0.25, 3.0]}
LINES = {"gamma": [2.0, -0.5], "beta": [0.1, 0.2]}
POOL = {"pool_size": (2, 3), "strides": (2, 2), "padding": ((0, 0), (1, 0))}
LAYERS = (
    layer("relu", IMAGE, IMAGE),
    layer("relu6", IMAGE, IMAGE),
    layer("leaky_relu", IMAGE, IMAGE, {"alpha": 0.3}),
    layer("elu", IMAGE, IMAGE, {"alpha": 0.7}),
    layer("selu", IMAGE, IMAGE),
    layer("sigmoid", IMAGE, IMAGE),
    layer("tanh", IMAGE, IMAGE),
    layer("swish", IMAGE, IMAGE),
    layer("gelu", IMAGE, IMAGE, {"approximate": "none"}),
    layer("gelu", IMAGE, IMAGE, {"approximate": "tanh"}),
    layer("softmax", IMAGE, IMAGE, {"axis": -1}),
    layer("softmax", IMAGE, IMAGE, {"axis": -2}),
    layer("batch_norm", IMAGE, IMAGE, {"epsilon": 1e-3}, **STATISTICS, **LINES),
    layer("batch_norm", IMAGE, IMAGE, {"epsilon": 1e-3}, **STATISTICS),
    layer("layer_norm", IMAGE, IMAGE, {"epsilon": 1e-3, "axes_count": 1}, **LINES),
    layer("layer_norm", IMAGE, IMAGE, {"epsilon": 1e-3, "axes_count": 3}),
    layer("max_pool2d", IMAGE, (2, 3, 2), POOL),
    layer("max_pool1d", (5, 2), (2, 2), {"pool_size": (2,), "strides": (2,), "padding": ((0, 0),)}),
    layer("global_max_pool", IMAGE, (2,), {"keepdims": False}),
    layer("global_max_pool", IMAGE, (1, 1, 2), {"keepdims": True}),
    layer("average_pool2d", IMAGE, (2, 3, 2), {**POOL, "count_include_pad": False}),
    layer("flatten", IMAGE, (48,), {"order": "channels_last"}),
    layer("flatten", IMAGE, (48,), {"order": "channels_first"}),
    layer("reshape", IMAGE, (3, 4, 4), {"target": (3, 4, 4), "order": "channels_last"}),
    layer("reshape", IMAGE, (3, 4, 4), {"target": (4, 3, 4), "order": "channels_first"}),
    layer("reshape", (48,), IMAGE, {"target": (2, 4, 6), "order": "channels_first"}),
    layer("permute", IMAGE, (2, 4, 6), {"dims": (3, 1, 2)}),
    layer("zero_pad", IMAGE, (7, 8, 2), {"padding": ((1, 2), (0, 2))}),
    layer("crop", IMAGE, (1, 4, 2), {"padding": ((1, 2), (2, 0))}),
    layer("upsample", IMAGE, (8, 18, 2), {"size": (2, 3), "interpolation": "nearest"}),
    layer("upsample", IMAGE, (8, 18, 2), {"size": (2, 3), "interpolation": "bilinear"}),
    layer("multiply", [IMAGE, (1, 1, 2)], IMAGE),
    layer("multiply", [IMAGE, IMAGE, IMAGE], IMAGE),
    layer("add", [IMAGE, (1, 1, 2)], IMAGE),
    layer("concat", [IMAGE, (4, 2, 2)], (4, 8, 2), {"axis": -2}),
    layer("dropout", IMAGE, IMAGE, {"rate": 0.5}),
    layer("part", (60,), IMAGE, {"start": 7, "target": IMAGE}),
)


@pytest.mark.parametrize("one", LAYERS, ids=lambda one: f"{one.kind}-{len(one.inputs)}-{one.shape}")
@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_the_derivative_is_the_limit_of_differences(one: Layer, seed: int) -> None:
    """<J^T s, v> is the slope of <f(x), s> along v.

    A central difference of half width h misses the slope by C h^2 + O(h^4), so the one of half width 2h
    differs from it by about 3 C h^2: their distance is an upper bound with a factor of three to spare.
    On top comes the rounding of f, a few units in the last place of each term, divided by h.
    """
    generator = np.random.default_rng(seed)
    xs = tuple(apart(seed + index, 2, *shape) for index, shape in enumerate(one.input_shapes))
    directions = tuple(generator.uniform(-1, 1, x.shape) for x in xs)
    s = generator.uniform(-1, 1, (2, *one.shape))

    def along(t: float) -> np.ndarray:
        return forward.apply(one, tuple(x + t * v for x, v in zip(xs, directions, strict=True)))

    def slope(step: float) -> float:
        return float(np.sum((along(step) - along(-step)) * s) / (2 * step))

    products = derivative.vjp(one, xs, s)
    assert [product.shape for product in products] == [x.shape for x in xs]
    found = sum(float(np.sum(product * v)) for product, v in zip(products, directions, strict=True))
    truncation = abs(slope(2 * STEP) - slope(STEP))
    rounding = 16 * UNIT * float(np.sum((1 + np.abs(along(0.0))) * np.abs(s))) / STEP
    assert abs(found - slope(STEP)) <= truncation + rounding


@pytest.mark.parametrize("kind", ["elu", "selu", "sigmoid", "swish"])
@pytest.mark.parametrize("x", [-800.0, 800.0])
def test_large_inputs_do_not_overflow(kind: str, x: float) -> None:
    one = layer(kind, (1,), (1,), {"alpha": 1.0})
    with np.errstate(over="raise", invalid="raise"):
        (slope,) = derivative.vjp(one, (np.array([[x]]),), np.ones((1, 1)))
    assert np.isfinite(slope).all()


@pytest.mark.parametrize(
    ("kind", "attributes", "x", "slope"),
    [
        ("relu", {}, 0.0, 0.0),
        ("relu6", {}, 0.0, 0.0),
        ("relu6", {}, 6.0, 0.0),
        ("leaky_relu", {"alpha": 0.25}, 0.0, 0.25),
        ("elu", {"alpha": 2.0}, 0.0, 2.0),
        ("selu", {}, 0.0, 1.0507009873554805),
    ],
)
def test_the_derivative_at_a_kink_is_tensorflows(
    kind: str, attributes: dict[str, Any], x: float, slope: float
) -> None:
    """TensorFlow 2.21, measured in float64 with a GradientTape."""
    found = derivative.vjp(layer(kind, (1,), (1,), attributes), (np.array([[x]]),), np.ones((1, 1)))
    assert found[0].item() == slope


def test_the_first_of_equal_maxima_in_row_major_order_gets_it_all() -> None:
    one = layer(
        "max_pool2d", (2, 2, 1), (1, 1, 1), {**POOL, "pool_size": (2, 2), "padding": ((0, 0), (0, 0))}
    )
    image = np.array([0.0, 1.0, 1.0, 1.0]).reshape(1, 2, 2, 1)
    (found,) = derivative.vjp(one, (image,), np.full((1, 1, 1, 1), 5.0))
    assert found.ravel().tolist() == [0, 5, 0, 0]


def test_equal_maxima_of_a_global_pooling_share() -> None:
    """TensorFlow 2.21: the gradient of reduce_max is divided among equal maxima."""
    one = layer("global_max_pool", (2, 2, 1), (1,), {"keepdims": False})
    (found,) = derivative.vjp(one, (np.array([0.0, 1, 1, 1]).reshape(1, 2, 2, 1),), np.full((1, 1), 6.0))
    assert found.ravel().tolist() == [0, 2, 2, 2]


def test_overlapping_windows_add_up_at_their_common_maximum() -> None:
    one = layer("max_pool1d", (3, 1), (2, 1), {"pool_size": (2,), "strides": (1,), "padding": ((0, 0),)})
    (found,) = derivative.vjp(one, (np.array([[[1.0], [2.0], [0.0]]]),), np.array([[[3.0], [4.0]]]))
    assert found.ravel().tolist() == [0, 7, 0]


def test_padding_never_wins_a_maximum() -> None:
    """A padded zero would beat the negative entry."""
    one = layer("max_pool1d", (2, 1), (2, 1), {"pool_size": (2,), "strides": (2,), "padding": ((1, 1),)})
    x = np.array([[[-1.0], [-2.0]]])
    assert forward.apply(one, (x,)).ravel().tolist() == [-1, -2]
    (found,) = derivative.vjp(one, (x,), np.array([[[3.0], [4.0]]]))
    assert found.ravel().tolist() == [3, 4]


def test_flatten_in_channels_first_order_reads_channel_by_channel() -> None:
    # pixels (1, 2), (3, 4) of two channels: channel 0 is 1 3, channel 1 is 2 4
    x = np.array([[[1.0, 2.0], [3.0, 4.0]]])
    one = layer("flatten", (2, 2), (4,), {"order": "channels_first"})
    assert forward.apply(one, (x,)).tolist() == [[1, 3, 2, 4]]
    back = layer("reshape", (4,), (2, 2), {"target": (2, 2), "order": "channels_first"})
    assert forward.apply(back, (np.array([[1.0, 3.0, 2.0, 4.0]]),)).tolist() == x.tolist()


def test_bilinear_upsampling_samples_at_pixel_centres() -> None:
    # Output centres -0.25, 0.25, 0.75, 1.25 of the input (0, 8): edge, 2, 6, edge
    one = layer("upsample", (2, 1), (4, 1), {"size": (2,), "interpolation": "bilinear"})
    assert forward.apply(one, (np.array([[[0.0], [8.0]]]),)).ravel().tolist() == [0, 2, 6, 8]


def test_layer_norm_divides_by_the_biased_deviation() -> None:
    # mean 2, variance (1 + 1) / 2 = 1, epsilon 3: (-1, 1) / 2 * gamma + beta
    one = layer("layer_norm", (2,), (2,), {"epsilon": 3.0, "axes_count": 1}, gamma=[4, 6], beta=[1, 1])
    assert forward.apply(one, (np.array([[1.0, 3.0]]),)).tolist() == [[-1, 4]]


def test_softmax_of_large_numbers_is_finite() -> None:
    one = layer("softmax", (2,), (2,), {"axis": -1})
    assert forward.apply(one, (np.array([[1000.0, 1000.0]]),)).tolist() == [[0.5, 0.5]]


def test_gelu_knows_both_of_its_forms() -> None:
    """At 1: Phi(1) = 0.8413447460685429 (normal distribution tables) and 0.8411919906082768.

    The second is (1 + tanh(sqrt(2 / pi) * 1.044715)) / 2.
    """
    x = np.array([[1.0]])
    exact = forward.apply(layer("gelu", (1,), (1,), {"approximate": "none"}), (x,)).item()
    tanh = forward.apply(layer("gelu", (1,), (1,), {"approximate": "tanh"}), (x,)).item()
    assert exact == pytest.approx(0.8413447460685429, rel=4 * UNIT)
    assert tanh == pytest.approx(0.8411919906082768, rel=4 * UNIT)


def test_an_unknown_kind_is_an_error_that_names_the_layer() -> None:
    one, x = layer("attention", (1,), (1,)), np.ones((1, 1))
    with pytest.raises(UnsupportedLayerError, match=r"cannot compute layer 'layer' \(attention\)"):
        forward.apply(one, (x,))
    with pytest.raises(UnsupportedLayerError, match=r"no derivative for layer 'layer' \(attention\)"):
        derivative.vjp(one, (x,), x)
