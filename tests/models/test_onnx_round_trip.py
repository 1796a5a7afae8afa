"""What is written is read back: bit for bit as a neutral file, as the same function as an exporter's file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings

from harness.errors import HarnessError, ModelSourceError
from harness.graph import Graph
from harness.graph.kinds import kinds_where
from ported_models.build import Builder
from ported_models.onnx import graph_to_onnx, onnx_to_graph, removed_ending
from ported_models.twins.forward import torch_logits
from tests.models.graphs import LAYER_KINDS, layers, networks, random_input, single_layer_graph
from tests.models.onnx_runs import run_onnx


def assert_equal_graphs(found: Graph, expected: Graph) -> None:
    assert (found.name, found.output, len(found)) == (expected.name, expected.output, len(expected))
    for left, right in zip(found, expected, strict=True):
        for fact in ("name", "kind", "inputs", "input_shapes", "shape", "axes"):
            assert getattr(left, fact) == getattr(right, fact), f"{right.name}: {fact}"
        assert dict(left.attributes) == dict(right.attributes), right.name
        assert list(left.weights) == list(right.weights), right.name
        for key, array in right.weights.items():
            assert left.weights[key].dtype == array.dtype, f"{right.name}.{key}"
            assert left.weights[key].shape == array.shape, f"{right.name}.{key}"
            assert left.weights[key].tobytes() == array.tobytes(), f"{right.name}.{key}"


def with_dtype(graph: Graph, dtype: str) -> Graph:
    return replace(
        graph,
        layers=tuple(
            replace(layer, weights={key: array.astype(dtype) for key, array in layer.weights.items()})
            for layer in graph
        ),
    )


def flattened(graph: Graph) -> Graph:
    """``graph`` with a flatten layer at its end, so that the order of its output's values is fixed."""
    builder = Builder(graph.name, graph.input.shape)
    for layer in graph.layers[1:]:
        builder.add(layer.kind, layer.name, layer.inputs, layer.attributes, layer.weights)
    builder.add("flatten", "values", graph.output)
    return builder.graph()


