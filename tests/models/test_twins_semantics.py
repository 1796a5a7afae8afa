"""One tiny layer at a time, numbers worked out by hand, wherever frameworks or readings of them differ."""

from __future__ import annotations

import math
from typing import Any

import keras.layers as kl
import numpy as np
import pytest
import torch
import torch.nn as tn

from harness.graph import Graph
from ported_models.build import Builder
from ported_models.twins import keras_twin, torch_twin
from ported_models.twins.forward import keras_logits, torch_logits

RUN = {
    "keras": lambda graph, x: keras_logits(keras_twin.build(graph, "float64"), x),
    "torch": lambda graph, x: torch_logits(torch_twin.build(graph, "float64"), x),
}


@pytest.fixture(params=RUN)
def run(request: pytest.FixtureRequest) -> Any:
    """Runs one of the two twins in float64."""
    return RUN[request.param]


def one_layer(kind: str, x: np.ndarray, attributes: Any = None, weights: Any = None) -> Graph:
    b = Builder("tiny", x.shape[1:])
    b.add(kind, "layer", attributes=attributes, weights=weights)
    return b.graph()


def series(*values: float) -> np.ndarray:
    """(1, time, 1)"""
    return np.array(values, dtype=np.float64).reshape(1, -1, 1)


def taps(*values: float) -> np.ndarray:
    """A 1-D kernel from one channel to one."""
    return np.array(values, dtype=np.float64).reshape(-1, 1, 1)


def test_same_padding_with_stride_is_asymmetric(run: Any) -> None:
    x = series(1, 2, 3, 4)
    graph = one_layer("conv1d", x, {"strides": (2,), "padding": "same"}, {"kernel": taps(1, 10, 100)})
    # Zeros (0, 1): windows 1 2 3 and 3 4 0. With a zero on each side they were 0 1 2 and 2 3 4.
    assert run(graph, x).ravel().tolist() == [321, 43]


def test_same_padding_in_two_dimensions(run: Any) -> None:
    x = np.ones((1, 4, 4, 1))
    graph = one_layer("conv2d", x, {"strides": (2, 2), "padding": "same"}, {"kernel": np.ones((3, 3, 1, 1))})
    # Along each axis the windows hold 3 and 2 ones.
    assert run(graph, x)[0, :, :, 0].tolist() == [[9, 6], [6, 4]]


def test_strides_that_leave_out_the_end_of_a_volume(run: Any) -> None:
    """Windows three apart stand at 0 and 3, what is behind them counts for nothing; the second tap meets a zero."""
    x = np.arange(1.0, 7.0).reshape(1, 6, 1, 1, 1)
    weights = {"kernel": np.array([2.0, 5.0]).reshape(1, 1, 2, 1, 1)}
    graph = one_layer("conv3d", x, {"strides": (3, 1, 1), "padding": "same"}, weights)
    assert run(graph, x).ravel().tolist() == [2.0, 8.0]


def test_strides_beside_dilations(run: Any) -> None:
    x = series(1, 2, 3, 4, 5, 6, 7)
    graph = one_layer("conv1d", x, {"strides": (2,), "dilations": (2,)}, {"kernel": taps(1, 10)})
    assert run(graph, x).ravel().tolist() == [1 + 30, 3 + 50, 5 + 70]


def test_groups_take_channels_in_order(run: Any) -> None:
    x = np.array([[[1.0, 10, 100, 1000]]])
    kernel = np.array([[[1.0, 3], [2, 4]]])
    graph = one_layer("conv1d", x, {"groups": 2}, {"kernel": kernel})
    assert run(graph, x).ravel().tolist() == [1 * 1 + 2 * 10, 3 * 100 + 4 * 1000]


def test_depthwise_multiplier_stays_with_its_channel(run: Any) -> None:
    x = np.array([[[[10.0, 100]]]])
    graph = one_layer("conv2d", x, {"groups": 2}, {"kernel": np.array([[[[1.0, 2, 3, 4]]]])})
    assert run(graph, x).ravel().tolist() == [10, 20, 300, 400]


