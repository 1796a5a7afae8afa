"""Thirty ways for a worker to misbehave: each ends within its limit, costs its own request, and leaves nothing.

What is sent is answered by the request after it, whatever the one before did; no process and no file is left.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.backends.worker import Worker, folder
from harness.backends.worker import worker as worker_module
from harness.errors import PeerError

ADAPTER = Path(__file__).with_name("worker_adapter.py")
PYTHON = Path(os.sys.executable)  # type: ignore[attr-defined]
LIMIT_S = 2.0

#: By what it does, before it would answer: the code, and what the message says. ``{n}``: the number of the request.
WAYS = {
    "streams without an end": ("import os\nwhile True: os.write(channel, b'x' * 4096)", "(within|a line of more than)"),
    "streams byte by byte": ("import os, time\nwhile True: os.write(channel, b'x')", "within 2 s"),
    "drips": ("import os, time\nwhile True: os.write(channel, b'x'); time.sleep(0.01)", "within 2 s"),
    "streams lines of an earlier request": (
        "import os\nwhile True: os.write(channel, b'{\"id\": 0, \"ok\": true, \"payload\": {}, \"arrays\": null}\\n')",
        "within 2 s",
    ),
    "prints without an end": ("while True: print('x' * 4096)", "within 2 s"),
    "answers half a line": ("import os, time\nos.write(channel, b'{\"id\": ')\ntime.sleep(600)", "within 2 s"),
    "answers a deep nest": ("import os, time\nos.write(channel, b'[' * 10**6 + b'\\n')\ntime.sleep(9)", "is not JSON"),
    "answers true as its number": ("reply(True)\nimport time; time.sleep(600)", "a reply to request True"),
    "answers what is asked next": ("reply({n} + 1)\nimport time; time.sleep(600)", "a reply to request"),
    "names a pipe": (
        "import os, time\nos.mkfifo(folder + '/a')\nreply({n}, folder + '/a')\ntime.sleep(600)", "no regular file"
    ),
    "names a folder": (
        "import os, time\nos.mkdir(folder + '/a')\nreply({n}, folder + '/a')\ntime.sleep(600)", "cannot be read"
    ),
    "names its own folder": ("reply({n}, folder + '/.')\nimport time; time.sleep(600)", "outside the worker's folder"),
    "names the folder above": ("reply({n}, folder + '/..')\nimport time; time.sleep(600)", "outside"),
    "names a link": (
        "import os, time\nos.symlink('/etc/passwd', folder + '/a')\nreply({n}, folder + '/a')\ntime.sleep(600)",
        "cannot be read",
    ),
    "names a device": ("reply({n}, '/dev/zero')\nimport time; time.sleep(600)", "outside the worker's folder"),
    "names no file": ("reply({n}, folder + '/none')\nimport time; time.sleep(600)", "cannot be read"),
    "names what is no name": ("reply({n}, folder + '/\\x00')\nimport time; time.sleep(600)", "cannot be read"),
    "names a file larger than any": (
        "import os, time\nopen(folder + '/a', 'wb').truncate(2**36)\nreply({n}, folder + '/a')\ntime.sleep(600)",
        "at most",
    ),
    "names a file of holes": (
        "import os, time\nopen(folder + '/a', 'wb').truncate(2**20)\nreply({n}, folder + '/a')\ntime.sleep(600)",
        "cannot be read",
    ),
    "cuts its file short": (
        "import os, time, struct\nf = open(folder + '/a', 'wb'); f.write(struct.pack('<Q', 50)); f.truncate(2**26)\n"
        "f.flush(); reply({n}, folder + '/a'); f.truncate(9); time.sleep(600)",
        "cannot be read",
    ),
    "ignores every signal": (
        "import signal, time\nfor s in signal.valid_signals() - {9, 19}: signal.signal(s, signal.SIG_IGN)\n"
        "time.sleep(600)",
        "within 2 s",
    ),
    "stops itself": ("import os\nos.kill(os.getpid(), 19)", "within 2 s"),
    "holds the interpreter": ("import ctypes\nctypes.PyDLL(None).sleep(600)", "within 2 s"),
    "forks and sleeps": ("import os, time\nos.fork()\ntime.sleep(600)", "within 2 s"),
    "forks, and its first process ends": (
        "import os, time\nif os.fork(): os._exit(0)\ntime.sleep(600)", "ended with exit code 0"
    ),
    "starts a process in a session of its own": (
        "import subprocess, time\nsubprocess.Popen(['sleep', '613'], start_new_session=True)\ntime.sleep(600)",
        "within 2 s",
    ),
    "lets a daemon go": (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(613)\n"
        "    os._exit(0)\ntime.sleep(600)",
        "within 2 s",
    ),
    "removes its folder": ("import shutil, time\nshutil.rmtree(folder)\ntime.sleep(600)", "within 2 s"),
    "locks its folder": (
        "import os, time\nos.makedirs(folder + '/a/b')\nopen(folder + '/a/b/c', 'w').close()\n"
        "os.chmod(folder + '/a', 0)\ntime.sleep(600)",
        "within 2 s",
    ),
    "raises a terminal's escapes": ("raise ValueError('\\x1b[2J\\n\\x07gone')", r"ValueError: \\x1b\[2J \\x07gone"),
    "raises half a pair": ("raise ValueError('\\ud800')", r"ValueError: \\ud800"),
}  # fmt: skip
#: What is answered as it should be, and then something else is done.
AFTERWARDS = {
    "answers twice": "reply({n}); reply({n})",
    "answers late": "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.3), reply({n}))).start()",
    "removes its folder and answers": "import shutil\nshutil.rmtree(folder)",
    "is in the way of the next request": "import os\nos.mkfifo(folder + '/request-%d.safetensors' % ({n} + 1))",
    "links the next request elsewhere": (
        "import os\nos.symlink(payload['victim'], folder + '/request-%d.safetensors' % ({n} + 1))"
    ),
    "leaves a process": "import subprocess\nsubprocess.Popen(['sleep', '613'], start_new_session=True)",
    "leaves files": "open(folder + '/left', 'w').write('x' * 10**6)",
}
#: In the environment of the worker and all that it starts.
MARK = "XAI_HARNESS_TEST_OF"
QUICK = (
    "drips",
    "streams byte by byte",
    "names a pipe",
    "cuts its file short",
    "lets a daemon go",
    "locks its folder",
)


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A worker whose files are all in one place; when it is closed nothing of it is left."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setenv(MARK, str(place))
    monkeypatch.setattr(worker_module, "_step", lambda: 1)  # so that the ways know the number they answer to
    with Worker("fake", PYTHON, ADAPTER, limit_s=30) as started:
        started.request("echo", {})
        yield started
    assert list(place.iterdir()) == []
    assert left_running(place) == []


def left_running(place: Path) -> list[str]:
    """The command lines of what this test has started: other tests may run beside it."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            words = (each / "cmdline").read_text()
            environment = (each / "environ").read_text(errors="replace")
            state = (each / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except (OSError, IndexError):
            continue
        if f"{MARK}={place}" in environment.split("\0") and state != "Z":
            found.append(words)
    return found


def is_right(worker: Worker) -> None:
    """The next request is answered with what was asked."""
    x = np.arange(6.0).reshape(2, 3)
    payload, arrays = worker.request("echo", {"after": True}, {"x": x})
    assert payload == {"after": True}
    np.testing.assert_array_equal(arrays["x"], x)


def test_thirty_ways() -> None:
    assert len(WAYS) + len(AFTERWARDS) >= 30


@pytest.mark.parametrize(
    ("code", "message"),
    [
        pytest.param(*way, id=name, marks=[] if name in QUICK else pytest.mark.nightly)
        for name, way in WAYS.items()
    ],
)
def test_a_request_that_goes_wrong_is_one_line_within_its_limit(
    worker: Worker, code: str, message: str
) -> None:
    began = time.monotonic()
    with pytest.raises(PeerError, match=message) as caught:
        worker.request("do", {"code": code.replace("{n}", "2")}, limit_s=LIMIT_S)
    assert time.monotonic() - began < LIMIT_S + 6
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
    is_right(worker)


@pytest.mark.parametrize("code", AFTERWARDS.values(), ids=AFTERWARDS)
def test_what_is_done_beside_an_answer_does_not_reach_the_next(
    worker: Worker, tmp_path: Path, code: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    worker.request("do", {"code": code.replace("{n}", "2"), "victim": str(victim)}, limit_s=10)
    is_right(worker)
    time.sleep(0.5)
    is_right(worker)
    assert victim.read_text() == "mine"


def test_an_answer_given_in_advance_is_taken_for_no_other() -> None:
    """A request's number cannot be guessed; one that is answered to a guess ends the process, and the next is right."""
    with Worker("fake", PYTHON, ADAPTER, limit_s=30) as started:
        for _ in range(3):
            with contextlib.suppress(PeerError):
                started.request("do", {"code": "for n in range(1, 50): reply(n)"}, limit_s=10)
        is_right(started)


def test_a_file_that_is_read_slowly_ends_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(folder.LARGEST_FILE)
    with pytest.raises(TimeoutError):
        folder.read_regular(path, time.monotonic())


def test_a_file_that_is_there_already_is_not_written(tmp_path: Path) -> None:
    path, target = tmp_path / "link", tmp_path / "target"
    target.write_bytes(b"mine")
    path.symlink_to(target)
    with pytest.raises(FileExistsError):
        folder.write_new(path, b"other")
    assert target.read_bytes() == b"mine"
