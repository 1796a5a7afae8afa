"""What a network read from a file may cost."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from harness.errors import ModelSourceError, UnsupportedLayerError
from harness.graph import Graph
from ported_models import limits
from ported_models.build import Builder
from ported_models.onnx import folding, onnx_to_graph, read_onnx, reading
from ported_models.onnx.folding import too_large
from tests.models.hostile_files import network, weight


def convolution(pixels: int, taps: int) -> Graph:
    builder = Builder("net", (pixels, pixels, 2))
    kernel = np.zeros((taps, taps, 2, 3), np.float32)
    builder.add("conv2d", "conv", attributes={"padding": "same"}, weights={"kernel": kernel})
    return builder.graph()


def test_multiply_adds_are_those_of_each_weight_at_each_place() -> None:
    graph = convolution(4, 3)
    # 16 places, and a kernel of 3 by 3 taps, 2 channels in and 3 out.
    assert limits.multiply_adds(graph["conv"]) == 16 * 54
    assert limits.multiply_adds(graph["input"]) == 32


@pytest.mark.parametrize(
    ("graph", "batch", "message"),
    [
        # 3 channels of 5000 by 5000 are 75 million numbers.
        (convolution(5000, 1), 1, "asks for 75000000 numbers in one layer, at most 67108864 are computed"),
        # 250,000 places, 5 channels in all, 200 samples.
        (convolution(500, 1), 200, "asks for 150000000 numbers in one layer"),
        # 640,000 places and 2400 products at each are 1.5e9, of ten samples.
        (convolution(800, 20), 10, r"asks for 153\d{8} multiply-adds"),
    ],
)
def test_what_asks_for_too_much_is_refused(graph: Graph, batch: int, message: str, monkeypatch) -> None:
    with pytest.raises(ModelSourceError, match=message) as caught:
        limits.check_cost(graph, "net.onnx", batch)
    assert f"set {limits.VARIABLE}=1" in str(caught.value)
    monkeypatch.setenv(limits.VARIABLE, "1")
    limits.check_cost(graph, "net.onnx", batch)


def test_a_network_of_many_weights_may_ask_for_more() -> None:
    # VGG-16's first layers at 224 by 224: 64 channels, and more than a hundred million weights behind them.
    assert limits.NUMBERS_PER_WEIGHT * 138_000_000 > 64 * 224 * 224 * 13
    limits.check_cost(convolution(1000, 3), "net.onnx")


def test_so_many_layers_are_refused() -> None:
    limits.check_layers(limits.MOST_LAYERS, "net.onnx")
    with pytest.raises(ModelSourceError, match=r"net.onnx: has more layers than the 2000 that are read"):
        limits.check_layers(limits.MOST_LAYERS + 1, "net.onnx")


@pytest.mark.parametrize(
    ("operator", "attributes", "message"),
    [
        ("Conv", {"strides": [0, 0]}, "strides is \\(0, 0\\), expected 1 or more"),
        ("Conv", {"dilations": [1, -1]}, "dilations is \\(1, -1\\), expected 1 or more"),
        ("Conv", {"group": 0}, "groups is 0, expected 1 or more|do not fit it"),
        ("Conv", {"kernel_shape": [7, 7]}, "its kernel_shape is \\(7, 7\\), and its weights have \\(3, 3\\)"),
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [0, 1]}, "strides is|do not fit it"),
    ],
)
def test_attributes_that_fit_nothing_are_named(operator: str, attributes: dict, message: str) -> None:
    inputs = ["x", "k"] if operator == "Conv" else ["x"]
    node = helper.make_node(operator, inputs, ["y"], **attributes)
    proto = network([node], [weight("k", 4, 3, 3, 3)])
    with pytest.raises(UnsupportedLayerError, match=message) as caught:
        onnx_to_graph(proto, "net", "net.onnx")
    assert "\n" not in str(caught.value)


def test_a_constant_may_be_as_large_as_what_it_is_computed_from(monkeypatch: pytest.MonkeyPatch) -> None:
    # The weights of a large dense layer, transposed by an exporter: one number more than any constant may have.
    monkeypatch.setattr(folding, "LARGEST", 11)
    large = np.zeros((3, 4), np.float32)
    node = helper.make_node("Transpose", ["w"], ["v"])
    assert too_large(node, [large], 13) == ""
    expanded = helper.make_node("Expand", ["w", "s"], ["v"])
    sizes = np.array([2, 3, 4])
    assert "would have 24 numbers, at most 11 are computed" in too_large(expanded, [large, sizes], 13)
    assert f"set {limits.VARIABLE}=1; else" in too_large(expanded, [large, sizes], 13)
    monkeypatch.setenv(limits.VARIABLE, "1")
    assert too_large(expanded, [large, sizes], 13) == ""


def test_what_no_limit_is_for_stays_refused_in_a_trusted_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.VARIABLE, "1")
    assert "not computed in advance" in too_large(helper.make_node("OneHot", ["i", "n", "v"], ["h"]), [], 13)


def filled(count: int) -> onnx.ModelProto:
    """Three channels to one, by 1 by 1 convolutions whose weights are filled in, one number each, ``count`` of them."""
    nodes, last = [], "x"
    for number in range(count):
        sizes = [helper.make_node("ConstantOfShape", ["s"], [f"k{number}"])]
        nodes += [*sizes, helper.make_node("Conv", [last, f"k{number}"], [f"c{number}"])]
        last = f"c{number}"
    nodes.append(helper.make_node("Relu", [last], ["y"]))
    return network(nodes, [numpy_helper.from_array(np.array([3, 3, 1, 1]), "s")])


def test_constants_that_are_computed_have_a_limit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    # The file holds four sizes of 8 bytes; each kernel has nine numbers of 4 bytes.
    monkeypatch.setattr(reading, "LARGEST_FOLDED", 36)
    assert len(onnx_to_graph(filled(4), "net").layers) == 6  # 36 + 4 * 32 bytes are room for four kernels
    with pytest.raises(UnsupportedLayerError, match="take more than 0 MiB; if you trust the file, set"):
        onnx_to_graph(filled(5), "net")
    monkeypatch.setenv(limits.VARIABLE, "1")
    assert len(onnx_to_graph(filled(5), "net").layers) == 7


def test_a_file_has_no_more_weights_than_it_holds_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_onnx(filled(1), "net").held == 32
    graph = convolution(800, 20)
    # 640,000 places of 2400 products, and two numbers of the input; 2400 weights add 4e7 to what any file may ask for.
    monkeypatch.setattr(limits, "PRODUCTS", 640_000 * 2402 - 2400 * limits.PRODUCTS_PER_WEIGHT)
    limits.check_cost(graph, "net.onnx", held=9600)
    with pytest.raises(ModelSourceError, match="multiply-adds, at most"):
        limits.check_cost(graph, "net.onnx", held=2399)
