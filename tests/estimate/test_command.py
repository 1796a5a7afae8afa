"""`xai-harness estimate` measures the machine once, and a run then says how far off it was."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import harness
from harness.backends import backend_named
from harness.cli import app
from harness.engine import engine
from harness.engine.store import LIMIT_VARIABLE
from harness.methods import method

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


def test_many_queries_are_estimated_beforehand_and_the_result_says_how_far_off(
    own_cache, monkeypatch
) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "1G")
    model = harness.load_model("vit-digits")
    x = model.examples["two"]()
    prepared = engine().prepared(model, backend_named("torch"), "float32")
    # What three together take, and not four.
    memory = 10 * x.nbytes + prepared.query_bytes(method("cp_lrp"), 3)
    asked = ["estimate", "vit-digits", "cp_lrp", "--queries", "10", "--memory", str(memory), "--json"]
    found = CliRunner().invoke(app, asked)
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    ran = harness.explain_many(model, x, "cp_lrp", range(10), "torch", memory=memory)
    # What is estimated is what is done; it is within what was allowed.
    assert (document["chunk"], document["bytes_of_memory"]) == (ran.plan.chunk, ran.plan.memory)
    assert (ran.plan.chunk, ran.plan.memory) == (3, memory)
    assert ran.seconds_estimated == pytest.approx(document["seconds"])
    # Far apart is what a busy machine makes them; zero, or a thousand times too much, is a fault.
    assert 0.002 < ran.seconds / ran.seconds_estimated < 500
    assert "times the " in ran.report()
    assert "s estimated" in ran.report()


def test_queries_that_cannot_be_are_one_line() -> None:
    for more, says in (
        (["--memory", "1G"], "name how many: --queries NUMBER"),
        (["--queries", "0"], "expected a number of 1 or more"),
        (["--queries", "9", "--memory", "1K"], "give more memory or fewer targets"),
        (["--queries", "9", "--candidate", "oracle", "--dtype", "float64"], "does not offer 'queries'"),
    ):
        ended = CliRunner().invoke(app, ["estimate", "vit-digits", "cp_lrp", *more])
        assert says in str(ended.exception), more
