"""The two sides that a command line names: backends by name, and files of the user's own, which run elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.backends import Backend

InProcess = Annotated[
    bool,
    typer.Option(
        "--in-process",
        help="Run a candidate of FILE.py:NAME in this process, without a time limit; what ends it ends the command.",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        help="How long a candidate of FILE.py:NAME may take to prepare a model, and for each case; 600 if left out.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="What the candidate computes on: cpu, cuda or cuda:NUMBER; +tf32 behind a GPU allows reduced precision."
    ),
]


@dataclass(frozen=True)
class Sides:
    """How files of the user's own are run: in this process, or elsewhere within ``timeout_s`` (None: the default)."""

    in_process: bool = False
    timeout_s: float | None = None
    per_case: bool = False

    @contextmanager
    def named(self, *names: str) -> Iterator[list[Backend]]:
        """The backends of these names; the processes of those that have one end with the block.

        Raises InvalidInputError for a time limit that is none, and what `harness.backends.backend_named` raises.
        """
        from harness.backends import backend_named, is_user_file
        from harness.backends.candidate import TIMEOUT_S, WorkerBackend
        from harness.errors import InvalidInputError

        timeout_s = TIMEOUT_S if self.timeout_s is None else self.timeout_s
        if not timeout_s > 0:
            raise InvalidInputError(f"--timeout is {timeout_s:g}; expected a number of seconds above 0")
        if self.in_process and self.timeout_s is not None:
            raise InvalidInputError(
                "--timeout needs a process of the candidate's own; leave out --in-process or --timeout"
            )
        with ExitStack() as stack:
            backends: dict[str, Backend] = {}
            for name in names:
                if name in backends:
                    continue
                if self.in_process or not is_user_file(name):
                    backends[name] = backend_named(name)
                    continue
                elsewhere = WorkerBackend(name, timeout_s, self.per_case)
                stack.callback(elsewhere.close)
                backends[name] = elsewhere
            yield [backends[name] for name in names]
