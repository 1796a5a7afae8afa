"""Backends made of a Zennit composite or of a function that returns an attribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.errors import InvalidInputError
from harness.methods import method
from ported_impls.adapters import backend_from_composite, backend_from_function
from ported_impls.backend import TorchBackend
from ported_impls.torchvision_shim import zennit
from ported_models.build import Builder
from ported_models.model import PortedModel
from tests.models.graphs import branching_graph, random_input

GRAPH = branching_graph(np.random.default_rng(11))
X = random_input(GRAPH, np.random.default_rng(12))


def gradient(twin, x, target, method):
    x.requires_grad_()
    twin(x).gather(1, target[:, None]).sum().backward()
    return x.grad


def dense_model() -> PortedModel:
    """x = (1, 2) has z = (2, -2) + (1, 0) and through the second layer the logit 3 - 2 = 1."""
    b = Builder("dense", (2,))
    b.add("dense", "body", weights={"kernel": np.array([[2.0, 0], [0, -1]]), "bias": np.array([1.0, 0])})
    b.add("dense", "head", weights={"kernel": np.array([[1.0], [1]])})
    return PortedModel.from_graph(b.graph())


def epsilon_composite(model, method):
    assert model.graph.output == "head"
    return zennit.core.Composite(
        module_map=lambda context, name, module: (
            zennit.rules.Epsilon(epsilon=1.0) if name in ("body", "head") else None
        )
    )


def test_a_composite_is_run_and_recorded_layer_by_layer():
    prepared = backend_from_composite("mine", epsilon_composite).prepare(dense_model(), "float64")
    trace = prepared.explain(np.array([[1.0, 2]]), method("gradient"))
    # head: S = 1 + 1, R = (3, -2) / 2; body: S = (3 + 1, -2 - 1), R = (1*2 * 1.5/4, 2*-1 * -1/-3).
    assert trace.backend == trace.provenance["backend"] == "mine"
    assert trace.layers["head"].relevance.tolist() == [[1]]
    assert trace.layers["body"].relevance.tolist() == [[1.5, -1]]
    np.testing.assert_allclose(trace.attribution, [[0.75, -2 / 3]], rtol=4 * 2**-52)


def test_a_composite_has_its_own_step_for_each_layer():
    model = dense_model()
    prepared = backend_from_composite("mine", epsilon_composite).prepare(model, "float64")
    (found,) = prepared.propagate(
        model.graph["body"], (np.array([[1.0, 2]]),), np.array([[1.5, -1]]), method("lrp.z")
    )
    np.testing.assert_allclose(found, [[0.75, -2 / 3]], rtol=4 * 2**-52)


@pytest.mark.parametrize(("head", "start"), [("logit", 7.0), ("one", 1.0), (None, 1.0)])
def test_the_head_of_a_composite_backend_is_its_own_unless_left_to_the_method(head, start):
    b = Builder("line", (1,))
    b.add("dense", "head", weights={"kernel": np.array([[7.0]])})
    backend = backend_from_composite("mine", lambda model, method: zennit.core.Composite(), head=head)
    # The method is the gradient, whose head is one.
    trace = backend.prepare(PortedModel.from_graph(b.graph()), "float64").explain(
        np.ones((1, 1)), method("gradient")
    )
    assert trace.attribution.tolist() == [[start * 7]]


def test_a_torch_function_shows_the_gradient_at_each_layer():
    model = PortedModel.from_graph(GRAPH)
    found = backend_from_function("mine", gradient, "torch").prepare(model, "float64")
    trace = found.explain(X, method("gradient"))
    expected = TorchBackend().prepare(model, "float64").explain(X, method("gradient"))
    np.testing.assert_array_equal(trace.attribution, expected.attribution)
    np.testing.assert_array_equal(trace.logits, expected.logits)
    for name, layer in expected.layers.items():
        np.testing.assert_array_equal(trace.layers[name].activation, layer.activation, name)
        np.testing.assert_array_equal(trace.layers[name].relevance, layer.relevance, name)


def forward_without_gradient_first(twin, x, target, method):
    with torch.no_grad():
        twin(2 * x)
    return gradient(twin, x, target, method)


def gradient_of_two_runs(twin, x, target, method):
    return gradient(twin, x.clone(), target, method) + gradient(twin, x.clone(), target, method)


def gradient_of_one_of_two_runs(twin, x, target, method):
    twin((2 * x).requires_grad_())
    return gradient(twin, x, target, method)


def two_gradients_of_one_run(twin, x, target, method):
    x.requires_grad_()
    logits = twin(x)
    first, second = (torch.autograd.grad(logits[:, i].sum(), x, retain_graph=True)[0] for i in (0, 1))
    return first - second


@pytest.mark.parametrize(
    ("function", "shown"),
    [
        (forward_without_gradient_first, True),
        (gradient_of_two_runs, False),
        (gradient_of_one_of_two_runs, False),
        (two_gradients_of_one_run, False),
    ],
)
def test_relevance_inside_is_shown_only_of_one_run_with_one_gradient(function, shown):
    model = PortedModel.from_graph(GRAPH)
    prepared = backend_from_function("mine", function, "torch").prepare(model, "float64")
    trace = prepared.explain(X, method("gradient"))
    inside = [layer for name, layer in trace.layers.items() if name != "input"]
    assert [layer.relevance is not None for layer in inside] == [shown] * len(inside)
    assert all(layer.activation is not None for layer in inside)
    assert np.any(trace.attribution)


def test_a_torch_function_gets_its_input_in_the_layout_of_the_twin():
    seen = {}

    def look(twin, x, target, method):
        seen.update(shape=tuple(x.shape), dtype=x.dtype, target=target.tolist())
        return x

    prepared = backend_from_function("mine", look, "torch").prepare(PortedModel.from_graph(GRAPH), "float32")
    trace = prepared.explain(X.astype("float32"), method("lrp.z"), np.array([1, 0]), layers=False)
    batch, height, width, channels = X.shape
    assert seen == {"shape": (batch, channels, height, width), "dtype": torch.float32, "target": [1, 0]}
    np.testing.assert_array_equal(trace.attribution, X.astype("float32"))
    assert trace.layers == {}


def test_a_numpy_function_gets_the_graph_and_resolved_targets():
    def function(graph, x, target, method):
        assert graph is GRAPH
        return x * target.reshape(-1, 1, 1, 1)

    model = PortedModel.from_graph(GRAPH)
    trace = (
        backend_from_function("mine", function, "numpy").prepare(model, "float64").explain(X, method("lrp.z"))
    )
    assert trace.target.tolist() == trace.logits.argmax(axis=1).tolist()
    np.testing.assert_array_equal(trace.attribution, X * trace.target.reshape(-1, 1, 1, 1))


@pytest.mark.tensorflow
def test_a_tensorflow_function_gets_the_keras_twin():
    tf = pytest.importorskip("tensorflow")

    def function(twin, x, target, method):
        with tf.GradientTape() as tape:
            tape.watch(x)
            chosen = tf.gather(twin(x), target, batch_dims=1)
        return tape.gradient(chosen, x)

    model = PortedModel.from_graph(GRAPH)
    trace = (
        backend_from_function("mine", function, "tensorflow")
        .prepare(model, "float64")
        .explain(X, method("gradient"))
    )
    expected = TorchBackend().prepare(model, "float64").explain(X, method("gradient"))
    # Two frameworks, float64: sums of at most some hundred terms.
    largest = np.abs(expected.attribution).max()
    assert np.abs(trace.attribution - expected.attribution).max() <= 1000 * 2**-52 * largest
    assert trace.layers == {}


@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_an_attribution_of_another_shape_is_an_error_that_names_both(framework):
    backend = backend_from_function("mine", lambda twin, x, target, method: x[:1], framework)
    with pytest.raises(InvalidInputError, match=r"mine: .*shape \(1, .*expected .*\(2, "):
        backend.prepare(PortedModel.from_graph(GRAPH), "float64").explain(X, method("gradient"))
