"""What the twins promise to those who hook into them, and that they compute the network that was ported."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import torch

from harness.errors import HarnessError
from harness.graph import Graph
from ported_models.build import Builder
from ported_models.model import PortedModel
from ported_models.twins import keras_twin, torch_twin
from ported_models.twins.forward import (
    keras_activations,
    keras_logits,
    relative_difference,
    torch_activations,
)
from ported_models.twins.layout import to_canonical, to_internal
from tests.models.graphs import branching_graph, random_input, single_layer_graph
from tests.models.onnx_runs import assert_twins_agree


def float32_weights(graph: Graph) -> Graph:
    """The graph as files hold it."""
    layers = tuple(
        replace(layer, weights={key: array.astype(np.float32) for key, array in layer.weights.items()})
        for layer in graph
    )
    return replace(graph, layers=layers)


@pytest.fixture
def graph() -> Graph:
    return float32_weights(branching_graph(np.random.default_rng(3)))


@pytest.fixture
def x(graph: Graph) -> np.ndarray:
    return random_input(graph, np.random.default_rng(4))


def moved(graph: Graph, name: str, factor: float) -> Graph:
    """The graph with the kernel of one layer scaled."""
    layers = tuple(
        replace(layer, weights={**layer.weights, "kernel": layer.weights["kernel"] * np.float32(factor)})
        if layer.name == name
        else layer
        for layer in graph
    )
    return replace(graph, layers=layers)


def test_each_layer_is_one_keras_layer_and_one_torch_module_of_its_name(graph: Graph) -> None:
    names = [layer.name for layer in graph]
    assert sorted(layer.name for layer in keras_twin.build(graph).layers) == sorted(names)
    assert [name for name, _ in torch_twin.build(graph).named_children()] == names


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_twin_computes_in_its_dtype_throughout(graph: Graph, x: np.ndarray, dtype: str) -> None:
    for found in (
        keras_activations(keras_twin.build(graph, dtype), graph, x),
        torch_activations(torch_twin.build(graph, dtype), graph, x),
    ):
        assert {str(array.dtype) for array in found.values()} == {dtype}
        assert {name: array.shape[1:] for name, array in found.items()} == {
            layer.name: layer.shape for layer in graph
        }


def test_torch_modules_run_once_in_order_with_their_inputs_untouched(graph: Graph, x: np.ndarray) -> None:
    twin = torch_twin.build(graph, "float64")
    outputs: dict[str, torch.Tensor] = {}
    copies: dict[str, torch.Tensor] = {}
    calls: list[tuple[str, tuple[torch.Tensor, ...]]] = []

    def watch(name: str) -> Any:
        def hook(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            calls.append((name, inputs))
            outputs[name], copies[name] = output, output.clone()

        return hook

    for name, module in twin.named_children():
        module.register_forward_hook(watch(name))
    twin(torch.tensor(to_internal(x)))

    assert [name for name, _ in calls] == [layer.name for layer in graph]
    for name, inputs in calls[1:]:
        assert [id(tensor) for tensor in inputs] == [id(outputs[source]) for source in graph[name].inputs]
    assert all(torch.equal(outputs[name], copies[name]) for name in outputs)


def test_the_torch_twin_lets_go_of_what_no_later_layer_reads() -> None:
    b = Builder("net", (2,))
    b.add("relu", "first")
    b.add("tanh", "second")
    b.add("add", "sum", ["first", "second"])
    b.add("relu", "last")
    twin = torch_twin.build(b.graph())
    made: dict[str, weakref.ref[torch.Tensor]] = {}
    alive: dict[str, list[str]] = {}

    def look(name: str, output: torch.Tensor) -> None:
        alive[name] = [other for other, tensor in made.items() if tensor() is not None and other != "input"]
        made[name] = weakref.ref(output)

    for layer in twin.graph:
        module = twin.get_submodule(layer.name)
        module.register_forward_hook(lambda _, inputs, output, name=layer.name: look(name, output))
    with torch.no_grad():
        twin(torch.ones(1, 2))
    # What the running layer reads, and what a later one will read.
    assert alive["sum"] == ["first", "second"]
    assert alive["last"] == ["sum"]


def test_the_torch_twin_is_frozen_and_in_evaluation_mode(graph: Graph) -> None:
    twin = torch_twin.build(graph)
    assert not any(module.training for module in twin.modules())
    assert not any(parameter.requires_grad for parameter in twin.parameters())


def test_the_keras_twin_survives_a_file_without_running_code(tmp_path: Any) -> None:
    b = Builder("saved", (7, 3))
    rng = np.random.default_rng(0)
    b.add(
        "conv1d", "conv", attributes={"padding": ((2, 0),), "strides": (2,), "dilations": (2,), "groups": 3},
        weights={"kernel": rng.standard_normal((2, 1, 6))},
    )  # fmt: skip
    b.add("average_pool1d", "pool", attributes={"pool_size": (2,), "padding": ((0, 1),)})
    b.add(
        "conv_transpose1d", "up", attributes={"padding": ((1, 0),), "strides": (2,)},
        weights={"kernel": rng.standard_normal((3, 6, 2))},
    )  # fmt: skip
    b.add("gelu", "gelu", attributes={"approximate": "tanh"})
    b.add("upsample", "wide", attributes={"size": (2,), "interpolation": "bilinear"})
    b.add("flatten", "logits", attributes={"order": "channels_first"})
    twin = keras_twin.build(b.graph(), "float64")
    twin.save(tmp_path / "twin.keras")
    again = keras.models.load_model(tmp_path / "twin.keras", safe_mode=True)
    x = rng.standard_normal((2, 7, 3))
    np.testing.assert_array_equal(keras_logits(again, x), keras_logits(twin, x))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["matmul", "grid_sample", "rms_norm"])
def test_layers_of_its_own_come_back_from_a_file_as_they_were(kind: str, seed: int, tmp_path: Any) -> None:
    rng = np.random.default_rng(seed)
    graph = single_layer_graph(kind, rng)
    twin = keras_twin.build(graph, "float64")
    twin.save(tmp_path / "twin.keras")
    again = keras.models.load_model(tmp_path / "twin.keras", safe_mode=True)
    x = random_input(graph, rng)
    np.testing.assert_array_equal(keras_logits(again, x), keras_logits(twin, x))
    assert keras_logits(keras_twin.build(graph, "float32"), x.astype(np.float32)).dtype == np.float32


def test_layers_may_have_names_that_torch_modules_use() -> None:
    b = Builder("net", (2,))
    for name in ("type", "graph", "forward", "dtype"):
        b.add("relu", name)
    twin = torch_twin.build(b.graph())
    assert twin(torch.tensor([[-1.0, 2.0]])).tolist() == [[0, 2]]
    assert isinstance(dict(twin.named_modules())["forward"], torch.nn.ReLU)


def test_an_input_of_another_shape_is_an_error_that_names_the_layer(graph: Graph) -> None:
    height, width, channels = graph.input.shape
    with pytest.raises(HarnessError, match=r"layer 'input' \(input\) has shape .* the graph says"):
        torch_twin.build(graph)(torch.zeros(1, height, width, channels))


@pytest.mark.parametrize("shape", [(2, 3), (2, 4, 3), (2, 4, 5, 3), (2, 4, 5, 6, 3)])
def test_the_internal_layout_has_channels_at_axis_one_and_comes_back(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    assert to_internal(array).shape == (2, 3, *shape[1:-1])
    np.testing.assert_array_equal(to_canonical(to_internal(array)), array)


def test_the_twins_and_onnx_runtime_compute_the_same_network(graph: Graph, x: np.ndarray) -> None:
    assert_twins_agree(PortedModel.from_graph(graph), x)


def test_a_layer_that_one_twin_computes_otherwise_is_named(graph: Graph, x: np.ndarray) -> None:
    class OtherTorch(PortedModel):
        def torch(self, dtype: str = "float32") -> Any:
            return torch_twin.build(moved(moved(self.graph, "block", 1 + 1e-6), "logits", 2), dtype)

    with pytest.raises(AssertionError, match="block"):
        assert_twins_agree(OtherTorch.from_graph(graph), x)


def test_twins_that_agree_with_each_other_but_not_with_onnx_runtime_fail(graph: Graph, x: np.ndarray) -> None:
    class OtherFile(PortedModel):
        @property
        def onnx(self) -> Any:
            return PortedModel.from_graph(moved(self.graph, "logits", 1.001)).onnx

    with pytest.raises(AssertionError, match="Keras"):
        assert_twins_agree(OtherFile.from_graph(graph), x)


def test_relative_difference_is_l2_over_l2_of_the_reference() -> None:
    assert relative_difference(np.array([3.0, 8.0]), np.array([3.0, 4.0])) == 4 / 5
    assert relative_difference(np.zeros(2), np.zeros(2)) == 0
    assert relative_difference(np.ones(2), np.zeros(2)) == np.inf
    assert np.isnan(relative_difference(np.array([np.nan]), np.ones(1)))
