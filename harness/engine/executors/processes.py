"""On this machine, in several processes."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from harness.backends.worker import Worker, own_surroundings
from harness.engine.executors.contract import Event, Group, Job, Json, Task
from harness.engine.executors.dispatch import PlaceError, dispatch
from harness.errors import PeerError
from harness.naming import printable

#: Seconds that a task may take where nothing else is said, the loading of its model included.
TASK_TIMEOUT_S = 3600.0
_SIDE = Path(__file__).with_name("side.py")
#: What says how many threads a framework uses.
_THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


class LocalProcesses:
    """``count`` processes that share the processors of this machine; each loads the models that it works on.

    A process that ends, runs out of memory or takes more than ``limit_s`` for a task is replaced by a new one.
    """

    def __init__(self, count: int, limit_s: float = TASK_TIMEOUT_S) -> None:
        self.count, self.limit_s = count, limit_s

    def results(self, job: Job, groups: Iterable[Group]) -> Iterator[Event]:
        places = [_Process(f"process {number}", self) for number in range(1, self.count + 1)]
        try:
            yield from dispatch(job, groups, lambda: places)
        finally:
            for place in places:
                place.end()


class _Process:
    """A process as a place of `dispatch`."""

    def __init__(self, name: str, settings: LocalProcesses) -> None:
        self.name = name
        #: Held while it is asked.
        self._asked = threading.Lock()
        self._ended = False
        self._worker = Worker(
            name,
            Path(sys.executable),
            _SIDE,
            limit_s=settings.limit_s,
            environment={**_threads(settings.count), **own_surroundings()},
            option="--task-timeout",
        )

    def ask(self, job: Job, task: Task) -> Json:
        with self._asked:
            return self._answer(job, task)

    def _answer(self, job: Job, task: Task) -> Json:
        try:
            reply = self._request("task", {"number": job.number, "what": task.what})
            if "unknown" in reply:
                self._request("begin", asdict(job))
                reply = self._request("task", {"number": job.number, "what": task.what})
        except PeerError as error:
            # What is left of it may be what made the task fail: the next one gets a new process.
            self._worker.close()
            raise PlaceError(str(error), alive=True) from None
        answer: Json = reply["answer"]
        return answer

    def end(self) -> None:
        """End the process, also while it works."""
        self._ended = True
        while not self._asked.acquire(timeout=0.1):
            self._worker.kill()
        self._worker.close()

    def _request(self, op: str, payload: Json) -> Json:
        if self._ended:
            raise PlaceError("ended", alive=False)
        answer, _ = self._worker.request(op, payload)
        if printed := self._worker.printed():
            print(printable(printed, lines=True), file=sys.stderr)
        return answer


def _threads(count: int) -> dict[str, str]:
    """So many threads for each of ``count`` processes that all have a processor; what the user chose stays."""
    share = str(max(1, len(os.sched_getaffinity(0)) // count))
    return {name: os.environ.get(name, share) for name in _THREADS}
