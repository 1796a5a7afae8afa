"""A library in its own process: what it returns arrives as it was; whatever it does is one line within its limit."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from harness.backends.worker import Worker, child
from harness.errors import InvalidInputError, PeerError

ADAPTER = Path(__file__).with_name("unruly_adapter.py")
PYTHON = Path(sys.executable)


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker("fake", PYTHON, ADAPTER, limit_s=30) as started:
        yield started


def error_of(worker: Worker, op: str, payload: dict | None = None, limit_s: float | None = None) -> str:
    """The message of the error that this request ends with; it is one line."""
    with pytest.raises(PeerError) as caught:
        worker.request(op, payload or {}, limit_s=limit_s)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pid_of(worker: Worker) -> int:
    return worker.request("pid", {})[0]["pid"]


def gone(pid: int, within_s: float = 10.0) -> bool:
    """Whether process ``pid`` ends within this time; one that only waits to be collected has ended."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
            stat = Path(f"/proc/{pid}/stat")
            if stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


# What arrives


def test_payload_and_arrays_come_back_as_they_were_sent(worker: Worker) -> None:
    payload = {"name": "lrp.z", "numbers": [1, 2.5, None, True], "text": "ö\n", "nested": {"a": []}}
    arrays = {
        "transposed": np.arange(6.0).reshape(2, 3).T,
        "every second": np.arange(10, dtype=np.float32)[::2],
        "scalar": np.array(3.5),
        "empty": np.zeros((0, 4), dtype=np.float32),
        "whole numbers": np.array([[-1, 2**40]]),
        "truth": np.array([True, False]),
        "not finite": np.array([np.nan, np.inf, -0.0]),
    }
    answer, returned = worker.request("echo", payload, arrays)
    assert answer == payload
    assert set(returned) == set(arrays)
    for name, array in arrays.items():
        assert returned[name].dtype == array.dtype
        assert returned[name].shape == array.shape
        assert returned[name].tobytes() == array.tobytes()


def test_a_big_endian_array_keeps_its_values(worker: Worker) -> None:
    _, returned = worker.request("echo", {}, {"x": np.array([1.0, 2.0], dtype=">f8")})
    assert returned["x"].tolist() == [1.0, 2.0]


def test_without_arrays_there_are_none(worker: Worker) -> None:
    assert worker.request("echo", {}) == ({}, {})


def test_arrays_larger_than_any_pipe(worker: Worker) -> None:
    shape = (2500, 2500)  # 50 MB each way
    sent = np.full(shape, 2.0)
    assert worker.request("describe", {}, {"x": sent})[0] == {"x": ["float64", list(shape)]}
    _, returned = worker.request("ones", {"shape": shape})
    assert returned["ones"].shape == shape
    assert returned["ones"].sum() == 2500 * 2500


def test_a_payload_larger_than_any_pipe(worker: Worker) -> None:
    text = "x" * 2**20
    assert worker.request("echo", {"text": text})[0] == {"text": text}


def test_files_of_a_request_are_gone_when_it_is_answered(worker: Worker) -> None:
    worker.request("echo", {}, {"x": np.zeros(3)})
    folder = Path(worker.request("pid", {})[0]["folder"])
    assert [path.name for path in folder.iterdir() if path.suffix == ".safetensors"] == []


def test_what_the_library_prints_is_no_answer(worker: Worker) -> None:
    assert worker.request("chatter", {"id": 1})[0] == {"true": True}


def test_a_library_that_reads_standard_input_finds_its_end(worker: Worker) -> None:
    assert worker.request("read_input", {})[0] == {"read": ""}


def test_paths_of_this_interpreter_are_not_the_peers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Worker("fake", PYTHON, ADAPTER, environment={"THREADS": "2"}) as worker:
        seen = worker.request("variables", {})[0]
    assert str(tmp_path) not in seen["path"]
    assert seen["environ"]["THREADS"] == "2"
    # The adapter's folder is importable, the folder of `serve.py` is not.
    assert seen["path"][0] == str(ADAPTER.parent)
    assert str(Path(child.__file__).parent) not in seen["path"]


