"""The proof: causes that were found, applied to the reference, make the whole case the candidate's, or it is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

import harness
from harness.diagnosis.case import Case
from harness.diagnosis.findings import Finding
from harness.diagnosis.precision import rounded_to
from harness.diagnosis.proof import Proof, _floor, proved, simplest
from harness.diagnosis.search import Hypothesis
from harness.diagnosis.walk import Causes, Walk
from harness.engine import engine
from harness.graph import Graph
from harness.methods import method
from harness.steps import Deviation
from ported_impls.capture import capture_layers
from ported_impls.torchvision_shim import zennit
from ported_models.build import Builder
from ported_models.model import PortedModel

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

#: A dense layer without bias: logits ``W^T x`` = (5, 2) at ``x`` = (1, 2).
KERNEL = np.array([[1.0, 0.0], [2.0, 1.0]])
X = np.array([[1.0, 2.0]])


def one_layer() -> Graph:
    builder = Builder("one-layer", (2,))
    builder.add("dense", "logits", weights={"kernel": KERNEL.astype(np.float32)})
    return builder.graph()


@pytest.fixture(scope="module")
def small() -> Any:
    return PortedModel.from_graph(one_layer())


@pytest.fixture(scope="module")
def digits() -> Any:
    return harness.load_model("digits-cnn")


@pytest.fixture(scope="module")
def x(digits: Any) -> np.ndarray:
    return np.random.default_rng(0).random((2, *digits.input_shape))


def test_the_start_that_is_named_is_applied(small: Any) -> None:
    """The gradient of logit 0 is (1, 2); started from its logit, 5, it is (5, 10)."""

    def of_the_logit(twin: Any, x: Any, target: Any, method: Any) -> Any:
        return torch.tensor([[5.0, 10.0]], dtype=x.dtype)

    candidate = harness.backend_from_function("mine", of_the_logit, "torch")
    found = harness.diagnose(small, X, "gradient", candidate=candidate, target=0, dtype="float64")
    assert (found.cause, found.complete) == ("output-seed", True)
    assert found.left is not None and found.left < 1e-15


def case_of(small: Any, attribution: np.ndarray) -> Case:
    """Of the gradient of logit 0 at `X`, where the candidate returns ``attribution``."""

    def function(twin: Any, x: Any, target: Any, method: Any) -> Any:
        return torch.from_numpy(attribution.copy())

    from harness.backends import backend_named
    from harness.case import Case as Asked

    asked = Asked.checked(small, X, method("gradient"), 0, "float64")
    reference = engine().run(asked, backend_named("tensorflow"))
    candidate = harness.backend_from_function("mine", function, "torch")
    return Case(
        small, asked.x, asked.method, backend_named("tensorflow"), candidate, reference.target, "float64"
    )


def factor(value: float) -> Finding:
    return Finding("postprocess", None, "scale", "", 0.0, 0.0, parameters={"factor": value})


def test_what_is_left_is_measured_on_the_attribution(small: Any) -> None:
    """The gradient (1, 2) times 3 is (3, 6). The candidate's (3, 6.5) is then 0.5 / |(3, 6)| away."""
    proof = proved(case_of(small, np.array([[3.0, 6.5]])), Causes((factor(3.0),)))
    assert proof is not None and not proof.closes
    assert proof.left == pytest.approx(0.5 / np.sqrt(45), rel=1e-12)
    closed = proved(case_of(small, np.array([[3.0, 6.0]])), Causes((factor(3.0),)))
    assert closed is not None and closed.left == 0.0 and closed.closes


def test_a_step_is_applied_where_it_was_found(small: Any) -> None:
    """The layer hands on (1, 2) with its sign reversed."""
    case = case_of(small, np.array([[-1.0, -2.0]]))
    layer = small.graph["logits"]
    step = case.step(layer, (X,), np.array([[1.0, 0.0]]))
    reversal = next(
        each for each in case.oracle.deviations(step, (np.array([[-1.0, -2.0]]),)) if each.cause == "scale"
    )
    proof = proved(case, Causes((), rule={"logits": Hypothesis((reversal,), 0.0)}))
    assert proof is not None and proof.left == 0.0
    nothing = proved(case, Causes(()))
    assert nothing is not None and nothing.left == pytest.approx(2.0)


