"""What a diagnosis says of ports of DLBacktrace, step by step in both modes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import harness
from harness.methods import Backtrace, Contrast, Method, Rule, method
from ported_impls.dlbacktrace.rules import propagate
from ported_impls.dlbacktrace.run import TwinBacktrace
from ported_models.model import PortedModel
from tests.models.graphs import branching_graph


def network() -> PortedModel:
    return PortedModel.from_graph(branching_graph(np.random.default_rng(3)))


def pictures() -> np.ndarray:
    return np.random.default_rng(4).standard_normal((2, *network().input_shape))


@dataclass(eq=False)
class Otherwise:
    """The port with other rules than those that are assigned."""

    change: Callable[[Rule], Rule]
    name: str = "otherwise"

    def version(self) -> dict[str, str]:
        return {}

    def supports(self, method: Method, graph: Any) -> str:
        return ""

    def prepare(self, model: Any, dtype: str, device: str = "cpu") -> TwinBacktrace:
        def step(layer: Any, module: Any, inputs: Any, received: Any, rule: Rule, size: Any) -> Any:
            return propagate(layer, module, inputs, received, self.change(rule), size)

        return TwinBacktrace(model.torch(dtype), propagate=step)


@pytest.mark.parametrize(
    "name", ["backtrace.default", "backtrace.contrast", "backtrace.contrast:part=against"]
)
def test_a_healthy_port_has_no_findings(name: str) -> None:
    assert harness.diagnose(network(), pictures(), name, dtype="float64").findings == ()


def test_a_saturation_that_is_left_out_is_named_at_every_layer_that_has_one() -> None:
    def change(rule: Rule) -> Rule:
        if not isinstance(rule, Backtrace) or rule.reading == "linear":
            return rule
        return replace(rule, saturation=replace(rule.saturation, form="none", low=None, high=None))

    wanted = "backtrace.default:saturation=mono,high=0.5"
    found = harness.diagnose(network(), pictures(), wanted, candidate=Otherwise(change), dtype="float64")
    assert {each.cause for each in found.findings} == {"saturation"}
    assert found.residual is not None and found.residual < 1e-12


def test_another_reading_of_contrast_mode_is_named_at_the_layer_that_has_it() -> None:
    def change(rule: Rule) -> Rule:
        return Contrast("linear") if rule == Contrast("convolution") else rule

    found = harness.diagnose(
        network(), pictures(), "backtrace.contrast", candidate=Otherwise(change), dtype="float64"
    )
    convolutions = {layer.name for layer in network().graph if layer.traits.convolution}
    (finding,) = found.findings
    assert finding.cause == "rule-mapping"
    assert {finding.layer, *finding.also} <= convolutions
    assert found.left is not None and found.left < 1e-12


@pytest.mark.parametrize("part", ["for", "against"])
def test_a_step_of_contrast_mode_that_takes_one_relevance_for_the_other_is_located(part: str) -> None:
    """Both relevances of one dense layer are exchanged: whichever of them is shown."""
    backend = Otherwise(lambda rule: rule)
    healthy = backend.prepare

    def prepare(model: Any, dtype: str, device: str = "cpu") -> TwinBacktrace:
        def step(layer: Any, *operands: Any) -> Any:
            shares = propagate(layer, *operands)
            return tuple(each[::-1] for each in shares) if layer.name == "logits" else shares

        return replace(healthy(model, dtype), propagate=step)

    backend.prepare = prepare  # type: ignore[method-assign]
    name = f"backtrace.contrast:part={part}"
    found = harness.diagnose(network(), pictures(), name, candidate=backend, dtype="float64")
    (finding,) = found.findings
    assert (finding.layer, finding.also, finding.cause) == ("logits", (), "rule-mapping")
    assert "for the target and against it is exchanged" in finding.words
    assert found.left is not None and found.left < 1e-12


def test_contrast_mode_that_differs_in_an_unknown_way_is_found_all_the_same() -> None:
    backend = Otherwise(lambda rule: rule)
    healthy = backend.prepare

    def prepare(model: Any, dtype: str, device: str = "cpu") -> TwinBacktrace:
        prepared = healthy(model, dtype)

        def step(layer: Any, *operands: Any) -> Any:
            passed = propagate(layer, *operands)
            if layer.name != "logits":
                return passed
            return tuple(tuple(each.abs().sqrt() for each in shares) for shares in passed)

        return replace(prepared, propagate=step)

    backend.prepare = prepare  # type: ignore[method-assign]
    found = harness.diagnose(network(), pictures(), "backtrace.contrast", candidate=backend, dtype="float64")
    assert [(each.layer, each.cause) for each in found.findings] == [("logits", "unknown")]
    assert not harness.compare(found.case.reference_run, found.case.candidate_run).passed


def test_a_method_that_starts_elsewhere_is_named_at_the_head() -> None:
    @dataclass(eq=False)
    class FromOne(Otherwise):
        def prepare(self, model: Any, dtype: str, device: str = "cpu") -> TwinBacktrace:
            prepared = super().prepare(model, dtype)
            begin = prepared.start
            return replace(prepared, start=lambda y, t, head: begin(y, t, replace(head, multiplier=1.0)))

    found = harness.diagnose(
        network(), pictures(), "backtrace.default", candidate=FromOne(lambda rule: rule), dtype="float64"
    )
    assert (found.stage, found.cause) == ("head", "output-seed")
    assert "from one instead of 100 times 1" in found.explanation


def test_methods_are_read_back_from_what_a_golden_keeps() -> None:
    from harness.methods import from_json, to_json

    for name in (
        "backtrace.default:activation=swish,add=magnitude",
        "backtrace.contrast:part=against,scaler=2",
    ):
        assert from_json(to_json(method(name))) == method(name)
