"""Whole runs: what starts at the output, what reaches each layer, what is recorded of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from harness.errors import InvalidInputError
from harness.files import array_digest
from harness.methods import SUITE_METHODS, method
from ported_impls.backend import TorchBackend
from ported_models.build import Builder
from ported_models.model import PortedModel
from tests.models.graphs import branching_graph, random_input
from tests.prepared import ready


def residual_model() -> PortedModel:
    """Two values through a dense layer and a ReLU, added to themselves, and a dense head with two logits.

    For x = (1, 2): body (1 + 1, -2) = (2, -2), ReLU (2, 0), sum (3, 2), logits (3 + 2, 6 - 2) = (5, 4).
    """
    b = Builder("residual", (2,))
    b.add("dense", "body", weights={"kernel": np.array([[1.0, 0], [0, -1]]), "bias": np.array([1.0, 0])})
    b.add("relu", "body_relu")
    b.add("add", "sum", ["body_relu", "input"])
    b.add("dense", "head", weights={"kernel": np.array([[1.0, 2], [1, -1]])})
    return PortedModel.from_graph(b.graph())


def relevances(trace):
    return {name: layer.relevance.tolist() for name, layer in trace.layers.items()}


def test_residual_network_under_lrp_z_layer_by_layer():
    trace = ready(TorchBackend(), residual_model(), "float64").explain(np.array([[1.0, 2]]), method("lrp.z"))
    # head: s = 5/5, W s = (1, 1). sum: s = (1, 1). body: s = (2/2, 0/-2), the bias keeps 1 of 2.
    # The input gets (1, 0) through the body and (1, 2) past it.
    assert trace.target.tolist() == [0]
    assert trace.logits.tolist() == [[5, 4]]
    assert relevances(trace) == {
        "input": [[2, 2]],
        "body": [[2, 0]],
        "body_relu": [[2, 0]],
        "sum": [[3, 2]],
        "head": [[5, 0]],
    }
    assert trace.attribution.tolist() == [[2, 2]]
    assert trace.layers["body"].activation.tolist() == [[2, -2]]
    assert trace.layers["input"].activation.tolist() == [[1, 2]]


def test_each_sample_of_a_batch_has_its_own_target():
    x = np.array([[1.0, 2], [1, 2]])
    prepared = ready(TorchBackend(), residual_model(), "float64")
    trace = prepared.explain(x, method("lrp.z"), np.array([0, 1]))
    # Second sample: W s = (2, -1), sum gets (6, -2), s = (2, -1); body s = (4/2, 0).
    assert trace.layers["head"].relevance.tolist() == [[5, 0], [0, 4]]
    assert trace.layers["sum"].relevance.tolist() == [[3, 2], [6, -2]]
    assert trace.attribution.tolist() == [[2, 2], [1 * 2 + 2, -2]]


def test_gradient_starts_with_one_and_times_input_is_applied_after_the_trace_of_the_input():
    prepared = ready(TorchBackend(), residual_model(), "float64")
    trace = prepared.explain(np.array([[1.0, 2]]), method("input_t_gradient"))
    assert relevances(trace) == {
        "input": [[2, 1]],
        "body": [[1, 0]],
        "body_relu": [[1, 1]],
        "sum": [[1, 1]],
        "head": [[1, 0]],
    }
    assert trace.attribution.tolist() == [[2 * 1, 1 * 2]]


def test_a_layer_behind_the_output_has_relevance_zero():
    b = Builder("tail", (2,))
    b.add("dense", "head", weights={"kernel": np.eye(2)})
    b.add("relu", "tail")
    model = PortedModel.from_graph(dataclasses.replace(b.graph(), output="head"))
    trace = ready(TorchBackend(), model, "float64").explain(np.array([[1.0, 2]]), method("lrp.z"))
    assert relevances(trace) == {"input": [[0, 2]], "head": [[0, 2]], "tail": [[0, 0]]}


def test_a_layer_that_returns_its_input_is_told_from_the_layer_before():
    b = Builder("dropout", (2,))
    b.add("relu", "first")
    b.add("dropout", "kept")
    b.add("add", "sum", ["first", "kept"])
    prepared = ready(TorchBackend(), PortedModel.from_graph(b.graph()))
    trace = prepared.explain(np.array([[1.0, 2]]), method("gradient"))
    # The sum is read twice from the same values: once past "kept" and once through it.
    assert relevances(trace) == {"input": [[0, 2]], "first": [[0, 2]], "kept": [[0, 1]], "sum": [[0, 1]]}


def test_a_network_that_its_input_does_not_reach_gets_zeros():
    b = Builder("closed", (2,))
    b.add("dense", "head", weights={"kernel": np.zeros((2, 2)), "bias": np.array([1.0, 3])})
    prepared = ready(TorchBackend(), PortedModel.from_graph(b.graph()))
    trace = prepared.explain(np.array([[1.0, 2]]), method("lrp.alpha_1_beta_0"))
    assert trace.attribution.tolist() == [[0, 0]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_images_are_recorded_channels_last_in_the_dtype_of_the_run(dtype):
    graph = branching_graph(np.random.default_rng(7))
    x = random_input(graph, np.random.default_rng(8)).astype(dtype)
    trace = ready(TorchBackend(), PortedModel.from_graph(graph), dtype).explain(
        x, method("lrp.alpha_2_beta_1")
    )
    assert list(trace.layers) == [layer.name for layer in graph]
    for layer in graph:
        recorded = trace.layers[layer.name]
        assert recorded.activation.shape == recorded.relevance.shape == (2, *layer.shape)
        assert recorded.activation.dtype == recorded.relevance.dtype == np.dtype(dtype)
        assert (recorded.kind, recorded.axes) == (layer.kind, layer.axes)
    assert trace.attribution.dtype == np.dtype(dtype)


#: Beside the suite: each rule that the suite has not, in a method that uses it on a branching network.
OTHER_RULES = (
    "lrp.z_plus_fast",
    "lrp.z:bn_layer_fuse_mode=two_linear",
    "lrp.sequential_preset_a",
    "lrp_epsilon_0_25_std_x",
    "lrpsign_z",
    "lrp.gamma",
    "lrp.0",
    "epsilon_alpha2_beta1_flat",
    "excitation_backprop",
    "guided_backprop:dialect=zennit",
    "deconvnet:dialect=zennit",
)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", (*SUITE_METHODS, *OTHER_RULES))
def test_each_step_of_a_run_is_what_the_layer_does_alone(name, seed):
    graph = branching_graph(np.random.default_rng(seed))
    x = random_input(graph, np.random.default_rng(seed + 10))
    prepared = ready(TorchBackend(), PortedModel.from_graph(graph), "float64")
    trace = prepared.explain(x, method(name))
    arrived = {layer.name: np.zeros((len(x), *layer.shape)) for layer in graph}
    arrived[graph.output] = trace.layers[graph.output].relevance
    for layer in reversed(graph.layers[1:]):
        inputs = tuple(trace.layers[source].activation for source in layer.inputs)
        received = prepared.step(layer, inputs, trace.layers[layer.name].relevance, method(name))
        for source, relevance in zip(layer.inputs, received, strict=True):
            arrived[source] = arrived[source] + relevance
    # The same calls on the same numbers, but on gradients whose axes lie otherwise in memory, so that sums
    # (over fewer than 100 values in this network) are taken in another order.
    largest = max(np.abs(layer.relevance).max() for layer in trace.layers.values())
    for layer in graph:
        difference = np.abs(trace.layers[layer.name].relevance - arrived[layer.name]).max()
        assert difference <= 100 * 2**-52 * largest, layer.name
    assert np.any(trace.attribution)


def test_a_run_leaves_the_twin_as_it_was():
    graph = branching_graph(np.random.default_rng(3))
    model = PortedModel.from_graph(graph)
    x = random_input(graph, np.random.default_rng(4))
    twin = model.torch("float64")
    before = {name: tensor.clone() for name, tensor in twin.state_dict().items()}
    hooks = [(*module._forward_hooks, *module._forward_pre_hooks) for module in twin.modules()]
    prepared = ready(TorchBackend(), model, "float64")
    first = prepared.explain(x, method("gradient"))
    for name in SUITE_METHODS:
        prepared.explain(x, method(name), layers=False)
    assert all(tensor.equal(before[name]) for name, tensor in twin.state_dict().items())
    assert [(*module._forward_hooks, *module._forward_pre_hooks) for module in twin.modules()] == hooks
    np.testing.assert_array_equal(prepared.explain(x, method("gradient")).attribution, first.attribution)


def test_without_layers_the_attribution_is_the_same():
    graph = branching_graph(np.random.default_rng(5))
    x = random_input(graph, np.random.default_rng(6))
    prepared = ready(TorchBackend(), PortedModel.from_graph(graph), "float64")
    short, full = (prepared.explain(x, method("lrp.z"), layers=layers) for layers in (False, True))
    assert short.layers == {}
    np.testing.assert_array_equal(short.attribution, full.attribution)


def test_provenance_names_what_the_numbers_depend_on():
    x = np.array([[1.0, 2]])
    model = residual_model()
    trace = ready(TorchBackend(), model, "float64").explain(x, method("lrp.z"))
    assert trace.provenance == {
        "backend": "torch",
        "versions": TorchBackend().version(),
        "model_digest": model.digest,
        "dtype": "float64",
        "device": "cpu",
        "input_digest": array_digest(x),
    }


def test_an_output_that_has_no_classes():
    b = Builder("image", (3, 2))
    b.add("relu", "out")
    prepared = ready(TorchBackend(), PortedModel.from_graph(b.graph()), "float64")
    with pytest.raises(InvalidInputError, match=r"shape \(batch, .*expected \(batch, classes\)"):
        prepared.explain(np.ones((1, 3, 2)), method("gradient"))