def test_separable_convolution_mixes_in_channel_major_order(run: Any) -> None:
    x = np.ones((1, 1, 1, 2))
    weights = {
        "depthwise_kernel": np.array([[[[1.0, 2], [3, 4]]]]),
        "pointwise_kernel": np.array([[1000.0], [100], [10], [1]]),
        "bias": np.array([0.5]),
    }
    assert run(one_layer("separable_conv2d", x, {}, weights), x).ravel().tolist() == [1234.5]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        # 1 * (1 10 100) at 0 plus 2 * (1 10 100) at 2
        ({}, [1, 10, 102, 20, 200]),
        ({"padding": "same"}, [1, 10, 102, 20]),
        ({"padding": ((1, 1),)}, [10, 102, 20]),
        ({"padding": ((1, 1),), "output_padding": (1,)}, [10, 102, 20, 200]),
        ({"padding": ((2, 0),)}, [102, 20, 200]),
        ({"output_padding": (1,)}, [1, 10, 102, 20, 200, 0]),
        # taps 2 apart: 1 0 10 0 100, and twice that 2 later
        ({"dilations": (2,)}, [1, 0, 12, 0, 120, 0, 200]),
    ],
)
def test_transposed_convolution(run: Any, attributes: dict[str, Any], expected: list[float]) -> None:
    x = series(1, 2)
    weights = {"kernel": taps(1, 10, 100), "bias": np.array([0.5])}
    graph = one_layer("conv_transpose1d", x, {"strides": (2,), **attributes}, weights)
    assert run(graph, x).ravel().tolist() == [value + 0.5 for value in expected]


def test_transposed_groups(run: Any) -> None:
    x = np.array([[[1.0, 10]]])
    graph = one_layer("conv_transpose1d", x, {"groups": 2}, {"kernel": np.array([[[5.0, 6], [7, 8]]])})
    assert run(graph, x).ravel().tolist() == [5, 6, 70, 80]


@pytest.mark.parametrize(
    ("values", "pool", "stride", "padding", "counts", "expected"),
    [
        ((2, 4, 6, 8), 3, 1, (1, 1), False, [3, 4, 6, 7]),
        ((2, 4, 6, 8), 3, 1, (1, 1), True, [2, 4, 6, 14 / 3]),
        ((2, 4, 6), 2, 2, (0, 1), False, [3, 6]),
        ((2, 4, 6), 2, 2, (0, 1), True, [3, 3]),
    ],
)
def test_average_pooling_counts_the_border_or_not(
    run: Any, values: Any, pool: int, stride: int, padding: Any, counts: bool, expected: list[float]
) -> None:
    x = series(*values)
    attributes = {
        "pool_size": (pool,),
        "strides": (stride,),
        "padding": (padding,),
        "count_include_pad": counts,
    }
    # At most a division of a sum of three by 3: two roundings of numbers below 8.
    np.testing.assert_allclose(
        run(one_layer("average_pool1d", x, attributes), x).ravel(), expected, rtol=2 * np.finfo(float).eps
    )


@pytest.mark.parametrize("padding", [(0, 1), (1, 0), (1, 1)])
def test_padding_is_never_the_maximum(run: Any, padding: tuple[int, int]) -> None:
    x = series(-1, -2, -3)
    graph = one_layer("max_pool1d", x, {"pool_size": (2,), "strides": (2,), "padding": (padding,)})
    expected = {(0, 1): [-1, -3], (1, 0): [-1, -2], (1, 1): [-1, -2]}[padding]
    assert run(graph, x).ravel().tolist() == expected


def test_flatten_in_either_order(run: Any) -> None:
    x = np.array([[[[1.0, 2], [3, 4]]]])
    assert run(one_layer("flatten", x), x).ravel().tolist() == [1, 2, 3, 4]
    assert run(one_layer("flatten", x, {"order": "channels_first"}), x).ravel().tolist() == [1, 3, 2, 4]


