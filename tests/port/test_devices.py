"""The port on a GPU. Where there is none, what is the same on every device is tested on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from harness import compare, explain
from harness.backends import capability
from harness.case import Case
from harness.errors import InvalidInputError
from harness.methods import method
from ported_impls.backend import TorchBackend
from ported_impls.devices import OnDevice, devices, twin_on
from ported_models.model import PortedModel
from tests.models.graphs import random_input
from tests.port.zennit_graphs import batch_norm_graph

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
METHODS = ("gradient", "guided_backprop", "lrp.epsilon", "lrp.alpha_2_beta_1", "lrp.flat", "smoothgrad")


class Says:
    """A prepared model that says how float32 is multiplied while it runs."""

    fact = 7

    def run(self, x: Any, method: Any, target: Any, layers: bool) -> tuple[bool, bool, bool]:
        return self.precision()

    def precision(self) -> tuple[bool, bool, bool]:
        flags = torch.backends.cudnn
        return torch.backends.cuda.matmul.allow_tf32, flags.allow_tf32, flags.deterministic


@pytest.mark.parametrize(("device", "reduced"), [("cuda", False), ("cuda:1+tf32", True)])
def test_float32_is_reduced_only_where_the_device_says_so(device: str, reduced: bool) -> None:
    prepared = OnDevice(Says(), device)
    before = Says().precision()
    assert prepared.run(None, None, None, True) == (reduced, reduced, True)
    assert prepared.precision() == (reduced, reduced, True)
    assert prepared.fact == 7
    assert Says().precision() == before


def test_no_program_is_recorded_that_would_need_a_gpu() -> None:
    prepared = TorchBackend().prepare(PortedModel.from_graph(batch_norm_graph()), "float64")
    assert capability(prepared, "programs") is prepared
    assert capability(OnDevice(prepared, "cuda"), "programs") is None
    assert capability(OnDevice(prepared, "cuda"), "steps") is not None


def test_the_twin_of_the_cpu_is_the_models_own() -> None:
    twin = PortedModel.from_graph(batch_norm_graph()).torch("float64")
    assert twin_on(twin, "cpu") is twin


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda+tf32"])
def test_without_a_gpu_one_sentence_says_what_there_is(device: str) -> None:
    assert devices() == ("cpu",)
    graph = batch_norm_graph()
    x = random_input(graph, np.random.default_rng(0))
    with pytest.raises(InvalidInputError) as caught:
        explain(PortedModel.from_graph(graph), x, "gradient", "torch", device=device)
    assert str(caught.value) == f"backend 'torch' computes on cpu here, found device {device!r}"


@needs_gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", METHODS)
def test_the_port_computes_on_a_gpu_what_the_reference_computes(name: str, dtype: str) -> None:
    graph = batch_norm_graph()
    model, x = PortedModel.from_graph(graph), random_input(graph, np.random.default_rng(0))
    reference = explain(model, x, name, dtype=dtype)
    candidate = explain(model, x, name, "torch", target=reference.target, dtype=dtype, device="cuda")
    assert candidate.provenance["device"] == "cuda"
    assert compare(reference, candidate).passed
    assert all(parameter.device.type == "cpu" for parameter in model.torch(dtype).parameters())


@needs_gpu
def test_the_steps_of_a_gpu_are_those_of_the_cpu() -> None:
    graph = batch_norm_graph()
    model, rng = PortedModel.from_graph(graph), np.random.default_rng(0)
    sides = [TorchBackend().prepare(model, "float64", device) for device in ("cpu", "cuda")]
    for layer in graph.layers[1:]:
        inputs = tuple(rng.standard_normal((2, *shape)) for shape in layer.input_shapes)
        relevance = rng.standard_normal((2, *layer.shape))
        here, there = (side.step(layer, inputs, relevance, method("lrp.epsilon")) for side in sides)
        for one, other in zip(here, there, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-12)


def test_the_device_is_part_of_what_a_result_depends_on() -> None:
    graph = batch_norm_graph()
    model, x = PortedModel.from_graph(graph), random_input(graph, np.random.default_rng(0))
    cases = [
        Case.checked(model, x, method("gradient"), 0, "float64", device=device)
        for device in ("cpu", "cuda", "cuda:1", "cuda+tf32")
    ]
    assert len({case.digest for case in cases}) == 4
