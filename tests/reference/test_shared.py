"""What runs share is what each would have computed alone, bit for bit."""

from __future__ import annotations

import pytest

import harness
from harness.backends import Arrays
from harness.errors import HarnessError
from harness.methods import ALL_METHODS, Method, method
from harness.runner import chosen_input
from reference_impls.tensorflow.backend import TensorFlowBackend

#: Of fer-xception, which is large: one name for each kind of rule at branches and batch norms.
SOME = (
    "lrp.z",
    "lrp.sequential_preset_a",
    "guided_backprop",
    "deconvnet:dialect=signxai",
    "lrpsign_epsilon_0_1",
)


def applicable(model) -> list[Method]:
    methods = []
    for name in ALL_METHODS:
        wanted = method(name)
        try:
            wanted.check(model.graph)
        except HarnessError:
            continue
        if not TensorFlowBackend().supports(wanted, model.graph):
            methods.append(wanted)
    return methods


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
    prepared = TensorFlowBackend().prepare(model, "float32")
    target = prepared.logits(x).argmax(axis=1)
    methods = [method(each) for each in SOME] if name == "fer-xception" else applicable(model)
    # The catalogue's order: names that share much and names that share little, in turn.
    for wanted in methods:
        try:
            shared = prepared.run(x, wanted, target, True)
        except HarnessError:
            continue
        assert_same(shared, prepared.run_alone(x, wanted, target, True), wanted.name)
