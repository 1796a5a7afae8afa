"""The public call on ports with one thing done differently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import harness
from benchmarks.diagnosis_time import nobodys, reassigned
from evidence.planted_bugs.bugs import preprocessing
from harness.backends import Backend
from harness.diagnosis.excerpt import LARGE, multiplications
from harness.diagnosis.search import Outcome, Search
from harness.methods import AlphaBeta, Assignment, Epsilon, Flat, Method
from harness.runner import chosen_input
from harness.steps import Arrays, Deviation, Step
from ported_impls.composite import method_composite
from ported_models.build import Builder
from ported_models.model import PortedModel
from reference_impls.oracle.backend import PreparedOracle

METHOD = "lrp.epsilon"
CONVOLUTION = {"strides": (1, 1), "dilations": (1, 1), "groups": 1, "padding": ((1, 1), (1, 1))}


@pytest.fixture(scope="module")
def model() -> Any:
    return harness.load_model("digits-cnn")


@pytest.fixture(scope="module")
def x(model: Any) -> np.ndarray:
    return chosen_input(model, None)[0]


def at(name: str, rule: Any) -> Assignment:
    return Assignment(rule, names=(name,))


def faults(diagnosis: harness.Diagnosis) -> set[tuple[str | None, str]]:
    return {(layer, each.cause) for each in diagnosis.findings for layer in (each.layer, *each.also)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_healthy_port_has_no_finding(model: Any, x: np.ndarray, dtype: str) -> None:
    diagnosis = harness.diagnose(model, x, METHOD, dtype=dtype)
    assert (diagnosis.stage, diagnosis.layer, diagnosis.cause, diagnosis.findings) == (None, None, None, ())
    assert diagnosis.reproducer is None
    assert "nothing is done differently" in diagnosis.explanation


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_fault_is_found_at_its_layer_with_the_value_of_both_sides(
    model: Any, x: np.ndarray, dtype: str
) -> None:
    diagnosis = harness.diagnose(
        model, x, METHOD, candidate=reassigned(at("conv2", Epsilon(1e-6))), dtype=dtype
    )
    assert (diagnosis.stage, diagnosis.layer, diagnosis.cause) == ("rule", "conv2", "epsilon-value")
    assert "epsilon is 1e-06 instead of 1e-07" in diagnosis.explanation
    assert diagnosis.residual is not None and diagnosis.residual < 1e-12


def test_what_a_step_may_do_is_listed_once_for_what_others_do_and_for_itself(
    model: Any, x: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two layers with faults of their own: the second is first held against what the first does. To list takes long."""
    listed: list[str] = []
    whole = PreparedOracle.deviations

    def counted(self: PreparedOracle, step: Step, observed: Arrays) -> Iterator[Deviation]:
        listed.append(step.layer.name)
        return whole(self, step, observed)

    monkeypatch.setattr(PreparedOracle, "deviations", counted)
    candidate = reassigned(at("conv3", Flat()), at("conv2", Epsilon(1e-3)))
    diagnosis = harness.diagnose(model, x, METHOD, candidate=candidate, dtype="float64")
    assert {each.layer for each in diagnosis.findings} == {"conv3", "conv2"}
    assert Counter(listed) == {"conv3": 1, "conv2": 1}


def test_only_the_layer_at_fault_introduces_and_those_below_inherit(model: Any, x: np.ndarray) -> None:
    candidate = reassigned(at("conv2", Epsilon(0.25, bias=False)))
    table = harness.diagnose(model, x, METHOD, candidate=candidate, dtype="float64").introduced
    assert list(table[table.differs].layer) == ["conv2"]
    rows = table.set_index("layer")
    # What differs at conv2's step is seen first at the layer that it passes relevance to.
    assert rows.loc["conv2", "inherited"] < 1e-12
    assert rows.loc["conv1_relu", "inherited"] > 1e-3
    assert rows.loc["conv1_relu", "introduced"] < 1e-12
    assert (table.layer.iloc[0], table.layer.iloc[-1]) == ("logits", "conv1")


def test_several_faults_are_found_in_one_pass_each_by_its_name(model: Any, x: np.ndarray) -> None:
    candidate = reassigned(at("conv3", Epsilon(1e-3)), at("conv1", Flat()), head="one")
    diagnosis = harness.diagnose(model, x, METHOD, candidate=candidate, dtype="float64")
    assert faults(diagnosis) == {
        ("logits", "output-seed"),
        ("conv3", "epsilon-value"),
        ("conv1", "input-layer-rule"),
    }
    assert [each.stage for each in diagnosis.findings] == ["head", "rule", "rule"]


