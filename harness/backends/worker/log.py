"""What a process writes to standard output and error: read as it comes, the end of it kept in memory."""

from __future__ import annotations

import os
import select
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
        self._descriptor: int | None = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._thread = threading.Thread(target=self._read, args=(descriptor,), daemon=True)
        self._thread.start()

    def mark(self) -> None:
        """Forget what was written so far."""
        with self._lock:
            self._take()
            self._kept.clear()

    def text(self) -> str:
        """What was written since the last `mark`, its end where that is long."""
        with self._lock:
            self._take()
            return bytes(self._kept).decode(errors="replace")

    def drain(self) -> None:
        """Wait for the end of what a process that has ended has written."""
        self._thread.join(_DRAIN_S)

    def _read(self, descriptor: int) -> None:
        more, waiting = True, select.poll()
        waiting.register(descriptor, select.POLLIN)
        while more:
            waiting.poll()
            with self._lock:
                more = self._take()
        with self._lock:
            self._descriptor = None
            os.close(descriptor)

    def _take(self) -> bool:
        """Take what is in the pipe by now, which the thread may not have come to; False where that is its end."""
        if self._descriptor is None or not self._poll.poll(0):
            return self._descriptor is not None
        read = os.read(self._descriptor, _KEPT)
        self._kept += read
        del self._kept[:-_KEPT]
        return bool(read)
