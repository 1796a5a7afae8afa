"""How long calls take, measured in turn, and the most memory that one takes."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
#: What is written there to begin a new peak (proc(5)).
_RESET_PEAK = "5"


def medians(calls: Sequence[Callable[[], object]], repeat: int) -> list[float]:
    """The median seconds of each call, each made ``repeat`` times, one after the other in turn.

    What disturbs the machine for a while then disturbs all of them. The caller has made each once before. Calls return
    arrays of the host, so that a device has done its work when they return.
    """
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(repeat):
        for call, seconds in zip(calls, taken, strict=True):
            began = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - began)
    return [statistics.median(seconds) for seconds in taken]


def peak_bytes(call: Callable[[], object]) -> float:
    """The most that this process's memory grows by during ``call``, in bytes; NaN where the system does not say.

    What it gave back to the allocator before is given back to the system first. Of another process or a device nothing
    is known.
    """
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    try:
        _CLEAR.write_text(_RESET_PEAK, encoding="ascii")
        before = _status("VmRSS")
        call()
        return max(_status("VmHWM") - before, 0.0)
    except OSError:
        return float("nan")


def _status(field: str) -> float:
    """A field of /proc/self/status in bytes. Raises OSError where there is none."""
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return float(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} has no {field}")