def test_requests_of_several_threads_each_get_their_own_answer(worker: Worker) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: worker.request("echo", {"n": number})[0]["n"], range(40)))
    assert answers == list(range(40))


# Errors of the library, which it survives


def test_an_exception_is_named_and_the_process_lives_on(worker: Worker) -> None:
    before = pid_of(worker)
    assert error_of(worker, "raises") == "fake: LibraryError: the layer has no name"
    assert pid_of(worker) == before


def test_an_exit_inside_a_request_is_an_error_of_that_request(worker: Worker) -> None:
    before = pid_of(worker)
    assert error_of(worker, "leaves") == "fake: SystemExit: enough"
    assert pid_of(worker) == before


@pytest.mark.parametrize(
    ("op", "message"),
    [
        ("no_dict", "fake: TypeError: handle answered with a payload of type list, not a dict"),
        ("no_json", "fake: TypeError: Object of type type is not JSON serializable"),
    ],
)
def test_an_answer_that_cannot_be_sent_is_an_error_of_the_adapter(
    worker: Worker, op: str, message: str
) -> None:
    before = pid_of(worker)
    assert error_of(worker, op) == message
    assert pid_of(worker) == before


def test_an_array_of_objects_is_not_sent(worker: Worker) -> None:
    before = pid_of(worker)
    assert "object" in error_of(worker, "no_array")
    assert pid_of(worker) == before


# Crashes


def test_a_crash_names_the_exit_code_and_the_last_words(worker: Worker) -> None:
    expected = (
        "fake: its process ended with exit code 3 during 'exit_now' "
        "(last line of its log: the device is on fire)"
    )
    assert error_of(worker, "exit_now") == expected


@pytest.mark.parametrize(
    ("op", "how"),
    [
        ("segmentation_fault", "was killed by SIGSEGV during"),
        ("killed", "was killed by SIGKILL (out of memory?) during"),
        ("close_channel", "closed its channel during"),
    ],
)
def test_a_crash_names_the_signal(worker: Worker, op: str, how: str) -> None:
    assert error_of(worker, op) == f"fake: its process {how} {op!r}"


def test_last_words_are_of_this_request_not_of_an_earlier_one(worker: Worker) -> None:
    error_of(worker, "raises")  # leaves a traceback in the log
    assert "log" not in error_of(worker, "segmentation_fault")


@pytest.mark.parametrize("op", ["exit_now", "close_channel"])
def test_after_a_crash_the_next_request_starts_anew(worker: Worker, op: str) -> None:
    before = pid_of(worker)
    error_of(worker, op)
    assert gone(before)
    assert pid_of(worker) != before


def test_a_process_that_died_between_two_requests_is_started_again(worker: Worker) -> None:
    before = pid_of(worker)
    os.kill(before, signal.SIGKILL)
    os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)
    assert pid_of(worker) != before


# Limits


def test_a_hang_ends_at_its_limit_which_is_named_with_how_to_raise_it(worker: Worker) -> None:
    before = pid_of(worker)
    began = time.monotonic()
    assert error_of(worker, "say_and_sleep", limit_s=1) == (
        "fake: no answer to 'say_and_sleep' within 1 s; if it only needs longer, raise the limit: "
        "XAI_HARNESS_LIMIT_S=2 (last line of its log: step 1 of 2)"
    )
    assert time.monotonic() - began < 10
    assert gone(before)
    assert pid_of(worker) != before


def test_an_adapter_that_never_finishes_its_import_ends_at_the_start_limit(tmp_path: Path) -> None:
    adapter = tmp_path / "slow.py"
    adapter.write_text("import time\ntime.sleep(600)\n")
    with Worker("fake", PYTHON, adapter, start_limit_s=1) as worker:
        assert "no answer to the import of slow.py within 1 s" in error_of(worker, "echo")


