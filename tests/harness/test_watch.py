"""`xai-harness watch`: every save of the candidate's file runs the case again, in a process that stays warm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.watching import Seen

pytest.importorskip("watchfiles", reason="watchfiles is not installed: pip install 'xai-harness[watch]'")

#: Gradient times input of digits-cnn by hand, in NumPy, through the oracle, times FACTOR.
OWN = """
import part
from harness.backends import backend_named

class Own:
    name = "own"
    def __init__(self):
        self.inner = backend_named("oracle")
    def version(self):
        return {"own": "1"}
    def supports(self, method, graph):
        return ""
    def prepare(self, model, dtype, device="cpu"):
        return Prepared(self.inner.prepare(model, dtype, device))

class Prepared:
    def __init__(self, inner):
        self.inner = inner
    def run(self, x, method, target, layers):
        from dataclasses import replace
        run = self.inner.run(x, method, target, False)
        return replace(run, attribution=part.FACTOR * run.attribution)
"""


def saved(path: Path, text: str) -> None:
    """As an editor does it: another file, put into its place."""
    other = path.with_suffix(".tmp")
    other.write_text(text)
    other.replace(path)


def read(process: subprocess.Popen[str]) -> dict:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    return json.loads(line)


def test_each_save_is_a_run_with_what_was_found_before_beside_it(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "part.py").write_text("FACTOR = 2.0\n")
    words = [
        "watch",
        "digits-cnn",
        "gradient",
        "--reference",
        "oracle",
        "--candidate",
        "own.py:Own",
        "--json",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.cli", *words, "--runs", "4"],
        cwd=tmp_path,
        env=os.environ
        | {"PYTHONPATH": str(Path(__file__).parents[2]) + os.pathsep + os.environ.get("PYTHONPATH", "")},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        first = read(process)
        assert (first["verdict"], first["passed"], len(first["findings"])) == ("divergent", False, 1)
        (place,) = first["findings"]
        assert "scale" in first["findings"][place]
        # What is no part of the candidate is no save.
        (tmp_path / "other.py").write_text("x = 1\n")
        time.sleep(1)
        saved(tmp_path / "part.py", "FACTOR = 4.0\n")
        second = read(process)
        (row,) = second["changes"]
        assert (row["before"], "4" in row["now"]) == (first["findings"][place], True)
        saved(tmp_path / "part.py", "FACTOR = \n")
        third = read(process)
        assert (third["verdict"], third["findings"]) == ("error", {})
        assert "SyntaxError" in third["message"]
        assert third["changes"][0]["now"] == "not run"
        saved(tmp_path / "part.py", "FACTOR = 1.0\n")
        fourth = read(process)
        assert (fourth["verdict"], fourth["passed"]) == ("identical", True)
        # Beside what was found when it could be run last.
        assert fourth["changes"] == [{"layer": row["layer"], "before": row["now"], "now": "gone"}]
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_what_is_gone_is_said_and_what_stays_is_the_same() -> None:
    before = Seen("divergent", False, {"conv (rule)": "alpha-beta: alpha 2", "bn (rule)": "batchnorm: x"})
    now = Seen("divergent", False, {"conv (rule)": "alpha-beta: alpha 2", "pool (rule)": "pooling: y"})
    assert now.beside(before) == [
        {"layer": "conv (rule)", "before": "alpha-beta: alpha 2", "now": "the same"},
        {"layer": "pool (rule)", "before": "-", "now": "pooling: y"},
        {"layer": "bn (rule)", "before": "batchnorm: x", "now": "gone"},
    ]


def test_only_a_file_can_be_watched(call, tmp_path: Path) -> None:
    status, _, err = call("watch", "digits-cnn", "gradient", "--candidate", "zennit")
    assert (status, err.count("\n")) == (2, 1)
    assert "expected FILE.py:NAME" in err
