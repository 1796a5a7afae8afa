"""A function without layers: one deviation at all layers of a kind is found by whole runs, and judged elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import harness
from evidence.functions import lrp
from evidence.functions.measure import applies, measured, planned
from evidence.functions.right import FUNCTIONS, METHODS
from harness.backends import backend_named
from harness.case import Case as Asked
from harness.diagnosis.case import Case
from harness.diagnosis.difference import Difference
from harness.diagnosis.everywhere import WholeRuns, deviations_everywhere
from harness.diagnosis.reread import Answer, Part, _elsewhere, _findings
from harness.engine import engine
from harness.files import in_sample
from harness.methods import Epsilon, method

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]
METHOD = "lrp.epsilon:epsilon=0.25"


@pytest.fixture(scope="module")
def model() -> Any:
    return harness.load_model("digits-cnn")


@pytest.fixture(scope="module")
def x(model: Any) -> np.ndarray:
    return np.random.default_rng(0).random((2, *model.input_shape))


def case_of(model: Any, x: np.ndarray, candidate: Any = "torch") -> Case:
    asked = Asked.checked(model, x, method(METHOD), None, "float64")
    reference = engine().run(asked, backend_named("tensorflow"))
    return Case(
        model,
        asked.x,
        asked.method,
        backend_named("tensorflow"),
        backend_named(candidate) if isinstance(candidate, str) else candidate,
        reference.target,
        "float64",
    )


def test_a_whole_run_of_the_oracle_is_the_reference(model: Any, x: np.ndarray) -> None:
    case = case_of(model, x)
    found = WholeRuns(case).back({})
    np.testing.assert_allclose(found, case.reference_run.attribution, rtol=1e-10, atol=1e-14)


def test_the_sets_of_layers_are_all_one_rule_one_kind_and_both(model: Any, x: np.ndarray) -> None:
    """Epsilon is the rule of three convolutions and two dense layers, and of the line of the batch norm."""
    stages = list(deviations_everywhere(WholeRuns(case_of(model, x))))
    found = [[each.layers for each in stage if each.words.endswith(": epsilon is 0.01")] for stage in stages]
    kernels = ("conv1", "conv2", "conv3", "dense1", "logits")
    assert found == [
        [("conv1", "bn1", "conv2", "conv3", "dense1", "logits")],
        [kernels, ("bn1",)],
        [("dense1", "logits"), ("conv1", "conv2", "conv3")],
        [],
    ]


def test_a_reading_at_some_layers_is_a_run_of_that_composite(model: Any, x: np.ndarray) -> None:
    """Epsilon 0.01 at the kernels alone, by the TensorFlow reference."""
    case = case_of(model, x)
    runs = WholeRuns(case)
    chosen = next(
        each
        for stage in deviations_everywhere(runs)
        for each in stage
        if each.words == "at 5 layers (conv2d, dense): epsilon is 0.01"
    )
    composite = replace(
        case.method.composite,
        assignments=tuple(
            replace(each, rule=Epsilon(0.01)) if each.rule == Epsilon(0.25) else each
            for each in case.method.composite.assignments
        ),
    )
    expected = engine().run(
        replace(case.asked, method=replace(case.method, composite=composite)), backend_named("tensorflow")
    )
    np.testing.assert_allclose(chosen.relevance(runs), expected.attribution, rtol=1e-9, atol=1e-14)


def test_what_fits_by_chance_is_spoken_against_byanother_input(model: Any, x: np.ndarray) -> None:
    """The candidate is right; an answer that gives its attribution on one input alone does not stand."""
    case = case_of(model, x)
    here = np.asarray(case.candidate_run.attribution)
    by_heart = Answer((Part("rule", "scale", "by heart"),), lambda runs: here, 0.0)
    right = Answer((Part("rule", "scale", "as it is"),), lambda runs: runs.back({}), 0.0)
    assert _elsewhere(case, [by_heart, right]) == [right]
    assert _elsewhere(case, [by_heart]) == []


def test_names_that_explain_equally_well_are_both_said() -> None:
    nothing = np.zeros(1)
    answers = [
        Answer((Part("rule", cause, words),), lambda runs: None, 1e-15)
        for cause, words in (
            ("pooling", "it is a gradient"),
            ("rule-mapping", "it has no rule"),
            ("pooling", "more"),
        )
    ]
    (finding,) = _findings(Difference(nothing, nothing, 1.0, 1e-15), answers)
    assert (finding.cause, finding.or_causes) == ("pooling", ("rule-mapping",))
    assert finding.words == "it is a gradient; or, as well, it has no rule"
    assert "(pooling or rule-mapping)" in finding.sentence


def with_epsilon(value: float, start: Any = None) -> Any:
    def step(rule: Any, *given: Any) -> Any:
        return lrp.epsilon(Epsilon(value), *given)

    def function(twin: Any, x: Any, target: Any, asked: Any) -> Any:
        return lrp.explain(twin, x, target, asked, {**lrp.STEPS, Epsilon: step}, start)

    return harness.backend_from_function("mine", function, "torch")


@pytest.mark.nightly
def test_a_reading_and_another_start_are_two_findings(model: Any, x: np.ndarray) -> None:
    def one(logits: Any, target: Any) -> Any:
        return logits.new_zeros(logits.shape).scatter(1, target[:, None], 1.0)

    found = harness.diagnose(model, x, METHOD, candidate=with_epsilon(0.01, one), dtype="float64")
    assert [(each.stage, each.cause) for each in found.findings] == [
        ("head", "output-seed"),
        ("rule", "epsilon-value"),
    ]
    assert found.complete and all(each.layer is None for each in found.findings)


SAMPLE = [
    pytest.param(right, name, network, id=f"{right.name}-{name}-{network}")
    for right, name, network in planned(("digits-cnn", "ecg-cnn1d"))
    if not right.needs and in_sample(f"{right.name} {name} {network}", 0.04)
]


@pytest.mark.parametrize(("right", "name", "network"), SAMPLE)
def test_right_functions_are_not_accused(right: Any, name: str, network: str) -> None:
    """A fixed sample of `python -m evidence.functions`."""
    loaded = harness.load_model(network)
    assert applies(name, loaded)
    row = measured(right, name, loaded)
    assert not row.alarm, f"{row.verdict}: {row.found}"


def test_thirty_methods_are_tried_by_every_kind_of_function() -> None:
    assert len(METHODS) >= 30
    assert {each.framework for each in FUNCTIONS} == {"torch", "tensorflow", "numpy"}
