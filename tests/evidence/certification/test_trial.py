"""What is said of one name on one model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evidence.certification import reasons
from evidence.certification.reasons import Reason
from evidence.certification.recordings import Recordings
from evidence.certification.trial import Court, Finding, Status
from harness.errors import PeerError
from ported_models.model import PortedModel
from tests.evidence.certification.scripted import Scripted, ScriptedModel, trial_of


def heard(library: Scripted, reference: Scripted, folder: Path, name: str = "lrp.z") -> Finding:
    court = Court(trial_of(name), reference)
    return court.judge(name, court.ask(name, Recordings(folder, library, limit_s=60.0)))


def test_the_same_relevance_everywhere_agrees(tmp_path: Path) -> None:
    finding = heard(Scripted(), Scripted("reference"), tmp_path)
    assert finding.status == Status.AGREES
    assert (finding.error, finding.worst, finding.begins) == (0.0, 0.0, "")
    # the logits, three layers, the attribution
    assert finding.layers == 5


def test_a_difference_that_the_floor_does_not_allow_is_unexplained_and_has_a_place(tmp_path: Path) -> None:
    library = Scripted(hidden={"float32": [0.0, 1.5]}, input={"float32": [0.0, 1.5]})
    finding = heard(library, Scripted("reference"), tmp_path)
    assert finding.status == Status.UNEXPLAINED
    # 0.5 of 1.5, first seen at the output of the layer "hidden"
    assert (finding.begins, finding.begins_kind) == ("hidden", "dense")
    assert finding.begins_error == 0.5 / 1.5


def test_a_difference_within_ten_floors_is_ill_conditioned(tmp_path: Path) -> None:
    library = Scripted(input={"float32": [0.0, 1.0 + 2**-8]})
    reference = Scripted("reference", input={"float32": [0.0, 1.0], "float64": [0.0, 1.0 + 2**-11]})
    finding = heard(library, reference, tmp_path)
    # 2^-8 apart; our own distance is 2^-11, ten times that is more
    assert finding.status == Status.ILL_CONDITIONED
    assert finding.begins == "input"


def test_a_difference_of_eleven_floors_is_not(tmp_path: Path) -> None:
    library = Scripted(input={"float32": [0.0, 1.0 + 11 * 2**-11]})
    reference = Scripted("reference", input={"float32": [0.0, 1.0], "float64": [0.0, 1.0 + 2**-11]})
    assert heard(library, reference, tmp_path).status == Status.UNEXPLAINED


def test_a_known_behaviour_excuses_what_nothing_else_explains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Reason(
        "library", lambda method, graph, place: place == "hidden", "it rounds up", "rule.py:7", "any"
    )
    monkeypatch.setattr(reasons, "REASONS", (known,))
    library = Scripted(hidden={"float32": [0.0, 1.5]})
    finding = heard(library, Scripted("reference"), tmp_path)
    assert finding.status == Status.KNOWN
    assert finding.reason == "it rounds up (library, rule.py:7)"


def test_a_behaviour_that_the_reference_repeats_excuses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Reason("library", lambda method, graph, place: True, "it rounds up", "rule.py:7", "none")
    monkeypatch.setattr(reasons, "REASONS", (known,))
    library = Scripted(hidden={"float32": [0.0, 1.5]})
    assert heard(library, Scripted("reference"), tmp_path).status == Status.UNEXPLAINED


def test_a_behaviour_that_leaves_only_rounding_excuses_a_zero_and_no_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Reason("library", lambda method, graph, place: True, "it cancels", "rule.py:7", "rounding")
    monkeypatch.setattr(reasons, "REASONS", (known,))
    noise = Scripted("reference", hidden={"float32": [0.0, 1e-7], "float64": [0.0, 1e-16]})
    zero = Scripted(hidden={"float32": [0.0, 0.0]})
    assert heard(zero, noise, tmp_path / "zero").status == Status.KNOWN
    library = Scripted(hidden={"float32": [0.0, 1.5]})
    assert heard(library, Scripted("reference"), tmp_path / "value").status == Status.UNEXPLAINED


def test_a_rare_difference_is_found_by_moving_everything_by_one_unit(tmp_path: Path) -> None:
    """Both precisions agree by chance; what one unit in the last place can do shows in the runs that are moved."""

    class Chancy(Scripted):
        def prepare(self, model: PortedModel, dtype: str) -> ScriptedModel:
            moved = model.graph["hidden"].weights["kernel"][0, 0] != 1
            side = Scripted("reference", input={"float32": [0.0, 1.0 + 2**-11]} if moved else {})
            return ScriptedModel(side, model, dtype)

    finding = heard(Scripted(input={"float32": [0.0, 1.0 + 2**-8]}), Chancy("reference"), tmp_path)
    assert finding.status == Status.ILL_CONDITIONED
    assert "moved by one unit" in finding.reason


def test_what_the_library_says_when_it_fails_is_kept(tmp_path: Path) -> None:
    finding = heard(Scripted(raises=PeerError("library: no such axis")), Scripted("reference"), tmp_path)
    assert finding.status == Status.LIBRARY_FAILED
    assert finding.reason == "library: no such axis"


def test_a_failing_reference_is_a_finding_of_its_own(tmp_path: Path) -> None:
    reference = Scripted("reference")
    court = Court(trial_of("lrp.z"), reference)
    answer = court.ask("lrp.z", Recordings(tmp_path, Scripted(), limit_s=60.0))
    reference.raises = PeerError("not today")
    finding = court.judge("lrp.z", answer)
    assert finding.status == Status.OURS_FAILED
    assert finding.reason == "PeerError: not today"


def test_a_name_that_does_not_apply_is_refused_with_the_reason_and_nobody_is_asked() -> None:
    finding = Court(trial_of("grad_cam"), Scripted("reference")).refused("grad_cam")
    assert finding is not None
    assert finding.status == Status.NOT_APPLICABLE
    assert "2 spatial axes" in finding.reason


def test_a_finding_survives_json() -> None:
    finding = Finding("library", "digits-cnn", "two", "lrp.z", Status.UNEXPLAINED, error=np.inf, worst=0.25)
    assert Finding.from_json(finding.to_json()) == finding
