"""A run whose cases other processes compute has the rows and files of one in this process, whatever becomes of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.backends.candidate import WorkerBackend
from harness.engine import Store
from harness.engine.executors import (
    Done,
    Event,
    Group,
    InProcess,
    Job,
    LocalProcesses,
    Lost,
)
from harness.errors import InvalidInputError
from harness.runner import Progress, Selection, Skipped, run
from tests.harness.linear_network import GradientBackend, network

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.torch,
    pytest.mark.thinned(0.5),
]  # what loads a model proves its twins

CHOSEN = Selection(
    models=("digits-cnn",),
    methods=("gradient", "grad_cam_timeseries", "lrp.z", "lrp.epsilon"),
    dtypes=("float64",),
    reference="oracle",
    candidate="oracle",
)
#: What a clock says.
SECONDS = (
    "seconds_reference",
    "seconds_candidate",
    "seconds_total",
    "seconds_estimated",
    "seconds_with_files",
)


def without_seconds(rows: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if key not in SECONDS} for row in rows]


def files_of(folder: Path) -> dict[str, bytes]:
    """Every table and picture below ``folder``."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".csv", ".png")
    }


@pytest.mark.parametrize("executor", [InProcess(), LocalProcesses(2)], ids=["here", "processes"])
def test_rows_and_files_are_those_of_a_run_in_this_process_and_are_kept(executor, tmp_path) -> None:
    skipped: list[Skipped] = []
    here = run(CHOSEN, tmp_path / "here", store=Store(tmp_path / "none", 0))
    store = Store(tmp_path / "store", 2**30)
    there = run(CHOSEN, tmp_path / "there", Progress(skipped=skipped.append), store, executor)
    assert len(here) == 3
    assert without_seconds(there) == without_seconds(here)
    assert [each.method for each in skipped] == ["grad_cam_timeseries"]
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")
    assert len(files_of(tmp_path / "here")) == 9
    # What came back is kept here: the same run again computes nothing.
    reused: list[bool] = []
    again = run(
        CHOSEN,
        tmp_path / "again",
        Progress(finished=lambda row, known: reused.append(known)),
        store,
        Nobody(),
    )
    assert again == there
    assert reused == [True] * 3
    assert files_of(tmp_path / "again") == files_of(tmp_path / "here")


SCALED = """
from dataclasses import replace
from harness.backends import backend_named
import helper


class Scaled:
    name = "scaled"
    def version(self): return {"scaled": "1"}
    def supports(self, method, graph): return backend_named("oracle").supports(method, graph)
    def prepare(self, model, dtype, device="cpu"):
        inner = backend_named("oracle").prepare(model, dtype)
        class Prepared:
            def run(self, x, method, target, layers):
                run = inner.run(x, method, target, layers)
                return replace(run, attribution=run.attribution * 1.01 * helper.FACTOR)
        return Prepared()
"""


class Nobody:
    """An executor that must not be asked to do anything."""

    def results(self, job: Job, groups: Iterable[Group]) -> Iterator[Event]:
        assert not any(groups)
        yield from ()


class LosesGradient:
    def results(self, job: Job, groups: Iterable[Group]) -> Iterator[Event]:
        for event in InProcess().results(job, groups):
            if isinstance(event, Done) and " gradient " in event.task.name:
                yield Lost(
                    event.task, "process 1: its process was killed by SIGKILL (out of memory?) during 'task'"
                )
            else:
                yield event


def test_a_lost_case_is_an_error_row_in_its_place_and_is_not_kept(tmp_path) -> None:
    store = Store(tmp_path / "store", 2**30)
    rows = run(CHOSEN, tmp_path / "run", store=store, executor=LosesGradient())
    assert [(row["method"], row["verdict"], row["passed"]) for row in rows] == [
        ("gradient", "error", False),
        ("lrp.z", "identical", True),
        ("lrp.epsilon", "identical", True),
    ]
    assert "SIGKILL (out of memory?)" in rows[0]["message"]
    assert len(store.entries()) == 2


class ChangesIdentity:
    def results(self, job: Job, groups: Iterable[Group]) -> Iterator[Event]:
        for event in InProcess().results(job, groups):
            if isinstance(event, Done):
                event = Done(event.task, {**event.answer, "identity": "0" * 64})
            yield event


def test_an_answer_by_other_code_or_of_another_model_is_no_pass(tmp_path) -> None:
    store = Store(tmp_path / "store", 2**30)
    rows = run(
        replace(CHOSEN, methods=("gradient",)), tmp_path / "run", store=store, executor=ChangesIdentity()
    )
    assert [(row["verdict"], row["passed"]) for row in rows] == [("error", False)]
    assert "another model, other code or other versions" in rows[0]["message"]
    assert not store.entries()


class Edits:
    """An executor whose processes have other code than the one that planned: the module beside the file is edited."""

    def __init__(self, module: Path) -> None:
        self.module = module

    def results(self, job: Job, groups: Iterable[Group]) -> Iterator[Event]:
        self.module.write_text("FACTOR = 2.0\n")
        yield from InProcess().results(job, groups)