def test_reshape_in_either_order(run: Any) -> None:
    x = np.array([[[1.0, 2], [3, 4], [5, 6]]])
    assert run(one_layer("reshape", x, {"target": (2, 3)}), x)[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    # Channels first: 1 3 5 2 4 6, as three channels of two, and the channels moved to the end.
    graph = one_layer("reshape", x, {"target": (3, 2), "order": "channels_first"})
    assert run(graph, x)[0].tolist() == [[1, 5, 4], [3, 2, 6]]


def test_permute_counts_axes_from_one_in_the_canonical_layout(run: Any) -> None:
    x = np.arange(6.0).reshape(1, 1, 2, 3)
    expected = [[[0, 3]], [[1, 4]], [[2, 5]]]
    assert run(one_layer("permute", x, {"dims": (3, 1, 2)}), x)[0].tolist() == expected


def test_padding_and_cropping_name_spatial_axes_in_order(run: Any) -> None:
    x = np.array([[[[1.0], [2]]]])
    padded = run(one_layer("zero_pad", x, {"padding": ((1, 0), (0, 2))}), x)[0, :, :, 0]
    assert padded.tolist() == [[0, 0, 0, 0], [1, 2, 0, 0]]
    x = np.arange(6.0).reshape(1, 2, 3, 1)
    assert run(one_layer("crop", x, {"padding": ((1, 0), (0, 2))}), x)[0, :, :, 0].tolist() == [[3]]


def test_upsampling_repeats_or_interpolates_between_half_pixel_centres(run: Any) -> None:
    x = series(0, 4)
    assert run(one_layer("upsample", x, {"size": (2,)}), x).ravel().tolist() == [0, 0, 4, 4]
    bilinear = {"size": (2,), "interpolation": "bilinear"}
    # Outputs stand at -1/4, 1/4, 3/4 and 5/4; the outer ones take the nearest value.
    assert run(one_layer("upsample", x, bilinear), x).ravel().tolist() == [0, 1, 3, 4]
    x = np.array([[[[0.0], [4]], [[8], [12]]]])
    bilinear["size"] = (2, 2)
    steps = np.array([0, 0.25, 0.75, 1])
    expected = 8 * steps[:, None] + 4 * steps[None, :]
    assert run(one_layer("upsample", x, bilinear), x)[0, :, :, 0].tolist() == expected.tolist()


@pytest.mark.parametrize("shape", [(1, 1), (1, 2, 1), (1, 2, 2, 1)])
def test_batch_norm_adds_epsilon_to_the_variance(run: Any, shape: tuple[int, ...]) -> None:
    weights = {"gamma": [2.0], "beta": [1.0], "mean": [3.0], "variance": [0.5]}
    x = np.full(shape, 5.0)
    # sqrt(0.5 + 0.5) = 1, so 2 * (5 - 3) + 1.
    assert np.unique(run(one_layer("batch_norm", x, {"epsilon": 0.5}, weights), x)).tolist() == [5]


def test_layer_norm_uses_the_biased_variance_and_adds_epsilon_to_it(run: Any) -> None:
    x = np.array([[[1.0, 3.0]]])
    # mean 2, variance 1, sqrt(1 + 3) = 2.
    graph = one_layer("layer_norm", x, {"epsilon": 3.0})
    assert run(graph, x).ravel().tolist() == [-0.5, 0.5]


def test_layer_norm_over_two_axes(run: Any) -> None:
    x = np.array([[[1.0, 1], [3, 3]]])
    weights = {"gamma": [[2.0, 4], [6, 8]], "beta": [[0.0, 0], [0, 1]]}
    graph = one_layer("layer_norm", x, {"epsilon": 3.0, "axes_count": 2}, weights)
    assert run(graph, x)[0].tolist() == [[-1, -2], [3, 5]]


def test_dense_and_scale_act_on_the_last_axis(run: Any) -> None:
    x = np.array([[[1.0, 10], [2, 20]]])
    dense = {"kernel": np.array([[1.0, 2, 3], [4, 5, 6]])}
    assert run(one_layer("dense", x, {}, dense), x)[0].tolist() == [[41, 52, 63], [82, 104, 126]]
    scale = {"kernel": [2.0, 3], "bias": [0.0, 1]}
    assert run(one_layer("scale", x, {}, scale), x)[0].tolist() == [[2, 31], [4, 61]]


PHI_1 = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
TANH_1 = 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * 1.044715))
#: scale * alpha of Klambauer et al. 2017, appendix A.1.
SELU_FLOOR = 1.0507009873554804934193349852946 * 1.6732632423543772848170429916717


@pytest.mark.parametrize(
    ("kind", "attributes", "value", "expected"),
    [
        ("relu", {}, -1.0, 0.0),
        ("relu6", {}, 7.0, 6.0),
        ("leaky_relu", {"alpha": 0.3}, -1.0, -0.3),
        ("elu", {"alpha": 0.5}, -math.log(2), -0.25),
        ("selu", {}, -math.log(2), -SELU_FLOOR / 2),
        ("sigmoid", {}, math.log(3), 0.75),
        ("tanh", {}, math.log(3), 0.8),
        ("swish", {}, math.log(3), 0.75 * math.log(3)),
        ("gelu", {"approximate": "none"}, 1.0, PHI_1),
        ("gelu", {"approximate": "tanh"}, 1.0, TANH_1),
    ],
)
def test_activation_in_full_float64(
    run: Any, kind: str, attributes: dict[str, Any], value: float, expected: float
) -> None:
    # The argument is rounded, and so are the few operations on it: 8 ulp, where float32 constants give 1e8.
    found = run(one_layer(kind, np.array([[value]]), attributes), np.array([[value]]))
    np.testing.assert_allclose(found, [[expected]], rtol=8 * np.finfo(float).eps)


@pytest.mark.parametrize(
    ("axis", "expected"), [(-1, [[0.25, 0.75], [0.5, 0.5]]), (-2, [[0.5, 0.75], [0.5, 0.25]])]
)
def test_softmax_over_a_canonical_axis(run: Any, axis: int, expected: list[list[float]]) -> None:
    x = np.array([[[0.0, math.log(3)], [0, 0]]])
    np.testing.assert_allclose(run(one_layer("softmax", x, {"axis": axis}), x)[0], expected, rtol=1e-15)


