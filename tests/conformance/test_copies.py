"""What a candidate does to the arrays that it is given, or that it gave, changes nobody else's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import harness
from harness.backends import Backend, run_on_copies, step_on_copies
from harness.case import Case
from harness.methods import method
from ported_impls.backend import TorchBackend
from ported_impls.torchvision_shim import zennit
from ported_models.build import Builder
from ported_models.model import PortedModel

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]


@pytest.fixture(scope="module")
def model() -> PortedModel:
    """Of rank 2 throughout, where an array and its tensor may share memory."""
    generator = np.random.default_rng(0)
    b = Builder("dense-net", (3,))
    b.add(
        "dense", "body", weights={"kernel": generator.normal(size=(3, 5)), "bias": generator.normal(size=5)}
    )
    b.add("relu", "body_relu")
    b.add("dense", "head", weights={"kernel": generator.normal(size=(5, 4))})
    return PortedModel.from_graph(b.graph())


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, 3))


def numpy_overwrites(graph: Any, x: np.ndarray, target: np.ndarray, method: Any) -> np.ndarray:
    x[:], target[:] = 7, 0
    return np.ones_like(x)


def torch_overwrites(twin: Any, x: Any, target: Any, method: Any) -> Any:
    x.fill_(7)
    target.fill_(0)
    return torch.ones_like(x)


def tensorflow_overwrites(twin: Any, x: Any, target: Any, method: Any) -> Any:
    seen = x.numpy()
    seen[:] = 7
    return seen


OVERWRITING = [
    pytest.param(numpy_overwrites, "numpy", id="numpy"),
    pytest.param(torch_overwrites, "torch", id="torch"),
    pytest.param(tensorflow_overwrites, "tensorflow", id="tensorflow"),
]


@pytest.mark.parametrize(("function", "framework"), OVERWRITING)
@pytest.mark.parametrize("layers", [True, False])
def test_a_function_that_overwrites_its_arguments_changes_no_one_elses(
    model: PortedModel, x: np.ndarray, function: Callable[..., Any], framework: str, layers: bool
) -> None:
    before, target = x.copy(), np.array([3, 2])
    backend = harness.backend_from_function("mine", function, framework)
    reference = harness.explain(model, x, "gradient", target=target, dtype="float64")
    trace = harness.explain(model, x, "gradient", backend, target=target, dtype="float64", layers=layers)
    np.testing.assert_array_equal(x, before)
    assert target.tolist() == trace.target.tolist() == [3, 2]
    assert trace.provenance["input_digest"] == reference.provenance["input_digest"]
    np.testing.assert_array_equal(reference.layers["input"].activation, before)
    np.testing.assert_array_equal(trace.case.x, before)
    np.testing.assert_allclose(trace.logits, reference.logits, rtol=1e-12)


@pytest.mark.parametrize("framework", ["numpy", "torch", "tensorflow"])
def test_an_attribution_that_is_the_input_itself_is_a_copy_of_it(
    model: PortedModel, x: np.ndarray, framework: str
) -> None:
    held = []

    def the_input(twin: Any, x: Any, target: Any, method: Any) -> Any:
        held.append(x)
        return x

    backend = harness.backend_from_function("mine", the_input, framework)
    trace = harness.explain(model, x, "gradient", backend, dtype="float64")
    for given in held:
        assert not np.shares_memory(trace.attribution, np.asarray(given))
    assert not np.shares_memory(trace.attribution, x)


@pytest.mark.parametrize("framework", ["numpy", "torch", "tensorflow"])
def test_a_buffer_that_a_function_uses_again_does_not_change_an_earlier_trace(
    model: PortedModel, x: np.ndarray, framework: str
) -> None:
    buffer, inside = np.zeros_like(x), np.zeros((2, 4))
    shown = torch.from_numpy(buffer) if framework == "torch" else buffer

    def counting(twin: Any, x: Any, target: Any, method: Any) -> Any:
        buffer[:] += 1
        inside[:] += 10
        return shown, {"head": inside}

    backend = harness.backend_from_function("mine", counting, framework)
    first = harness.explain(model, x, "gradient", backend, dtype="float64")
    second = harness.explain(model, x, "gradient", backend, dtype="float64")
    assert (first.attribution.max(), second.attribution.max()) == (1, 2)
    assert (first.layers["head"].relevance.max(), second.layers["head"].relevance.max()) == (10, 20)


class Unruly:
    """A backend of a third party: it overwrites what it is given and returns the arrays of one buffer for ever."""

    name = "unruly"

    def __init__(self) -> None:
        self.kept: Any = None

    def version(self) -> dict[str, str]:
        return {}

    def supports(self, method: Any, graph: Any) -> str:
        return ""

    def prepare(self, model: Any, dtype: str, device: str = "cpu") -> Unruly:
        self.inner = TorchBackend().prepare(model, dtype)
        return self

    def run(self, x: np.ndarray, method: Any, target: np.ndarray, layers: bool) -> Any:
        found = self.inner.run(x, method, target, layers)
        if self.kept is None:
            relevances = {name: relevance.copy() for name, relevance in found.relevances.items()}
            self.kept = replace(found, attribution=x, relevances=relevances)
        x[:] = 7
        self.kept.attribution[:] += 1
        for relevance in self.kept.relevances.values():
            relevance[:] += 1
        return self.kept

    def step(self, layer: Any, inputs: Any, relevance: np.ndarray, method: Any) -> Any:
        found = self.inner.step(layer, inputs, relevance, method)
        for array in (*inputs, relevance):
            array[:] = 0
        return found


def test_a_backend_of_a_third_party_cannot_change_what_the_harness_holds(
    model: PortedModel, x: np.ndarray
) -> None:
    before = x.copy()
    harness.register_backend("unruly", Unruly())
    asked = {"target": [0, 1], "dtype": "float64"}
    first = harness.explain(model, x, "gradient", "unruly", **asked)
    attribution, inside = first.attribution.copy(), np.array(first.layers["head"].relevance)
    harness.explain(model, x, "gradient", "unruly", **asked)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(first.case.x, before)
    np.testing.assert_array_equal(first.attribution, attribution)
    np.testing.assert_array_equal(first.layers["head"].relevance, inside)


def test_a_step_that_overwrites_its_operands_changes_no_ones(model: PortedModel, x: np.ndarray) -> None:
    prepared = Unruly().prepare(model, "float64")
    layer, relevance = model.graph["head"], np.ones((2, 4))
    inputs = (np.ones((2, 5)),)
    (found,) = step_on_copies(prepared, layer, inputs, relevance, method("gradient"))
    (expected,) = prepared.inner.step(layer, inputs, relevance, method("gradient"))
    assert inputs[0].all() and relevance.all()
    np.testing.assert_array_equal(found, expected)


def test_a_composite_whose_hooks_work_in_place_changes_no_ones_arrays(
    model: PortedModel, x: np.ndarray
) -> None:
    """A hook that zeroes what its layer was given, after the layer has run."""

    class Zeroing(zennit.core.Hook):
        def forward(self, module: Any, args: Any, output: Any) -> None:
            args[0].data.zero_()

    def composite(twin: Any, method: Any) -> Any:
        return zennit.core.Composite(
            module_map=lambda context, name, module: Zeroing() if name in ("input", "head") else None
        )

    backend: Backend = harness.backend_from_composite("zeroing", composite, head="one")
    before, prepared = x.copy(), backend.prepare(model, "float64")
    case = Case(model, x, method("gradient"), np.array([0, 1]), "float64")
    direct = prepared.run(x, case.method, case.target, True)
    np.testing.assert_array_equal(x, before)
    plain = TorchBackend().prepare(model, "float64").run(x, case.method, case.target, True)
    # The ReLU ran before its output was zeroed, and its output is what is shown of it.
    np.testing.assert_array_equal(direct.activations["input"], before)
    assert np.any(plain.activations["body_relu"])
    trace = run_on_copies(prepared, case)
    assert not np.shares_memory(trace.attribution, direct.attribution)
