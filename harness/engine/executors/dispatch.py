"""Hands groups of tasks to places that do them one by one; a lost task is tried once elsewhere, then given up."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.engine.executors.contract import Begun, Done, Event, Group, Job, Json, Lost, Task
from harness.errors import described

#: How often a task is tried.
TRIES = 2
#: Seconds between two looks at which places there are.
_LOOK_S = 0.5
#: Seconds that a dispatch waits for a place where none is left.
PATIENCE_S = 60.0


class PlaceError(Exception):
    """A place gave no answer to a task; ``alive``: whether it can be asked again."""

    def __init__(self, why: str, alive: bool) -> None:
        super().__init__(why)
        self.alive = alive


class Place(Protocol):
    """Somewhere that does one task at a time, asked from a thread of its own."""

    @property
    def name(self) -> str:
        """For people, and to tell places apart."""
        ...

    def ask(self, job: Job, task: Task) -> Json:
        """The answer. Raises PlaceError without one."""
        ...


class _Batch:
    """The tasks that one place has before it; others may take the end of it."""

    def __init__(self, tasks: Iterable[Task], avoid: str = "") -> None:
        self._tasks = deque(tasks)
        self.large = any(task.large for task in self._tasks)
        self._lock = threading.Lock()
        #: The place where they were lost before.
        self.avoid = avoid

    def next(self) -> Task | None:
        with self._lock:
            return self._tasks.popleft() if self._tasks else None

    def second_half(self) -> list[Task]:
        """Taken out: the later half of what is not begun, the longer one."""
        with self._lock:
            return [self._tasks.pop() for _ in range((len(self._tasks) + 1) // 2)][::-1]

    def rest(self) -> list[Task]:
        """Taken out: all."""
        with self._lock:
            rest = list(self._tasks)
            self._tasks.clear()
            return rest

    def __len__(self) -> int:
        return len(self._tasks)


@dataclass(frozen=True)
class _Failed:
    task: Task
    place: str
    why: str


@dataclass(frozen=True)
class _Idle:
    """A place has done with its batch; ``alive``: whether it takes another."""

    place: str
    alive: bool


def dispatch(
    job: Job,
    groups: Iterable[Group],
    places: Callable[[], Sequence[Place]],
    patience_s: float = PATIENCE_S,
    one_machine: bool = True,
) -> Iterator[Event]:
    """Have the tasks of ``groups`` done at ``places``, which is asked again and again: they may come and go.

    A group stays in one place while nobody else is without work; then its later half moves. Where no place is left for
    ``patience_s``, every task that remains is lost. ``one_machine``: the places share its memory, so that large tasks
    are done in one of them at a time, and a group of them stays whole.
    """
    state = _Dispatch(job, iter(groups), one_machine)
    seen = time.monotonic()
    while True:
        there = places()
        state.hand_out(there)
        if state.busy:
            seen = time.monotonic()
        elif state.exhausted:
            return
        elif not there and time.monotonic() - seen > patience_s:
            last = f" (the last failure: {state.last_why})" if state.last_why else ""
            yield from state.give_up(f"no worker is left, and none came within {patience_s:g} s{last}")
            return
        yield from state.news(_LOOK_S)


class _Dispatch:
    """Who does what. All of it but the batches is touched by one thread alone."""

    def __init__(self, job: Job, groups: Iterator[Group], one_machine: bool) -> None:
        self._job = job
        self._one_machine = one_machine
        self._groups = groups
        self._more = True
        self._waiting: deque[_Batch] = deque()
        self.busy: dict[str, _Batch] = {}
        self._dead: set[str] = set()
        self.last_why = ""
        self._tries: Counter[int] = Counter()
        self._inbox: queue.SimpleQueue[Event | _Failed | _Idle] = queue.SimpleQueue()

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to hand out."""
        return not self._more and not self._waiting

    def hand_out(self, there: Sequence[Place]) -> None:
        """Give every place that is idle something to do, if there is anything."""
        usable = [place for place in there if place.name not in self._dead]
        for place in usable:
            if place.name in self.busy:
                continue
            batch = self._batch_for(place, alone=len(usable) == 1)
            if batch is None:
                continue
            self.busy[place.name] = batch
            threading.Thread(target=self._do, args=(place, batch), daemon=True).start()

    def _batch_for(self, place: Place, alone: bool) -> _Batch | None:
        """What ``place`` does next: what was lost elsewhere, the next group, or half of what another has before it."""
        for batch in self._waiting:
            if (alone or batch.avoid != place.name) and not self._too_large(batch):
                self._waiting.remove(batch)
                return batch
        while self._more:
            group = next(self._groups, None)
            if group is None:
                self._more = False
            elif group:
                batch = _Batch(group)
                if not self._too_large(batch):
                    return batch
                self._waiting.append(batch)
        longest = max((each for each in self.busy.values() if not self._whole(each)), key=len, default=None)
        taken = longest.second_half() if longest is not None else []
        return _Batch(taken) if taken else None

    def _whole(self, batch: _Batch) -> bool:
        """Whether nothing may be taken from ``batch`` for another place."""
        return self._one_machine and batch.large

    def _too_large(self, batch: _Batch) -> bool:
        """Whether ``batch`` has to wait until the memory is free."""
        return self._whole(batch) and any(each.large for each in self.busy.values())

    def _do(self, place: Place, batch: _Batch) -> None:
        """In a thread of its own: the tasks of ``batch``, until one is lost."""
        alive = True
        while alive and (task := batch.next()) is not None:
            self._inbox.put(Begun(task))
            try:
                self._inbox.put(Done(task, place.ask(self._job, task)))
            except PlaceError as error:
                alive = error.alive
                self._inbox.put(_Failed(task, place.name, str(error)))
                break
            except BaseException as error:  # a thread that ends without a word would be waited for
                alive = False
                self._inbox.put(_Failed(task, place.name, described(error)))
                break
        self._inbox.put(_Idle(place.name, alive))

    def news(self, patience_s: float) -> Iterator[Event]:
        """What has happened, waited for a moment."""
        try:
            message = self._inbox.get(timeout=patience_s)
        except queue.Empty:
            return
        if isinstance(message, _Failed):
            self.last_why = message.why
            self._tries[message.task.place] += 1
            if self._tries[message.task.place] >= TRIES:
                yield Lost(message.task, message.why)
                return
            self._waiting.append(_Batch([message.task], avoid=message.place))
        elif isinstance(message, _Idle):
            rest = self.busy.pop(message.place).rest()
            if rest:
                self._waiting.append(_Batch(rest))
            if not message.alive:
                self._dead.add(message.place)
        else:
            yield message

    def give_up(self, why: str) -> Iterator[Event]:
        """All that is left is lost."""
        left = [task for batch in self._waiting for task in batch.rest()]
        for group in (left, *self._groups):
            for task in group:
                yield Lost(task, why)
