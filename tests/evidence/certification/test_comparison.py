"""What comes of one name on one model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evidence.certification import known_differences
from evidence.certification.comparison import compared, not_applicable, results_of
from evidence.certification.known_differences import KnownDifference
from evidence.certification.recordings import Recordings
from evidence.certification.reference_runs import ReferenceRuns
from evidence.certification.results import Result, Status
from evidence.certification.run_by_run import RunByRun
from harness.engine import Store
from harness.errors import PeerError
from harness.methods import method
from ported_models.model import PortedModel
from tests.evidence.certification.scripted import Scripted, ScriptedModel, two_layer_cases


def result_of(library: Scripted, reference: Scripted, folder: Path, name: str = "lrp.z") -> Result:
    cases = two_layer_cases(name)
    recordings = Recordings(folder, library, limit_s=60.0)
    ((result, _),) = results_of(cases, recordings, reference, reference.version(), Store())
    return result


def test_the_same_relevance_everywhere_agrees(tmp_path: Path) -> None:
    result = result_of(Scripted(), Scripted("reference"), tmp_path)
    assert result.status == Status.AGREES
    assert (result.error, result.worst, result.begins) == (0.0, 0.0, "")
    # the logits, three layers, the attribution
    assert result.layers == 5


def test_a_difference_that_the_floor_does_not_allow_is_unexplained_and_has_a_place(tmp_path: Path) -> None:
    library = Scripted(hidden={"float32": [0.0, 1.5]}, input={"float32": [0.0, 1.5]})
    result = result_of(library, Scripted("reference"), tmp_path)
    assert result.status == Status.UNEXPLAINED
    # 0.5 of 1.5, first seen at the output of the layer "hidden"
    assert (result.begins, result.begins_kind) == ("hidden", "dense")
    assert result.begins_error == 0.5 / 1.5


def test_a_difference_within_ten_floors_is_ill_conditioned(tmp_path: Path) -> None:
    library = Scripted(input={"float32": [0.0, 1.0 + 2**-8]})
    reference = Scripted("reference", input={"float32": [0.0, 1.0], "float64": [0.0, 1.0 + 2**-11]})
    result = result_of(library, reference, tmp_path)
    # 2^-8 apart; the reference's own distance is 2^-11, ten times that is more
    assert result.status == Status.ILL_CONDITIONED
    assert result.begins == "input"


def test_a_difference_of_eleven_floors_is_not(tmp_path: Path) -> None:
    library = Scripted(input={"float32": [0.0, 1.0 + 11 * 2**-11]})
    reference = Scripted("reference", input={"float32": [0.0, 1.0], "float64": [0.0, 1.0 + 2**-11]})
    assert result_of(library, reference, tmp_path).status == Status.UNEXPLAINED


def test_a_known_behaviour_explains_what_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = KnownDifference(
        "library", lambda method, graph, place: place == "hidden", "it rounds up", "rule.py:7", "any"
    )
    monkeypatch.setattr(known_differences, "KNOWN_DIFFERENCES", (known,))
    library = Scripted(hidden={"float32": [0.0, 1.5]})
    result = result_of(library, Scripted("reference"), tmp_path)
    assert result.status == Status.KNOWN
    assert result.reason == "it rounds up (library, rule.py:7)"


def test_a_behaviour_that_the_reference_repeats_explains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = KnownDifference("library", lambda method, graph, place: True, "it rounds up", "rule.py:7", "none")
    monkeypatch.setattr(known_differences, "KNOWN_DIFFERENCES", (known,))
    library = Scripted(hidden={"float32": [0.0, 1.5]})
    assert result_of(library, Scripted("reference"), tmp_path).status == Status.UNEXPLAINED


def test_a_behaviour_that_leaves_only_rounding_explains_a_zero_and_no_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = KnownDifference(
        "library", lambda method, graph, place: True, "it cancels", "rule.py:7", "rounding"
    )
    monkeypatch.setattr(known_differences, "KNOWN_DIFFERENCES", (known,))
    noise = Scripted("reference", hidden={"float32": [0.0, 1e-7], "float64": [0.0, 1e-16]})
    zero = Scripted(hidden={"float32": [0.0, 0.0]})
    assert result_of(zero, noise, tmp_path / "zero").status == Status.KNOWN
    library = Scripted(hidden={"float32": [0.0, 1.5]})
    assert result_of(library, Scripted("reference"), tmp_path / "value").status == Status.UNEXPLAINED


def test_a_rare_difference_is_found_by_moving_everything_by_one_unit(tmp_path: Path) -> None:
    """Both precisions agree by chance; what one unit in the last place can do shows in the runs that are moved."""

    class Chancy(Scripted):
        def prepare(self, model: PortedModel, dtype: str, device: str = "cpu") -> ScriptedModel:
            moved = model.graph["hidden"].weights["kernel"][0, 0] != 1
            reference = Scripted("reference", input={"float32": [0.0, 1.0 + 2**-11]} if moved else {})
            return ScriptedModel(reference, model, dtype)

    result = result_of(Scripted(input={"float32": [0.0, 1.0 + 2**-8]}), Chancy("reference"), tmp_path)
    assert result.status == Status.ILL_CONDITIONED
    assert "moved by one unit" in result.reason


def test_what_the_library_says_when_it_fails_is_kept(tmp_path: Path) -> None:
    result = result_of(Scripted(raises=PeerError("library: no such axis")), Scripted("reference"), tmp_path)
    assert result.status == Status.LIBRARY_FAILED
    assert result.reason == "library: no such axis"


def test_a_failing_reference_is_a_result_of_its_own(tmp_path: Path) -> None:
    reference = Scripted("reference")
    cases = two_layer_cases("lrp.z")
    runs = ReferenceRuns(cases, reference)
    recordings = Recordings(tmp_path, Scripted(), limit_s=60.0)
    recording = recordings.of(cases.model, cases.x, method("lrp.z"), runs.target)
    assert recording is not None
    reference.raises = PeerError("not today")
    result = compared(cases, runs, "lrp.z", recording, RunByRun(cases, runs, recordings))
    assert result.status == Status.REFERENCE_FAILED
    assert result.reason == "PeerError: not today"


def test_a_name_that_does_not_apply_says_why() -> None:
    result = not_applicable(two_layer_cases("grad_cam"), "grad_cam")
    assert result is not None
    assert result.status == Status.NOT_APPLICABLE
    assert "2 spatial axes" in result.reason


def test_a_result_survives_json() -> None:
    result = Result("library", "digits-cnn", "two", "lrp.z", Status.UNEXPLAINED, error=np.inf, worst=0.25)
    assert Result.from_json(result.to_json()) == result
