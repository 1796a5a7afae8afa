"""What a diagnosis says of ports of DLBacktrace, step by step in both modes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import harness
from harness.diagnosis import excerpt, explain_step
from harness.methods import Backtrace, Contrast, Method, Rule, method
from ported_impls.dlbacktrace.rules import propagate
from ported_impls.dlbacktrace.run import TwinBacktrace
from ported_models.build import Builder
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


def test_a_large_layer_of_contrast_mode_is_searched_on_an_excerpt(monkeypatch: pytest.MonkeyPatch) -> None:
    """24 * 24 places, both relevances, 3 * 3 * 16 * 128 products: 21 million."""
    searched: list[str] = []

    def recording(step: Any, observe: Any) -> Any:
        for part in excerpt.excerpts(step, observe):
            searched.append(part.step.layer.kind)
            yield part

    monkeypatch.setattr(explain_step, "excerpts", recording)
    rng = np.random.default_rng(6)
    builder = Builder("large", (24, 24, 16))
    builder.add("conv2d", "conv", None, {"padding": "same"}, {"kernel": rng.standard_normal((3, 3, 16, 128))})
    builder.add("global_average_pool", "pool")
    builder.add("dense", "logits", weights={"kernel": rng.standard_normal((128, 3))})
    model = PortedModel.from_graph(builder.graph())
    backend = Otherwise(lambda rule: rule)
    healthy = backend.prepare

    def prepare(model: Any, dtype: str, device: str = "cpu") -> TwinBacktrace:
        def step(layer: Any, *operands: Any) -> Any:
            shares = propagate(layer, *operands)
            return tuple(each[::-1] for each in shares) if layer.name == "conv" else shares

        return replace(healthy(model, dtype), propagate=step)

    backend.prepare = prepare  # type: ignore[method-assign]
    x = rng.standard_normal((1, 24, 24, 16))
    found = harness.diagnose(model, x, "backtrace.contrast", candidate=backend, dtype="float64")
    assert [(each.layer, each.cause) for each in found.findings] == [("conv", "rule-mapping")]
    assert "for the target and against it is exchanged" in found.explanation
    assert found.left is not None and found.left < 1e-12
    assert searched and set(searched) == {"dense"}


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


def test_relevance_that_is_flattened_in_another_order_is_named() -> None:
    def wrong(layer: Any, *operands: Any) -> Any:
        shares = propagate(layer, *operands)
        if layer.kind == "flatten":
            return tuple(
                tuple(x.movedim(1, -1).reshape(x.shape) for x in relevances) for relevances in shares
            )
        return shares

    class Unflattened(Otherwise):
        def prepare(self, model: Any, dtype: str, device: str = "cpu") -> TwinBacktrace:
            return replace(super().prepare(model, dtype), propagate=wrong)

    builder = Builder("flat", (3, 4, 2))
    builder.add("flatten", "flatten")
    builder.add("dense", "logits", weights={"kernel": np.random.default_rng(7).standard_normal((24, 3))})
    model = PortedModel.from_graph(builder.graph())
    for name in ("backtrace.default", "backtrace.contrast"):
        x = np.random.default_rng(8).standard_normal((2, *model.input_shape))
        found = harness.diagnose(model, x, name, candidate=Unflattened(lambda rule: rule), dtype="float64")
        assert [(each.layer, each.cause) for each in found.findings] == [("flatten", "flatten-order")]


def test_in_contrast_mode_samples_that_depend_on_each_other_are_named() -> None:
    def wrong(layer: Any, *operands: Any) -> Any:
        shares = propagate(layer, *operands)
        if layer.name == "logits":
            return tuple(tuple(x[:1].expand_as(x) for x in relevances) for relevances in shares)
        return shares

    class OfTheFirst(Otherwise):
        def prepare(self, model: Any, dtype: str, device: str = "cpu") -> TwinBacktrace:
            return replace(super().prepare(model, dtype), propagate=wrong)

    found = harness.diagnose(
        network(),
        pictures(),
        "backtrace.contrast",
        candidate=OfTheFirst(lambda rule: rule),
        dtype="float64",
    )
    (finding,) = found.findings
    assert (finding.layer, finding.cause) == ("logits", "batch-coupling")
    assert "every sample gets the result of the first" in finding.words
    assert found.left is not None and found.left < 1e-12


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