class After(zennit.core.Hook):
    def __init__(self, change: Callable[[Any], Any]) -> None:
        super().__init__()
        self.change = change

    def backward(self, module: Any, grad_input: Any, grad_output: Any) -> Any:
        return tuple(None if each is None else self.change(each) for each in grad_input)

    def copy(self) -> Any:
        return After(self.change)


def test_a_proof_within_the_order_of_summation_costs_no_floor(
    digits: Any, x: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is above the first cause is as the reference's run has it; its floor is not measured for what is below."""

    def composite(twin: Any, method: Any) -> Any:
        return zennit.core.Composite(
            module_map=lambda context, name, module: After(lambda r: 3 * r) if name == "conv2" else None
        )

    candidate = harness.backend_from_composite("mine", composite, head="one")
    monkeypatch.setattr(type(engine()), "moved", lambda *_: pytest.fail("the floor was measured"))
    stages: list[str] = []
    carried: list[str] = []
    plain = Case.expected

    def expected(case: Case, step: Any, moved_case: Any = None) -> Any:
        if stages[-1] == "proof":
            carried.append(step.layer.name)
        return plain(case, step, moved_case)

    monkeypatch.setattr(Case, "expected", expected)
    found = harness.diagnose(digits, x, "gradient", candidate=candidate, progress=stages.append)
    assert [(each.layer, each.cause) for each in found.findings] == [("conv2", "scale")]
    assert found.complete
    assert "dense1" not in carried and "conv1" in carried


def test_two_faults_at_two_layers_are_proved_together(digits: Any, x: np.ndarray) -> None:
    def composite(twin: Any, method: Any) -> Any:
        changes = {"conv2": lambda r: 3 * r, "dense1": lambda r: r.clamp(min=0)}
        return zennit.core.Composite(
            module_map=lambda context, name, module: After(changes[name]) if name in changes else None
        )

    candidate = harness.backend_from_composite("mine", composite, head="one")
    found = harness.diagnose(digits, x, "gradient", candidate=candidate, dtype="float64")
    assert [(each.layer, each.cause) for each in found.findings] == [
        ("dense1", "negative-clipped"),
        ("conv2", "scale"),
    ]
    assert found.complete and found.left is not None and found.left < 1e-13


def test_an_answer_that_leaves_most_of_the_map_wrong_says_so(digits: Any, x: np.ndarray) -> None:
    """One layer trebles, which has a name; another mixes each value with its mirror image, which has none."""

    def composite(twin: Any, method: Any) -> Any:
        changes = {"conv3": lambda r: 3 * r, "conv2": lambda r: r + 0.37 * r.flip(2) ** 3}
        return zennit.core.Composite(
            module_map=lambda context, name, module: After(changes[name]) if name in changes else None
        )

    candidate = harness.backend_from_composite("mine", composite, head="one")
    found = harness.diagnose(digits, x, "gradient", candidate=candidate, dtype="float64")
    assert [each.cause for each in found.findings] == ["scale", "unknown"]
    assert not found.complete and found.left is not None and found.left > 0.01
    assert f"the attribution is still {found.left:.0%} off" in found.findings[0].sentence
    assert "incomplete" in found.explanation


def test_where_a_scale_alone_closes_the_gap_nothing_else_is_named(small: Any) -> None:
    """The gradient (1, 2) doubled: a finding beside that scale is dropped, beside another scale it is kept."""
    doubled = case_of(small, np.array([[2.0, 4.0]]))
    other = Finding("rule", "logits", "unknown", "", 1.0, 0.0)
    alone = simplest(doubled, Causes((other, factor(2.0))))
    assert alone is not None and [each.cause for each in alone[0]] == ["scale"]
    assert simplest(doubled, Causes((other, factor(2.5)))) is None


def test_a_start_alone_is_given_up_at_the_first_relevance_that_is_not_the_candidates(
    digits: Any, x: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What rounding does to a whole run is not measured where a layer on the way shows that it is in vain."""

    def composite(twin: Any, method: Any) -> Any:
        changes = {"dense1": lambda r: r.clamp(min=0)}
        return zennit.core.Composite(
            module_map=lambda context, name, module: After(changes[name]) if name in changes else None
        )

    candidate = harness.backend_from_composite("mine", composite, head="logit")
    found = harness.diagnose(digits, x, "gradient", candidate=candidate, dtype="float64")
    assert [each.cause for each in found.findings] == ["output-seed", "negative-clipped"] and found.complete
    monkeypatch.setattr("harness.diagnosis.proof._floor", lambda *_: pytest.fail("rounding was measured"))
    assert simplest(found.case, Causes(found.findings)) is None


def test_a_start_does_not_stand_for_what_is_done_to_the_result(digits: Any) -> None:
    """At inputs on the threshold of a sign, rounding explains any result: what is done to it is named all the same."""

    def of_its_own_sign(twin: Any, x: Any, target: Any, method: Any) -> Any:
        with capture_layers(twin, twin.graph) as captured:
            x = x.requires_grad_()
            (slope,) = torch.autograd.grad(twin(x).gather(1, target[:, None]).square().sum() / 2, x)
        sign = torch.where(slope >= 0.5, 1.0, -1.0)
        return slope * sign, captured.relevances

    x = np.full((1, *digits.input_shape), 0.5)
    candidate = harness.backend_from_function("mine", of_its_own_sign, "torch")
    found = harness.diagnose(digits, x, "gradient_x_sign_mu_0_5", candidate=candidate, dtype="float64")
    assert [each.cause for each in found.findings] == ["output-seed", "sign-threshold"]


def test_rounding_to_a_format_is_to_the_nearest_and_ties_to_even() -> None:
    """bfloat16 has 8 bits: between 1 and 1 + 2**-7 lies 1 + 2**-8, a tie, which goes to 1, whose last bit is 0."""
    values = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-8 + 2.0**-20, -3.0])
    expected = np.array([1.0, 1 + 2.0**-6, 1 + 2.0**-7, -3.0])
    np.testing.assert_array_equal(rounded_to("bfloat16", values), expected)
    assert rounded_to("float32", np.array([1 + 2.0**-30]))[0] == 1.0


def test_a_run_that_rounding_alone_turns_about_proves_nothing() -> None:
    """Of equal entries of a pool rounding chooses another one, and the attribution is another: that explains 1 %."""
    x = np.ones((1, 2))

    moved: list[np.ndarray] = []

    def run(case: Case, causes: Causes, at: np.ndarray, layers: bool, sums: Any) -> np.ndarray:
        moved.append(at)
        return np.array([[1.0, 0.0]]) if np.array_equal(at, x) else np.array([[0.0, 1.0]])

    of_many_runs = method("integrated_gradients")
    case = cast(
        Case, SimpleNamespace(x=x, dtype="float64", terms=1, attribution_floor=1e-15, method=of_many_runs)
    )
    for left, closes in ((0.5, False), (0.02, False), (0.009, True)):
        floor = _floor(case, Causes(()), np.array([[1.0, 0.0]]), left, run)
        assert Proof(left, floor).closes is closes
        assert bool(moved) is closes  # no run is made that could not explain what is left


@pytest.mark.parametrize("doubled", [False, True])
def test_a_way_back_with_moved_sums_has_the_moved_weights(small: Any, doubled: bool) -> None:
    """The gradient of logit 0 is the first column of the kernel, which is moved; a cause makes it twice that."""
    case = case_of(small, X)
    twice = Deviation("scale", "twice", lambda step: replace(step, relevance=2 * step.relevance))
    causes = Causes((), {}, {"logits": Hypothesis((twice,), 0.0)} if doubled else {})
    moved = next(case.other_orders())
    activations = {name: np.asarray(layer.activation) for name, layer in case.reference_run.layers.items()}
    relevance = Walk(case, causes, False, moved).back(activations)
    column = moved.model.graph["logits"].weights["kernel"][:, 0].astype(np.float64)
    assert not np.array_equal(column, KERNEL[:, 0])
    np.testing.assert_array_equal(relevance, [column * (2 if doubled else 1)])
