"""Executors do the same as this process, in any order; what ends a worker costs its task, once it was tried twice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from harness.engine.executors import (
    Begun,
    DaskCluster,
    Done,
    Event,
    Executor,
    InProcess,
    LocalProcesses,
    Lost,
    Task,
)
from harness.errors import HarnessError
from tests.engine.executors.errands import job, tasks, tries

pytestmark = pytest.mark.thinned(0.6)

KINDS = ("processes", "dask")


def executor(kind: str, count: int = 2, limit_s: float = 60.0) -> Executor:
    return LocalProcesses(count, limit_s) if kind == "processes" else DaskCluster("", count, limit_s)


def ended(found: Iterable[Event]) -> dict[str, Done | Lost]:
    """What came of each task; each comes to an end once, after it was begun."""
    begun: set[str] = set()
    ends: dict[str, Done | Lost] = {}
    for event in found:
        if isinstance(event, Begun):
            begun.add(event.task.name)
            continue
        assert event.task.name in begun
        assert event.task.name not in ends
        ends[event.task.name] = event
    return ends


def answers(found: Iterable[Event]) -> dict[str, int]:
    ends = ended(found)
    assert all(isinstance(end, Done) for end in ends.values()), ends
    return {name: end.answer["twice"] for name, end in ends.items() if isinstance(end, Done)}


@pytest.mark.parametrize("kind", KINDS)
def test_the_answers_are_those_of_this_process_and_the_job_is_let_go_of(kind, tmp_path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    groups = [
        tasks("double 1", "double 2", "double 3"),
        [Task("double 9", 3, {"errand": "double 9", "place": 3})],
    ]
    expected = {"double 1": 2, "double 2": 4, "double 3": 6, "double 9": 18}
    assert answers(InProcess().results(job(here), groups)) == expected
    assert answers(executor(kind).results(job(there), groups)) == expected
    assert str(os.getpid()) in (here / "closed").read_text()
    assert str(os.getpid()) not in (there / "opened").read_text()
    if kind == "dask":
        assert sorted((there / "closed").read_text().split()) == sorted(
            (there / "opened").read_text().split()
        )


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_task_does_costs_that_task_which_is_tried_once_more(kind, tmp_path) -> None:
    errands = ("double 1", "die", "double 2", "die-once", "rise", "double 3", "time-out")
    ends = ended(executor(kind).results(job(tmp_path), [tasks(*errands)]))
    assert {name for name, end in ends.items() if isinstance(end, Done)} == {*errands} - {
        "die",
        "rise",
        "time-out",
    }
    lost = {name: end.why for name, end in ends.items() if isinstance(end, Lost)}
    assert not any("\n" in why for why in lost.values())
    assert "SIGKILL" in lost["die"] if kind == "processes" else "is gone" in lost["die"]
    assert "MemoryError: no room" in lost["rise"]
    # What a task raises is not taken for the executor's own patience.
    assert "TimeoutError: of its own" in lost["time-out"]
    for place, errand in enumerate(errands):
        pids = tries(tmp_path, place)
        assert len(pids) == (1 if errand.startswith("double") else 2)
        # A process that died is not asked again.
        assert len(set(pids)) == len(pids) or errand in ("rise", "time-out")


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KINDS)
def test_a_task_that_hangs_is_ended_at_its_limit_and_tried_once_more(kind, tmp_path) -> None:
    errands = ("double 1", "hang", "double 2", "hang-once", "double 3")
    started = time.monotonic()
    ends = ended(executor(kind, limit_s=4).results(job(tmp_path), [tasks(*errands)]))
    assert time.monotonic() - started < 120
    assert {name for name, end in ends.items() if isinstance(end, Done)} == {*errands} - {"hang"}
    lost = ends["hang"]
    assert isinstance(lost, Lost)
    assert "within 4 s" in lost.why
    assert "--task-timeout 8" in lost.why
    assert len(tries(tmp_path, 1)) == 2
    for pid in tries(tmp_path, 1):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_leaving_in_the_middle_ends_the_processes(tmp_path) -> None:
    running = LocalProcesses(2).results(job(tmp_path), [tasks("wait 60", "wait 61")])
    assert all(isinstance(next(running), Begun) for _ in range(2))
    _wait_for(lambda: (tmp_path / "0").exists() and (tmp_path / "1").exists())
    started = time.monotonic()
    running.close()  # type: ignore[attr-defined]  # a generator
    assert time.monotonic() - started < 20
    for pid in (*tries(tmp_path, 0), *tries(tmp_path, 1)):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# A scheduler and workers of their own ---------------------------------------------------------------------------


@pytest.fixture
def scheduler(tmp_path) -> Iterator[str]:
    """The address of a real scheduler on loopback without workers."""
    with _started(
        "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", log=tmp_path / "scheduler"
    ) as (
        process,
        address,
    ):
        yield address
    assert process.poll() is not None


@pytest.fixture
def two_workers(scheduler, tmp_path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    options = (
        "--no-nanny",
        "--nthreads",
        "1",
        "--no-dashboard",
        "--host",
        "127.0.0.1",
        "--local-directory",
        str(tmp_path),
    )
    with (
        _started("dask_worker", scheduler, *options, log=tmp_path / "worker1") as (first, _),
        _started("dask_worker", scheduler, *options, log=tmp_path / "worker2") as (second, _),
    ):
        yield scheduler, [first, second]


def test_a_worker_of_a_cluster_that_is_killed_in_the_middle_costs_nothing(two_workers, tmp_path) -> None:
    address, workers = two_workers
    errands = [f"wait 0.{place + 30}" for place in range(16)]
    ends: dict[str, Event] = {}
    killed = 0
    for event in DaskCluster(address).results(job(tmp_path), [tasks(*errands)]):
        if isinstance(event, Begun) and len(ends) >= 4 and not killed:
            _wait_for((tmp_path / str(event.task.place)).exists)
            killed = tries(tmp_path, event.task.place)[0]
            assert killed in [worker.pid for worker in workers]
            os.kill(killed, signal.SIGKILL)
            on_it = event.task.place
        elif not isinstance(event, Begun):
            ends[event.task.name] = event
    assert killed
    assert set(ends) == set(errands)
    assert all(isinstance(end, Done) for end in ends.values())
    assert len(tries(tmp_path, on_it)) == 2
    # What was done before is not done again.
    assert sum(len(tries(tmp_path, place)) for place in range(16)) == 17


def test_a_scheduler_without_workers_is_said_and_so_is_none_at_all(scheduler, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("harness.engine.executors.cluster._CONNECT_S", 1.0)
    with pytest.raises(HarnessError, match=f"{scheduler} has no workers; start some with: dask worker"):
        list(DaskCluster(scheduler).results(job(tmp_path), [tasks("double 1")]))
    with pytest.raises(HarnessError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        list(DaskCluster("tcp://127.0.0.1:9").results(job(tmp_path), [tasks("double 1")]))


def test_when_no_worker_is_left_all_that_remains_is_lost(two_workers, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("harness.engine.executors.cluster.PATIENCE_S", 2.0)
    address, _ = two_workers
    ends = ended_even_unbegun(
        DaskCluster(address).results(job(tmp_path), [tasks("die", "die 2", "double 1", "double 2")])
    )
    assert set(ends) == {"die", "die 2", "double 1", "double 2"}
    assert isinstance(ends["die"], Lost)
    assert isinstance(ends["die 2"], Lost)
    assert all("no worker is left" in end.why for end in ends.values() if isinstance(end, Lost))


def ended_even_unbegun(found: Iterable[Event]) -> dict[str, Event]:
    return {event.task.name: event for event in found if not isinstance(event, Begun)}


class _started:
    """A command of Dask as a process of its own, and the address that it says it is at."""

    def __init__(self, module: str, *options: str, log: Path) -> None:
        self._command = (sys.executable, "-m", f"distributed.cli.{module}", *options)
        self._log = log

    def __enter__(self) -> tuple[subprocess.Popen[bytes], str]:
        surroundings = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, map(os.path.abspath, sys.path))),
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, env=surroundings)
        pattern = r"(?:Scheduler at|Start worker at):\s+(tcp://\S+)"
        _wait_for(lambda: re.search(pattern, self._log.read_text()))
        found = re.search(pattern, self._log.read_text())
        assert found is not None
        return self.process, found.group(1)

    def __exit__(self, *raised: object) -> None:
        self.process.kill()
        self.process.wait()


def _wait_for(what, within_s: float = 60.0) -> None:
    end = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
