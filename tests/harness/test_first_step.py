"""`Comparison.first_divergent`: the layer whose step made the first relevance that differs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import harness
from harness.backends import Arrays, backend_named
from harness.comparison import layers_around, verdict_line
from harness.comparison.rerun import walk_back
from harness.trace import LayerTrace, Trace
from ported_models import PortedModel
from ported_models.build import Builder
from tests.harness.linear_network import GradientBackend, network
from tests.models.graphs import random_input, read_twice_graph

X = np.array([[0.5, -1.0, 2.0]])


def chain(fault: Any = None) -> Trace:
    """x -> first -> second, explained; ``fault`` alters what reaches a layer."""
    return harness.explain(network(), X, "gradient", backend=GradientBackend(fault=fault), dtype="float64")


def doubled(name: str) -> Any:
    return lambda layer, relevance: relevance * (2.0 if layer == name else 1.0)


@pytest.mark.parametrize(("received", "step"), [("first", "second"), ("x", "first")])
def test_it_is_the_layer_that_reads_the_first_that_received_something_else(received: str, step: str) -> None:
    comparison = harness.compare(chain(), chain(doubled(received)))
    assert (comparison.first_divergent, comparison.first_different_relevance) == (step, received)
    assert f"parts first in the step of {step} (backward order; first seen at {received})" in verdict_line(
        comparison
    )
    (marked,) = (line for line in layers_around(comparison).splitlines() if line.endswith("<-"))
    assert marked.startswith(f"{step} ")


def test_it_is_the_output_where_the_start_differs() -> None:
    other = chain()
    for layer in other.layers.values():
        layer.relevance = layer.relevance * 2
    comparison = harness.compare(chain(), other)
    assert comparison.first_divergent == comparison.first_different_relevance == "second"
    assert "parts first at second" in verdict_line(comparison)


def test_it_is_none_where_only_the_attribution_differs() -> None:
    other = chain()
    other.attribution = other.attribution * 2
    comparison = harness.compare(chain(), other)
    assert (comparison.verdict, comparison.first_divergent) == ("divergent", None)


def test_stored_traces_know_it_too(tmp_path: Any) -> None:
    for name, trace in (("one", chain()), ("other", chain(doubled("first")))):
        trace.save(tmp_path / f"{name}.safetensors")
    one, other = (harness.load_trace(tmp_path / f"{name}.safetensors") for name in ("one", "other"))
    assert harness.compare(one, other).first_divergent == "second"


def test_without_knowing_which_layer_reads_which_it_is_the_one_that_received_it_and_a_note_says_so() -> None:
    one, other = chain(), chain(doubled("first"))
    for trace in (one, other):
        for layer in trace.layers.values():
            layer.inputs = None
    comparison = harness.compare(one, other)
    assert comparison.first_divergent == "first"
    assert "which layers read first is not known" in comparison.notes[-1]


# Several readers -------------------------------------------------------------------------------------


def residual() -> PortedModel:
    """input (2) -> h = relu -> a, b: dense -> sum = a + b -> logit; nobody reads idle, which reads h."""
    b = Builder("residual", (2,))
    b.add("relu", "h")
    for name in ("idle", "a", "b"):
        b.add("dense", name, "h", weights={"kernel": np.array([[1.0, 2.0], [0.5, -1.0]])})
    b.add("add", "sum", ["a", "b"])
    b.add("dense", "logit", weights={"kernel": np.array([[1.0], [3.0]])})
    return PortedModel.from_graph(b.graph())


@dataclass(frozen=True)
class Faulty:
    """The oracle's steps, with those of one layer half as much again; ``halved``: what reaches that layer is halved."""

    layer: str = ""
    halved: str = ""
    single_steps: bool = True
    name: str = "faulty"

    def version(self) -> dict[str, str]:
        return {}

    def supports(self, asked: Any, graph: Any) -> str:
        return ""

    def prepare(self, model: Any, dtype: str, device: str = "cpu") -> Any:
        prepared = _FaultySteps(self, model.graph, backend_named("oracle").prepare(model, dtype))
        return prepared if self.single_steps else _RunOnly(prepared)


