"""`xai-harness diagnose`: what it prints, and how it ends."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import HarnessError

PORT = """
from dataclasses import replace
from harness import backend_from_composite
from harness.methods import Assignment, Composite, Epsilon
from ported_impls.composite import method_composite


def faulty(twin, method):
    rules = Composite((Assignment(Epsilon(1e-3), names=("conv2",)), *method.composite.assignments))
    return method_composite(replace(method, composite=rules), twin.graph)


backend = backend_from_composite("mine", faulty)


def made():
    return backend
"""
runner = CliRunner()


@pytest.mark.tensorflow
@pytest.mark.torch
def test_a_healthy_port_ends_with_zero_and_says_so() -> None:
    result = runner.invoke(app, ["diagnose", "digits-cnn", "lrp.epsilon"])
    assert result.exit_code == 0
    assert "Nothing is done differently." in result.stdout


@pytest.mark.tensorflow
@pytest.mark.torch
@pytest.mark.parametrize("name", ["backend", pytest.param("made", marks=pytest.mark.nightly)])
def test_a_port_in_a_file_of_ones_own_is_diagnosed(tmp_path: Path, name: str) -> None:
    port = tmp_path / "my_port.py"
    port.write_text(PORT, encoding="utf-8")
    folder = tmp_path / "reproducer"
    asked = ["diagnose", "digits-cnn", "lrp.epsilon", "--candidate", f"{port}:{name}", "--json"]
    result = runner.invoke(app, [*asked, "--reproduce", str(folder)])
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert (answer["stage"], answer["layer"], answer["cause"]) == ("rule", "conv2", "epsilon-value")
    assert [row["layer"] for row in answer["introduced"] if row["differs"]] == ["conv2"]
    assert (folder / "reproduce.py").is_file()


@pytest.mark.tensorflow
@pytest.mark.torch
def test_a_diagnosis_leaves_a_page_of_its_case_where_a_folder_is_named(tmp_path: Path) -> None:
    asked = ["diagnose", "digits-cnn", "lrp.w_square", "--candidate", "zennit", "--reference", "oracle"]
    result = runner.invoke(app, [*asked, "--dtype", "float64", "--out", str(tmp_path / "out")])
    assert result.exit_code == 1, result.output
    assert f"Report: {tmp_path / 'out' / 'report.html'}" in result.stdout
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    (row,) = document["rows"]
    assert (row["cause"], row["verdict"]) == ("bias-handling", "divergent")
    assert row["again"].startswith("xai-harness diagnose digits-cnn lrp.w_square --reference oracle")
    assert "reproducer/reproduce.py" in row["files"]
    (table,) = (name for name in row["files"] if name.endswith("float64.csv"))
    with open(tmp_path / "out" / table, encoding="utf-8", newline="") as file:
        introduced = {line["layer"]: line["introduced"] for line in csv.DictReader(file)}
    # The bias of the last layer is left in there; the rule of a ReLU, which has none, is the same on both sides.
    assert float(introduced["logits"]) > 1e-4
    assert float(introduced["dense1_relu"]) < 1e-14


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        ("missing.py:backend", "there is no file missing.py"),
        ("{port}:nothing", "defines no 'nothing'"),
        ("{broken}:backend", "cannot be loaded: ZeroDivisionError"),
        ("nobody", "unknown backend 'nobody'"),
    ],
)
def test_a_candidate_that_cannot_be_had_is_one_line(tmp_path: Path, candidate: str, words: str) -> None:
    port, broken = tmp_path / "port.py", tmp_path / "broken.py"
    port.write_text("backend = None\n", encoding="utf-8")
    broken.write_text("backend = 1 / 0\n", encoding="utf-8")
    name = candidate.format(port=port, broken=broken)
    result = runner.invoke(app, ["diagnose", "digits-cnn", "lrp.epsilon", "--candidate", name])
    assert isinstance(result.exception, HarnessError)
    assert words in str(result.exception)
    assert "\n" not in str(result.exception)