def test_two_faults_in_one_step_are_told_apart(model: Any, x: np.ndarray) -> None:
    candidate = reassigned(at("conv2", Epsilon(1e-3, bias=False)))
    diagnosis = harness.diagnose(model, x, METHOD, candidate=candidate, dtype="float64")
    assert faults(diagnosis) == {("conv2", "epsilon-value"), ("conv2", "bias-handling")}


def test_one_fault_at_many_layers_is_one_finding(model: Any, x: np.ndarray) -> None:
    candidate = reassigned(Assignment(AlphaBeta(2, 1), kinds=("conv2d",)))
    (finding,) = harness.diagnose(
        model, x, "lrp.alpha_1_beta_0", candidate=candidate, dtype="float64"
    ).findings
    assert (finding.layer, *finding.also) == ("conv3", "conv2", "conv1")
    assert finding.cause == "alpha-beta"


def function(attribution: Callable[[Any, Any, Any], Any]) -> Backend:
    return harness.backend_from_function(
        "function", lambda twin, x, target, method: attribution(twin, x, target), "torch"
    )


def gradient(twin: Any, x: Any, target: Any) -> Any:
    x = x.clone().requires_grad_()
    twin(x).gather(1, target[:, None]).sum().backward()
    return x.grad


def test_a_black_box_says_where_a_difference_is_first_seen(model: Any, x: np.ndarray) -> None:
    candidate = function(lambda twin, x, target: gradient(twin, x, (target + 1) % 10))
    diagnosis = harness.diagnose(model, x, "gradient", candidate=candidate, dtype="float64")
    assert (diagnosis.stage, diagnosis.cause) == ("head", "target")


def test_a_black_box_without_layers_is_read_from_its_attribution(model: Any, x: np.ndarray) -> None:
    def detached(twin: Any, x: Any, target: Any) -> Any:
        points = [gradient(twin, each, target) for each in (x, x)]
        return torch.stack(points).mean(dim=0).abs()

    diagnosis = harness.diagnose(model, x, "gradient", candidate=function(detached), dtype="float64")
    (finding,) = diagnosis.findings
    assert finding.first_seen
    assert (finding.stage, finding.cause) == ("postprocess", "absolute-contributions")


def test_a_candidate_that_differs_from_itself_is_reported_before_anything_else(
    model: Any, x: np.ndarray
) -> None:
    generator = torch.Generator()
    candidate = function(
        lambda twin, x, target: gradient(
            twin, x + torch.randn(x.shape, generator=generator, dtype=x.dtype), target
        )
    )
    (finding,) = harness.diagnose(model, x, "gradient", candidate=candidate, dtype="float64").findings
    assert finding.cause == "nondeterminism"


def test_runs_that_are_joined_in_another_way_are_noticed(model: Any, x: np.ndarray) -> None:
    healthy = harness.diagnose(model, x, "integrated_gradients", dtype="float64")
    assert healthy.findings == ()


def test_a_step_that_raises_is_a_finding_at_its_layer(model: Any, x: np.ndarray) -> None:
    from zennit.core import BasicHook
    from zennit.core import Composite as ZennitComposite

    class Broken(BasicHook):
        def backward(self, module: Any, grad_input: Any, grad_output: Any) -> Any:
            if float(grad_output[0].abs().max()) > 0 and self.armed:
                raise TypeError("unsupported operand")
            return grad_input

        armed = False

        def copy(self) -> Any:
            return self

    hook = Broken()

    def composite(twin: Any, method: Method) -> Any:
        healthy = method_composite(method, twin.graph)
        return ZennitComposite(
            module_map=lambda context, name, module: (
                hook if name == "conv2" else healthy.module_map(context, name, module)
            )
        )

    candidate = harness.backend_from_composite("broken", composite)
    with pytest.MonkeyPatch.context() as patch:
        from harness.diagnosis import examine as module

        steps = module._steps

        def armed(*arguments: Any) -> Any:
            hook.armed = True
            yield from steps(*arguments)

        patch.setattr(module, "_steps", armed)
        diagnosis = harness.diagnose(model, x, METHOD, candidate=candidate, dtype="float64")
    finding = next(each for each in diagnosis.findings if each.layer == "conv2")
    assert finding.cause == "unknown"
    assert "raised TypeError: unsupported operand" in finding.words


