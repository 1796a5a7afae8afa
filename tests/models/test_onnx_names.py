"""Canonical names from the node names of exporters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest

from ported_models.onnx import onnx_to_graph
from tests.models.onnx_runs import exported, node, whole_numbers


def names(nodes: Sequence[onnx.NodeProto], constants: dict[str, np.ndarray] | None = None) -> list[str]:
    graph = onnx_to_graph(exported(nodes, ["n", 2], constants), "read")
    return [layer.name for layer in graph]


def chain(*steps: tuple[str, str]) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """Nodes in a row, (operator, name) each; a MatMul gets its own weights."""
    nodes, constants = [], {}
    for number, (operator, name) in enumerate(steps):
        source, target = f"t{number}" if number else "x", f"t{number + 1}" if number + 1 < len(steps) else "y"
        if operator == "MatMul":
            constants[f"w{number}"] = whole_numbers(number, 2, 2)
        weights = f" w{number}" if operator == "MatMul" else ""
        nodes.append(node(operator, source + weights, target, name))
    return nodes, constants


NAMED = {
    "keras-3-through-tf2onnx": (
        [
            ("MatMul", "functional_1/dense_1/MatMul"),
            ("Relu", "functional_1/dense_1/Relu"),
            ("MatMul", "functional_1/dense_1_2/MatMul"),
            ("Tanh", "functional_1/dense_1_2/Tanh"),
        ],
        ["x", "dense", "dense_relu", "dense_1", "dense_1_tanh"],
    ),
    "keras-2-through-tf2onnx": (
        [
            ("MatMul", "StatefulPartitionedCall/model/dense/MatMul"),
            ("Relu", "StatefulPartitionedCall/model/dense/Relu"),
            ("MatMul", "StatefulPartitionedCall/model/dense_1/MatMul"),
        ],
        ["x", "dense", "dense_relu", "dense_1"],
    ),
    "numbers-that-are-the-users-own": (
        [("MatMul", "model_1/dense_1/MatMul"), ("MatMul", "model_1/dense_2/MatMul")],
        ["x", "dense_1", "dense_2"],
    ),
    "torch": (
        [
            ("MatMul", "/features/features.0/MatMul"),
            ("Relu", "/features/features.1/Relu"),
            ("MatMul", "/layer1/layer1.0/fc/MatMul"),
            ("Relu", "/layer1/layer1.0/act/Relu"),
            ("Tanh", "/layer1/layer1.0/Tanh"),
            ("Tanh", "/Tanh"),
            ("Tanh", "/Tanh_1"),
        ],
        [
            "x",
            "features_0",
            "features_1",
            "layer1_0_fc",
            "layer1_0_act",
            "layer1_0_tanh",
            "tanh",
            "tanh_2",
        ],
    ),
    "no-names": ([("Relu", ""), ("Tanh", ""), ("Relu", "")], ["x", "relu", "tanh", "relu_2"]),
}


@pytest.mark.parametrize("exporter", NAMED)
def test_layers_get_the_names_they_had_before_the_export(exporter: str) -> None:
    steps, expected = NAMED[exporter]
    assert names(*chain(*steps)) == expected


def test_a_node_without_scopes_is_named_after_its_weights() -> None:
    nodes = [node("MatMul", "x classifier.1.weight", "h", "MatMul_0"), node("Relu", "h", "y", "Relu_1")]
    assert names(nodes, {"classifier.1.weight": whole_numbers(0, 2, 2)}) == ["x", "classifier_1", "relu"]


def test_a_batch_norm_that_tensorflow_took_apart_keeps_its_name() -> None:
    nodes = [
        node("MatMul", "x w", "h", "model/fc/MatMul"),
        node("Mul", "h a", "m", "model/norm/batchnorm/mul_1"),
        node("Add", "m b", "y", "model/norm/batchnorm/add_1"),
    ]
    constants = {"w": whole_numbers(0, 2, 2), "a": whole_numbers(1, 2), "b": whole_numbers(2, 2)}
    assert names(nodes, constants) == ["x", "fc", "norm"]


def test_the_arithmetic_of_a_shape_does_not_show_in_a_layers_name() -> None:
    nodes = [
        node("Shape", "x", "s", "model/flat/Reshape/Shape"),
        node("Reshape", "x s", "r", "model/flat/Reshape"),
        node("Relu", "r", "h", "model/flat/Relu"),
        node("Tanh", "h", "y", "model/act/Tanh"),
    ]
    assert names(nodes) == ["x", "flat", "act"]


def test_names_hold_no_dot_slash_or_colon_and_are_distinct() -> None:
    nodes = [
        node("Relu", "x", "h", "a.b/c:0/Relu"),
        node("Relu", "h", "i", "a/b.c/Relu"),
        node("Relu", "i", "y", "a/b/c/Relu"),
    ]
    found = names(nodes)
    assert len(set(found)) == len(found)
    assert not set(".:/") & set("".join(found))
