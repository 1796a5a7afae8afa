"""Keras 2 models of every kind of layer, in a peer's interpreter, against the NumPy oracle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reference_impls.peers
from harness.backends.worker import Worker
from harness.errors import PeerError, UnsupportedLayerError
from harness.graph import Graph
from harness.peers import python_of
from ported_models.build import Builder
from reference_impls.oracle.derivative import vjp
from reference_impls.oracle.forward import activations
from reference_impls.peers.graph_json import NOT_IN_KERAS_2, graph_payload, graph_weights, require_peer_kinds
from tests.models.graphs import LAYER_KINDS, branching_graph, random_input, single_layer_graph
from tests.peers.library import needs

pytestmark = [pytest.mark.peer, pytest.mark.thinned(0.4)]
_FOLDER = str(Path(reference_impls.peers.__file__).parent)

#: Each draws other attributes: strides, dilations, groups, paddings, orders.
SEEDS = (0, 1, 2)
#: Roundings on the way to a value: a sum over at most 9 places and 4 channels, factor and addition each.
_OPERATIONS = 2 * 9 * 4


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    needs("innvestigate")
    adapter = Path(__file__).with_name("keras2_side.py")
    with Worker("keras 2", python_of("innvestigate"), adapter) as worker:
        yield worker


def _asked(
    worker: Worker,
    graph: Graph,
    x: np.ndarray,
    s: np.ndarray,
    dtype: str = "float64",
    form: str = "activation",
    prefix: str = "",
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    arrays = {"x": x.astype(dtype), "s": s.astype(dtype)}
    arrays |= {f"weight/{name}": array.astype(dtype) for name, array in graph_weights(graph).items()}
    payload = {
        "folder": _FOLDER,
        "graph": graph_payload(graph),
        "dtype": dtype,
        "form": form,
        "prefix": prefix,
    }
    return worker.request("forward", payload, arrays)


def _gradient(graph: Graph, outputs: dict[str, np.ndarray], s: np.ndarray) -> np.ndarray:
    reached = {graph.output: s}
    for layer in reversed(graph.layers[1:]):
        if layer.name in reached:
            inputs = tuple(outputs[name] for name in layer.inputs)
            for source, share in zip(layer.inputs, vjp(layer, inputs, reached[layer.name]), strict=True):
                reached[source] = reached.get(source, 0) + share
    return reached[graph.input.name]


def _distance(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), np.finfo(float).tiny))


def _condition(graph: Graph, x: np.ndarray) -> float:
    """How much a layer magnifies its input's rounding: layer norm divides by the deviation, twice backward."""
    layer = graph[graph.output]
    if layer.kind != "layer_norm":
        return 1.0
    axes = tuple(range(-layer.attributes["axes_count"], 0))
    variance = x.var(axis=axes) + layer.attributes["epsilon"]
    return float((np.abs(x).max() ** 2 / variance).max())


@pytest.mark.thinned(0.4)
@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("kind", [kind for kind in LAYER_KINDS if kind not in NOT_IN_KERAS_2])
def test_every_kind_computes_and_differentiates_what_the_graph_says(
    worker: Worker, kind: str, dtype: str
) -> None:
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        graph = single_layer_graph(kind, rng)
        x = random_input(graph, rng)
        outputs = activations(graph, x)
        s = rng.standard_normal(outputs[graph.output].shape)
        _, found = _asked(worker, graph, x, s, dtype)
        limit = _condition(graph, x) * _OPERATIONS * np.finfo(dtype).eps
        assert found["gradient"].dtype == found["output/layer"].dtype == dtype
        assert _distance(found["output/layer"], outputs["layer"]) <= limit, (seed, graph["layer"].attributes)
        assert _distance(found["gradient"], _gradient(graph, outputs, s)) <= limit, (
            seed,
            graph["layer"].attributes,
        )


def test_a_kind_without_a_layer_there_is_refused_by_name() -> None:
    graph = single_layer_graph("take", np.random.default_rng(0))
    with pytest.raises(
        UnsupportedLayerError, match=r"peer: layer 'layer' \(take\): the peers have no Keras 2 layer"
    ):
        require_peer_kinds(graph, "peer")


