"""What a candidate in this process leaves changed is found, named and put back: everybody else computes as before."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import torch

import harness
from harness.diagnosis import CAUSES, diagnose

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]


def the_gradient(twin: Any, x: torch.Tensor, target: torch.Tensor, method: Any) -> torch.Tensor:
    z = x.clone().requires_grad_()
    return torch.autograd.grad(twin(z).gather(1, target[:, None]).sum(), z)[0]


def leaves_a_hook(twin: Any) -> None:
    twin.register_forward_hook(lambda module, args, output: 3 * output)


def changes_a_weight(twin: Any) -> None:
    next(twin.parameters()).data += 1


def changes_a_layer(twin: Any) -> None:
    twin.get_submodule("conv1").dilation = (3, 3)


def trains(twin: Any) -> None:
    twin.train()


def changes_the_graph(twin: Any) -> None:
    next(layer for layer in twin.graph if layer.weights).weights["kernel"][...] *= 2


def changes_numpy(twin: Any) -> None:
    np.seterr(all="raise")


def changes_torch(twin: Any) -> None:
    torch.set_default_dtype(torch.float16)
    torch.set_grad_enabled(False)


WAYS = {
    leaves_a_hook: "the torch twin in float64 (hooks of the network)",
    changes_a_weight: "the torch twin in float64 (",
    changes_a_layer: "the torch twin in float64 (dilation of conv1)",
    trains: "the torch twin in float64 (training mode of ",
    changes_the_graph: "the weights of the model (",
    changes_numpy: "NumPy's handling of floating-point errors (numpy.seterr) (",
    changes_torch: "torch's default dtype; torch's grad mode",
}


@pytest.fixture(scope="module")
def model() -> Any:
    return harness.load_model("digits-cnn")


@pytest.fixture(scope="module")
def x(model: Any) -> np.ndarray:
    return np.asarray(next(iter(model.examples.values()))())


def candidate(change: Callable[[Any], object] | None) -> Any:
    def function(twin: Any, x: Any, target: Any, method: Any) -> Any:
        found = the_gradient(twin, x, target, method)
        if change is not None:
            change(twin)
        return found

    return harness.backend_from_function("mine", function, "torch")


@pytest.mark.parametrize(("change", "words"), WAYS.items(), ids=[each.__name__ for each in WAYS])
def test_a_change_is_named_and_put_back(
    model: Any, x: np.ndarray, change: Callable[[Any], object], words: str
) -> None:
    def others() -> list[np.ndarray]:
        sides = ("torch", "oracle", candidate(None))
        return [harness.explain(model, x, "gradient", side, dtype="float64").attribution for side in sides]

    before, settings = others(), (torch.get_default_dtype(), torch.is_grad_enabled(), np.geterr())
    found = diagnose(model, x, "gradient", "oracle", candidate(change), dtype="float64")
    assert (found.stage, found.cause, found.layer) == ("run", "state", None)
    assert f"the candidate leaves changed: {words}" in found.explanation
    assert settings == (torch.get_default_dtype(), torch.is_grad_enabled(), np.geterr())
    for one, other in zip(before, others(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_change_never_passes_whatever_the_figures_say(model: Any, x: np.ndarray) -> None:
    reference = harness.explain(model, x, "gradient", "oracle", dtype="float64")
    trace = harness.explain(model, x, "gradient", candidate(leaves_a_hook), dtype="float64")
    comparison = harness.compare(reference, trace, tolerance=1.0)
    assert (comparison.verdict, comparison.passed) == ("error", False)
    assert comparison.attribution.verdict in ("identical", "equivalent")
    assert comparison.state == (
        "candidate 'mine' leaves changed: the torch twin in float64 (hooks of the network) (state)"
    )


def test_a_keras_twin_is_watched_too(model: Any, x: np.ndarray) -> None:
    def function(twin: Any, x: Any, target: Any, method: Any) -> Any:
        twin.set_weights([2 * weight for weight in twin.get_weights()])
        keras.config.set_floatx("float16")
        return np.ones_like(x)

    before = harness.explain(model, x, "gradient", "tensorflow", dtype="float64").attribution
    mine = harness.backend_from_function("mine", function, "keras")
    trace = harness.explain(model, x, "gradient", mine, dtype="float64")
    assert "the Keras twin in float64 (" in trace.provenance["state"]
    assert "Keras's floatx" in trace.provenance["state"]
    assert keras.config.floatx() == "float32"
    after = harness.explain(model, x, "gradient", "tensorflow", dtype="float64").attribution
    np.testing.assert_array_equal(before, after)


def test_what_a_right_candidate_does_is_no_fault(model: Any, x: np.ndarray) -> None:
    """Hooks that are taken off, values kept on modules, random numbers, gradients of weights, a variable."""

    def function(twin: Any, x: Any, target: Any, method: Any) -> Any:
        def keep(module: Any, args: Any, output: Any) -> None:
            module.kept = output

        handles = [module.register_forward_hook(keep) for module in twin.modules()]
        found = the_gradient(twin, x, target, method)
        for handle in handles:
            handle.remove()
        torch.nn.Linear(3, 3)
        next(twin.parameters()).requires_grad_()
        os.environ["OF_MINE"] = "1"
        sys.path.append("/nowhere")
        return found

    path = list(sys.path)
    mine = harness.backend_from_function("mine", function, "torch")
    trace = harness.explain(model, x, "gradient", mine, dtype="float64")
    assert "state" not in trace.provenance
    for words in ("environment variables (OF_MINE)", "sys.path", "which weights"):
        assert words in trace.provenance["put back"]
    assert sys.path == path and "OF_MINE" not in os.environ
    assert not next(model.torch("float64").parameters()).requires_grad
    found = diagnose(model, x, "gradient", "oracle", mine, dtype="float64")
    assert found.findings == ()


def test_what_raises_is_put_back_too(model: Any, x: np.ndarray) -> None:
    def function(twin: Any, x: Any, target: Any, method: Any) -> Any:
        leaves_a_hook(twin)
        raise ValueError("no")

    before = harness.explain(model, x, "gradient", "torch", dtype="float64").attribution
    with pytest.raises(ValueError, match="no"):
        harness.explain(
            model, x, "gradient", harness.backend_from_function("mine", function, "torch"), dtype="float64"
        )
    after = harness.explain(model, x, "gradient", "torch", dtype="float64").attribution
    np.testing.assert_array_equal(before, after)


def test_the_cause_has_its_sentence() -> None:
    assert CAUSES["state"].startswith("the candidate changes the model, its input")


def merges_batch_norms(twin: Any) -> None:
    """As the canonizer of Zennit 1.0.0 (its issue 237): new parameters, and the merged weights are left behind."""
    for linear, norm in (("conv1", "bn1"),):
        convolution, batch_norm = twin.get_submodule(linear), twin.get_submodule(norm)
        scale = batch_norm.weight / torch.sqrt(batch_norm.running_var + batch_norm.eps)
        weight = convolution.weight * scale.reshape(-1, 1, 1, 1)
        bias = (convolution.bias - batch_norm.running_mean) * scale + batch_norm.bias
        convolution.weight = torch.nn.Parameter(weight, requires_grad=False)
        convolution.bias = torch.nn.Parameter(bias, requires_grad=False)
        batch_norm.weight = torch.nn.Parameter(torch.ones_like(scale), requires_grad=False)
        batch_norm.bias = torch.nn.Parameter(torch.zeros_like(scale), requires_grad=False)
        batch_norm.running_mean.zero_()
        batch_norm.running_var.fill_(1 - batch_norm.eps)


def test_merged_batch_norms_that_are_left_behind_are_state_and_are_put_back() -> None:
    """The network computes the same, and the attribution is right; whoever reads the weights next is misled."""
    model = harness.load_model("digits-cnn")
    x = np.random.default_rng(0).random((2, *model.input_shape))

    def function(twin: Any, x: torch.Tensor, target: torch.Tensor, method: Any) -> torch.Tensor:
        merges_batch_norms(twin)
        return the_gradient(twin, x, target, method)

    before = {name: value.clone() for name, value in model.torch("float64").state_dict().items()}
    candidate = harness.backend_from_function("merging", function, "torch")
    found = diagnose(model, x, "gradient", candidate=candidate, dtype="float64")
    assert (found.stage, found.cause, found.layer) == ("run", "state", None)
    assert "conv1.weight" in found.explanation
    assert found.left is not None and found.left < 1e-12
    after = model.torch("float64").state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
