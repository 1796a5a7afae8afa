"""The job that a process works on: opened once, kept until another one comes."""

from __future__ import annotations

import importlib
import threading
from contextlib import ExitStack, chdir

from harness.engine.executors.contract import Job, Json, Opener, Work

#: A process does one task at a time: what computes is not made for several threads.
_lock = threading.RLock()
_stack = ExitStack()
_open: dict[str, Work] = {}


def begin(job: Job) -> None:
    """Open ``job`` in this process, in place of the one before, in the job's folder.

    Raises what its opener raises, and OSError where there is no such folder.
    """
    with _lock:
        for number in list(_open):
            end(number)
        _stack.enter_context(chdir(job.folder))
        try:
            _open[job.number] = _stack.enter_context(opener_of(job)(job.settings))
        except BaseException:
            _stack.close()
            raise


def end(number: str) -> None:
    """Let go of job ``number``, if it is the one that is open."""
    with _lock:
        if _open.pop(number, None) is not None:
            _stack.close()


def answer(number: str, what: Json) -> Json | None:
    """What the work of job ``number`` gives; None where this process does not have that job."""
    with _lock:
        work = _open.get(number)
        return None if work is None else work(what)


def opener_of(job: Job) -> Opener:
    """The function that ``job.opener`` names."""
    module, _, function = job.opener.partition(":")
    opener: Opener = getattr(importlib.import_module(module), function)
    return opener