@pytest.mark.parametrize(("edited", "verdict"), [("helper.py", "error"), ("stranger.py", "divergent")])
def test_the_modules_that_a_candidate_imports_are_the_same_where_it_runs(edited, verdict, tmp_path) -> None:
    (tmp_path / "helper.py").write_text("FACTOR = 1.0\n")
    (tmp_path / "mine.py").write_text(SCALED)
    candidate = WorkerBackend(f"{tmp_path / 'mine.py'}:Scaled")
    try:
        (row,) = run(
            replace(CHOSEN, methods=("gradient",), candidate=candidate),
            tmp_path / "run",
            store=Store(tmp_path / "store", 2**30),
            executor=Edits(tmp_path / edited),
        )
    finally:
        candidate.close()
    assert (row["verdict"], row["passed"]) == (verdict, False)
    assert ("other code" in row["message"]) == (verdict == "error")


class WritesElsewhere:
    def results(self, job: Job, groups: Iterable[Group]) -> Iterator[Event]:
        for event in InProcess().results(job, groups):
            if isinstance(event, Done):
                event = Done(event.task, {**event.answer, "files": {"../../outside.csv": ""}})
            yield event


def test_an_answer_cannot_write_outside_the_folder_of_the_run(tmp_path) -> None:
    rows = run(replace(CHOSEN, methods=("gradient",)), tmp_path / "a" / "b", executor=WritesElsewhere())
    assert {row["verdict"] for row in rows} == {"error"}
    assert not (tmp_path / "outside.csv").exists()


def test_objects_of_this_process_are_refused_by_name(tmp_path) -> None:
    with pytest.raises(InvalidInputError, match="the model 'linear' is an object of this process"):
        run(replace(CHOSEN, models=(network(),)), tmp_path, executor=InProcess())  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="backend 'mine' is an object of this process"):
        run(replace(CHOSEN, candidate=GradientBackend("mine")), tmp_path, executor=InProcess())


def test_the_input_that_was_given_is_the_one_that_is_explained(tmp_path) -> None:
    x = np.random.default_rng(3).random((1, 8, 8, 1), dtype=np.float32)
    chosen = replace(CHOSEN, methods=("lrp.z",), input=x)
    here = run(chosen, tmp_path / "here")
    assert without_seconds(run(chosen, tmp_path / "there", executor=InProcess())) == without_seconds(here)
    assert here[0]["input"] == "given"


# On the command line ---------------------------------------------------------------------------------------------

CANDIDATE = """
import os, signal, sys
from harness.backends import backend_named

class Unruly:
    name = "unruly"
    def version(self): return {"unruly": "1"}
    def supports(self, method, graph): return backend_named("oracle").supports(method, graph)
    def prepare(self, model, dtype, device="cpu"):
        inner = backend_named("oracle").prepare(model, dtype)
        class Prepared:
            def run(self, x, method, target, layers):
                if method.name == "lrp.flat":
                    os.kill(os.getpid(), signal.SIGKILL)
                return inner.run(x, method, target, layers)
        return Prepared()
"""


#: The command line, with Ctrl-C as a terminal has it: what runs in the background may have been started without.
PROGRAM = (
    "import signal as s; s.signal(s.SIGINT, s.default_int_handler); from harness.cli import main; main()"
)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, *arguments]


def surroundings(tmp_path: Path) -> dict[str, str]:
    paths = os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))
    return {
        **os.environ,
        "PYTHONPATH": paths,
        "XAI_HARNESS_STORE_BYTES": "1G",
        "XAI_HARNESS_CACHE": str(tmp_path / "cache"),
    }


def test_a_candidate_of_a_file_is_isolated_as_without_jobs(tmp_path) -> None:
    (tmp_path / "mine.py").write_text(CANDIDATE)
    methods = [part for name in ("lrp.z", "lrp.flat", "gradient") for part in ("--method", name)]
    documents = []
    for more in ([], ["--jobs", "2"]):
        asked = [
            "run",
            "--model",
            "digits-cnn",
            *methods,
            "--dtype",
            "float64",
            "--reference",
            "oracle",
            "--json",
        ]
        asked += ["--candidate", "mine.py:Unruly", "--out", f"out{len(documents)}", *more]
        ended = subprocess.run(
            command(*asked),
            cwd=tmp_path,
            env=surroundings(tmp_path),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert ended.returncode == 1, ended.stderr
        documents.append(json.loads(ended.stdout)["rows"])
    assert without_seconds(documents[1]) == without_seconds(documents[0])
    assert [row["verdict"] for row in documents[1]] == ["identical", "error", "identical"]
    assert "SIGKILL" in documents[1][1]["message"]


@pytest.mark.nightly
def test_a_run_that_was_interrupted_continues_where_it_stopped(tmp_path) -> None:
    asked = [
        "run",
        "--model",
        "digits-cnn",
        "--method",
        "lrp.*",
        "--reference",
        "oracle",
        "--candidate",
        "oracle",
    ]
    asked += ["--out", str(tmp_path / "out"), "--jobs", "2", "--dtype", "float64"]
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(command(*asked), stdout=log, stderr=log, env=surroundings(tmp_path))
    end = time.monotonic() + 200
    while (tmp_path / "log").read_text().count("identical") < 3 and time.monotonic() < end:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 130, (tmp_path / "log").read_text()
    said = (tmp_path / "log").read_text()
    assert "run the same command again to continue where it stopped" in said
    done = said.count("identical")
    assert not [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is_of(pid, tmp_path)]
    ended = subprocess.run(
        command(*asked), env=surroundings(tmp_path), capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert 3 <= done <= ended.stdout.count("(done before)") < ended.stdout.count("identical")


def _is_of(pid: int, tmp_path: Path) -> bool:
    """Whether the process has the cache folder of this test in its environment."""
    try:
        return bytes(tmp_path / "cache") in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
