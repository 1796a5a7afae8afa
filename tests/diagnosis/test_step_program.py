"""A step as a program: the operations of a candidate, written down, that give what the candidate gave."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import harness
from harness.backends import StepProgram, capability
from harness.diagnosis.measure import apart
from harness.errors import HarnessError
from harness.methods import method as method_named
from ported_impls.backend import TorchBackend
from ported_impls.torchvision_shim import zennit
from ported_models.build import Builder
from ported_models.model import PortedModel
from tests.diagnosis.faulty_ports import candidate
from tests.models.graphs import branching_graph, random_input
from tests.prepared import ready


class Formula(zennit.core.Hook):
    """Relevance of a layer with one input as ``function(gradient)``."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def copy(self) -> Any:
        return Formula(self.function)

    def backward(self, module: Any, grad_input: Any, grad_output: Any) -> Any:
        return (self.function(grad_input[0]),)


def line() -> PortedModel:
    b = Builder("line", (3,))
    b.add("dense", "layer", weights={"kernel": np.arange(12.0).reshape(3, 4), "bias": np.ones(4)})
    return PortedModel.from_graph(b.graph())


X, RELEVANCE = np.array([[1.0, -2, 3]]), np.array([[1.0, 2, -3, 4]])


def program_of(function: Any, dtype: str = "float64") -> StepProgram:
    """The step of a dense layer under a hook, checked against the candidate's own."""
    model = line()
    port = candidate(model, {"layer": lambda: Formula(function)}, dtype)
    given = X.astype(dtype), RELEVANCE.astype(dtype)
    program = port.step_program(model.graph["layer"], given[:1], given[1], method_named("gradient"))
    (expected,) = port.step(model.graph["layer"], given[:1], given[1], method_named("gradient"))
    np.testing.assert_array_equal(program.results[0], expected)
    np.testing.assert_array_equal(run(program, given[:1], given[1])[0], expected)
    return program


def run(program: StepProgram, inputs: Any, relevance: Any) -> list[np.ndarray]:
    space: dict[str, Any] = {"np": np}
    exec(program.code, space)
    return space["candidate"](list(inputs), relevance, dict(program.constants))


@pytest.mark.parametrize("backend", ["torch", "zennit"])
@pytest.mark.parametrize("method", ["lrp.epsilon", "lrp.alpha_2_beta_1", "lrp.gamma", "lrp.flat"])
def test_every_step_of_a_network_is_a_program_that_gives_the_same(backend, method):
    model = PortedModel.from_graph(branching_graph(np.random.default_rng(11)))
    resolved = method_named(method)
    side = harness.backends.backend_named(backend)
    if side.supports(resolved, model.graph):
        pytest.skip(f"{backend} has no {method}")
    port = ready(side, model, "float64")
    assert capability(port.prepared, "programs") is port.prepared
    trace = port.explain(random_input(model.graph, np.random.default_rng(12)), resolved)
    for layer in model.graph.layers[1:]:
        inputs = tuple(trace.layers[name].activation for name in layer.inputs)
        relevance = trace.layers[layer.name].relevance
        program = port.step_program(layer, inputs, relevance, resolved)
        again = run(program, inputs, relevance)
        for found, first, second in zip(
            port.step(layer, inputs, relevance, resolved), program.results, again, strict=True
        ):
            np.testing.assert_array_equal(first, found, layer.name)
            np.testing.assert_array_equal(second, found, layer.name)
        forward = port.forward_program(layer, inputs, resolved)
        # In the whole network the memory is laid out otherwise, and sums run in another order.
        assert apart((trace.layers[layer.name].activation,), forward.results) < 1e-14, layer.name


def test_code_that_looks_at_a_value_is_recorded_as_it_went():
    program = program_of(lambda gradient: gradient * 2 if gradient.sum() > 1e9 else gradient * 3)
    assert "* 3" in program.code and "* 2" not in program.code
    assert "It looked at values on its way" in program.code


def test_operations_in_place_are_recorded():
    def twice_in_place(gradient: Any) -> Any:
        changed = gradient.clone()
        changed.mul_(2)
        changed[:, 0] = 7
        return changed

    program = program_of(twice_in_place)
    assert program.results[0][0, 0] == 7
    assert "aten.mul_.Tensor" in program.code


