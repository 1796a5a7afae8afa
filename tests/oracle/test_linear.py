"""The linear maps: what they compute, and that the transpose is the transpose."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings

from harness.errors import UnsupportedLayerError
from harness.graph import Layer
from reference_impls.oracle import linear
from tests.oracle.layers import (
    DIVISIBLE,
    convolutions,
    dense,
    integers,
    layer,
    linear_layers,
    seeds,
    separable_convolutions,
    transposed_convolutions,
)


def applied(one: Layer, *inputs: object) -> np.ndarray:
    """The output for inputs without a batch axis."""
    batch = tuple(np.asarray(x, dtype=np.float64)[None] for x in inputs)
    return linear.apply(one, batch, linear.weights_of(one))[0]


@settings(max_examples=300, deadline=None)
@given(linear_layers, seeds)
def test_the_transpose_is_the_transpose(one: Layer, seed: int) -> None:
    """<f(x), s> = <x, f^T(s)>, exactly: all numbers are whole, and divisible by every pooling window."""
    weights = linear.weights_of(one)
    xs = tuple(
        integers(seed + index, 2, *shape, scale=DIVISIBLE) for index, shape in enumerate(one.input_shapes)
    )
    s = integers(seed + 10, 2, *one.shape, scale=DIVISIBLE)
    forward = np.sum(linear.apply(one, xs, weights) * s)
    backs = linear.transpose(one, s, weights)
    assert [back.shape for back in backs] == [x.shape for x in xs]
    assert forward == sum(np.sum(x * back) for x, back in zip(xs, backs, strict=True))


def meets(one: Layer, window: tuple[int, ...], offset: tuple[int, ...]) -> tuple[int, ...]:
    """The place in the unpadded array that a window meets at an offset; it may lie in the padding."""
    attributes = one.attributes
    return tuple(
        p * stride + k * dilation - before
        for p, k, stride, dilation, (before, _) in zip(
            window, offset, attributes["strides"], attributes["dilations"], attributes["padding"], strict=True
        )
    )


def inside(place: tuple[int, ...], space: tuple[int, ...]) -> bool:
    return all(0 <= index < length for index, length in zip(place, space, strict=True))


@settings(deadline=None)
@given(convolutions(), seeds)
def test_a_convolution_is_its_definition(one: Layer, seed: int) -> None:
    """y[p, o] = sum over k, i of x[p * stride + k * dilation - before, i] * kernel[k, i, o], one by one."""
    x, kernel, groups = integers(seed, *one.input_shapes[0]), one.weights["kernel"], one.attributes["groups"]
    ins, outs = x.shape[-1] // groups, one.shape[-1] // groups
    expected = np.zeros(one.shape)
    for window in np.ndindex(one.shape[:-1]):
        for offset in np.ndindex(kernel.shape[:-2]):
            place = meets(one, window, offset)
            if inside(place, x.shape[:-1]):
                for group, i, o in product(range(groups), range(ins), range(outs)):
                    out = group * outs + o
                    expected[(*window, out)] += x[(*place, group * ins + i)] * kernel[(*offset, i, out)]
    assert np.array_equal(applied(one, x), expected)


@settings(deadline=None)
@given(transposed_convolutions(), seeds)
def test_a_transposed_convolution_is_its_definition(one: Layer, seed: int) -> None:
    """Every input entry adds its multiple of the kernel to the output, which the padding then crops."""
    x, kernel, groups = integers(seed, *one.input_shapes[0]), one.weights["kernel"], one.attributes["groups"]
    ins, outs = x.shape[-1] // groups, one.shape[-1] // groups
    expected = np.zeros(one.shape)
    for window in np.ndindex(x.shape[:-1]):
        for offset in np.ndindex(kernel.shape[:-2]):
            place = meets(one, window, offset)
            if inside(place, one.shape[:-1]):
                for group, i, o in product(range(groups), range(ins), range(outs)):
                    source = group * ins + i
                    expected[(*place, group * outs + o)] += (
                        x[(*window, source)] * kernel[(*offset, source, o)]
                    )
    assert np.array_equal(applied(one, x), expected)


@settings(deadline=None)
@given(separable_convolutions(), seeds)
def test_a_separable_convolution_is_the_convolution_with_the_product_of_its_kernels(
    one: Layer, seed: int
) -> None:
    """kernel[k, i, o] = sum over m of depthwise[k, i, m] * pointwise[i * multiplier + m, o]."""
    depthwise, pointwise = one.weights["depthwise_kernel"], one.weights["pointwise_kernel"]
    ins, multiplier = depthwise.shape[-2:]
    kernel = np.einsum("...im,imo->...io", depthwise, pointwise.reshape(ins, multiplier, -1))
    full = layer(
        one.kind.removeprefix("separable_"),
        one.input_shapes[0],
        one.shape,
        {**one.attributes, "groups": 1},
        kernel=kernel,
    )
    x = integers(seed, *one.input_shapes[0])
    assert np.array_equal(applied(one, x), applied(full, x))


def test_dense_multiplies_the_last_axis_and_adds_the_bias() -> None:
    # (1, 2) @ [[1, 3], [5, 7]] = (1 + 10, 3 + 14)
    assert applied(dense([[1, 3], [5, 7]], [100, 200]), [1, 2]).tolist() == [111, 217]


def test_conv_takes_every_second_window_of_the_padded_series() -> None:
    # padded: 0 1 2 -1; windows (0, 1) and (2, -1); kernel (2, 3), bias 10
    one = layer(
        "conv1d",
        (3, 1),
        (2, 1),
        {"strides": (2,), "dilations": (1,), "groups": 1, "padding": ((1, 0),)},
        kernel=[[[2]], [[3]]],
        bias=[10],
    )
    assert applied(one, [[1], [2], [-1]]).ravel().tolist() == [13, 11]


def test_output_padding_adds_bias_only_places_at_the_end() -> None:
    # Full output of (1, 2) at stride 3 with kernel (5, 7): 5 7 0 10 14; one more place behind it; bias 1.
    one = layer(
        "conv_transpose1d",
        (2, 1),
        (6, 1),
        {"strides": (3,), "dilations": (1,), "groups": 1, "padding": ((0, 0),), "output_padding": (1,)},
        kernel=[[[5]], [[7]]],
        bias=[1],
    )
    assert applied(one, [[1], [2]]).ravel().tolist() == [6, 8, 1, 11, 15, 1]


@pytest.mark.parametrize(("counted", "expected"), [(True, [1.5, 0]), (False, [3, 0])])
def test_average_pooling_counts_the_padding_only_when_told(counted: bool, expected: list[float]) -> None:
    # windows (pad, 3) and (1, -1)
    one = layer(
        "average_pool1d",
        (3, 1),
        (2, 1),
        {"pool_size": (2,), "strides": (2,), "padding": ((1, 0),), "count_include_pad": counted},
    )
    assert applied(one, [[3], [1], [-1]]).ravel().tolist() == expected


@pytest.mark.parametrize("keepdims", [True, False])
def test_global_average_pooling_keeps_or_drops_the_space(keepdims: bool) -> None:
    shape = (1, 1, 1) if keepdims else (1,)
    one = layer("global_average_pool", (2, 2, 1), shape, {"keepdims": keepdims})
    mean = applied(one, [[[1], [2]], [[3], [6]]])
    assert mean.shape == shape
    assert mean.item() == 3


def test_a_layer_that_is_not_linear_is_an_error_that_names_it() -> None:
    with pytest.raises(UnsupportedLayerError, match=r"'layer' \(relu\) is not linear"):
        applied(layer("relu", (2,), (2,)), [1, 2])


def test_output_padding_beyond_the_stride_belongs_to_no_input() -> None:
    """One tap of 2, stride 1, one appended entry: y = (2 a, 2 b, 0), and nothing comes back from the third."""
    one = layer(
        "conv_transpose1d",
        (2, 1),
        (3, 1),
        {"strides": (1,), "dilations": (1,), "groups": 1, "padding": ((0, 0),), "output_padding": (1,)},
        kernel=[[[2.0]]],
    )
    assert linear.apply(one, (np.array([[[3.0], [5.0]]]),), one.weights).ravel().tolist() == [6, 10, 0]
    (back,) = linear.transpose(one, np.array([[[1.0], [10.0], [100.0]]]), one.weights)
    assert back.ravel().tolist() == [2, 20]