def test_the_environment_sets_the_limits(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    monkeypatch.setenv("XAI_HARNESS_LIMIT_S", "60")
    assert worker.request("sleep", {"s": 0.5}, limit_s=0.1)[0] == {"s": 0.5}
    monkeypatch.setenv("XAI_HARNESS_LIMIT_S", "0.5")
    assert "within 0.5 s" in error_of(worker, "sleep", {"s": 600})


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", ""])
def test_a_limit_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, worker: Worker, text: str) -> None:
    monkeypatch.setenv("XAI_HARNESS_LIMIT_S", text)
    with pytest.raises(InvalidInputError, match=f"XAI_HARNESS_LIMIT_S is '{text}'; expected a number of"):
        worker.request("echo", {})


# Rubbish


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Downloading... 10%\n", "'Downloading... 10%' is not JSON"),
        ("\x00\x01\n", "is not JSON"),
        ("\n", "'' is not JSON"),
        ("[1]\n", "a JSON list, expected an object"),
        ("{}\n", "a reply to request None, expected 1"),
        ('{"id": 7, "ok": true, "payload": {}, "arrays": null}\n', "a reply to request 7, expected 1"),
        ('{"id": 1, "payload": {}, "arrays": null}\n', "'ok' is None, expected true or false"),
        ('{"id": 1, "ok": "yes", "payload": {}, "arrays": null}\n', "'ok' is 'yes', expected true or false"),
        ('{"id": 1, "ok": true, "arrays": null}\n', "a reply without 'payload'"),
        ('{"id": 1, "ok": true, "payload": {}}\n', "a reply without 'arrays'"),
        ('{"id": 1, "ok": true, "payload": [], "arrays": null}\n', "'payload' is [], expected dict"),
        ('{"id": 1, "ok": true, "payload": {}, "arrays": 5}\n', "'arrays' is 5, expected str"),
        ('{"id": 1, "ok": false}\n', "a reply without 'error'"),
        ('{"id": 1, "ok": false, "error": "bad"}\n', "'error' is 'bad', expected dict"),
    ],
)
def test_rubbish_is_called_rubbish_and_says_what_was_wrong(worker: Worker, text: str, complaint: str) -> None:
    message = error_of(worker, "write_to_channel", {"text": text})
    assert message.startswith("fake: rubbish in place of an answer to 'write_to_channel': ")
    assert complaint in message
    assert worker.request("echo", {"after": True})[0] == {"after": True}