def test_lower_precision_is_recorded():
    program = program_of(lambda gradient: gradient.to(torch.bfloat16).to(gradient.dtype), "float32")
    assert "torch.bfloat16" in program.code


def test_a_constant_of_the_hook_is_part_of_the_program():
    factors = torch.tensor([2.0, 3.0, 5.0], dtype=torch.float64)
    program = program_of(lambda gradient: gradient * factors)
    assert program.constants["constant_1"].tolist() == [2, 3, 5]
    assert "Not a weight of the layer" in program.code


def test_what_does_not_reach_the_result_is_left_out():
    def wasteful(gradient: Any) -> Any:
        torch.linalg.norm(gradient.cos())
        return gradient

    assert "cos" not in program_of(wasteful).code


def test_random_numbers_are_refused():
    with pytest.raises(HarnessError, match="give another result when they are run again"):
        program_of(lambda gradient: torch.rand_like(gradient))


def test_an_operation_of_another_library_is_refused():
    library = torch.library.Library("reproducer_test", "DEF")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: 2 * x, "CPU")
    with pytest.raises(HarnessError, match="not an operation of torch itself"):
        program_of(lambda gradient: torch.ops.reproducer_test.twice(gradient))


def test_a_layer_that_is_cut_down_is_whole_again_afterwards():
    model = line()
    port = ready(TorchBackend(), model, "float64")
    module = port.twin.get_submodule("layer")
    before = {name: (tensor, tensor.clone()) for name, tensor in module.named_parameters()}
    program = port.step_program(
        model.graph["layer"], (X,), RELEVANCE[:, [1, 3]], method_named("gradient"), np.array([1, 3])
    )
    # kernel rows (0 1 2 3), (4 5 6 7), (8 9 10 11): columns 1 and 3 with relevance 2 and 4.
    assert program.results[0].tolist() == [[2 + 12, 10 + 28, 18 + 44]]
    assert program.constants["weight"].shape == (2, 3)
    for name, tensor in module.named_parameters():
        assert tensor is before[name][0]
        assert torch.equal(tensor, before[name][1])


def test_a_kernel_of_groups_is_not_cut_down():
    b = Builder("grouped", (4, 4))
    b.add("conv1d", "layer", attributes={"groups": 2}, weights={"kernel": np.ones((2, 2, 4))})
    model = PortedModel.from_graph(b.graph())
    port = ready(TorchBackend(), model, "float64")
    with pytest.raises(HarnessError, match="weight of a Conv1d is not cut down"):
        port.step_program(
            model.graph["layer"],
            (np.ones((1, 4, 4)),),
            np.ones((1, 3, 1)),
            method_named("gradient"),
            np.array([1]),
        )


class OrderedOtherwise:
    """A model whose torch side has the inputs of the layer in another order (a pair ported by hand)."""

    def __init__(self, model: PortedModel) -> None:
        self.graph = model.graph
        self.torch_order = {"input": np.array([2, 0, 1])}


def test_a_side_that_flattens_in_another_order_is_given_its_own_order():
    """Canonical (a, b, c) is (b, c, a) there: entry i of the canonical axis is entry (2, 0, 1)[i]."""
    model = line()
    port = replace(TorchBackend().prepare(model, "float64"), model=OrderedOtherwise(model))
    method, layer = method_named("lrp.z"), model.graph["layer"]
    program = port.step_program(layer, (X,), RELEVANCE, method)
    np.testing.assert_array_equal(program.results[0], port.step(layer, (X,), RELEVANCE, method)[0])
    np.testing.assert_array_equal(run(program, (X,), RELEVANCE)[0], program.results[0])
    assert program.constants["order_of_x"].tolist() == [2, 0, 1]
    # x there is (-2, 3, 1), against kernel rows (0 1 2 3), (4 5 6 7), (8 9 10 11) and bias 1.
    expected = np.array([-2.0, 3, 1]) @ np.arange(12.0).reshape(3, 4) + 1
    np.testing.assert_array_equal(port.forward_program(layer, (X,), method).results[0], expected[None])
