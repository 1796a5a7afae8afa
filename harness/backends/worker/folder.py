"""The folder of a worker's process: what lies in it is the doing of other people's code, until it is gone."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import time
from pathlib import Path

#: The largest file of arrays that is read, in bytes; above it a file is a mistake, or has no end.
LARGEST_FILE = 16 * 2**30
_CHUNK = 16 * 2**20
#: How often processes are looked for: one may start another while it is ended.
_ROUNDS = 5


def write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet: nothing is followed, nothing overwritten. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def read_regular(path: Path, deadline: float) -> bytes:
    """The content of a regular file, at the size that it has when it is opened.

    ``deadline``: on the clock of `time.monotonic`. Raises TimeoutError, OSError (a link is one) and ValueError for a
    pipe, a device, a folder, a file of more than LARGEST_FILE bytes, and one that is cut short meanwhile.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file")
        if status.st_size > LARGEST_FILE:
            raise ValueError(f"it has {status.st_size} bytes, at most {LARGEST_FILE} are read")
        content = bytearray()
        while len(content) < status.st_size:
            if time.monotonic() > deadline:
                raise TimeoutError
            read = file.read(min(_CHUNK, status.st_size - len(content)))
            if not read:
                raise ValueError(f"it ended after {len(content)} of {status.st_size} bytes")
            content += read
    return bytes(content)


def remove(folder: Path) -> None:
    """Remove ``folder`` and all in it, also what its owner may not read or enter."""
    with contextlib.suppress(OSError):
        folder.chmod(0o700)
    for place, names, _ in os.walk(folder):
        for name in names:
            inside = Path(place, name)
            if not inside.is_symlink():
                with contextlib.suppress(OSError):
                    inside.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def kill_those_of(folder: Path) -> None:
    """Kill the processes whose temporary folder is in ``folder``: what a worker started and let go of.

    Where there is no /proc, those that have left the worker's group are not found.
    """
    mark = b"TMPDIR=" + os.fsencode(folder)
    for _ in range(_ROUNDS):
        processes = [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _has(entry, mark)]
        if not processes:
            return
        for each in processes:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(each, signal.SIGKILL)
        time.sleep(0.01)


def _has(process: Path, mark: bytes) -> bool:
    try:
        words = (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(word == mark or word.startswith(mark + b"/") for word in words)
