"""Mistakes at the command line: each is one line that says what to do, and exit status 2.

The table is the list of what was tried; a further mistake is a further line of it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

ORACLE = ("--reference", "oracle", "--candidate", "oracle", "--dtype", "float64", "--model", "digits-cnn")

#: Words of the command, and what the one line says.
MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    # No command, no option of that name, no value.
    "a command that is none": (("rum",), "No such command 'rum'"),
    "an option that is none": (("run", "--modle", "digits-cnn"), "No such option: --modle (Possible options"),
    "an option without its value": (("run", "--model"), "requires an argument"),
    "an argument too many": (("doctor", "now"), "unexpected extra argument(s) (now)"),
    "a number that is none": (
        ("diagnose", "digits-cnn", "gradient", "--target", "cat"),
        "Invalid value for '--target'",
    ),
    "no method": (("diagnose", "digits-cnn"), "expected MODEL METHOD"),
    "no method to validate": (("validate", "digits-cnn"), "expected MODEL METHOD"),
    "nothing at all to diagnose": (("diagnose",), "Missing argument '[MODEL] METHOD'"),
    # Names.
    "a suite that is none": (("run", "--suite", "quik"), "did you mean 'quick'?"),
    "a model that is none": (("run", "--model", "digits-cn"), "did you mean 'digits-cnn'?"),
    "a method that is none": (("run", "--method", "lrp.epsilom"), "did you mean 'lrp.epsilon'?"),
    "a glob without a match": (("run", "--method", "lrq*"), "no method matches 'lrq*'"),
    "a glob without a match in the list": (("methods", "zzz*"), "no method matches 'zzz*'"),
    "a dialect that is none": (("methods", "--dialect", "nowhere"), "unknown dialect 'nowhere'"),
    "a candidate that is none": (("run", "--candidate", "zenit"), "did you mean 'zennit'?"),
    "a reference that is none": (("run", "--reference", "tensorflo"), "did you mean 'tensorflow'?"),
    "a peer that is none": (("peers", "install", "signxay"), "did you mean 'signxai'?"),
    # Values.
    "a dtype that is none": (("run", "--dtype", "float16"), "dtype must be one of float32, float64"),
    "a device that is none": (("run", "--device", "gpu"), "device"),
    "an epsilon of zero": (("run", "--method", "lrp.epsilon:epsilon=0"), "epsilon must be above 0"),
    "a parameter that is none": (("run", "--method", "lrp.epsilon:eps=1"), "did you mean 'epsilon'?"),
    "parameters missing behind the colon": (
        ("run", "--method", "lrp.z:"),
        "parameters are missing after the colon",
    ),
    "low above high": (("run", "--method", "lrp.z:low=2,high=1"), "low must be below high"),
    "a target outside the classes": (("run", *ORACLE, "--target", "10"), "outside the model's classes 0..9"),
    "a tolerance that is none": (("run", "--tolerance", "nearly"), "expected close, or a number"),
    "a tolerance below zero": (("run", "--tolerance", "-1"), "expected close, or a number"),
    "which failures, but none of the three": (("run", "--diagnose", "some"), "expected auto, all or never"),
    "no process at all": (("run", *ORACLE, "--jobs", "0"), "expected 1 or more"),
    "an executor that is none": (("run", *ORACLE, "--executor", "slurm"), "expected processes, dask"),
    "a limit of time without a process": (("run", *ORACLE, "--task-timeout", "5"), "needs other processes"),
    "a size that is none": (("cache", "prune", "--limit", "much"), "expected a number of bytes"),
    "days below zero": (("cache", "prune", "--older-than", "-1"), "expected a number of days"),
    "a method that does not apply": (("run", *ORACLE, "--method", "grad_cam_timeseries"), "1 spatial axis"),
    "a parameter of attnlrp that is none": (
        ("run", "--method", "attnlrp:rule=z"),
        "unknown parameter of attnlrp 'rule'; there are: bias",
    ),
    "a value that attnlrp does not take": (
        ("run", "--method", "attnlrp:norm=hold"),
        "unknown value of norm of attnlrp 'hold'; did you mean 'held'?",
    ),
    "an epsilon below zero": (
        ("run", "--method", "cp_lrp:epsilon=-1"),
        "cp_lrp: epsilon must be 0 or above, found -1",
    ),
    "text where DLBacktrace wants a number": (
        ("run", "--method", "backtrace.default:scaler=much"),
        "backtrace.default: scaler must be a number, found 'much'",
    ),
    "a bench without a method": (("bench", "digits-cnn"), "expected MODEL METHOD"),
    "a bench that is never timed": (
        ("bench", "digits-cnn", "lrp.z", "--repeat", "0"),
        "repeat must be 1 or more",
    ),
    "an estimate without a method": (("estimate", "digits-cnn"), "xai-harness estimate MODEL METHOD"),
    "a watch of no file": (
        ("watch", "digits-cnn", "lrp.z", "--candidate", "zennit"),
        "expected FILE.py:NAME, the file that is being mended",
    ),
    "a level that is none": (
        ("--log-level", "loud", "models"),
        "--log-level 'loud'; expected error, warning, info, debug",
    ),
    "a floor below zero": (
        ("compare", "flat.npy", "flat.npy", "--floor", "-1"),
        "the floor is -1.0; expected",
    ),
    "all and a limit": (("cache", "prune", "--all", "--limit", "1G"), "leave out one of them"),
    "a command of the cache that is none": (("cache", "clear"), "No such command 'clear'; see: "),
    "a peer that was never there": (
        ("peers", "remove", "nosuch"),
        "unknown peer 'nosuch'; there are: captum",
    ),
    # Files.
    "a history that is not there": (("history", "lrp.z", "--file", "no.parquet"), "holds no night yet"),
    "a history that is none": (
        ("history", "lrp.z", "--file", "text.txt"),
        "name the history of the nights with --file",
    ),
    "goldens to import without their layers": (("golden", "import", "text.txt"), "Missing option '--layers'"),
    "layers of goldens that are no JSON": (
        ("golden", "import", "text.txt", "--layers", "text.txt"),
        "text.txt is no readable JSON file",
    ),
    "layers of goldens that are not there": (
        ("golden", "import", "no.h5", "--layers", "no.json"),
        "no.json does not exist; write one",
    ),
    "a worklist of a file": (("worklist", "text.txt"), "text.txt holds no report"),
    "against, but what": (("report", "empty", "--against"), "'--against' requires an argument"),
    "a reproducer into a file": (
        ("diagnose", "digits-cnn", "lrp.z", "--reproduce", "text.txt"),
        "--reproduce text.txt is a file; name a folder",
    ),
    "a model file that is not there": (("run", *ORACLE[:4], "--model", "no.onnx"), "no.onnx"),
    "an input file that is not there": (("run", *ORACLE, "--input", "no.npy"), "no.npy does not exist"),
    "an input without a batch axis": (("run", *ORACLE, "--input", "flat.npy"), "does not fit"),
    "an input that is no array": (("run", *ORACLE, "--input", "text.txt"), "text.txt"),
    "a candidate file that is not there": (("run", *ORACLE[:2], "--candidate", "no.py:f"), "no.py"),
    "half a pair": (("run", "--model-keras", "a.keras"), "a pair has two sides"),
    "an --out that is a file": (("run", *ORACLE, "--out", "text.txt"), "--out text.txt is a file"),
    "a bench into a file": (
        ("bench", "digits-cnn", "lrp.z", "--out", "text.txt"),
        "--out text.txt is a file; name a folder",
    ),
    "an --out below a file": (("run", *ORACLE, "--out", "text.txt/out"), "text.txt is a file"),
    "a report of nothing": (("report", "empty"), "empty holds no report"),
    "a report that is damaged": (("report", "damaged"), "is no readable report"),
    "a worklist of nothing": (("worklist", "nowhere"), "nowhere holds no report"),
    "against nothing": (("report", "empty", "--against", "nowhere"), "holds no report"),
    "an array beside a run": (("compare", "flat.npy", "empty"), "flat.npy is an array, empty is a run"),
    "nothing that can be compared": (("compare", "text.txt", "text.txt"), "nothing that can be compared"),
    "arrays of other shapes": (("compare", "flat.npy", "other.npy"), "shape"),
    "axes that do not fit": (
        ("compare", "flat.npy", "flat.npy", "--axes", "batch,height"),
        "does not fit the axes",
    ),
    "no golden there": (("golden", "verify", "--root", "empty"), "no golden under empty"),
    "a golden that is none": (("golden", "show", "digits/x", "--root", "empty"), "unknown golden"),
    "a form that is none": (("golden", "record", "--form", "whole", "--root", "empty/g"), "form"),
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """What the commands of the table find in the folder that they are called in."""
    np.save(tmp_path / "flat.npy", np.ones(3))
    np.save(tmp_path / "other.npy", np.ones(4))
    (tmp_path / "text.txt").write_text("no array")
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "report.json").write_text("{")
    return tmp_path


@pytest.mark.parametrize(("words", "text"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_exit_status_two(
    call, place: Path, words: tuple[str, ...], text: str
) -> None:
    before = sorted(path.name for path in place.rglob("*"))
    status, out, err = call(*words)
    assert (status, out) == (2, ""), err
    assert err.startswith("error: ")
    assert text in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in place.rglob("*")) == before


def test_there_are_forty_of_them() -> None:
    assert len(MISTAKES) >= 40


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("inspect", "no.onnx"), "no.onnx does not load: no such file; check the path"),
        (("inspect", "text.txt"), "text.txt does not load: a file ending in .txt, expected .onnx, .keras"),
    ],
)
def test_a_model_that_does_not_load_is_what_inspect_is_asked_about(
    call, place: Path, words, text: str
) -> None:
    status, out, err = call(*words)
    assert (status, err, out.count("\n")) == (1, "", 1)
    assert out.startswith(text)


def test_with_json_the_line_is_a_document_too(call, place: Path) -> None:
    status, out, err = call("run", "--suite", "quik", "--json")
    assert status == 2
    assert json.loads(out)["error"] == err.removeprefix("error: ").strip()
