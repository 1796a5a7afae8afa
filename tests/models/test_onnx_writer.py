"""What ONNX Runtime computes from the written operators, against numbers worked out by hand.

Inputs and outputs are canonical: batch first, channels last.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest

from harness.errors import UnsupportedLayerError
from ported_models.build import Builder
from ported_models.onnx import graph_to_onnx
from ported_models.onnx.layout import channels_first_order, inverse
from tests.models.onnx_runs import run_onnx


class Case(NamedTuple):
    kind: str
    x: Any
    expected: Any
    attributes: dict[str, Any] = {}  # noqa: RUF012 - never written to
    weights: dict[str, Any] = {}  # noqa: RUF012 - never written to


#: A 2 x 2 image of two channels: pixel (row, column) holds (value, ten times the value).
IMAGE = [[[1, 10], [2, 20]], [[3, 30], [4, 40]]]
SERIES = [[1], [2], [3], [4]]

EXACT = {
    # 1*1 + 2*3 + 10 = 17; 1*2 + 2*4 + 20 = 30
    "dense": Case("dense", [1, 2], [17, 30], {}, {"kernel": [[1, 2], [3, 4]], "bias": [10, 20]}),
    "dense-along-the-last-axis": Case(
        "dense", [[1, 2], [3, 4]], [[1 + 20 + 5], [3 + 40 + 5]], {}, {"kernel": [[1], [10]], "bias": [5]}
    ),
    # Windows (1, 2) and (3, 4) with the kernel (1, 10): 1 + 20, 3 + 40.
    "conv1d-strided": Case("conv1d", SERIES, [[21], [43]], {"strides": (2,)}, {"kernel": [[[1]], [[10]]]}),
    # One zero after the end only: 1 + 20, 2 + 30, 3 + 40, 4 + 0.
    "conv1d-asymmetric-padding": Case(
        "conv1d", SERIES, [[21], [32], [43], [4]], {"padding": ((0, 1),)}, {"kernel": [[[1]], [[10]]]}
    ),
    "conv1d-dilated": Case("conv1d", SERIES, [[31], [42]], {"dilations": (2,)}, {"kernel": [[[1]], [[10]]]}),
    # The kernel's rows weigh 1 and 100, its columns 1 and 10, its channels 1 and 0.
    "conv2d": Case(
        "conv2d",
        IMAGE,
        [[[1 + 10 * 2 + 100 * 3 + 1000 * 4]]],
        {},
        {"kernel": [[[[1], [0]], [[10], [0]]], [[[100], [0]], [[1000], [0]]]]},
    ),
    "conv2d-in-groups": Case(
        "conv2d",
        [[[1, 10]]],
        [[[1 * 2, 10 * 3]]],
        {"groups": 2},
        {"kernel": [[[[2, 3]]]]},
    ),
    # Each value lays down (1, 10, 100): 1, 10, 100 + 2, 20, 200; the last one is cropped.
    "conv_transpose1d": Case(
        "conv_transpose1d",
        [[1], [2]],
        [[1], [10], [102], [20]],
        {"strides": (2,), "padding": ((0, 1),)},
        {"kernel": [[[1]], [[10]], [[100]]]},
    ),
    # Nothing is cropped, one value (of the bias alone) is appended.
    "conv_transpose1d-output-padding": Case(
        "conv_transpose1d",
        [[1], [2]],
        [[6], [5], [7], [5]],
        {"strides": (2,), "output_padding": (1,)},
        {"kernel": [[[1]]], "bias": [5]},
    ),
    # Depthwise: 1 + 2 + 3 + 4 = 10 and ten times that; pointwise: 1 * 10 + 2 * 100 + 7.
    "separable_conv2d": Case(
        "separable_conv2d",
        IMAGE,
        [[[217]]],
        {},
        {"depthwise_kernel": np.ones((2, 2, 2, 1)), "pointwise_kernel": [[1], [2]], "bias": [7]},
    ),
    # (3 - 1) / sqrt(3 + 1) = 1, (8 - 2) / sqrt(8 + 1) = 2; then * 5 + 7.
    "batch_norm": Case(
        "batch_norm",
        [[3, 8]],
        [[5 * 1 + 7, 5 * 2 + 7]],
        {"epsilon": 1.0},
        {"gamma": [5, 5], "beta": [7, 7], "mean": [1, 2], "variance": [3, 8]},
    ),
    "batch_norm-bare": Case(
        "batch_norm", [3, 8], [1, 2], {"epsilon": 1.0}, {"mean": [1, 2], "variance": [3, 8]}
    ),
    "scale": Case("scale", [[[1, 2]]], [[[13, 46]]], {}, {"kernel": [3, 3], "bias": [10, 40]}),
    # Mean 2, variance 1, epsilon 3: (1 - 2) / 2 and (3 - 2) / 2; then * (2, 4) + (0, 1).
    "layer_norm": Case(
        "layer_norm", [[1, 3]], [[-1, 3]], {"epsilon": 3.0}, {"gamma": [2, 4], "beta": [0, 1]}
    ),
    # Mean of squares (16 + 400) / 2 = 208, epsilon 48: 4 / 16 and 20 / 16; then * (2, 4).
    "rms_norm": Case("rms_norm", [[4, 20]], [[0.5, 5]], {"epsilon": 48.0}, {"gamma": [2, 4]}),
    "rms_norm-bare-over-two-axes": Case(
        "rms_norm", [[4], [20]], [[0.25], [1.25]], {"epsilon": 48.0, "axes_count": 2}
    ),
    "relu": Case("relu", [-1, 2], [0, 2]),
    "relu6": Case("relu6", [-1, 2, 7], [0, 2, 6]),
    "leaky_relu": Case("leaky_relu", [-4, 2], [-1, 2], {"alpha": 0.25}),
    "softmax-over-time": Case("softmax", [[0, 5], [0, 5]], [[0.5, 0.5], [0.5, 0.5]], {"axis": -2}),
    "max_pool1d": Case("max_pool1d", SERIES, [[2], [4]], {"pool_size": (2,)}),
    # The border does not count: (1) / 1 and (2 + 3) / 2 and (4) / 1.
    "average_pool1d": Case(
        "average_pool1d",
        SERIES,
        [[1], [2.5], [4]],
        {"pool_size": (2,), "padding": ((1, 1),), "count_include_pad": False},
    ),
    "average_pool1d-counting-the-border": Case(
        "average_pool1d",
        SERIES,
        [[0.5], [2.5], [2]],
        {"pool_size": (2,), "padding": ((1, 1),), "count_include_pad": True},
    ),
    "global_average_pool": Case("global_average_pool", IMAGE, [2.5, 25], {"keepdims": False}),
    "global_average_pool-keeping-axes": Case("global_average_pool", IMAGE, [[[2.5, 25]]], {"keepdims": True}),
    "global_max_pool": Case("global_max_pool", IMAGE, [4, 40], {"keepdims": False}),
    "flatten": Case("flatten", IMAGE, [1, 10, 2, 20, 3, 30, 4, 40], {"order": "channels_last"}),
    "flatten-channels-first": Case(
        "flatten", IMAGE, [1, 2, 3, 4, 10, 20, 30, 40], {"order": "channels_first"}
    ),
    "reshape": Case("reshape", IMAGE, [[1, 10, 2, 20], [3, 30, 4, 40]], {"target": (2, 4)}),
    # Channels first: (1, 2, 3, 4), (10, 20, 30, 40); as two channels of four; channels last again.
    "reshape-channels-first": Case(
        "reshape",
        IMAGE,
        [[1, 10], [2, 20], [3, 30], [4, 40]],
        {"target": (2, 4), "order": "channels_first"},
    ),
    "permute": Case("permute", IMAGE, [[[1, 3], [10, 30]], [[2, 4], [20, 40]]], {"dims": (2, 3, 1)}),
    "zero_pad": Case("zero_pad", [[1], [2]], [[0], [1], [2], [0], [0]], {"padding": ((1, 2),)}),
    "crop": Case("crop", SERIES, [[2]], {"padding": ((1, 2),)}),
    "upsample": Case("upsample", [[1], [2]], [[1], [1], [1], [2], [2], [2]], {"size": (3,)}),
    # Half-pixel places -1/4, 1/4, 3/4, 5/4 between 0 and 4, held at the ends.
    "upsample-bilinear": Case(
        "upsample", [[0], [4]], [[0], [1], [3], [4]], {"size": (2,), "interpolation": "bilinear"}
    ),
    "dropout": Case("dropout", [1, -2], [1, -2], {"rate": 0.5}),
}


@pytest.mark.parametrize("case", EXACT.values(), ids=EXACT)
def test_the_written_operators_compute_the_layer(case: Case) -> None:
    np.testing.assert_array_equal(computed(case), np.array([case.expected], np.float32))


#: Textbook formulas, in double.
SMOOTH = {
    "elu": (lambda v: 0.5 * math.expm1(v) if v < 0 else v, {"alpha": 0.5}),
    "selu": (lambda v: 1.0507009873554805 * (1.6732632423543772 * math.expm1(v) if v < 0 else v), {}),
    "sigmoid": (lambda v: 1 / (1 + math.exp(-v)), {}),
    "tanh": (math.tanh, {}),
    "swish": (lambda v: v / (1 + math.exp(-v)), {}),
    "gelu": (lambda v: v / 2 * math.erfc(-v / math.sqrt(2)), {"approximate": "none"}),
    "gelu-tanh": (
        lambda v: v / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))),
        {"approximate": "tanh"},
    ),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_the_written_activation_is_its_formula(name: str) -> None:
    function, attributes = SMOOTH[name]
    values = [-3.0, -0.5, 0.25, 2.0]
    found = computed(Case(name.split("-")[0], values, None, attributes))
    # At most 8 float32 operations, none of whose results is beyond |v| + 1.
    bound = 8 * np.finfo(np.float32).eps * (np.abs(values) + 1)
    assert (np.abs(found[0] - [function(v) for v in values]) <= bound).all()


@pytest.mark.parametrize(("kind", "expected"), [("add", [2 + 6, 5 + 5]), ("multiply", [2 * 6, 5 * 5])])
def test_two_branches_meet(kind: str, expected: list[float]) -> None:
    builder = Builder("branches", (2,))
    builder.add("scale", "tripled", "input", weights={"kernel": np.array([3, 1], np.float32)})
    builder.add(kind, "met", ["input", "tripled"])
    assert run_onnx(graph_to_onnx(builder.graph()), np.float32([[2, 5]])).tolist() == [expected]


def test_concatenation_joins_along_the_canonical_axis() -> None:
    builder = Builder("joined", (2, 2, 1))
    builder.add("zero_pad", "wider", attributes={"padding": ((0, 0), (0, 1))})
    builder.add("concat", "joined", ["input", "wider"], {"axis": -2})
    found = canonical(run_onnx(graph_to_onnx(builder.graph()), np.float32([[[[1], [2]], [[3], [4]]]])))
    assert found[0, ..., 0].tolist() == [[1, 2, 1, 2, 0], [3, 4, 3, 4, 0]]


@pytest.mark.parametrize(
    ("transposed", "expected"),
    # Rows (1, 2), (3, 4) with the columns, then with the rows, of three times themselves.
    [(False, [[3 + 18, 6 + 24], [9 + 36, 18 + 48]]), (True, [[3 + 12, 9 + 24], [9 + 24, 27 + 48]])],
)
def test_a_product_of_two_tensors(transposed: bool, expected: list[list[float]]) -> None:
    builder = Builder("product", (2, 2))
    builder.add("scale", "tripled", weights={"kernel": np.array([3, 3], np.float32)})
    builder.add("matmul", "product", ["input", "tripled"], {"transposed": transposed})
    found = canonical(run_onnx(graph_to_onnx(builder.graph()), np.float32([[[1, 2], [3, 4]]])))
    assert found[0].tolist() == expected


@pytest.mark.parametrize(
    ("padding", "expected"),
    # Head 0 reads in the middle and at the corner, whose other three pixels are outside; head 1 at two pixels.
    [("zeros", [[2.5, 0.25], [20, 30]]), ("border", [[2.5, 1], [20, 30]])],
)
def test_maps_are_sampled_head_by_head(padding: str, expected: list[list[float]]) -> None:
    builder = Builder("sampled", (2, 2, 2, 1))
    places = np.array([[[[0, 0], [-1, -1]]], [[[0.5, -0.5], [-0.5, 0.5]]]], np.float32)
    builder.add("take", "twice", attributes={"axis": -1, "indices": (0, 0)})
    builder.add("crop", "room", attributes={"padding": ((0, 0), (0, 1), (0, 0))})
    builder.add("affine", "places", weights={"kernel": np.zeros_like(places), "bias": places})
    builder.add("grid_sample", "sampled", ["input", "places"], {"padding": padding})
    maps = np.float32([[[[1], [2]], [[3], [4]]], [[[10], [20]], [[30], [40]]]])
    found = canonical(run_onnx(graph_to_onnx(builder.graph()), maps[None]))
    assert found[0, :, 0, :, 0].tolist() == expected


def test_a_layer_of_several_operators_is_one_local_function() -> None:
    builder = Builder("two", (4, 2))
    builder.add("swish", "first")
    builder.add("swish", "second")
    builder.add("flatten", "values")
    proto = graph_to_onnx(builder.graph())
    assert [(node.domain, node.op_type) for node in proto.graph.node[1:]] == [
        ("xai_harness", "Swish"),
        ("xai_harness", "Swish"),
        ("xai_harness", "Flatten"),
    ]
    assert [function.name for function in proto.functions] == ["Swish", "Flatten"]


def test_a_kind_without_an_onnx_form_is_refused() -> None:
    graph = Builder("odd", (2,)).graph()
    odd = replace(graph, layers=(replace(graph.input, kind="spline"),))
    with pytest.raises(UnsupportedLayerError, match="layer 'input' has the kind 'spline'"):
        graph_to_onnx(odd)


def computed(case: Case) -> np.ndarray:
    x = np.array([case.x], np.float32)
    builder = Builder("one", x.shape[1:])
    weights = {key: np.array(array, np.float32) for key, array in case.weights.items()}
    builder.add(case.kind, "layer", attributes=case.attributes, weights=weights)
    return canonical(run_onnx(graph_to_onnx(builder.graph()), x))


def canonical(array: np.ndarray) -> np.ndarray:
    return array.transpose(inverse(channels_first_order(array.ndim)))
