"""A library is run once; what it computed is used until something that matters has changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from evidence.certification.recordings import Recording, Recordings
from harness.errors import PeerError
from harness.methods import method
from tests.evidence.certification.scripted import Scripted, two_layer_cases


def recorded(
    library: Scripted, folder: Path, name: str = "lrp.z", target: int = 1, **options: Any
) -> Recording:
    cases = two_layer_cases(name)
    recordings = Recordings(folder, library, **{"limit_s": 60.0, **options})
    recording = recordings.of(cases.model, cases.x, method(name), np.array([target]))
    assert recording is not None
    return recording


def test_a_recording_on_disk_is_not_made_again(tmp_path: Path) -> None:
    library = Scripted(input={"float32": [3.0, 4.0]})
    first, second = recorded(library, tmp_path), recorded(library, tmp_path)
    assert library.asked == ["lrp.z"]
    assert (first.reused, second.reused) == (False, True)
    assert second.trace is not None
    np.testing.assert_array_equal(second.trace.attribution, [[3.0, 4.0]])
    assert first.digest == second.digest


def test_what_is_not_kept_is_not_run_where_only_kept_recordings_count(tmp_path: Path) -> None:
    library, cases = Scripted(), two_layer_cases("lrp.z", "lrp.flat")
    recorded(library, tmp_path)
    kept = Recordings(tmp_path, library, limit_s=60.0, kept_only=True)
    target = np.array([1])
    there = kept.of(cases.model, cases.x, method("lrp.z"), target)
    assert there is not None
    assert there.reused
    assert kept.of(cases.model, cases.x, method("lrp.flat"), target) is None
    assert library.asked == ["lrp.z"]


def test_another_method_target_or_version_is_another_question(tmp_path: Path) -> None:
    library = Scripted()
    recorded(library, tmp_path)
    recorded(library, tmp_path, name="lrp.flat")
    recorded(library, tmp_path, target=0)
    recorded(replace(library, versions={"library": "2", "source": "a"}), tmp_path)
    assert library.asked == ["lrp.z", "lrp.flat", "lrp.z", "lrp.z"]


def test_another_reading_of_a_name_is_the_same_question_and_compared_as_it_is_read_now(
    tmp_path: Path,
) -> None:
    library, cases = Scripted(), two_layer_cases("lrp.z")
    recorded(library, tmp_path)
    now = replace(method("lrp.z"), composite=method("lrp.flat").composite)
    kept = Recordings(tmp_path, library, 60.0).of(cases.model, cases.x, now, np.array([1]))
    assert kept.reused
    assert kept.trace is not None
    assert kept.trace.method == now


def test_another_state_of_the_adapter_is_asked_again_unless_recordings_are_trusted(tmp_path: Path) -> None:
    library = Scripted()
    recorded(library, tmp_path)
    changed = replace(library, versions={"library": "1", "source": "b"})
    trusted = recorded(changed, tmp_path, trust=True)
    assert (trusted.reused, trusted.current) == (True, False)
    assert recorded(changed, tmp_path).current
    assert library.asked == ["lrp.z", "lrp.z"]


def test_a_failure_is_remembered_until_it_is_to_be_run_again(tmp_path: Path) -> None:
    library = Scripted(raises=PeerError("no"))
    assert [recorded(library, tmp_path).message, recorded(library, tmp_path).message] == ["no", "no"]
    assert len(library.asked) == 2  # both of them for the first question
    library.raises = None
    assert recorded(library, tmp_path, retry=True).trace is not None


def test_an_answer_that_came_too_late_is_asked_for_again_with_more_time(tmp_path: Path) -> None:
    # Whatever takes longer than no time at all is too late.
    library = Scripted(raises=PeerError("no answer"))
    assert recorded(library, tmp_path, limit_s=0.0).late
    assert recorded(library, tmp_path, limit_s=0.0).late
    assert len(library.asked) == 1
    assert not recorded(library, tmp_path, limit_s=60.0).late
    assert len(library.asked) == 3


def test_a_damaged_recording_is_made_again(tmp_path: Path) -> None:
    library = Scripted()
    recorded(library, tmp_path)
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    assert recorded(library, tmp_path).trace is not None
    assert len(library.asked) == 2


def test_a_process_that_dies_by_chance_is_asked_once_more(tmp_path: Path) -> None:
    library = Scripted(raises=PeerError("its process was killed"), fails=1)
    assert recorded(library, tmp_path).trace is not None
    assert len(library.asked) == 2
