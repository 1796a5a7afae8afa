"""A port that shows its layers but no single steps, on a network where several layers read one: which is it?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import harness
from harness.backends import Arrays, backend_named
from harness.graph import Layer, walk_back
from harness.methods import GuidedReLU, method
from ported_models import PortedModel
from ported_models.build import Builder

METHOD = "lrp.epsilon:epsilon=0.1"
#: What a layer does: the step of another method, a multiple of its own, or its inputs and relevance to its shares.
Change = str | float | Callable[[tuple[np.ndarray, ...], np.ndarray], tuple[np.ndarray, ...]]
READERS = ("left", "middle", "right")


@pytest.fixture(scope="module")
def model() -> PortedModel:
    return three_readers({})


def three_readers(sizes: Mapping[str, float]) -> PortedModel:
    """x, a dense layer, three dense layers that read it, their sum, and two dense layers more.

    ``sizes``: what the weights of a reader are multiplied by.
    """
    random = np.random.default_rng(3)

    def kernel(*shape: int) -> dict[str, np.ndarray]:
        return {"kernel": random.normal(size=shape), "bias": random.normal(size=shape[-1:])}

    b = Builder("three readers", (6,))
    b.add("dense", "stem", weights=kernel(6, 8))
    for name in READERS:
        weights = {part: each * sizes.get(name, 1.0) for part, each in kernel(8, 5).items()}
        b.add("dense", name, "stem", weights=weights)
    b.add("add", "sum", list(READERS))
    b.add("dense", "top", weights=kernel(5, 7))
    b.add("dense", "logits", weights=kernel(7, 3))
    return PortedModel.from_graph(b.graph())


@dataclass(frozen=True)
class Port:
    """The oracle, but for the layers of ``changes``, which do as `Change` says."""

    changes: Mapping[str, Change]
    name: str = "port"

    def version(self) -> dict[str, str]:
        return {}

    def supports(self, asked: Any, graph: Any) -> str:
        return ""

    def prepare(self, model: Any, dtype: str, device: str = "cpu") -> Any:
        return _Run(self.changes, model.graph, backend_named("oracle").prepare(model, dtype))


@dataclass(frozen=True)
class _Run:
    changes: Mapping[str, Change]
    graph: Any
    oracle: Any

    def run(self, given: Any, asked: Any, target: Any, layers: Any) -> Arrays:
        found = self.oracle.run(given, asked, target, layers)

        def step(layer: Layer, relevance: np.ndarray) -> tuple[np.ndarray, ...]:
            change = self.changes.get(layer.name, 1.0)
            inputs = tuple(found.activations[name] for name in layer.inputs)
            if callable(change):
                return change(inputs, relevance)
            other = method(change) if isinstance(change, str) else asked
            shares = self.oracle.step(layer, inputs, relevance, other)
            return tuple(each * (change if isinstance(change, float) else 1.0) for each in shares)

        start = found.relevances[self.graph.output]
        relevances = {layer.name: received for layer, received in walk_back(self.graph, start, step)}
        return replace(found, attribution=relevances[self.graph.input.name], relevances=relevances)


def named(model: PortedModel, changes: Mapping[str, Change], asked: str = METHOD) -> dict[str, str]:
    """The cause of each layer that is named; the proof must close the gap."""
    x = np.random.default_rng(5).normal(size=(2, 6))
    found = harness.diagnose(model, x, asked, "oracle", Port(changes), target=1, dtype="float64")
    assert found.complete
    return {layer: each.cause for each in found.findings for layer in (str(each.layer), *each.also)}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("change", "cause"),
    [(3.0, "scale"), ("lrp.epsilon:epsilon=0.25", "epsilon-value"), ("gradient", "rule-mapping")],
)
def test_one_reader_is_named_and_the_others_are_not(
    model: PortedModel, reader: str, change: Change, cause: str
) -> None:
    assert named(model, {reader: change}) == {reader: cause}


def test_a_join_is_not_said_to_leave_out_the_branch_that_is_not_seen_beside_the_other(
    model: PortedModel,
) -> None:
    """Each branch is seen by itself; of the others nothing is known then, and nothing may be said of them."""

    def shares(inputs: tuple[np.ndarray, ...], relevance: np.ndarray) -> tuple[np.ndarray, ...]:
        quotient = relevance / (sum(inputs) + 1e-8)
        return tuple(x * quotient for x in inputs)

    assert named(model, {"sum": shares}, "lrp.z") == {"sum": "stabilizer-form"}


@pytest.mark.parametrize("readers", [("left", "right"), ("middle", "right"), READERS])
def test_several_readers_that_do_what_another_layer_does_are_named(
    model: PortedModel, readers: tuple[str, ...]
) -> None:
    changed = dict.fromkeys(("logits", *readers), "lrp.epsilon:epsilon=0.25")
    assert named(model, changed) == dict.fromkeys(changed, "epsilon-value")


@pytest.mark.parametrize(("new", "known"), [("left", "right"), ("right", "left")])
def test_a_reader_that_does_something_new_is_named_beside_one_that_is_explained(
    model: PortedModel, new: str, known: str
) -> None:
    changed: dict[str, Change] = {
        "top": "lrp.epsilon:epsilon=0.25",
        known: "lrp.epsilon:epsilon=0.25",
        new: -2.0,
    }
    assert named(model, changed) == {"top": "epsilon-value", known: "epsilon-value", new: "scale"}


@pytest.mark.parametrize("others", [(), ("top",)])
@pytest.mark.parametrize("change", ["gradient", "lrp.epsilon:epsilon=0.25"])
@pytest.mark.parametrize("small", READERS)
def test_a_reader_with_a_small_share_is_named_and_not_one_with_a_large_one(
    small: str, change: Change, others: tuple[str, ...]
) -> None:
    """What is left of the sum for it has the rounding of the whole sum, a thousand times its own."""
    changed = dict.fromkeys((small, *others), change)
    found = named(three_readers({small: 1e-3}), changed, "lrp.z")
    assert found.keys() == changed.keys()
    assert "unknown" not in found.values()


def test_where_no_reader_alone_explains_the_sum_all_are_listed_and_it_says_so(model: PortedModel) -> None:
    x = np.random.default_rng(5).normal(size=(2, 6))
    changes = {"left": 3.0, "right": "lrp.epsilon:epsilon=0.25"}
    found = harness.diagnose(model, x, METHOD, "oracle", Port(changes), target=1, dtype="float64")
    assert {each.layer for each in found.findings} == set(READERS)
    assert all(each.cause == "unknown" and "left, middle, right" in each.words for each in found.findings)
    assert not found.complete


def test_shares_that_are_summed_before_they_are_rectified_are_named() -> None:
    """signxai takes the positive part of each reader's share, other libraries that of their sum."""
    random = np.random.default_rng(3)
    b = Builder("two readers of a ReLU", (6,))
    b.add("dense", "stem", weights={"kernel": random.normal(size=(6, 8)), "bias": np.zeros(8)})
    b.add("relu", "joint")
    for name in ("left", "right"):
        b.add("dense", name, "joint", weights={"kernel": random.normal(size=(8, 5)), "bias": np.zeros(5)})
    b.add("add", "logits", ["left", "right"])

    @dataclass(frozen=True)
    class Summing(Port):
        def prepare(self, model: Any, dtype: str, device: str = "cpu") -> Any:
            oracle = backend_named("oracle").prepare(model, dtype)

            def run(given: Any, asked: Any, target: Any, layers: Any) -> Arrays:
                rules = tuple(
                    replace(each, rule=replace(each.rule, per_edge=False))
                    if isinstance(each.rule, GuidedReLU)
                    else each
                    for each in asked.composite.assignments
                )
                other = replace(asked, composite=replace(asked.composite, assignments=rules))
                return oracle.run(given, other, target, layers)

            return SimpleNamespace(run=run)

    x = random.normal(size=(2, 6))
    asked = "guided_backprop:dialect=signxai"
    model = PortedModel.from_graph(b.graph())
    found = harness.diagnose(model, x, asked, "oracle", Summing({}), target=1, dtype="float64")
    assert [(each.layer, each.cause) for each in found.findings] == [("joint", "rule-mapping")]
    assert "shares are summed as they are" in found.findings[0].words
    assert found.complete