@pytest.mark.nightly
def test_after_two_layers_without_a_name_pairs_are_not_tried_for_a_third_like_them(
    model: Any, x: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a rule of nobody's does at every layer is not looked for in pairs again and again."""
    paired: list[str] = []

    def none_fits(search: Search, firsts: int = 0) -> Outcome:
        paired.append(search.problem.step.layer.name)
        return Outcome(())

    monkeypatch.setattr(Search, "paired", none_fits)  # the search itself takes a minute
    odd = [layer.name for layer in model.graph.layers if layer.kind in ("conv2d", "dense")]
    diagnosis = harness.diagnose(model, x, METHOD, candidate=nobodys(*odd), dtype="float64")
    found = {each.layer: each for each in diagnosis.findings}
    layers = [name for name in reversed(odd) if name in found]
    assert layers == ["logits", "dense1", "conv3", "conv2", "conv1"]
    assert [found[name].cause for name in layers] == ["unknown"] * 5
    assert paired == ["logits", "dense1", "conv3", "conv2"]
    assert ["were not tried" in found[name].words for name in layers] == [False] * 4 + [True]


def test_what_a_layer_may_do_is_listed_as_often_for_many_findings_before_it_as_for_one(
    model: Any, x: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every layer has an epsilon of its own, so that none of the earlier answers fits, and all are tried."""
    listed: Counter[str] = Counter()
    plain = PreparedOracle.deviations

    def counted(oracle: PreparedOracle, step: Step, observed: Arrays) -> Iterator[Deviation]:
        listed[step.layer.name] += 1
        return plain(oracle, step, observed)

    monkeypatch.setattr(PreparedOracle, "deviations", counted)
    values = {"logits": 1e-3, "dense1": 2e-3, "conv3": 3e-3, "conv2": 4e-3}
    candidate = reassigned(*(at(name, Epsilon(value)) for name, value in values.items()))
    diagnosis = harness.diagnose(model, x, METHOD, candidate=candidate, dtype="float64")
    assert {each.layer for each in diagnosis.findings} == set(values)
    assert listed["conv2"] == listed["dense1"], listed


def gray(size: int, channels: int) -> tuple[PortedModel, np.ndarray]:
    """A network of one convolution, and an input whose channels are equal: reversed they are the same input."""
    random = np.random.default_rng(0)
    builder = Builder("gray", (size, size, 3))
    weights = {"kernel": random.standard_normal((3, 3, 3, channels)).astype(np.float32)}
    builder.add("conv2d", "conv", attributes=CONVOLUTION, weights=weights)
    builder.add("relu", "relu")
    builder.add("global_average_pool", "pool", attributes={"keepdims": False})
    builder.add(
        "dense", "logits", weights={"kernel": random.standard_normal((channels, 2)).astype(np.float32)}
    )
    model = PortedModel.from_graph(builder.graph())
    return model, np.repeat(random.random((1, size, size, 1)), 3, axis=-1)


def bgr() -> Any:
    return next(
        each for each in preprocessing.MUTANTS if each.name == "channels-of-the-input-reversed"
    ).build()


@pytest.mark.nightly
def test_what_the_run_alone_shows_at_a_large_layer_is_searched_on_the_whole_of_it() -> None:
    """The candidate's step by itself is right, so that an excerpt, on which that step is run, shows nothing."""
    model, x = gray(112, 64)
    assert multiplications(model.graph["conv"], 1) > LARGE
    diagnosis = harness.diagnose(model, x, "gradient", candidate=bgr(), dtype="float64")
    finding = diagnosis.findings[0]
    assert (finding.layer, finding.cause, finding.or_causes) == ("conv", "layout", ("preprocessing",))
    assert "channels in reversed order" in diagnosis.explanation
    # Zero, or on some processors what another order of the sum leaves.
    assert diagnosis.left <= np.finfo(np.float64).eps


@pytest.mark.nightly
def test_an_order_of_the_input_that_no_activation_shows_is_named_by_what_it_does_to_the_attribution() -> None:
    """The step on other data shows that it is not the relevance alone that is turned."""
    model, x = gray(8, 4)
    diagnosis = harness.diagnose(model, x, "lrp.epsilon", candidate=bgr(), dtype="float64")
    finding = diagnosis.findings[0]
    assert (finding.stage, finding.layer, finding.cause) == ("forward", "conv", "preprocessing")
    assert "reverse order" in finding.words and diagnosis.left is not None and diagnosis.left < 1e-12


def test_an_input_of_equal_channels_on_another_scale_is_not_said_to_be_in_another_order() -> None:
    model, x = gray(4, 2)
    again = next(each for each in preprocessing.MUTANTS if each.name == "divided-by-255-again").build()
    diagnosis = harness.diagnose(model, x, "gradient", candidate=again, dtype="float64")
    assert diagnosis.findings[0].words == "its input is divided by 255"
    assert diagnosis.left is not None and diagnosis.left < 1e-12
