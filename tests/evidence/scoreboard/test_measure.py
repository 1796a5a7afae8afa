"""One row of the scoreboard, for candidates whose fault is known."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from evidence.scoreboard.measure import key, measure, named, state_of
from evidence.scoreboard.rows import Row
from harness import backend_from_function
from harness.errors import HarnessError
from ported_impls.libraries.adapter import Call, LibraryBackend
from ported_models.build import Builder
from ported_models.model import PortedModel

X = np.array([[1.0, -2.0, 0.5]], np.float32)
ROW = Row("captum", "gradient", "Saliency(model).attribute(x)", "three")


@pytest.fixture(scope="module")
def model() -> PortedModel:
    b = Builder("three", (3,))
    b.add("dense", "hidden", weights={"kernel": np.array([[1.0, 2.0], [0.5, -1.0], [-1.0, 1.0]])})
    b.add("relu", "hidden_relu")  # of X: -0.5 and 4.5
    b.add("dense", "logits", weights={"kernel": np.array([[1.0, 2.0], [3.0, -1.0]])})
    return PortedModel.from_graph(b.graph())


def gradient(twin, x, target, method):
    x.requires_grad_()
    twin(x).gather(1, target[:, None]).sum().backward()
    return x.grad


def candidate(function):
    return backend_from_function("theirs", function, "torch")


def test_a_right_function_agrees(model):
    facts = measure(ROW, model, X, candidate(gradient))
    assert (facts["state"], facts["causes"]) == ("agree", [])


def test_a_function_with_one_fault_is_one_cause_with_its_name(model):
    facts = measure(ROW, model, X, candidate(lambda *a: 3 * gradient(*a)))
    assert (facts["state"], [each["cause"] for each in facts["causes"]]) == ("one", ["scale"])
    assert facts["apart"] == pytest.approx(2)  # |3 R - R| / |R|


def test_a_function_that_raises_fails_with_its_words(model):
    def raising(*a):
        raise HarnessError("no rule for Linear")

    facts = measure(ROW, model, X, candidate(raising))
    assert facts["state"] == "fail"
    assert "no rule for Linear" in facts["note"]


def test_what_is_infinite_can_be_kept(model):
    """Figures are JSON, which has no infinity."""
    facts = measure(ROW, model, X, candidate(lambda *a: gradient(*a) / 0))
    assert json.loads(json.dumps(facts, allow_nan=False))["apart"] is None


def test_a_fault_of_the_harness_is_not_called_one_of_the_library(model, monkeypatch):
    def broken(*arguments, **options):
        raise IndexError("list index out of range")

    monkeypatch.setattr("evidence.scoreboard.measure.diagnose", broken)
    facts = measure(ROW, model, X, candidate(gradient))
    assert (facts["state"], facts["note"]) == (
        "unknown",
        "the diagnosis failed: IndexError: list index out of range",
    )


def test_a_network_that_a_library_does_not_take_is_no_failure(model):
    backend = LibraryBackend(
        "images", (), "torch", {"gradient": Call("", gradient, lambda graph: "it takes images")}
    )
    facts = measure(ROW, model, X, backend)
    assert (facts["state"], facts["note"]) == ("none", "it takes images")


def test_a_candidate_that_does_not_come_back_costs_its_row_the_limit_and_no_more(model):
    def endless(*a):
        for _ in range(600):
            time.sleep(0.1)

    started = time.monotonic()
    facts = measure(ROW, model, X, candidate(endless), limit_s=1)
    assert time.monotonic() - started < 30
    assert (facts["state"], facts["note"], facts["limit_s"]) == ("late", "no verdict within 1 s", 1)


def test_what_is_not_explained_in_time_says_how_far_apart_the_two_are(model, monkeypatch):
    def slow(*arguments, progress, **options):
        progress("running both sides")
        for doing in reported:
            progress(doing)
        time.sleep(60)

    reported = ["running both sides in float64"]
    monkeypatch.setattr("evidence.scoreboard.measure.diagnose", slow)
    facts = measure(ROW, model, X, candidate(lambda *a: 3 * gradient(*a)), limit_s=1)
    assert (facts["state"], facts["note"]) == ("late", "no verdict within 1 s")
    reported.append("forward pass")
    facts = measure(ROW, model, X, candidate(lambda *a: 3 * gradient(*a)), limit_s=1)
    assert (facts["state"], facts["note"]) == ("unknown", "not explained within 1 s")
    assert facts["apart"] == pytest.approx(2)


@pytest.mark.parametrize(
    ("causes", "state"),
    [
        ([], "agree"),
        (["scale"], "one"),
        (["epsilon-value", "epsilon-value"], "one"),
        (["scale", "output-seed"], "several"),
        (["scale", "unknown"], "unknown"),
        (["nan", "scale"], "fail"),
        (["nondeterminism"], "fail"),
    ],
)
def test_the_state_of_a_row_by_its_causes(causes, state):
    assert state_of(causes) == state


def test_named_causes_that_leave_something_are_not_the_whole_answer():
    assert state_of(["scale"], complete=False) == "unknown"
    assert state_of(["scale"], complete=True) == "one"


def test_what_closes_the_gap_counts_as_named_and_nothing_else_does():
    joined = {"cause": "unknown", "residual": 1e-16, "words": "the path has 20 steps instead of 64"}
    assert state_of([named(joined, True)], complete=True) == "one"
    assert state_of([named(joined, False)], complete=False) == "unknown"
    assert state_of([named({**joined, "residual": None}, True)], complete=True) == "unknown"


def test_a_row_is_kept_under_its_input_method_and_library(model):
    assert key(ROW, model, X) == key(ROW, model, X.copy())
    other = [key(ROW, model, 2 * X), key(Row("lxt", "gradient", "", "three"), model, X)]
    other.append(key(Row("captum", "lrp.z", "", "three"), model, X))
    assert len({key(ROW, model, X), *other}) == 4
