"""A process that answers lines with lines: written to and read from within a time limit, and ended for certain."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

#: How often a wait looks whether the process still lives, in seconds: a process it forked may hold its pipe open.
_LOOK_S = 0.25
#: The longest answer, in bytes. Arrays travel in files; a longer line is a stream without end.
_LONGEST_LINE = 64 * 2**20


class Ended(Exception):
    """The process is gone, or has closed its pipe."""


class Child:
    """A process in a group of its own with a folder of its own; both are gone when this object is.

    ``command``: from the number of the file descriptor for the answers and the folder to the command line.
    Raises OSError where it cannot be started.
    """

    def __init__(self, command: Callable[[int, Path], Sequence[str]], environment: Mapping[str, str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="xai-harness-worker-"))
        self._log = self.folder / "log.txt"
        self._answers, write_end = os.pipe()
        try:
            with open(self._log, "wb") as log:
                self.process = subprocess.Popen(
                    command(write_end, self.folder),
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    bufsize=0,
                    pass_fds=(write_end,),
                    cwd=self.folder,
                    # What the library leaves in the temporary folder goes when the folder goes.
                    env={**environment, "TMPDIR": str(self.folder)},
                    start_new_session=True,
                )
        except BaseException:
            os.close(self._answers)
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        finally:
            os.close(write_end)
        self._rest = b""
        self._said_before = 0
        assert self.process.stdin is not None
        self._requests = self.process.stdin.fileno()
        os.set_blocking(self._requests, False)
        self._finalizer = weakref.finalize(self, _end, self.process, self._answers, self.folder)

    def alive(self) -> bool:
        return self._finalizer.alive and self.process.poll() is None

    def send(self, line: bytes, deadline: float) -> None:
        """Write ``line``; ``deadline`` on the clock of `time.monotonic`. Raises Ended, TimeoutError."""
        self._said_before = self._log.stat().st_size
        left = memoryview(line)
        while left:
            self._wait(self._requests, select.POLLOUT, deadline)
            try:
                left = left[os.write(self._requests, left) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise Ended from None

    def receive(self, deadline: float) -> bytes:
        """The next line, without its end. Raises Ended, TimeoutError, ValueError for a line without an end."""
        while b"\n" not in self._rest:
            if len(self._rest) > _LONGEST_LINE:
                raise ValueError(f"a line of more than {_LONGEST_LINE} bytes")
            self._wait(self._answers, select.POLLIN, deadline)
            read = os.read(self._answers, 2**20)
            if not read:
                raise Ended
            self._rest += read
        line, self._rest = self._rest.split(b"\n", 1)
        return line

    def status(self) -> str:
        """How it ended, in words. Waits a moment for a process that has closed its pipe and is about to go."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        code = self.process.returncode
        if code is None:
            return "closed its channel"
        if code >= 0:
            return f"ended with exit code {code}"
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        return f"was killed by {_signal_name(-code)}{hint}"

    def last_words(self) -> str:
        """The last line of its log that says something and was written since the last `send`; "" without one."""
        with contextlib.suppress(OSError), open(self._log, "rb") as log:
            log.seek(max(self._said_before, log.seek(0, os.SEEK_END) - 8192))
            lines = log.read().decode(errors="replace").split("\n")
            return next((line.strip() for line in reversed(lines) if line.strip()), "")
        return ""

    def end(self) -> None:
        """Kill the process and all of its group, remove the folder. Again: nothing happens."""
        self._finalizer()

    def _wait(self, descriptor: int, event: int, deadline: float) -> None:
        """Return once ``descriptor`` is ready."""
        poll = select.poll()
        poll.register(descriptor, event)
        while True:
            alive = self.alive()
            left = deadline - time.monotonic()
            # One look without waiting, even past the deadline: what is there was in time.
            if poll.poll(1000 * min(max(left, 0), _LOOK_S if alive else 0)):
                return
            if not alive:
                raise Ended
            if left <= 0:
                raise TimeoutError


def _end(process: subprocess.Popen[bytes], answers: int, folder: Path) -> None:
    # The group outlives its first process where the library has started others.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()
    os.close(answers)
    shutil.rmtree(folder, ignore_errors=True)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
