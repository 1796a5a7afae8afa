"""A candidate in a file of the user's own: always computed, and whatever it does costs its case only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.thinned(0.4)

#: A candidate that is the oracle but for a ``FACTOR``, and that does ``fault`` where `gradient` is explained.
CANDIDATE = """
from __future__ import annotations
import os, signal, sys, time
sys.path.insert(0, os.path.dirname(__file__))
import {helper}
from dataclasses import dataclass, replace
from harness.backends import backend_named
from harness.backends import Arrays

oracle = backend_named("oracle")

class Own(BaseException):
    pass

class Lazy(Arrays):
    attribution = property(lambda self: sys.exit(0), lambda self, value: None)

@dataclass
class Prepared:
    inner: object

    def run(self, x, method, target, layers):
        found = self.inner.run(x, method, target, layers)
        found = replace(found, attribution=found.attribution * {helper}.FACTOR)
        if method.name == "gradient":
            {run}
        return found

class Candidate:
    name = "mine"

    def version(self):
        return {{}}

    def supports(self, method, graph):
        if method.name == "gradient":
            {supports}
        return ""

    def prepare(self, model, dtype, device="cpu"):
        {prepare}
        return Prepared(oracle.prepare(model, dtype))

{last}
"""
#: Makes it run single steps too.
STEPS = "Prepared.step = lambda self, *operands: self.inner.step(*operands)"
ROOT = Path(__file__).parents[2] / "golden"
RUN = ("run", "--reference", "oracle", "--candidate", "mine.py:Candidate", "--model", "digits-cnn")
TWO = ("--method", "gradient", "--method", "lrp.z", "--dtype", "float64", "--out", "out", "--json")


def write(folder: Path, helper: str = "helper_of_mine", **faults: str) -> None:
    places = {**dict.fromkeys(("run", "supports", "prepare"), "pass"), "last": ""}
    (folder / "mine.py").write_text(CANDIDATE.format(helper=helper, **{**places, **faults}))
    (folder / f"{helper}.py").write_text("FACTOR = 1.0\n")


def test_a_case_is_computed_again_when_a_module_that_the_file_imports_has_changed(call, tmp_path) -> None:
    write(tmp_path)
    status, out, _ = call(*RUN, *TWO)
    assert (status, [row["passed"] for row in json.loads(out)["rows"]]) == (0, [True, True])
    (tmp_path / "helper_of_mine.py").write_text("FACTOR = 2.0\n")
    status, out, err = call(*RUN, *TWO)
    assert (status, [row["passed"] for row in json.loads(out)["rows"]]) == (1, [False, False])
    assert "done before" not in err


ENDINGS = {
    "sys.exit(0)": "raised SystemExit: 0",
    "raise KeyboardInterrupt": "raised KeyboardInterrupt",
    "raise GeneratorExit": "raised GeneratorExit",
    "raise Own('word')": "raised Own: word",
    "return Lazy(found.logits, found.attribution)": "raised SystemExit: 0",
    "return None": "raised InvalidInputError: mine: run returned NoneType, expected harness.backends.Arrays",
    "os._exit(0)": "failed: its process ended with exit code 0 during 'run'",
    "os.kill(os.getpid(), signal.SIGSEGV)": "failed: its process was killed by SIGSEGV during 'run'",
}


@pytest.mark.parametrize(("fault", "message"), ENDINGS.items(), ids=ENDINGS)
def test_a_case_that_ends_the_candidate_is_an_error_and_the_rest_is_run(
    call, tmp_path, fault, message
) -> None:
    write(tmp_path, run=fault)
    status, out, _ = call(*RUN, *TWO)
    bad, good = json.loads(out)["rows"]
    assert (status, bad["method"], bad["verdict"], bad["passed"]) == (1, "gradient", "error", False)
    assert message in bad["message"]
    assert (good["method"], good["verdict"]) == ("lrp.z", "identical")


def test_a_candidate_that_ends_before_its_run_begins_is_an_error_of_every_case(call, tmp_path) -> None:
    write(tmp_path, prepare="sys.exit(0)")
    status, out, _ = call(*RUN, *TWO)
    assert status == 1
    assert ["raised SystemExit: 0" in row["message"] for row in json.loads(out)["rows"]] == [True, True]
    write(tmp_path, supports="sys.exit(0)")
    status, out, _ = call(*RUN, *TWO)
    assert status == 1
    assert [row["verdict"] for row in json.loads(out)["rows"]] == ["error", "identical"]


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ("sys.exit(0)", "cannot be loaded: SystemExit: 0"),
        ("raise KeyboardInterrupt", "cannot be loaded: KeyboardInterrupt"),
        ("Candidate.__init__ = lambda self: sys.exit(0)", "cannot be loaded: SystemExit: 0"),
        ("Candidate.name = property(lambda self: sys.exit(0))", "cannot be loaded: SystemExit: 0"),
        ("os._exit(0)", "cannot be loaded: failed: its process ended with exit code 0 during 'load'"),
        ("Candidate = None", "cannot be loaded: TypeError"),
        ("del Candidate", "mine.py defines no 'Candidate'"),
    ],
)
@pytest.mark.parametrize("command", ["run", "golden"])
def test_a_file_that_cannot_be_loaded_is_one_line_and_no_success(
    call, tmp_path, last, message, command
) -> None:
    write(tmp_path, last=last)
    status, out, err = call(*RUN, *TWO)
    assert (status, list(json.loads(out))) == (2, ["error"])
    assert message in json.loads(out)["error"]
    assert message in err.splitlines()[-1]


def test_goldens_are_not_verified_by_a_file_that_ends_the_process(call, tmp_path) -> None:
    write(tmp_path, last="os._exit(0)")
    status, out, err = call("golden", "verify", "--root", str(ROOT), "--candidate", RUN[4])
    assert (status, out) == (2, "")
    assert "cannot be loaded: failed: its process ended with exit code 0 during 'load'" in err


def test_a_golden_whose_candidate_ends_the_process_is_an_error_and_the_rest_is_verified(
    call, tmp_path
) -> None:
    write(tmp_path, run="os._exit(0)")
    methods = ("--model", "digits-cnn", "--method", "gradient", "--method", "lrp.z")
    status, out, _ = call("golden", "verify", "--root", str(ROOT), *methods, "--candidate", RUN[4], "--json")
    bad, good = json.loads(out)["rows"]
    assert status == 1
    assert bad["message"].startswith(
        "candidate 'mine' failed: its process ended with exit code 0 during 'run'"
    )
    assert good["passed"]


def test_code_that_calls_exit_under_a_command_for_one_case_is_no_success(call, tmp_path) -> None:
    write(tmp_path, run="sys.exit(0)")
    sides = ("--reference", "oracle", "--candidate", RUN[4])
    status, _, err = call("diagnose", "digits-cnn", "gradient", *sides, "--dtype", "float64")
    assert (status, err) == (2, "error: mine.py:Candidate raised SystemExit: 0\n")
    status, _, err = call("diagnose", "digits-cnn", "gradient", *sides, "--dtype", "float64", "--in-process")
    assert status == 2
    assert err.startswith("error: ended before it was done, by SystemExit: 0 ")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("os._exit(0)", "failed: its process ended with exit code 0 during 'run'"),
        (
            "time.sleep(600)",
            "failed: no answer to 'run' within 5 s; if it only needs longer, raise the limit: ",
        ),
        ("raise Own('word')", "raised Own: word"),
    ],
)
def test_under_a_command_for_one_case_such_a_file_is_one_line_and_no_success(
    call, tmp_path, fault, said
) -> None:
    write(tmp_path, run=fault, last=STEPS)
    sides, more = ("--reference", "oracle", "--candidate", RUN[4]), ("--dtype", "float64", "--timeout", "5")
    for words in (
        ("diagnose", "digits-cnn", "gradient", *sides),
        ("stability", "digits-cnn", "gradient", "--backend", RUN[4]),
    ):
        status, out, err = call(*words, *more)
        assert (status, out) == (2, "")
        assert f"error: mine.py:Candidate {said}" in err
        assert "Traceback" not in err


def test_a_file_is_diagnosed_and_its_stability_analysed_as_an_installed_backend_is(call, tmp_path) -> None:
    write(tmp_path, "helper_of_two", last=STEPS)
    (tmp_path / "helper_of_two.py").write_text("FACTOR = 2.0\n")
    sides = ("--reference", "oracle", "--candidate", RUN[4], "--dtype", "float64", "--json")
    found = []
    for more in ((), ("--in-process",)):
        status, out, _ = call("diagnose", "digits-cnn", "lrp.z", *sides, *more)
        assert status == 1
        found.append(json.loads(out))
    assert found[0] == found[1]
    documents = []
    for more in ((), ("--in-process",)):
        words = ("stability", "digits-cnn", "lrp.z", "--backend", RUN[4], "--dtype", "float64", "--json")
        status, out, _ = call(*words, *more)
        assert status == 0
        documents.append(json.loads(out))
    assert documents[0] == documents[1]


def test_a_time_limit_is_a_number_above_0_of_a_process_of_its_own(call, tmp_path) -> None:
    write(tmp_path)
    assert call(*RUN, *TWO, "--timeout", "0")[0] == 2
    status, _, err = call(*RUN, *TWO, "--timeout", "5", "--in-process")
    assert (status, err) == (
        2,
        "error: --timeout needs a process of the candidate's own; leave out --in-process or --timeout\n",
    )


def test_what_a_file_prints_goes_to_standard_error(call, tmp_path) -> None:
    write(tmp_path, run=r"print('hello \x1b[2J')")
    status, out, err = call(*RUN, *TWO)
    assert (status, len(json.loads(out)["rows"])) == (0, 2)
    assert r"hello \x1b[2J" in err


def test_an_interrupt_by_the_user_ends_the_run_and_its_process(tmp_path) -> None:
    write(tmp_path, run="print(os.getpid(), file=open('pid', 'w'), flush=True); time.sleep(60)")
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "sys.path.insert(0, sys.argv.pop(1)); from harness.cli import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(Path(__file__).parents[2]), *RUN, *TWO],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        until = time.monotonic() + 120
        while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "run the same command again" in err
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_two_files_of_one_name_have_result_folders_of_their_own(call, tmp_path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, f"helper_of_{name}")
    for name in ("a", "b"):
        words = [f"{name}/mine.py:Candidate" if word == RUN[4] else word for word in RUN]
        status, _, err = call(*words, "--method", "lrp.z", "--dtype", "float64")
        assert status == 0, err
    folders = [path.name for path in (tmp_path / "reports" / "runs").iterdir()]
    assert len(folders) == 2
    assert all(name.startswith("models-oracle-mine.py-Candidate-") for name in folders)


def test_a_file_is_what_it_holds_now_each_time_it_is_named(tmp_path) -> None:
    from harness.backends import backend_named

    for name in ("one", "two"):
        write(tmp_path, last=f"Candidate.name = {name!r}")
        assert backend_named(f"{tmp_path}/mine.py:Candidate").name == name
