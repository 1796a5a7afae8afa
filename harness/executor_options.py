"""The options that say where the cases of a command are computed, and the executor that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.engine.executors import Executor

Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", metavar="N", help="Processes that share the work; 1 if left out: this one."),
]
On = Annotated[
    str,
    typer.Option(
        "--executor",
        metavar="WHERE",
        help="processes, dask (workers started here, --jobs of them), or dask=tcp://HOST:PORT (a cluster).",
    ),
]
TaskTimeout = Annotated[
    float | None,
    typer.Option(
        "--task-timeout",
        metavar="SECONDS",
        help="How long a case may take in another process, its model loaded there; 3600 if left out.",
    ),
]


def executor_of(jobs: int | None, where: str, timeout_s: float | None, in_process: bool) -> Executor | None:
    """The executor that the options name; None: this process computes.

    Raises InvalidInputError for values that are none, and for options that exclude each other.
    """
    from harness.engine.executors import TASK_TIMEOUT_S, DaskCluster, LocalProcesses
    from harness.errors import InvalidInputError

    kind, _, address = where.partition("=")
    if kind not in ("processes", "dask") or (address and kind != "dask"):
        raise InvalidInputError(f"--executor is {where!r}; expected processes, dask or dask=tcp://HOST:PORT")
    if jobs is not None and jobs < 1:
        raise InvalidInputError(f"--jobs is {jobs}; expected 1 or more")
    if timeout_s is not None and not timeout_s > 0:
        raise InvalidInputError(f"--task-timeout is {timeout_s:g}; expected a number of seconds above 0")
    if address and jobs is not None:
        raise InvalidInputError(
            f"--jobs {jobs} starts processes here; leave it out with a cluster at {address}"
        )
    limit_s = TASK_TIMEOUT_S if timeout_s is None else timeout_s
    if kind == "processes" and jobs in (None, 1):
        if timeout_s is not None:
            raise InvalidInputError("--task-timeout needs other processes; add --jobs 2, or leave it out")
        return None
    if in_process:
        raise InvalidInputError(
            "--in-process runs the candidate in this process; leave it out, or --jobs and --executor"
        )
    if kind == "processes":
        return LocalProcesses(jobs or 1, limit_s)
    return DaskCluster(address, jobs or 2, limit_s)
