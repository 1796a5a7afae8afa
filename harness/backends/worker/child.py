"""A process that answers lines with lines: written to and read from within a time limit, and ended for certain."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.backends.worker.folder import kill_those_of, remove
from harness.backends.worker.log import Log

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
        self._answers, write_end = os.pipe()
        reading, writing = os.pipe()
        try:
            self.process = subprocess.Popen(
                command(write_end, self.folder),
                stdin=subprocess.PIPE,
                stdout=writing,
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
            os.close(reading)
            remove(self.folder)
            raise
        finally:
            os.close(write_end)
            os.close(writing)
        self._log = Log(reading)
        self._rest = bytearray()
        self._scanned = 0
        assert self.process.stdin is not None
        self._requests = self.process.stdin.fileno()
        os.set_blocking(self._requests, False)
        self._finalizer = weakref.finalize(self, _end, self.process, self._answers, self.folder)

    def alive(self) -> bool:
        return self._finalizer.alive and self.process.poll() is None

    def send(self, line: bytes, deadline: float) -> None:
        """Write ``line``; ``deadline`` on the clock of `time.monotonic`. Raises Ended, TimeoutError."""
        self._log.mark()
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
        late = False
        while (end := self._rest.find(b"\n", self._scanned)) < 0:
            self._scanned = len(self._rest)
            if self._scanned > _LONGEST_LINE:
                raise ValueError(f"a line of more than {_LONGEST_LINE} bytes")
            if late:  # what does not end by then is no answer in time, however much of it there is
                raise TimeoutError
            late = time.monotonic() > deadline
            self._wait(self._answers, select.POLLIN, deadline)
            read = os.read(self._answers, 2**20)
            if not read:
                raise Ended
            self._rest += read
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        self._scanned = 0
        return line

    def unread(self) -> bool:
        """Whether it has sent a message that was not yet received."""
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        return bool(self._rest or poll.poll(0))

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
        if not self.alive():
            self._log.drain()
        lines = self._log.text().split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def printed(self) -> str:
        """What it has written to standard output and error since the last `send`."""
        return self._log.text().rstrip()

    def kill(self) -> None:
        """Kill the process and all of its group; :meth:`end` has still to be called. For another thread than that."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

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
    kill_those_of(folder)
    if process.stdin is not None:
        process.stdin.close()
    os.close(answers)
    remove(folder)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