def test_inputs_are_joined_in_order(run: Any) -> None:
    x = np.array([[[1.0, 2], [-3, -4]]])
    b = Builder("tiny", (2, 2))
    b.add("relu", "positive")
    b.add("concat", "rows", ["input", "positive"], {"axis": -2})
    b.add("concat", "columns", ["positive", "input"], {"axis": -1})
    b.add("add", "sum", ["input", "positive"])
    assert run(b.graph("rows"), x)[0].tolist() == [[1, 2], [-3, -4], [1, 2], [0, 0]]
    assert run(b.graph("columns"), x)[0].tolist() == [[1, 2, 1, 2], [0, 0, -3, -4]]
    assert run(b.graph("sum"), x)[0].tolist() == [[2, 4], [-3, -4]]


def test_multiply_broadcasts_one_number_per_channel(run: Any) -> None:
    x = np.array([[[1.0, 2], [3, 6]]])
    b = Builder("tiny", (2, 2))
    b.add("global_average_pool", "means", attributes={"keepdims": True})
    b.add("multiply", "gated", ["input", "means"])
    assert run(b.graph(), x)[0].tolist() == [[2, 8], [6, 24]]


def test_dropout_does_nothing(run: Any) -> None:
    x = np.ones((1, 50))
    assert run(one_layer("dropout", x, {"rate": 0.9}), x).tolist() == x.tolist()


def test_equal_maxima_pass_the_gradient_to_the_first() -> None:
    import tensorflow as tf

    graph = one_layer("max_pool1d", series(1, 1), {"pool_size": (2,)})
    x = tf.ones((1, 2, 1), tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = keras_twin.build(graph, "float64")(x)
    assert tape.gradient(y, x).numpy().ravel().tolist() == [1, 0]
    x = torch.ones(1, 1, 2, dtype=torch.float64, requires_grad=True)
    torch_twin.build(graph, "float64")(x).sum().backward()
    assert x.grad is not None
    assert x.grad.ravel().tolist() == [1, 0]


def gradients_of_both_twins(graph: Graph, x: np.ndarray) -> tuple[list[float], list[float]]:
    import tensorflow as tf

    from ported_models.twins.layout import to_internal

    point = tf.constant(x, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(point)
        y = keras_twin.build(graph, "float64")(point)
    inside = torch.tensor(to_internal(x), dtype=torch.float64, requires_grad=True)
    torch_twin.build(graph, "float64")(inside).sum().backward()
    assert inside.grad is not None
    return tape.gradient(y, point).numpy().ravel().tolist(), inside.grad.ravel().tolist()


@pytest.mark.parametrize("keepdims", [True, False])
def test_equal_maxima_of_a_global_pooling_share_the_gradient(keepdims: bool) -> None:
    x = np.array([3.0, 3.0, 1.0, 3.0]).reshape(1, 2, 2, 1)
    graph = one_layer("global_max_pool", x, {"keepdims": keepdims})
    for gradient in gradients_of_both_twins(graph, x):
        assert gradient == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3], rel=1e-15)


def test_selu_at_zero_has_the_slope_of_the_positive_side() -> None:
    x = np.array([[0.0]])
    for gradient in gradients_of_both_twins(one_layer("selu", x), x):
        assert gradient == pytest.approx([1.0507009873554805], rel=1e-15)


@pytest.mark.parametrize(
    ("kind", "attributes", "kernel", "keras_type", "torch_type"),
    [
        ("conv2d", {"padding": "same"}, (3, 3, 2, 4), kl.Conv2D, tn.Conv2d),
        ("conv2d", {"padding": "same", "strides": (2, 2)}, (3, 3, 2, 4), kl.Conv2D, tn.Conv2d),
        ("conv2d", {"padding": ((0, 2), (1, 0))}, (3, 3, 2, 4), kl.Conv2D, tn.Conv2d),
        ("conv2d", {"groups": 2}, (3, 3, 1, 4), kl.DepthwiseConv2D, tn.Conv2d),
        ("conv_transpose2d", {"groups": 2}, (3, 3, 2, 4), kl.Conv2DTranspose, tn.ConvTranspose2d),
        ("dense", {}, (2, 3), kl.Dense, tn.Linear),
    ],
)  # fmt: skip
def test_layers_are_recognised_by_type(
    kind: str, attributes: dict[str, Any], kernel: tuple[int, ...], keras_type: type, torch_type: type
) -> None:
    graph = one_layer(kind, np.ones((1, 6, 6, 2)), attributes, {"kernel": np.ones(kernel)})
    assert isinstance(keras_twin.build(graph).get_layer("layer"), keras_type)
    assert isinstance(dict(torch_twin.build(graph).named_modules())["layer"], torch_type)
