"""Candidates that return an attribution and nothing else: a name only where it closes the gap, and no layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import harness
from harness.diagnosis.black_box import Difference
from harness.diagnosis.readings import readings
from harness.methods import method
from tests.conformance.right_functions import gradient, guided_backprop, hooked, logit

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]


@pytest.fixture(scope="module")
def model() -> Any:
    return harness.load_model("digits-cnn")


@pytest.fixture(scope="module")
def x(model: Any) -> np.ndarray:
    """Two digits of different classes."""
    return np.concatenate([each() for each in list(model.examples.values())[:2]])[:2]


def diagnosed(model: Any, x: np.ndarray, asked: str, function: Callable[..., Any], **options: Any) -> Any:
    candidate = harness.backend_from_function("mine", function, "torch", **options)
    return harness.diagnose(model, x, asked, candidate=candidate, dtype="float64")


def one_finding(diagnosis: Any) -> Any:
    (finding,) = diagnosis.findings
    assert finding.layer is None and finding.first_seen and finding.also == ()
    return finding


def test_the_start_is_named_and_closes_the_gap(model: Any, x: np.ndarray) -> None:
    def of_one(twin: Any, x: Any, target: Any, method: Any) -> Any:
        with hooked(twin, lambda module, passed, received: (passed[0].clamp(min=0),)):
            return gradient(twin, x, target, method)

    finding = one_finding(diagnosed(model, x, "guided_backprop", of_one))
    assert (finding.stage, finding.cause) == ("head", "output-seed")
    assert "starts from one instead of the logit" in finding.words
    assert finding.residual < 1e-13


def test_a_mean_over_the_batch_is_what_it_is(model: Any, x: np.ndarray) -> None:
    def of_the_mean(twin: Any, x: Any, target: Any, method: Any) -> Any:
        x = x.requires_grad_()
        return torch.autograd.grad(logit(twin, x, target).mean(), x)[0]

    finding = one_finding(diagnosed(model, x, "gradient", of_the_mean))
    assert (finding.stage, finding.cause) == ("head", "batch-coupling")


def test_one_factor_is_a_scale(model: Any, x: np.ndarray) -> None:
    finding = one_finding(diagnosed(model, x, "gradient", lambda *given: 3.7 * gradient(*given)))
    assert (finding.stage, finding.cause, finding.parameters) == (
        "postprocess",
        "scale",
        {"factor": pytest.approx(3.7, rel=1e-12)},
    )


@pytest.mark.parametrize("times", [1.0, 1e6])
def test_a_factor_of_this_input_alone_is_no_factor_however_large(
    model: Any, x: np.ndarray, times: float
) -> None:
    """A large factor makes a large error, of which another large factor leaves little."""

    def function(*given: Any) -> Any:
        result = gradient(*given)
        return times * result / result.abs().sum()

    finding = one_finding(diagnosed(model, x, "gradient", function))
    assert finding.cause != "scale"
    assert "on another input it is not" in finding.words


def test_what_divides_by_the_largest_value_is_no_factor(model: Any, x: np.ndarray) -> None:
    def divided(twin: Any, x: Any, target: Any, method: Any) -> Any:
        result = gradient(twin, x, target, method)
        return result / result.abs().max()

    finding = one_finding(diagnosed(model, x, "gradient", divided))
    assert finding.cause == "batch-coupling"
    assert "divided by the largest absolute value of the whole batch" in finding.words


@pytest.mark.parametrize("shift", [1, pytest.param(4, marks=pytest.mark.nightly)])
def test_another_class_for_each_sample_is_named(model: Any, x: np.ndarray, shift: int) -> None:
    def of_another(twin: Any, x: Any, target: Any, method: Any) -> Any:
        return gradient(twin, x, (target + shift) % 10, method)

    diagnosis = diagnosed(model, x, "gradient", of_another)
    finding = one_finding(diagnosis)
    assert (finding.stage, finding.cause) == ("head", "target")
    expected = diagnosis.case.target
    assert finding.parameters == {
        "found": ((expected + shift) % 10).tolist(),
        "expected": expected.tolist(),
    }


def test_the_gradient_for_guided_backprop_is_another_rule(model: Any, x: np.ndarray) -> None:
    def unguided(twin: Any, x: Any, target: Any, method: Any) -> Any:
        return gradient(twin, x, target, method) * logit(twin, x, target).reshape(-1, 1, 1, 1)

    finding = one_finding(diagnosed(model, x, "guided_backprop", unguided))
    assert (finding.stage, finding.cause) == ("rule", "rule-mapping")
    assert "at 4 layers (relu): it has the rule Gradient()" in finding.words


@pytest.mark.nightly
def test_another_path_is_told_in_words_without_a_name(model: Any, x: np.ndarray) -> None:
    def to_the_end(twin: Any, x: Any, target: Any, method: Any) -> Any:
        steps = method.procedure.steps
        return x * sum(gradient(twin, k / (steps - 1) * x, target, method) for k in range(steps)) / steps

    finding = one_finding(diagnosed(model, x, "integrated_gradients:steps=8", to_the_end))
    assert (finding.stage, finding.cause) == ("postprocess", "unknown")
    assert "the path includes its end" in finding.words


def rectified_at_one_layer(twin: Any, x: Any, target: Any, method: Any) -> Any:
    handle = twin.get_submodule("conv2").register_full_backward_hook(
        lambda module, passed, received: tuple(each.abs() for each in passed)
    )
    try:
        return gradient(twin, x, target, method)
    finally:
        handle.remove()


def test_a_fault_inside_is_named_without_a_layer_for_an_attribution_alone(model: Any, x: np.ndarray) -> None:
    """Absolute values before a mask and positive factors are those after them: the place cannot be told."""
    finding = one_finding(diagnosed(model, x, "gradient", rectified_at_one_layer))
    assert (finding.stage, finding.cause) == ("rule", "absolute-contributions")
    assert finding.residual < 1e-13


def bent_at_one_layer(twin: Any, x: Any, target: Any, method: Any) -> Any:
    """What conv2 hands on has its cube added, which has no name."""
    handle = twin.get_submodule("conv2").register_full_backward_hook(
        lambda module, passed, received: tuple(each + 0.3 * each**3 for each in passed)
    )
    try:
        return gradient(twin, x, target, method)
    finally:
        handle.remove()


def test_a_fault_inside_that_has_no_name_is_unknown(model: Any, x: np.ndarray) -> None:
    diagnosis = diagnosed(model, x, "gradient", bent_at_one_layer)
    finding = one_finding(diagnosis)
    assert (finding.stage, finding.cause, finding.residual) == ("rule", "unknown", None)
    assert not diagnosis.complete and diagnosis.left == finding.error


def test_a_fault_inside_is_at_its_layer_where_the_user_says_what_the_layers_are(
    model: Any, x: np.ndarray
) -> None:
    (finding,) = diagnosed(model, x, "gradient", rectified_at_one_layer, layers="gradient").findings
    assert (finding.stage, finding.layer, finding.also) == ("rule", "conv2", ())
    assert finding.first_seen


@pytest.mark.nightly
def test_two_differences_at_once_are_not_given_the_name_of_one(model: Any, x: np.ndarray) -> None:
    def both(*given: Any) -> Any:
        return 3.7 * rectified_at_one_layer(*given)

    diagnosis = diagnosed(model, x, "gradient", both)
    assert [each.cause for each in diagnosis.findings] == ["scale", "absolute-contributions"]
    assert diagnosis.complete

    def unnamed(*given: Any) -> Any:
        return 3.7 * bent_at_one_layer(*given)

    assert one_finding(diagnosed(model, x, "gradient", unnamed)).cause == "unknown"


def test_layers_that_do_not_account_for_the_attribution_accuse_nobody(model: Any, x: np.ndarray) -> None:
    """Scaled by the logit afterwards: right, and the gradients at the layers are those of another start."""
    diagnosis = diagnosed(model, x, "guided_backprop", guided_backprop, layers="gradient")
    assert diagnosis.findings == ()
    assert "only the attribution was judged: layers='gradient' not used: " in diagnosis.explanation


def returned(wrong: str | None, only: tuple[str, ...] | None = None) -> Callable[..., Any]:
    """Gradients layer by layer; trebled from ``wrong`` on, as if its step had done that. ``only``: those returned."""

    def function(twin: Any, x: Any, target: Any, method: Any) -> Any:
        kept: dict[str, Any] = {}
        handles = [
            module.register_forward_hook(lambda module, args, output, name=name: kept.update({name: output}))
            for name, module in twin.named_children()
        ]
        x = x.requires_grad_()
        own = logit(twin, x, target).sum()
        for handle in handles:
            handle.remove()
        names = [layer.name for layer in twin.graph if layer.name != "input"]
        found = dict(
            zip(
                names,
                torch.autograd.grad(own, [kept[name] for name in names], retain_graph=True),
                strict=True,
            )
        )
        found["input"] = torch.autograd.grad(own, x)[0]
        if wrong is not None:
            for name in ("input", *names[: names.index(wrong)]):
                found[name] = 3 * found[name]
        shown = {name: each.moveaxis(1, -1) if each.ndim > 2 else each for name, each in found.items()}
        return found["input"], {n: each for n, each in shown.items() if only is None or n in only}

    return function


def test_returned_layers_are_judged_layer_by_layer(model: Any, x: np.ndarray) -> None:
    assert diagnosed(model, x, "gradient", returned(None)).findings == ()
    diagnosis = diagnosed(model, x, "gradient", returned("conv2"))
    (finding,) = diagnosis.findings
    assert (finding.stage, finding.layer, finding.cause) == ("rule", "conv2", "scale")
    rows = diagnosis.comparison.table.set_index("layer")["verdict"]
    assert rows["conv2"] == "equivalent" and rows["conv1_relu"] == "divergent"


def test_where_only_some_layers_are_returned_the_attribution_is_read(model: Any, x: np.ndarray) -> None:
    (finding,) = diagnosed(model, x, "gradient", returned("conv2", only=("conv3", "dense1"))).findings
    assert (finding.layer, finding.cause) == (None, "scale")


@pytest.mark.nightly
def test_a_candidate_for_the_whole_method_is_not_asked_for_one_of_its_runs(model: Any, x: np.ndarray) -> None:
    """It does not look at the method, so that what it gave for one run would be taken for that run."""
    asked: list[str] = []

    def path(twin: Any, x: Any, target: Any, method: Any) -> Any:
        asked.append(type(method.procedure).__name__)
        total = sum(gradient(twin, k / 8 * x, target, method) for k in range(8)) / 8
        return 2 * x * total, {"input": np.moveaxis((2 * x * total).numpy(), 1, -1)}

    finding = one_finding(diagnosed(model, x, "integrated_gradients:steps=8", path))
    assert (finding.cause, finding.parameters) == ("scale", {"factor": pytest.approx(2)})
    assert set(asked) == {"IntegratedGradients"}


def test_what_hides_in_a_high_floor_closes_no_gap() -> None:
    """Ten floors are 1e-2: an error of 11 floors is no smaller for a residual of 9."""
    nothing = np.zeros(1)
    high = Difference(nothing, nothing, error=1.1e-2, floor=1e-3)
    assert not high.closed_by(9e-3)
    assert high.closed_by(1e-3)
    assert not Difference(nothing, nothing, error=1.0, floor=1e-2).closed_by(0.05)
    assert not Difference(nothing, nothing, error=1.0, floor=1e-15).closed_by(1e-13)


def test_no_two_readings_are_one_method() -> None:
    for name in ("lrp.epsilon", "lrp.alpha_2_beta_1", "lrp.z", "guided_backprop", "lrp.flat"):
        asked = method(name)
        composites = [each.method.composite for each in readings(asked)]
        assert composites and len(set(composites)) == len(composites)
        assert asked.composite not in composites


@pytest.mark.nightly
def test_a_rule_that_clips_is_found_with_another_start(model: Any, x: np.ndarray) -> None:
    """On the input that the answer is tried on again, the logit is negative: the rule is no multiple of itself."""

    def deconvolved(twin: Any, x: Any, target: Any, method: Any) -> Any:
        with hooked(twin, lambda module, passed, received: (received[0].clamp(min=0),)):
            return gradient(twin, x, target, method)

    diagnosis = diagnosed(model, x, "guided_backprop", deconvolved)
    assert {(each.stage, each.cause) for each in diagnosis.findings} == {
        ("head", "output-seed"),
        ("rule", "rule-mapping"),
    }
    assert diagnosis.left < 1e-13


@pytest.mark.nightly
def test_a_whole_other_method_is_named(model: Any, x: np.ndarray) -> None:
    def of_input(twin: Any, x: Any, target: Any, method: Any) -> Any:
        return x.detach() * gradient(twin, x, target, method)

    finding = one_finding(diagnosed(model, x, "lrp.epsilon:epsilon=0.25", of_input))
    assert (finding.stage, finding.cause) == ("rule", "rule-mapping")
    assert "the whole method is input_t_gradient" in finding.words


@pytest.mark.thinned(0.5)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.flip(0), "in reversed order"),
        (lambda a: a[:1].expand_as(a), "the attribution of the first"),
        (lambda a: a.sum(0, keepdim=True).expand_as(a), "the sum of the batch's attributions"),
        (lambda a: (a - a.min()) / (a.max() - a.min()), "the attributions of the whole batch are shifted"),
    ],
)
def test_what_is_done_to_the_batch_is_said_of_the_attribution(
    model: Any, x: np.ndarray, change: Any, words: str
) -> None:
    finding = one_finding(diagnosed(model, x, "gradient", lambda *given: change(gradient(*given))))
    assert (finding.stage, finding.cause) == ("postprocess", "batch-coupling")
    assert words in finding.words


@pytest.mark.nightly
def test_a_picture_of_few_values_is_no_shorter_format(model: Any, x: np.ndarray) -> None:
    """Signs are bfloat16 numbers, and so are the grey levels of a picture."""

    def grey(a: Any) -> Any:
        return ((a - a.min()) / (a.max() - a.min()) * 255).round()

    for change in (torch.sign, grey):
        finding = one_finding(diagnosed(model, x, "gradient", lambda *given: change(gradient(*given))))  # noqa: B023
        assert finding.cause == "unknown"


def test_a_factor_next_to_one_is_said_with_its_digits(model: Any, x: np.ndarray) -> None:
    finding = one_finding(diagnosed(model, x, "gradient", lambda *given: (1 + 2e-10) * gradient(*given)))
    assert "1 + 2e-10 times" in finding.words


def test_a_function_that_reshapes_its_input_in_place_is_named(model: Any, x: np.ndarray) -> None:
    def function(twin: Any, x: Any, target: Any, method: Any) -> Any:
        result = gradient(twin, x.clone(), target, method)
        x.detach_().unsqueeze_(0)
        return result

    diagnosis = diagnosed(model, x, "gradient", function)
    assert (diagnosis.stage, diagnosis.cause) == ("run", "state")


@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_a_function_that_writes_into_its_input_is_named(model: Any, x: np.ndarray, framework: str) -> None:
    before = x.copy()

    def function(twin: Any, x: Any, target: Any, method: Any) -> Any:
        result = harness.explain(model, before, "gradient", target=0, dtype="float64").attribution
        x *= 2
        return np.moveaxis(result, -1, 1) if framework == "torch" else result

    candidate = harness.backend_from_function("mine", function, framework)
    diagnosis = harness.diagnose(model, x, "gradient", candidate=candidate, target=0, dtype="float64")
    assert (diagnosis.stage, diagnosis.cause) == ("run", "state")
    assert "its input" in diagnosis.explanation
    assert np.array_equal(x, before)


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_what_differs_besides_what_is_left_behind_is_named_too(
    model: Any, x: np.ndarray, factor: float
) -> None:
    """What is left behind has been put back, and explains no number of the run."""

    def function(twin: Any, x: Any, target: Any, method: Any) -> Any:
        result = factor * gradient(twin, x.clone(), target, method)
        with torch.no_grad():
            next(twin.parameters()).mul_(2.0)
        return result

    diagnosis = diagnosed(model, x, "gradient", function)
    causes = [(each.stage, each.cause) for each in diagnosis.findings]
    assert causes[0] == ("run", "state")
    assert [cause for _, cause in causes[1:]] == ([] if factor == 1.0 else ["scale"])
    assert diagnosis.complete


@pytest.mark.nightly
def test_another_start_under_absolute_values_is_named(model: Any, x: np.ndarray) -> None:
    """On the input that the answer is tried on again, the logit is negative: |start * g| is not start * |g|."""

    def of_one(twin: Any, given: Any, target: Any, asked: Any) -> np.ndarray:
        case = np.moveaxis(given.detach().numpy(), 1, -1)
        run = harness.explain(
            model, case, replace(asked, head="one"), "torch", target.numpy(), "float64", False
        )
        return np.moveaxis(np.abs(run.attribution), -1, 1)

    findings = diagnosed(model, x, "lrp.epsilon:epsilon=0.25", of_one).findings
    assert {each.cause for each in findings} == {"output-seed", "absolute-contributions"}


def test_integrated_gradients_by_the_trapezoidal_rule_are_described(model: Any, x: np.ndarray) -> None:
    """As TensorFlow's tutorial has it: 6 intervals have 7 places, and the mean is taken of each interval's two ends."""

    def tutorial(twin: Any, x: Any, target: Any, method: Any) -> Any:
        runs = torch.stack([gradient(twin, x * place / 6, target, method) for place in range(7)])
        return x * ((runs[:-1] + runs[1:]) / 2).mean(dim=0)

    found = diagnosed(model, x, "integrated_gradients:steps=6", tutorial)
    said = " ".join(each.words for each in found.findings)
    assert "riemann_trapezoid of 7 places instead of mean of 6" in said
    assert "(7/6)" in said and found.complete


def test_a_factor_that_holds_on_one_input_alone_is_not_named_as_a_cause(model: Any, x: np.ndarray) -> None:
    def by_the_range(twin: Any, x: Any, target: Any, method: Any) -> Any:
        return 7 * (x.max() - x.min()) ** 2 * gradient(twin, x, target, method)

    assert x.max() - x.min() == 1
    finding = one_finding(diagnosed(model, x, "gradient", by_the_range))
    assert finding.cause == "unknown" and finding.residual is None
    assert "on this input the attribution is 7 times the reference's" in finding.words
