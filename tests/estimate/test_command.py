"""`xai-harness estimate` measures the machine once, and a run then says how far off it was."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.engine.store import LIMIT_VARIABLE

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]


def test_an_estimate_is_of_the_right_size_and_a_run_compares_itself_with_it(
    tmp_path, own_cache, monkeypatch
) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "1G")
    monkeypatch.chdir(tmp_path)
    sides = ["--reference", "torch", "--candidate", "torch"]
    before = CliRunner().invoke(app, ["run", "--method", "lrp.epsilon", "--dtype", "float32", *sides])
    assert "Estimated:" not in before.output
    found = CliRunner().invoke(app, ["estimate", "digits-cnn", "lrp.epsilon", *sides, "--json"])
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert document["batch"] == 2
    ran = CliRunner().invoke(
        app,
        ["run", "--method", "lrp.epsilon", "--dtype", "float32", *sides, "--force", "--json", "--out", "out"],
    )
    row = json.loads(ran.stdout)["rows"][0]
    assert row["seconds_estimated"] == pytest.approx(document["seconds"])
    # Far apart is what a busy machine makes them; zero, or a thousand times too much, is a fault.
    assert 0.02 < row["seconds_with_files"] / row["seconds_estimated"] < 50
    assert (
        document["bytes_on_disk"] > sum((tmp_path / "out" / name).stat().st_size for name in row["files"]) / 3
    )
    said = CliRunner().invoke(
        app, ["run", "--method", "lrp.epsilon", "--dtype", "float32", *sides, "--force", "--out", "out"]
    )
    assert "Estimated:" in said.output


def test_what_is_missing_is_said(tmp_path) -> None:
    ended = CliRunner().invoke(app, ["estimate", "digits-cnn"])
    assert "the method is missing" in str(ended.exception)
    ended = CliRunner().invoke(app, ["estimate", "a.keras", "lrp.z", "--model-keras", "a.keras"])
    assert "a pair has two sides and no MODEL" in str(ended.exception)
