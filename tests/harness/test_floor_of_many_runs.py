"""A method that joins many runs: a unit that rounding switches in one of them is no finding, a wrong factor is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import harness
from harness.backends import CAPABILITIES
from harness.runner import chosen_input

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]


@pytest.fixture(scope="module")
def runs():
    """Captum's 50 steps on the ECG network: at one point of the path a unit is within rounding of its kink."""
    model = harness.load_model("ecg-cnn1d")
    x, _ = chosen_input(model, None)
    name = "integrated_gradients:dialect=captum"
    reference = harness.explain(model, x, name, "tensorflow", dtype="float32")
    return reference, harness.explain(model, x, name, "torch", target=reference.target, dtype="float32")


@pytest.mark.nightly
def test_a_unit_over_its_kink_at_one_point_is_no_difference(runs) -> None:
    """The reference on the candidate's activations, at every point of the path, agrees: no floor is measured."""
    reference, candidate = runs
    comparison = harness.compare(reference, candidate)
    assert comparison.verdict == "equivalent"
    assert comparison.attribution.decided_by == "equal ground"
    assert comparison.floor.how.startswith("derived")
    assert comparison.worst.rel_l2 > 10 * np.finfo(np.float32).eps


def test_one_lucky_float64_run_does_not_make_a_right_port_differ(
    runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a side does not show its runs, the floor is raised by runs with everything moved by rounding."""
    monkeypatch.setitem(CAPABILITIES, "runs", ("runs", "no such call"))
    reference, candidate = runs
    comparison = harness.compare(reference, candidate)
    assert comparison.verdict == "equivalent"
    if "float32 runs" not in comparison.floor.how:
        pytest.skip("on this processor the float64 run shows the unit")
    assert "float32 runs with weights and input moved by rounding" in comparison.floor.how
    assert any("within ten times that passes: compare in float64" in note for note in comparison.notes)


@pytest.mark.nightly
def test_a_factor_of_a_thousandth_is_still_found(runs) -> None:
    reference, candidate = runs
    scaled = replace(candidate, attribution_array=candidate.attribution * np.float32(1.001))
    comparison = harness.compare(reference, scaled)
    assert comparison.attribution.verdict in ("close", "divergent")
    assert not comparison.passed
