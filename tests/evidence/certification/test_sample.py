"""A fixed sample of the certification, against recordings that are kept here: no library is installed."""

from __future__ import annotations

import csv
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from evidence.certification import __main__ as command
from harness.trace import load_trace

SAMPLE = Path(command.__file__).parent / "sample"
SHARE = ["--share", "0.005", "--model", "digits-cnn", "--model", "single layers"]


def certify(monkeypatch: pytest.MonkeyPatch, recordings: Path, out: Path, *more: str) -> int:
    kept = ["--recordings", str(recordings), "--kept-only", "--trust-recordings"]
    monkeypatch.setattr(sys, "argv", ["certification", *kept, "--out", str(out), *(more or SHARE)])
    monkeypatch.setenv(command.LIMIT_VARIABLE, "60")
    return command.main()


@pytest.mark.nightly
@pytest.mark.tensorflow
def test_the_reference_is_certified_on_the_sample(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert certify(monkeypatch, SAMPLE, tmp_path) == 0
    page = (tmp_path / "certification.md").read_text(encoding="utf-8")
    assert "**Certified**: both sides ran in 80 cases" in page
    assert re.search(r"\d+ recordings of a library were not made with its adapter as it is here", page)
    with (tmp_path / "certification.csv").open(encoding="utf-8") as file:
        statuses = Counter(row["status"] for row in csv.DictReader(file))
    assert statuses == {
        "agrees": 79,
        "known behaviour": 1,
        "failed in the library": 4,
        "does not apply": 2,
    }


@pytest.mark.tensorflow
def test_another_recording_is_another_result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (path,) = (SAMPLE / "signxai" / "add").glob("lrpsign_epsilon_75-*.safetensors")
    changed = tmp_path / "recordings" / "signxai" / "add" / path.name
    trace = load_trace(path)
    trace.attribution = 1.001 * trace.attribution
    trace.save(changed)
    shutil.copy(SAMPLE / "signxai" / "versions.json", changed.parents[1])
    case = ["--library", "signxai", "--model", "single layers", "--method", "lrpsign_epsilon_75"]
    assert certify(monkeypatch, changed.parents[2], tmp_path, *case, "--share", "0.005") == 1
    (row,) = csv.DictReader((tmp_path / "certification.csv").open(encoding="utf-8"))
    assert (row["status"], row["begins"]) == ("unexplained", "attribution")


def test_without_library_and_recordings_nothing_is_certified(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert certify(monkeypatch, tmp_path / "nothing", tmp_path) == 2
    assert "innvestigate" in capsys.readouterr().err