@pytest.mark.parametrize("form", ("activation", "fused", "layers"))
def test_the_three_ways_to_write_activations_are_one_function(worker: Worker, form: str) -> None:
    rng = np.random.default_rng(5)
    graph = branching_graph(rng)
    x = random_input(graph, rng)
    outputs = activations(graph, x)
    s = rng.standard_normal(outputs[graph.output].shape)
    _, found = _asked(worker, graph, x, s, form=form)
    limit = len(graph) * _OPERATIONS * np.finfo("float64").eps
    assert _distance(found[f"output/{graph.output}"], outputs[graph.output]) <= limit


def _small() -> Graph:
    b = Builder("small", (5, 5, 1))
    b.add("conv2d", "conv", attributes={"padding": "same"}, weights={"kernel": np.ones((3, 3, 1, 2))})
    b.add("relu", "conv_relu")
    b.add(
        "conv2d",
        "shifted",
        attributes={"padding": ((2, 0), (0, 2))},
        weights={"kernel": np.ones((3, 3, 2, 2))},
    )
    b.add("leaky_relu", "leaky", attributes={"alpha": 0.1})
    b.add("flatten", "flat", attributes={"order": "channels_first"})
    b.add("dense", "logits", weights={"kernel": np.ones((50, 2))})
    return b.graph()


def _described(worker: Worker, form: str, prefix: str = "") -> dict[str, Any]:
    payload, _ = _asked(worker, _small(), np.ones((1, 5, 5, 1)), np.ones((1, 2)), form=form, prefix=prefix)
    return payload


def test_each_activation_is_a_layer_of_its_own_under_its_canonical_name(worker: Worker) -> None:
    layers = _described(worker, "activation")["layers"]
    assert layers["conv"] == ["Conv2D", "conv"]
    assert layers["conv_relu"] == ["Activation", "conv_relu"]
    assert layers["leaky"] == ["Activation", "leaky"]


def test_fused_means_inside_the_kernel_layer(worker: Worker) -> None:
    layers = _described(worker, "fused")["layers"]
    assert layers["conv"] == layers["conv_relu"] == ["Conv2D", "conv"]
    assert layers["logits"] == ["Dense", "logits"]


def test_an_activation_that_is_not_alone_is_not_fused(worker: Worker) -> None:
    b = Builder("shared", (3,))
    b.add("dense", "kernel", weights={"kernel": np.eye(3)})
    b.add("relu", "positive")
    b.add("add", "logits", ["kernel", "positive"])
    payload, found = _asked(worker, b.graph(), np.array([[-1.0, 2.0, 3.0]]), np.ones((1, 3)), form="fused")
    assert payload["layers"]["positive"] == ["Activation", "positive"]
    assert found["output/logits"].tolist() == [[-1.0, 4.0, 6.0]]


def test_layers_means_classes_of_their_own(worker: Worker) -> None:
    layers = _described(worker, "layers")["layers"]
    assert layers["conv_relu"] == ["ReLU", "conv_relu"]
    assert layers["leaky"] == ["LeakyReLU", "leaky"]


def test_what_no_stock_layer_computes_is_named_and_has_the_stock_name(worker: Worker) -> None:
    payload = _described(worker, "activation")
    assert payload["substitutes"] == {"shifted": "Conv2D", "flat": "Flatten"}


def test_no_layer_is_put_between_the_graphs_own(worker: Worker) -> None:
    payload = _described(worker, "activation")
    assert list(payload["layers"]) == ["conv", "conv_relu", "shifted", "leaky", "flat", "logits"]


def test_a_prefix_keeps_names_apart_from_keras_own(worker: Worker) -> None:
    layers = _described(worker, "activation", prefix="network_")["layers"]
    assert layers["conv"] == ["Conv2D", "network_conv"]


def test_a_shape_that_does_not_fit_is_an_error_with_the_layer(worker: Worker) -> None:
    payload = graph_payload(_small())
    payload["layers"][1]["shape"] = [5, 5, 3]
    arrays = {"x": np.ones((1, 5, 5, 1)), "s": np.ones((1, 2))}
    arrays |= {f"weight/{name}": array for name, array in graph_weights(_small()).items()}
    request = {"folder": _FOLDER, "graph": payload, "dtype": "float64", "form": "activation", "prefix": ""}
    with pytest.raises(PeerError, match=r"layer 'conv' \(conv2d\) has shape \(5, 5, 2\) in Keras 2"):
        worker.request("forward", request, arrays)
