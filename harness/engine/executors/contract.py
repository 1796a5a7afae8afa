"""What an executor is: it has the tasks of a job done somewhere, and says of each what came of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import uuid4

#: What JSON can hold: it may have to cross to another machine.
Json = dict[str, Any]
#: Does one task: from :attr:`Task.what` to its answer.
Work = Callable[[Json], Json]
#: Makes the work of a job from its settings; what it holds is let go of when the block ends.
Opener = Callable[[Json], AbstractContextManager[Work]]


@dataclass(frozen=True)
class Task:
    """One piece of work, which may be done twice and gives the same. ``name``: for people; ``place``: in the table.

    ``large``: it takes so much memory that a machine does one such task at a time.
    """

    name: str
    place: int
    what: Json
    large: bool = False


@dataclass(frozen=True)
class Job:
    """What all tasks of a command share.

    ``opener``: ``module:function`` of an :data:`Opener`; ``settings``: for it. ``folder``: where names of files
    start from.
    """

    opener: str
    settings: Json
    folder: str = field(default_factory=os.getcwd)
    number: str = field(default_factory=lambda: uuid4().hex)


@dataclass(frozen=True)
class Begun:
    """Somebody has begun ``task``; perhaps for the second time."""

    task: Task


@dataclass(frozen=True)
class Done:
    """``answer`` is what the work of the job gave."""

    task: Task
    answer: Json


@dataclass(frozen=True)
class Lost:
    """``task`` was tried, and tried once elsewhere, and neither gave an answer: ``why``, in one line."""

    task: Task
    why: str


Event = Begun | Done | Lost
#: Tasks that share work when they are done one after the other in one place.
Group = Sequence[Task]


class Executor(Protocol):
    def results(self, job: Job, groups: Iterable[Group]) -> Iterator[Event]:
        """Have all tasks done; of each there is one :class:`Done` or :class:`Lost` in the end, in any order.

        ``groups`` is asked for the next one when somebody has nothing to do. Closing the iterator ends what runs.
        Raises HarnessError where nobody is there to do anything.
        """
        ...
