"""A user's function as a backend: what it is given, what of it is judged, and what it cannot change."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from harness.errors import InvalidInputError
from harness.methods import method
from ported_impls.adapters import backend_from_function
from ported_impls.backend import TorchBackend
from ported_models.build import Builder
from ported_models.model import PortedModel
from tests.models.graphs import branching_graph, random_input
from tests.prepared import ready

GRAPH = branching_graph(np.random.default_rng(11))
X = random_input(GRAPH, np.random.default_rng(12))


def gradient(twin, x, target, method):
    x.requires_grad_()
    twin(x).gather(1, target[:, None]).sum().backward()
    return x.grad


def run_of(function, framework="torch", layers=None, asked="gradient", **options):
    model = PortedModel.from_graph(GRAPH)
    backend = backend_from_function("mine", function, framework, layers=layers)
    return ready(backend, model, "float64").explain(X, method(asked), **options)


def port_of(asked):
    return ready(TorchBackend(), PortedModel.from_graph(GRAPH), "float64").explain(X, method(asked))


def test_by_default_no_layer_is_recorded():
    trace = run_of(gradient)
    assert trace.layers == {}
    np.testing.assert_array_equal(trace.attribution, port_of("gradient").attribution)
    assert "layers" not in trace.provenance


def test_layers_gradient_shows_the_gradient_at_each_layer():
    trace, expected = run_of(gradient, layers="gradient"), port_of("gradient")
    np.testing.assert_array_equal(trace.attribution, expected.attribution)
    np.testing.assert_array_equal(trace.logits, expected.logits)
    assert trace.layers.keys() == expected.layers.keys()
    for name, layer in expected.layers.items():
        np.testing.assert_array_equal(trace.layers[name].activation, layer.activation, name)
        np.testing.assert_array_equal(trace.layers[name].relevance, layer.relevance, name)


def times_input(twin, x, target, method):
    return x.detach() * gradient(twin, x, target, method)


def dense_model() -> PortedModel:
    """x = (1, 2): body (2 + 1, -2) = (3, -2), and the logit 3 + 5 (-2) = -7."""
    b = Builder("dense", (2,))
    b.add("dense", "body", weights={"kernel": np.array([[2.0, 0], [0, -1]]), "bias": np.array([1.0, 0])})
    b.add("dense", "head", weights={"kernel": np.array([[1.0], [5]])})
    return PortedModel.from_graph(b.graph())


def test_layers_gradient_times_activation_shows_that():
    """By hand: gradients (1, 5) at the body and (2, -5) at the input; times (3, -2) and (1, 2)."""
    backend = backend_from_function("mine", times_input, "torch", layers="gradient*activation")
    trace = ready(backend, dense_model(), "float64").explain(np.array([[1.0, 2.0]]), method("lrp.z"))
    assert trace.attribution.tolist() == [[2, -10]]
    assert {name: layer.relevance.tolist() for name, layer in trace.layers.items()} == {
        "input": [[2, -10]],
        "body": [[3, -10]],
        "head": [[-7]],
    }


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


def gradient_elsewhere(twin, x, target, method):
    return gradient(twin, (2 * x).detach(), target, method)


def gradient_of_twice_the_batch(twin, x, target, method):
    return gradient(twin, torch.cat([x, x]), torch.cat([target, target]), method)[: len(x)]


def no_gradient(twin, x, target, method):
    return x


def scaled_afterwards(twin, x, target, method):
    return 3 * gradient(twin, x, target, method)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (gradient_of_two_runs, "ran the network 2 times with gradients"),
        (gradient_of_one_of_two_runs, "ran the network 2 times with gradients"),
        (two_gradients_of_one_run, "went back through layer '.*' 2 times"),
        (gradient_elsewhere, "on another batch than the input"),
        (gradient_of_twice_the_batch, "on another batch than the input"),
        (no_gradient, "did not run the network with gradients"),
        (scaled_afterwards, "the attribution is not what the method makes of them at the input"),
    ],
)
def test_layers_are_used_only_of_one_run_on_the_very_batch_that_accounts_for_the_attribution(
    function, reason
):
    trace = run_of(function, layers="gradient")
    assert trace.layers == {}
    assert re.match(f"layers='gradient' not used: .*{reason}", trace.provenance["layers"])
    assert np.any(trace.attribution)


def test_a_run_without_a_way_back_is_none_of_the_runs_that_count():
    shown = run_of(forward_without_gradient_first, layers="gradient").layers
    assert shown and all(layer.relevance is not None for layer in shown.values())


@pytest.mark.parametrize("layers", ["gradients", "", True, ["gradient"]])
def test_other_layers_are_refused_in_one_line(layers):
    with pytest.raises(InvalidInputError, match=r"^mine: layers must be 'gradient', 'gradi") as raised:
        backend_from_function("mine", gradient, "torch", layers=layers)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("framework", ["numpy", "tensorflow", "keras"])
def test_autograds_layers_are_torchs(framework):
    with pytest.raises(InvalidInputError, match="layers='gradient' is what autograd shows in torch"):
        backend_from_function("mine", gradient, framework, layers="gradient")


def test_a_function_gets_its_input_in_the_layout_of_the_twin():
    seen = {}

    def look(twin, x, target, method):
        seen.update(shape=tuple(x.shape), dtype=x.dtype, target=target.tolist())
        return x

    prepared = ready(backend_from_function("mine", look, "torch"), PortedModel.from_graph(GRAPH), "float32")
    trace = prepared.explain(X.astype("float32"), method("lrp.z"), np.array([1, 0]), layers=False)
    batch, height, width, channels = X.shape
    assert seen == {"shape": (batch, channels, height, width), "dtype": torch.float32, "target": [1, 0]}
    np.testing.assert_array_equal(trace.attribution, X.astype("float32"))


def test_a_numpy_function_gets_the_graph_and_resolved_targets():
    def function(graph, x, target, method):
        assert graph is GRAPH
        return x * target.reshape(-1, 1, 1, 1)

    trace = run_of(function, "numpy", asked="lrp.z")
    assert trace.target.tolist() == trace.logits.argmax(axis=1).tolist()
    np.testing.assert_array_equal(trace.attribution, X * trace.target.reshape(-1, 1, 1, 1))


def keras_gradient(twin, x, target, method):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        chosen = tf.gather(twin(x), target, batch_dims=1)
    return tape.gradient(chosen, x)


@pytest.mark.tensorflow
def test_a_tensorflow_function_gets_the_keras_twin():
    trace, expected = run_of(keras_gradient, "tensorflow"), port_of("gradient")
    # Two frameworks, float64: sums of at most some hundred terms.
    largest = np.abs(expected.attribution).max()
    assert np.abs(trace.attribution - expected.attribution).max() <= 1000 * 2**-52 * largest
    assert trace.layers == {}


# --- an attribution and layers ---------------------------------------------------------------------------


FRAMEWORKS = ["torch", "numpy", pytest.param("tensorflow", marks=pytest.mark.tensorflow)]
LAST = GRAPH.output


def with_layers(given):
    """The input as attribution, and ``given``."""
    return lambda twin, x, target, method: (x, given)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_layers_that_are_returned_are_shown_as_they_are(framework):
    relevance = {layer.name: np.random.default_rng(5).random((len(X), *layer.shape)) for layer in GRAPH}
    del relevance[LAST]
    trace = run_of(with_layers(relevance), framework)
    assert trace.layers[LAST].relevance is None
    for name, array in relevance.items():
        np.testing.assert_array_equal(trace.layers[name].relevance, array)
    expected = port_of("gradient").layers
    for name, layer in trace.layers.items():
        np.testing.assert_allclose(layer.activation, expected[name].activation, rtol=1e-12, atol=1e-14)
    assert run_of(with_layers(relevance), framework, layers=None).layers
    assert run_of(with_layers(relevance), framework).provenance["activations"].startswith("a run of the twin")


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"nowhere": np.zeros(2)}, "the relevance of 'nowhere' was returned, which is no layer of "),
        (
            {LAST: np.zeros((2, 1))},
            rf"the relevance of '{LAST}' has shape \(2, 1\), expected \(2, {GRAPH[LAST].shape[0]}\)",
        ),
        ({LAST: np.full((2, *GRAPH[LAST].shape), np.nan)}, f"layer '{LAST}' with .* NaN or infinite values"),
        ({LAST: None}, f"dtype object for relevance of layer '{LAST}', expected an array of real numbers"),
    ],
)
def test_layers_that_cannot_be_judged_are_an_error_that_names_them(framework, given, said):
    with pytest.raises(InvalidInputError, match=f"^mine: .*{said}") as raised:
        run_of(with_layers(given), framework)
    assert "\n" not in str(raised.value)


def test_relevance_that_is_channels_first_is_told_so():
    layer = next(each for each in GRAPH if len(each.shape) == 3 and len(set(each.shape)) > 1)
    first = np.zeros((len(X), layer.shape[-1], *layer.shape[:-1]))
    with pytest.raises(InvalidInputError, match="channels-first"):
        run_of(with_layers({layer.name: first}))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_attribution_of_another_shape_is_an_error_that_names_both(framework):
    with pytest.raises(InvalidInputError, match=r"mine: .*shape \(1, .*expected .*\(2, "):
        run_of(lambda twin, x, target, method: x[:1], framework)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (None, "NoneType of dtype object for an attribution"),
        ("heat", "str of dtype .* for an attribution"),
        ((np.zeros(2),), r"a tuple \(ndarray\), expected the attribution alone or \(attribution, "),
        ((np.zeros(2), [1]), r"a tuple \(ndarray, list\), expected"),
    ],
)
def test_what_is_no_attribution_is_an_error_in_one_line(result, said):
    for framework in ("torch", "numpy"):
        with pytest.raises(InvalidInputError, match=f"^mine: the function returned {said}") as raised:
            run_of(lambda twin, x, target, method: result, framework)
        assert "\n" not in str(raised.value)
