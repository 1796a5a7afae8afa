"""What a process has printed is there when it is asked for."""

from __future__ import annotations

import os
import threading

import pytest

from harness.backends.worker.log import Log


def test_what_is_in_the_pipe_is_told_although_the_thread_has_not_come_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda self: None)
    reading, writing = os.pipe()
    log = Log(reading)
    os.write(writing, b"of the first")
    assert log.text() == "of the first"
    os.write(writing, b", late")
    log.mark()
    os.write(writing, b"of the second")
    assert log.text() == "of the second"
    os.close(writing)
    assert log.text() == "of the second"
    os.close(reading)
