"""In this process, one task after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.engine.executors.contract import Begun, Done, Event, Group, Job
from harness.engine.executors.jobs import opener_of


class InProcess:
    """Does every task where it is asked; what a task raises is raised."""

    def results(self, job: Job, groups: Iterable[Group]) -> Iterator[Event]:
        with opener_of(job)(job.settings) as work:
            for group in groups:
                for task in group:
                    yield Begun(task)
                    yield Done(task, work(task.what))
