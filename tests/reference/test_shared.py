"""What runs share is what each would have computed alone, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

import harness
from harness.backends import Arrays
from harness.graph import walk_back
from harness.methods import ALL_METHODS, Backward, GradCam, Method, method
from harness.runner import chosen_input
from harness.runner.run import why_not
from reference_impls.tensorflow import run as walk
from reference_impls.tensorflow import sampling
from reference_impls.tensorflow.backend import TensorFlowBackend

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
        and not TensorFlowBackend().supports(each, model.graph)
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


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("digits-cnn", marks=pytest.mark.nightly),
        pytest.param("ecg-cnn1d", marks=pytest.mark.nightly),
        "fer-xception",
    ],
)
def test_every_method_shares_what_it_would_have_computed_alone(name: str) -> None:
    model = harness.load_model(name)
    x, _ = chosen_input(model, None)
    prepared = TensorFlowBackend().prepare(model, "float32")
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
    prepared = TensorFlowBackend().prepare(model, "float32")
    target = prepared.logits(x).argmax(axis=1)
    steps: list[str] = []

    def counted(step, relevance, rule):
        steps.append(step.layer.name)
        return propagate(step, relevance, rule)

    propagate = walk.propagate
    monkeypatch.setattr(walk, "propagate", counted)
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
    prepared = TensorFlowBackend().prepare(model, "float32")
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


def test_a_walk_back_on_given_activations_is_its_steps_one_after_the_other() -> None:
    model = harness.load_model("digits-cnn")
    x, _ = chosen_input(model, None)
    prepared = TensorFlowBackend().prepare(model, "float32")
    graph = model.graph
    run = prepared.run(x, method("gradient"), np.zeros(len(x), np.int64), True)
    start = run.relevances[graph.output]
    moved = {name: values * np.float32(1.01) for name, values in run.activations.items()}
    for activations in (run.activations, moved, run.activations):
        for name in ("lrp.epsilon", "lrp.alpha_1_beta_0", "gradient"):
            wanted = method(name)
            walked = prepared.walk_back(activations, start, wanted)
            for layer, relevance in walk_back(
                graph,
                start,
                lambda layer, received, given=activations, wanted=wanted: prepared.step(
                    layer, tuple(given[source] for source in layer.inputs), received, wanted
                ),
                wanted.composite.rectified_sources(graph),
            ):
                assert walked[layer.name].tobytes() == relevance.tobytes(), f"{name}: {layer.name}"


@pytest.mark.parametrize("layers", [True, False])
def test_smoothgrad_and_vargrad_share_their_runs_where_both_are_expected(
    layers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four samples for the three names of SmoothGrad and VarGrad, eight steps for integrated gradients."""
    model = harness.load_model("digits-cnn")
    x, _ = chosen_input(model, None)
    prepared = TensorFlowBackend().prepare(model, "float32")
    target = prepared.logits(x).argmax(axis=1)
    names = ("smoothgrad", "smoothgrad_x_input", "vargrad", "integrated_gradients")
    asked = [
        method(f"{name}:dialect=signxai{',steps=8' if name[0] == 'i' else ',augment_by_n=4'}")
        for name in names
    ]
    prepared.expect(asked)
    runs: list[int] = []
    once = sampling.run_forward
    monkeypatch.setattr(sampling, "run_forward", lambda *given: (runs.append(1), once(*given))[1])
    found = [prepared.run(x, wanted, target, layers) for wanted in asked]
    assert len(runs) == 4 + 8
    for wanted, shared in zip(asked, found, strict=True):
        assert_same(shared, prepared.run_alone(x, wanted, target, layers), wanted.name)