def test_a_line_without_an_end_is_rubbish(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    monkeypatch.setattr(child, "_LONGEST_LINE", 2**20)
    assert "a line of more than 1048576 bytes" in error_of(worker, "flood_channel")


@pytest.mark.parametrize("content", [None, "", "not tensors"])
def test_an_arrays_file_that_is_missing_or_unreadable_is_rubbish(worker: Worker, content: str | None) -> None:
    message = error_of(worker, "answer_with_file", {"id": 1, "name": "a.safetensors", "content": content})
    assert message.startswith("fake: rubbish in place of an answer's arrays: a.safetensors cannot be read (")
    assert worker.request("echo", {"after": True})[0] == {"after": True}


def test_an_arrays_file_from_elsewhere_is_neither_read_nor_removed(worker: Worker, tmp_path: Path) -> None:
    elsewhere = tmp_path / "mine.safetensors"
    message = error_of(worker, "answer_with_file", {"id": 1, "name": str(elsewhere), "content": "keep me"})
    assert "it lies outside the worker's folder" in message
    assert elsewhere.read_text() == "keep me"


# Starts that fail


def test_an_interpreter_that_is_missing(tmp_path: Path) -> None:
    with Worker("fake", tmp_path / "python", ADAPTER) as worker:
        assert error_of(worker, "echo") == (
            f"fake: the interpreter {tmp_path / 'python'} cannot be started (No such file or directory); "
            "is the peer installed? See: xai-harness peers list"
        )


def test_a_program_that_is_no_python(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho not a snake\n")
    program.chmod(0o755)
    with Worker("fake", program, ADAPTER) as worker:
        message = error_of(worker, "echo")
    assert message == (
        "fake: its process ended with exit code 0 during the import of unruly_adapter.py "
        "(last line of its log: not a snake)"
    )


def test_an_interpreter_without_safetensors_is_told_so(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    with Worker("fake", tmp_path / "bare" / "bin" / "python", ADAPTER) as worker:
        assert error_of(worker, "echo").endswith("ModuleNotFoundError: No module named 'safetensors'")


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (None, "FileNotFoundError"),
        ("def handle(:\n", "SyntaxError"),
        ("import a_library_that_is_not_here\n", "No module named 'a_library_that_is_not_here'"),
        ("raise RuntimeError('no device')\n", "RuntimeError: no device"),
        ("import sys\nsys.exit(4)\n", "SystemExit: 4"),
        ("answer = 42\n", "has no attribute 'handle'"),
    ],
)
def test_an_adapter_that_cannot_be_imported(tmp_path: Path, source: str | None, complaint: str) -> None:
    adapter = tmp_path / "broken.py"
    if source is not None:
        adapter.write_text(source)
    with Worker("fake", PYTHON, adapter) as worker:
        message = error_of(worker, "echo")
    assert message.startswith(f"fake: {adapter} cannot be imported by {PYTHON}: ")
    assert complaint in message


# Ends


def test_closing_ends_the_process_and_its_files_twice_is_once() -> None:
    worker = Worker("fake", PYTHON, ADAPTER)
    seen = worker.request("pid", {})[0]
    assert seen["group"] == seen["pid"] != os.getpgrp()
    worker.close()
    worker.close()
    assert gone(seen["pid"])
    assert not Path(seen["folder"]).exists()


def test_a_worker_nobody_holds_any_more_ends() -> None:
    worker = Worker("fake", PYTHON, ADAPTER)
    pid = pid_of(worker)
    del worker
    assert gone(pid)


def test_what_the_library_has_started_ends_with_it(worker: Worker, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    error_of(worker, "start_another_and_sleep", {"report": str(report)}, limit_s=2)
    for pid in reported(report)["pids"]:
        assert gone(pid)


def test_an_interrupt_ends_the_process_and_the_next_answer_is_to_the_next_request(worker: Worker) -> None:
    before = pid_of(worker)
    # To the main thread, where a terminal's interrupt arrives too: one sent to another does not end the waiting.
    main = threading.main_thread().ident
    # Jobs that a shell starts in the background ignore interrupts.
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            worker.request("sleep", {"s": 600})
    finally:
        signal.signal(signal.SIGINT, former)
    assert gone(before)
    assert worker.request("echo", {"n": 2})[0] == {"n": 2}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_process_ends_with_the_one_that_started_it(tmp_path: Path, how: signal.Signals) -> None:
    report = tmp_path / "report.json"
    script = (
        "from pathlib import Path; from harness.backends.worker import Worker; "
        f"Worker('fake', Path({str(PYTHON)!r}), Path({str(ADAPTER)!r}))"
        f".request('start_another_and_sleep', {{'report': {str(report)!r}}})"
    )
    with subprocess.Popen([PYTHON, "-c", script], cwd=Path(__file__).parents[2]) as parent:
        seen = reported(report)
        parent.send_signal(how)
    for pid in seen["pids"]:
        assert gone(pid)
    assert not Path(seen["folder"]).exists()


def reported(path: Path) -> dict:
    """The content of the file the adapter writes, once it is written."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with contextlib.suppress(FileNotFoundError, ValueError):
            return json.loads(path.read_text())
        time.sleep(0.05)
    raise AssertionError(f"{path} was not written")
