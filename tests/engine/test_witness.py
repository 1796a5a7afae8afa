"""A function where rounding decides among equal entries of a pool: the port, which shows its runs, stands for it.

On the way from zeros the border of this picture is a constant map, so that two frameworks choose other entries.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import harness
from evidence.functions.measure import input_of
from evidence.functions.right import method_as_it_says
from harness.backends import backend_named
from harness.engine import compare, engine, floor_of

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

METHOD = "integrated_gradients:steps=2"


@pytest.fixture(scope="module")
def model() -> Any:
    return harness.load_model("fer-xception")


@pytest.fixture(scope="module")
def x(model: Any) -> np.ndarray:
    return input_of(model)


def function(change: Any) -> Any:
    """Integrated gradients by autograd, point by point, as ``change`` leaves them."""

    def called(twin: Any, x: Any, target: Any, method: Any) -> Any:
        return change(method_as_it_says(twin, x, target, method))

    return harness.backend_from_function("mine", called, "torch")


def same(values: Any) -> Any:
    return values


def runs(model: Any, x: np.ndarray, candidate: Any) -> tuple[Any, Any]:
    reference = harness.explain(model, x, METHOD, dtype="float64")
    return reference, harness.explain(model, x, METHOD, candidate, reference.target, dtype="float64")


def test_a_right_function_passes_by_the_port_and_nothing_is_named(model: Any, x: np.ndarray) -> None:
    reference, run = runs(model, x, function(same))
    comparison = compare(reference, run)
    assert comparison.attribution.rel_l2 > 1e6 * floor_of(engine(), reference).of_attribution()
    assert comparison.passed
    assert comparison.attribution.decided_by == "port"
    assert "passes with them" in " ".join(comparison.notes)
    assert harness.diagnose(model, x, METHOD, candidate=function(same), dtype="float64").findings == ()


def test_a_thousandth_more_than_the_port_gives_does_not_pass(model: Any, x: np.ndarray) -> None:
    """Less than what lies between the reference and the port."""
    wrong = function(lambda values: 1.001 * values)
    assert not compare(*runs(model, x, wrong)).passed
    assert harness.diagnose(model, x, METHOD, candidate=wrong, dtype="float64").findings


def test_a_port_that_is_wrong_as_the_function_is_stands_for_nothing(
    model: Any, x: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the port is asked for the gradient times the input, which is what the function gives."""
    port = backend_named("torch")
    other = harness.explain(model, x, "input_t_gradient", port, dtype="float64").attribution_array
    shown = harness.explain(model, x, METHOD, port, dtype="float64")
    shown = replace(shown, attribution_array=other)
    wrong = function(lambda values: values.new_tensor(np.moveaxis(other, -1, 1)))
    reference, run = runs(model, x, wrong)
    monkeypatch.setattr(sys.modules["harness.engine.compare"], "port_beside", lambda *_: (reference, shown))
    assert not compare(reference, run).passed
