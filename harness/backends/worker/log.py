"""What a process writes to standard output and error: read as it comes, the end of it kept in memory."""

from __future__ import annotations

import os
import threading

#: So much of it is kept, in bytes.
_KEPT = 2**16
#: Seconds to wait for the last words of a process that has ended; one that it has started may hold the pipe open.
_DRAIN_S = 1.0


class Log:
    """The reading end of a pipe, read by a thread until it ends; the thread closes it."""

    def __init__(self, descriptor: int) -> None:
        self._lock = threading.Lock()
        self._kept = bytearray()
        self._thread = threading.Thread(target=self._read, args=(descriptor,), daemon=True)
        self._thread.start()

    def mark(self) -> None:
        """Forget what was written so far."""
        with self._lock:
            self._kept.clear()

    def text(self) -> str:
        """What was written since the last `mark`, its end where that is long."""
        with self._lock:
            return bytes(self._kept).decode(errors="replace")

    def drain(self) -> None:
        """Wait for the end of what a process that has ended has written."""
        self._thread.join(_DRAIN_S)

    def _read(self, descriptor: int) -> None:
        while read := os.read(descriptor, 2**16):
            with self._lock:
                self._kept += read
                del self._kept[:-_KEPT]
        os.close(descriptor)
