"""Work for executors to do: in a module of its own, so that other processes find it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.engine.executors import Job, Task, Work


def job(folder: Path, **settings: Any) -> Job:
    return Job(f"{__name__}:opened", {"folder": str(folder), **settings})


def tasks(*errands: str) -> list[Task]:
    """Tasks whose names are ``errands``, "double 3" and the like."""
    return [Task(errand, place, {"errand": errand, "place": place}) for place, errand in enumerate(errands)]


def tries(folder: Path, place: int) -> list[int]:
    """The processes that have begun the task of this place, in order."""
    return [int(line) for line in (folder / str(place)).read_text().split()]


@contextmanager
def opened(settings: dict[str, Any]) -> Iterator[Work]:
    folder = Path(settings["folder"])
    folder.joinpath("opened").open("a").write(f"{os.getpid()}\n")

    def work(what: dict[str, Any]) -> dict[str, Any]:
        verb, _, operand = what["errand"].partition(" ")
        begun = folder / str(what["place"])
        again = begun.exists()
        with begun.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if verb == "die" or (verb == "die-once" and not again):
            os.kill(os.getpid(), signal.SIGKILL)
        if verb == "hang" or (verb == "hang-once" and not again):
            time.sleep(600)
        if verb == "rise":
            raise MemoryError("no room")
        if verb == "time-out":
            raise TimeoutError("of its own")
        if verb == "wait":
            time.sleep(float(operand))
            operand = "0"
        return {"twice": 2 * int(operand or 0), "pid": os.getpid()}

    yield work
    folder.joinpath("closed").open("a").write(f"{os.getpid()}\n")
