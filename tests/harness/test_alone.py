"""A fixed sample of the cases of a run is also computed with nothing shared, and must come out the same."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from harness.backends import Backend, backend_named, registry
from harness.case import Case
from harness.engine import Engine, in_shared_order
from harness.methods import SUITE_METHODS, method
from harness.report import write_summary
from harness.runner import Selection, alone, outcome, run
from harness.runner.run import run_case
from tests.harness.linear_network import GradientBackend, network

X = np.array([[0.5, -1.0, 2.0]], np.float32)


class Sharing(GradientBackend):
    """The gradient; what it gives where it shares nothing is off by a factor at the input."""

    factor = 1.0

    def __init__(self) -> None:
        super().__init__("sharing")

    def prepare(self, model, dtype, device="cpu"):
        prepared = super().prepare(model, dtype, device)
        prepared.shares = True
        prepared.run_alone = self._alone(prepared)
        return prepared

    def _alone(self, prepared):
        def run_alone(x, wanted, target, layers):
            found = prepared.run(x, wanted, target, layers)
            found.relevances["x"] *= self.factor
            return found

        return run_alone


@pytest.fixture
def sides(monkeypatch: pytest.MonkeyPatch) -> tuple[Backend, Backend]:
    points = {
        "plain": EntryPoint("plain", "tests.harness.linear_network:GradientBackend", "xai_harness.backends"),
        "sharing": EntryPoint("sharing", "tests.harness.test_alone:Sharing", "xai_harness.backends"),
    }
    monkeypatch.setattr(registry, "_plugins", lambda group: points)
    monkeypatch.setattr(registry, "_installed", {})
    known = Engine()
    monkeypatch.setattr(outcome, "engine", lambda: known)
    monkeypatch.setattr(alone, "engine", lambda: known)
    return backend_named("plain"), backend_named("sharing")


def case(name: str = "gradient") -> Case:
    return Case(network(), X, method(name), None, "float32")


def test_what_comes_out_otherwise_alone_is_an_error_of_the_side_and_says_where(sides, monkeypatch) -> None:
    monkeypatch.setattr(alone, "ONE_IN", 1)
    assert run_case(case(), *sides).alone == ("sharing",)
    monkeypatch.setattr(Sharing, "factor", 1 + 2.0**-22)
    found = run_case(case("input_t_gradient"), *sides)
    assert found.verdict == "error"
    assert not found.passed
    assert "'sharing' gives another relevance of 'x' where it shares nothing" in found.message


def test_one_case_in_twenty_is_chosen_by_its_digest(sides) -> None:
    named = [case(name) for name in SUITE_METHODS]
    chosen = [each for each in named if int(each.digest[:8], 16) % 20 == 0]
    assert [each for each in named if alone.is_sampled(each)] == chosen
    # Over many inputs it is one in twenty: 1000 cases are within four standard deviations of 50.
    moved = (case().with_input(X + np.float32(k)) for k in range(1000))
    assert abs(sum(map(alone.is_sampled, moved)) - 50) < 4 * np.sqrt(1000 * 0.05 * 0.95)


def test_a_side_that_shares_nothing_is_not_asked_again(sides, monkeypatch) -> None:
    monkeypatch.setattr(alone, "ONE_IN", 1)
    assert run_case(case(), sides[0], sides[0]).alone == ()


def test_the_page_says_how_many_were_computed_alone(tmp_path: Path) -> None:
    rows = [
        {"model": "m", "method": name, "dtype": "float32", "verdict": "identical", "passed": True}
        | {"input": "x", "reference": "a", "candidate": "b", "alone": sides_alone}
        for name, sides_alone in (("one", ["a", "b"]), ("two", []))
    ]
    page = write_summary(rows, tmp_path).read_text(encoding="utf-8")
    assert "1 case was also computed with nothing shared between methods, and came out the same" in page


def test_methods_that_share_most_follow_each_other() -> None:
    """The input layer's rule alone tells the first from the third, the second from the fourth."""
    names = (
        "lrp.epsilon",
        "lrp.alpha_1_beta_0",
        "lrp.epsilon:input_layer_rule=flat",
        "lrp.alpha_1_beta_0:input_layer_rule=flat",
    )
    ordered = in_shared_order([method(name) for name in names], network().graph)
    places = [names.index(each.name) % 2 for each in ordered]
    assert places in ([0, 0, 1, 1], [1, 1, 0, 0])


def test_the_table_keeps_the_order_that_was_asked_for(tmp_path: Path) -> None:
    asked = ("input_t_gradient", "gradient"), ("float64", "float32")
    selection = Selection((network(),), *asked, GradientBackend(), GradientBackend(), X)
    rows = run(selection, tmp_path)
    expected = [(name, dtype) for name in asked[0] for dtype in asked[1]]
    assert [(row["method"], row["dtype"]) for row in rows] == expected
