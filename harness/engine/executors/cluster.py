"""On the workers of a Dask cluster: one that is there, or one of local processes for this command."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from harness.engine.executors import jobs
from harness.engine.executors.contract import Event, Group, Job, Json, Task
from harness.engine.executors.dispatch import PATIENCE_S, PlaceError, dispatch
from harness.engine.executors.processes import TASK_TIMEOUT_S
from harness.errors import HarnessError, MissingFrameworkError, described

#: Seconds to wait for the scheduler and for its first worker.
_CONNECT_S = 30.0
#: Seconds between two looks at whether a worker is still there while it works.
_LOOK_S = 1.0


class DaskCluster:
    """The workers of the scheduler at ``address``; "": ``count`` workers that are started here and end with the block.

    A worker process does one task at a time, whatever number of threads it has. A worker that is gone costs its task;
    one that takes more than ``limit_s`` is started again by its nanny, or not asked any more where it has none.
    Raises MissingFrameworkError without Dask, HarnessError where no scheduler answers or it has no workers.
    """

    def __init__(self, address: str = "", count: int = 2, limit_s: float = TASK_TIMEOUT_S) -> None:
        self.address, self.count, self.limit_s = address, count, limit_s

    def results(self, job: Job, groups: Iterable[Group]) -> Iterator[Event]:
        with _client(self.address, self.count) as client:
            places: dict[str, _DaskWorker] = {}

            def there() -> Sequence[_DaskWorker]:
                now = _addresses(client)
                for address in now:
                    places.setdefault(address, _DaskWorker(address, client, self.limit_s))
                return [places[address] for address in now]

            try:
                yield from dispatch(job, groups, there, PATIENCE_S, one_machine=not self.address)
            finally:
                for place in places.values():
                    place.end(job.number)


class _DaskWorker:
    """A worker as a place of `dispatch`; ``name`` is its address, and one that is started later has another."""

    def __init__(self, address: str, client: Any, limit_s: float) -> None:
        self.name = address
        self._client = client
        self._limit_s = limit_s
        #: Held while it is asked.
        self._asked = threading.Lock()
        #: Whether it is worth waiting for.
        self._answers = True
        self._ended = False

    def ask(self, job: Job, task: Task) -> Json:
        with self._asked:
            return self._answer(job, task)

    def _answer(self, job: Job, task: Task) -> Json:
        deadline = time.monotonic() + self._limit_s
        answer = self._call(deadline, jobs.answer, job.number, task.what)
        if answer is None:
            self._call(deadline, jobs.begin, job)
            answer = self._call(deadline, jobs.answer, job.number, task.what)
        result: Json = answer
        return result

    def end(self, number: str) -> None:
        """Have it let go of the job; what it is doing is no longer waited for, and ends by itself."""
        from distributed import fire_and_forget

        self._ended = True
        if self.name not in _addresses(self._client):
            return
        letting_go = self._submitted(jobs.end, number)
        if self._asked.locked() or not self._answers:
            fire_and_forget(letting_go)
        else:
            with suppress(Exception):
                letting_go.result(timeout=_CONNECT_S)

    def _call(self, deadline: float, function: Any, *arguments: Any) -> Any:
        future = self._submitted(function, *arguments)
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        while not self._ended:
            # Not `future.result(timeout=...)`: a task may raise a TimeoutError of its own.
            done.wait(_LOOK_S)
            gone = self.name not in _addresses(self._client)
            if done.is_set() and not gone:
                try:
                    return future.result()
                except Exception as error:  # of the task, or of the cluster: both cost the task
                    raise PlaceError(f"worker {self.name}: {described(error)}", alive=True) from None
            if gone:
                future.cancel()
                raise PlaceError(f"worker {self.name}: is gone (out of memory?)", alive=False)
            if time.monotonic() > deadline:
                future.cancel()
                self._start_again()
                raise PlaceError(
                    f"worker {self.name}: no answer within {self._limit_s:g} s; if it only needs longer, raise the "
                    f"limit: --task-timeout {2 * self._limit_s:g}",
                    alive=False,
                )
        raise PlaceError("ended", alive=False)

    def _submitted(self, function: Any, *arguments: Any) -> Any:
        return self._client.submit(
            function, *arguments, workers=[self.name], allow_other_workers=False, pure=False
        )

    def _start_again(self) -> None:
        """Have its nanny kill it and start another; a worker without a nanny stays as it is, and is not asked again."""
        self._answers = False
        with suppress(Exception):
            self._client.restart_workers([self.name], timeout=_CONNECT_S, raise_for_error=False)


def _addresses(client: Any) -> list[str]:
    """Of all workers that the scheduler knows now."""
    return list(client.nthreads())


@contextmanager
def _client(address: str, count: int) -> Iterator[Any]:
    """A client of the scheduler at ``address``, or of one that is started with ``count`` workers."""
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise MissingFrameworkError("dask") from None
    # What it says of workers that come and go is said here in other words.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        if not address:
            local = LocalCluster(
                n_workers=count, threads_per_worker=1, host="127.0.0.1", scheduler_kwargs={"dashboard": False}
            )
            address = stack.enter_context(local).scheduler_address
        try:
            client = stack.enter_context(Client(address, timeout=_CONNECT_S, set_as_default=False))
        except (OSError, ValueError) as error:
            raise HarnessError(
                f"no Dask scheduler answers at {address} ({described(error)}); start one with: dask scheduler"
            ) from None
        try:
            client.wait_for_workers(1, timeout=_CONNECT_S)
        except TimeoutError:
            raise HarnessError(
                f"the Dask scheduler at {address} has no workers; start some with: dask worker {address} --nthreads 1"
            ) from None
        yield client