def as_an_exporters_file(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same operators without the metadata that make it a neutral file."""
    stripped = onnx.ModelProto()
    stripped.CopyFrom(proto)
    del stripped.metadata_props[:]
    for node in stripped.graph.node:
        del node.metadata_props[:]
    return stripped


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", LAYER_KINDS)
def test_a_layer_of_every_kind_comes_back_bit_for_bit(kind: str, dtype: str) -> None:
    for seed in range(3):
        graph = with_dtype(single_layer_graph(kind, np.random.default_rng(seed)), dtype)
        proto = graph_to_onnx(graph)
        onnx.checker.check_model(proto, full_check=True)
        assert_equal_graphs(onnx_to_graph(proto, graph.name), graph)


@settings(max_examples=20, deadline=None)
@given(networks())
def test_a_network_survives_the_file(graph: Graph) -> None:
    stored = graph_to_onnx(graph).SerializeToString()
    assert_equal_graphs(onnx_to_graph(onnx.load_model_from_string(stored), graph.name), graph)


def test_weights_of_mixed_types_come_back_in_their_own() -> None:
    builder = Builder("mixed", (2,))
    third = np.array([[1 / 3], [2 / 3]])
    builder.add("dense", "wide", weights={"kernel": third, "bias": np.array([0.1], np.float32)})
    graph = builder.graph()
    proto = graph_to_onnx(graph)
    assert {tensor.data_type for tensor in proto.graph.initializer} == {onnx.TensorProto.DOUBLE}
    assert_equal_graphs(onnx_to_graph(proto, "mixed"), graph)


def test_axis_names_of_the_source_survive() -> None:
    graph = Builder("text", (5, 3), axes=("batch", "token", "feature")).graph()
    assert onnx_to_graph(graph_to_onnx(graph)).input.axes == ("batch", "token", "feature")


@pytest.mark.parametrize("removed", ["softmax", "log_softmax", "sigmoid", None])
def test_the_file_says_which_ending_was_taken_off(removed: str | None) -> None:
    graph = Builder("tiny", (3,)).graph()
    assert removed_ending(graph_to_onnx(graph, removed)) == removed


def test_there_is_one_node_per_layer_under_its_canonical_name() -> None:
    for kind in LAYER_KINDS:
        graph = single_layer_graph(kind, np.random.default_rng(1))
        nodes = graph_to_onnx(graph).graph.node
        assert [node.name for node in nodes] == [layer.name for layer in graph], kind


#: Kinds that are read back from our own files alone: exporters write them as a Gather by the input.
OWN_FILES_ALONE = kinds_where(lambda kind: kind.family == "lookup")
#: Files of exporters are in `test_onnx_recurrent`.
RECURRENT = kinds_where(lambda kind: kind.family == "recurrent")


@pytest.mark.torch
@settings(max_examples=60, deadline=None)
@given(layers([kind for kind in LAYER_KINDS if kind not in (*OWN_FILES_ALONE, *RECURRENT)]))
def test_read_without_its_metadata_a_layer_computes_the_same(graph: Graph) -> None:
    assert_same_function_without_metadata(flattened(graph))


@pytest.mark.parametrize("kind", sorted(OWN_FILES_ALONE))
def test_read_without_its_metadata_a_lookup_is_refused_in_one_line(kind: str) -> None:
    graph = with_dtype(single_layer_graph(kind, np.random.default_rng(1)), "float32")
    with pytest.raises(HarnessError) as caught:
        onnx_to_graph(as_an_exporters_file(graph_to_onnx(graph)), "read")
    assert "\n" not in str(caught.value)


@pytest.mark.torch
@settings(max_examples=15, deadline=None)
@given(networks())
def test_read_without_its_metadata_a_network_computes_the_same(graph: Graph) -> None:
    assert_same_function_without_metadata(graph)


def assert_same_function_without_metadata(graph: Graph) -> None:
    """Both files hold the same operators in one order: ONNX Runtime gives the same bits.

    So does a layer that is written as a formula and read as its parts (hard swish).
    """
    graph = with_dtype(graph, "float32")
    proto = graph_to_onnx(graph)
    read = onnx_to_graph(as_an_exporters_file(proto), "read")
    assert read.input.shape == graph.input.shape
    x = random_input(graph, np.random.default_rng(0)).astype(np.float32)
    if runs_in_onnx_runtime(proto):
        np.testing.assert_array_equal(run_onnx(graph_to_onnx(read), x), run_onnx(proto, x))
    else:
        from ported_models.twins import torch_twin

        twins = [torch_twin.build(each, "float64") for each in (read, graph)]
        np.testing.assert_array_equal(*(torch_logits(twin, x.astype(np.float64)) for twin in twins))


def runs_in_onnx_runtime(proto: onnx.ModelProto) -> bool:
    """Whether no transposed convolution appends as many values as its stride.

    ONNX, and torch, let it append more where a dilation is larger; ONNX Runtime 1.31.1 does not.
    """
    for node in proto.graph.node:
        given = {entry.name: entry.ints for entry in node.attribute}
        if any(
            0 < extra >= stride
            for extra, stride in zip(given.get("output_padding", ()), given.get("strides", ()), strict=False)
        ):
            return False
    return True


@pytest.mark.torch
def test_a_transposed_convolution_may_append_more_than_its_stride() -> None:
    builder = Builder("appends", (9, 1))
    attributes = {"dilations": (2,), "output_padding": (1,), "padding": ((0, 0),), "strides": (1,)}
    kernel = np.arange(1.0, 5.0).reshape(2, 1, 2)
    builder.add("conv_transpose1d", "layer", attributes=attributes, weights={"kernel": kernel})
    assert not runs_in_onnx_runtime(graph_to_onnx(builder.graph()))
    assert_same_function_without_metadata(flattened(builder.graph()))


def test_a_hard_swish_that_is_read_as_its_parts_gives_the_same_bits_where_it_nearly_vanishes() -> None:
    """Near -3 the sum x / 6 + 1/2 cancels: one rounding of the first term is many units in the last place of it."""
    builder = Builder("near", (200,))
    builder.add("hard_swish", "near")
    proto = graph_to_onnx(builder.graph())
    read = onnx_to_graph(as_an_exporters_file(proto), "read")
    x = np.linspace(-3.0001, -2.9, 200, dtype=np.float32)[None]
    assert [layer.kind for layer in read] == ["input", "scale", "clip", "multiply"]
    np.testing.assert_array_equal(run_onnx(graph_to_onnx(read), x), run_onnx(proto, x))


def test_a_neutral_file_of_another_version_is_refused() -> None:
    proto = graph_to_onnx(Builder("tiny", (3,)).graph())
    proto.metadata_props[0].value = "99"
    with pytest.raises(ModelSourceError, match="format '99', expected '1'"):
        onnx_to_graph(proto, "tiny")


def test_a_neutral_file_that_another_tool_rewrote_is_refused() -> None:
    proto = graph_to_onnx(Builder("tiny", (3,)).graph())
    del proto.graph.node[0].metadata_props[:]
    with pytest.raises(ModelSourceError, match=r"node 'input' \(Identity\) has no .* metadata"):
        onnx_to_graph(proto, "tiny")


def test_a_neutral_file_that_lost_a_weight_is_refused() -> None:
    builder = Builder("tiny", (1,))
    builder.add("dense", "dense", weights={"kernel": np.ones((1, 1))})
    proto = graph_to_onnx(builder.graph())
    del proto.graph.initializer[:]
    with pytest.raises(ModelSourceError, match=r"weight dense\.kernel is missing"):
        onnx_to_graph(proto, "tiny")