@dataclass(frozen=True)
class _FaultySteps:
    backend: Faulty
    graph: Any
    oracle: Any

    def step(self, layer: Any, inputs: Any, relevance: Any, asked: Any) -> Any:
        factor = 1.5 if layer.name == self.backend.layer else 1.0
        return tuple(factor * share for share in self.oracle.step(layer, inputs, relevance, asked))

    def run(self, x: Any, asked: Any, target: Any, layers: bool) -> Arrays:
        found = self.oracle.run(x, asked, target, layers)
        shown = {name: LayerTrace(name, "", (), array) for name, array in found.activations.items()}
        trace = Trace("", asked, "", "float64", target, found.logits, found.attribution, shown)
        relevances = {
            name: relevance * (0.5 if name == self.backend.halved else 1.0)
            for name, relevance in walk_back(self, self.graph, trace)
        }
        return replace(found, attribution=relevances["input"], relevances=relevances)


@dataclass(frozen=True)
class _RunOnly:
    prepared: Any

    def run(self, x: Any, asked: Any, target: Any, layers: bool) -> Arrays:
        return self.prepared.run(x, asked, target, layers)


def explained(model: PortedModel, x: np.ndarray, name: str, backend: Any) -> Trace:
    return harness.explain(model, x, name, backend=backend, target=0, dtype="float64")


def compared(candidate: Faulty, model: PortedModel | None = None) -> harness.Comparison:
    """Oracle and candidate, gradient, on ones."""
    model, x = model or residual(), np.ones((1, 2))
    return harness.compare(*(explained(model, x, "gradient", side) for side in ("oracle", candidate)))


@pytest.mark.parametrize("at", ["a", "b"])
def test_of_several_readers_it_is_the_one_whose_own_step_differs(at: str) -> None:
    comparison = compared(Faulty(at))
    assert (comparison.first_divergent, comparison.first_different_relevance) == (at, "h")


def test_where_every_reader_is_right_it_is_the_layer_at_which_their_shares_are_added() -> None:
    comparison = compared(Faulty(halved="h"))
    assert comparison.first_divergent == "h"
    assert "comes from b and a, whose own steps agree" in comparison.notes[-1]


def test_without_single_steps_several_readers_are_not_guessed_from() -> None:
    comparison = compared(Faulty("a", single_steps=False))
    assert comparison.first_divergent == "h"
    assert "comes from b and a; which of them differs cannot be told" in comparison.notes[-1]


def test_a_reader_that_leads_nowhere_is_no_reader() -> None:
    b = Builder("idle", (2,))
    b.add("relu", "h")
    b.add("dense", "idle", "h", weights={"kernel": np.eye(2)})
    b.add("dense", "logit", "h", weights={"kernel": np.array([[1.0], [3.0]])})
    comparison = compared(Faulty("logit", single_steps=False), PortedModel.from_graph(b.graph()))
    assert comparison.first_divergent == "logit"


def test_a_layer_that_the_candidate_does_not_show_may_be_the_one() -> None:
    """The candidate shows no relevance at sum and b; the step of sum is at fault."""
    model, x = residual(), np.ones((1, 2))
    reference, candidate = (explained(model, x, "gradient", side) for side in ("oracle", Faulty("sum")))
    for name in ("sum", "a", "b"):
        candidate.layers[name].relevance = None
    comparison = harness.compare(reference, candidate)
    assert (comparison.first_divergent, comparison.first_different_relevance) == ("sum", "h")


@pytest.mark.thinned(0.2)
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", ["gradient", "lrp.epsilon:epsilon=0.25", "guided_backprop_x_sign"])
def test_in_a_random_network_it_is_the_layer_with_the_fault(name: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    graph = read_twice_graph(generator)
    model, x = PortedModel.from_graph(graph), random_input(graph, generator)
    reference = explained(model, x, name, "oracle")
    for layer in graph.layers[1:]:
        comparison = harness.compare(reference, explained(model, x, name, Faulty(layer.name)))
        # Where no relevance passes the layer, or what it passes is cut off, there is nothing to see.
        assert comparison.first_divergent in (layer.name, None)
        assert (comparison.first_divergent is None) == (comparison.first_different_relevance is None)
