"""The commands on goldens of models of the user's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

ROOT = Path(__file__).parents[2] / "golden"
TINY = """
import torch

def build():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).eval()
"""
#: Holds the oracle, scaled, against what the command recorded.
TEST_OF_TINY = """
import os
import numpy as np
import harness

def test_tiny(conformance):
    trace = harness.explain("tiny.keras", np.load("x.npy"), "lrp.z", "oracle", dtype="float64")
    trace.attribution = trace.attribution * float(os.environ["FACTOR"])
    conformance.golden("tiny/lrp.z.float64", trace)
"""


@pytest.mark.torch
def test_a_golden_of_a_torch_file_is_recorded_and_verified_and_is_not_run_unasked(call, tmp_path) -> None:
    (tmp_path / "tiny.py").write_text(TINY)
    np.save(tmp_path / "x.npy", np.array([[0.5, -1.0, 2.0]], np.float32))
    named = ("--model", "tiny.py:build")
    for form in ("full", "sketch"):
        common = ("--method", "lrp.z", "--input", "x.npy", "--reference", "oracle", "--root", form)
        status, out, err = call("golden", "record", *named, *common, "--form", form)
        assert (status, "1 recorded" in out) == (0, True), err
        sides = ("--candidate", "oracle", "--root", form, "--out", "out", "--json")
        status, out, err = call("golden", "verify", *named, *sides)
        assert (status, [row["status"] for row in json.loads(out)["rows"]]) == (0, ["unchanged"]), err
        status, out, err = call("golden", "verify", *sides)
        (row,) = json.loads(out)["rows"]
        assert (status, row["passed"]) == (1, False)
        assert "is run only where it is named: --model FILE.py:NAME" in row["message"]
    status, out, _ = call(
        "golden",
        "diff",
        "build/lrp.z.float64",
        "build/lrp.z.float64",
        "--root",
        "full",
        "--other-root",
        "sketch",
    )
    assert (status, out) == (0, "No difference.\n")
    status, out, _ = call("golden", "show", "build/lrp.z.float64", "--root", "full", "--json")
    source = json.loads(out)["source"]
    assert (source["kind"], source["file"], source["object"]) == ("torch", "tiny.py", "build")


@pytest.mark.torch
def test_goldens_are_of_the_class_that_is_asked_for_and_selected_as_in_a_run(call, tmp_path) -> None:
    (tmp_path / "tiny.py").write_text(TINY)
    np.save(tmp_path / "x.npy", np.array([[0.5, -1.0, 2.0]], np.float32))
    common = ("--model", "tiny.py:build", "--input", "x.npy", "--reference", "oracle", "--root", "golden")
    for target in (0, 1):
        name = ("gradient", "lrp.z")[target]
        status, _, err = call("golden", "record", *common, "--method", name, "--target", str(target))
        assert status == 0, err
        _, out, _ = call("golden", "show", f"build/{name}.float64", "--root", "golden", "--json")
        assert json.loads(out)["target"] == [target]
    status, out, err = call("golden", "record", *common, "--method", "gradient", "--target", "7")
    assert status != 0 and "7" in out + err
    assert call("golden", "list", "--root", "golden", "--suite", "quick", "--json")[1].count("float64") == 0
    _, out, _ = call("golden", "prune", "--root", "golden", "--suite", "quick", "--reason", "none is of it")
    assert out.startswith("0 goldens")
    _, out, _ = call("golden", "list", "--root", "golden", "--model", "tiny.py:build", "--json")
    assert [row["golden"] for row in json.loads(out)["goldens"]] == [
        "build/gradient.float64",
        "build/lrp.z.float64",
    ]


@pytest.mark.nightly
@pytest.mark.tensorflow
def test_a_golden_of_a_keras_file_is_recorded_and_verified_and_its_file_is_found_again(
    call, tmp_path
) -> None:
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(2)])
    model.save(tmp_path / "tiny.keras")
    np.save(tmp_path / "x.npy", np.array([[0.5, -1.0, 2.0]], np.float32))
    common = ("--method", "lrp.z", "--input", "x.npy", "--reference", "oracle", "--root", "golden")
    status, out, err = call("golden", "record", "--model", "tiny.keras", *common)
    assert (status, "1 recorded" in out) == (0, True), err
    sides = ("--candidate", "oracle", "--root", "golden", "--out", "out", "--json")
    for named in ((), ("--model", "tiny.keras")):
        status, out, err = call("golden", "verify", *named, *sides)
        assert (status, [row["status"] for row in json.loads(out)["rows"]]) == (0, ["unchanged"]), err
    (tmp_path / "test_tiny.py").write_text(TEST_OF_TINY)
    for factor, outcome in (("1", "1 passed"), ("1.001", "1 failed")):
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "harness.pytest_plugin", "--rootdir", "."],
            env={**os.environ, "PYTHONPATH": str(ROOT.parent), "FACTOR": factor},
            capture_output=True,
            text=True,
        )
        assert outcome in ended.stdout, ended.stdout + ended.stderr
    assert "tiny/lrp.z.float64: divergent: " in ended.stdout and "relative L2 1.00e-03" in ended.stdout
    (tmp_path / "tiny.keras").unlink()
    status, out, _ = call("golden", "verify", *sides)
    assert status == 1
    assert (
        "the file tiny.keras, which is not there; name it with --model"
        in json.loads(out)["rows"][0]["message"]
    )


@pytest.mark.torch
def test_verify_imports_no_tensorflow_and_leaves_a_report_and_junit_xml(tmp_path) -> None:
    code = (
        "import sys; from harness.cli import app\n"
        "try: app()\n"
        "finally: print('tensorflow' in sys.modules, file=sys.stderr)"
    )
    words = ("golden", "verify", "--root", str(ROOT), "--model", "ecg-cnn1d", "--method", "lrp.z")
    ended = subprocess.run(
        [sys.executable, "-c", code, *words, "--out", "out", "--junitxml", "junit.xml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT.parent), "PATH": ""},
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.splitlines()[-1] == "False"
    assert "1 within the floor\n1 of 1 goldens hold." in ended.stdout
    assert (tmp_path / "out" / "summary.md").is_file()
    assert (tmp_path / "out" / "ecg-cnn1d" / "lrp.z.float64.csv").is_file()
    (case,) = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (case.get("name"), len(case)) == ("lrp.z.float64", 0)


@pytest.mark.parametrize("command", ["verify", "list", "prune"])
def test_a_dtype_that_there_is_not_is_one_line(call, tmp_path, command) -> None:
    status, out, err = call("golden", command, "--root", "none", "--dtype", "float16")
    assert (status, out, err) == (2, "", "error: dtype must be one of float32, float64, found 'float16'\n")


def test_advice_names_no_option_that_the_command_has_not(call, tmp_path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 8, 8, 1), np.float32))
    given = ("--model", "digits-cnn", "--input", "x.npy", "--method", "gradient", "--dtype", "float32")
    status, out, err = call("golden", "record", *given, "--reference", "oracle")
    assert (status, "dtype=" in out + err) == (1, False)
    assert "ask for float64, or for another backend" in out
    (tmp_path / "text.npy").write_text("{}")
    status, _, err = call("golden", "record", "--model", "digits-cnn", "--input", "text.npy")
    assert (status, len(err.splitlines()), "pickle" in err) == (2, 1, False)
    assert "text.npy is no readable .npy file of numbers; save an array with numpy.save" in err
