"""Work on code of the user's own in a process of its own: whatever ends that process does not end this one.

An exception that the code raises is the business of the work itself. This is about what cannot be caught:
`os._exit`, a crash, the lack of memory.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

from harness.errors import HarnessError, described

#: Seconds that a process may take to end after its work is done; threads of the user's code may hold it.
_END_S = 5.0


class EndedEarly(Exception):
    """The process ended before its work was done; the message says how it ended, as the end of a sentence."""


def isolated(work: Callable[..., Iterator[Any]], *arguments: Any) -> Iterator[Any]:
    """What ``work(*arguments)`` yields, computed in a new process.

    ``work``: a function of a module; it yields what JSON can say. ``arguments`` can be pickled. SIGINT is
    ignored in the process: the interrupt arrives here, and the process is ended with the iteration. What is
    printed there goes to standard error. Raises HarnessError and OSError as the work does, HarnessError for
    what else escapes from it, and EndedEarly.
    """
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(sending, work, arguments))
    process.start()
    sending.close()
    try:
        while True:
            # A process that this one has left behind may hold the pipe open: the end is seen on the process.
            if receiving not in wait([receiving, process.sentinel]) and not receiving.poll():
                raise EndedEarly(_ending(process))
            try:
                kind, value = json.loads(receiving.recv_bytes())
            except (EOFError, OSError):
                raise EndedEarly(_ending(process)) from None
            if kind == "done":
                process.join(_END_S)
                return
            if kind == "error":
                raise HarnessError(value)
            if kind == "os error":
                raise OSError(*value)
            yield value
    finally:
        if process.is_alive():
            process.kill()
        process.join()
        receiving.close()


def isolated_cases(
    work: Callable[..., Iterator[tuple[str, Any]]], *arguments: Any, lost: Callable[[Any, str], Any]
) -> Iterator[tuple[str, Any]]:
    """What ``work(*arguments, passed)`` yields, begun anew behind every case that ends the process.

    ``work`` yields ``("started", case)`` and ``("finished", result)`` for each of its cases, and whatever else it
    has to say; it passes over the first ``passed`` cases. The result of a case that ended the process is
    ``lost(case, how it ended)``. Raises what `isolated` raises, and HarnessError where the process ends while no
    case runs.
    """
    passed = 0
    while True:
        case: Any = None
        try:
            for kind, value in isolated(work, *arguments, passed):
                case = value if kind == "started" else None
                passed += kind == "finished"
                yield kind, value
        except EndedEarly as ended:
            if case is None:
                raise HarnessError(
                    f"the process that runs the candidate {ended} with {passed} cases finished and none running; "
                    "look in the candidate for what ends it (os._exit, a crash)"
                ) from None
            passed += 1
            yield (
                "finished",
                lost(
                    case,
                    f"the process that ran this case {ended}; look for what ends it (os._exit, a crash)",
                ),
            )
        else:
            return


def _ending(process: Any) -> str:
    process.join(_END_S)
    code = process.exitcode
    if code is None:
        return "has closed its channel"
    if code >= 0:
        return f"ended with exit code {code}"
    hint = " (out of memory?)" if code == -signal.SIGKILL else ""
    return f"was killed by {signal.Signals(-code).name}{hint}"


def _serve(sending: Connection, work: Callable[..., Iterator[Any]], arguments: tuple[Any, ...]) -> None:
    """The new process: pass on what ``work`` yields, and then how it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)

    def send(kind: str, value: Any) -> None:
        sending.send_bytes(json.dumps([kind, value]).encode())

    try:
        for value in work(*arguments):
            send("value", value)
    except BrokenPipeError:  # the other side is gone
        sys.exit(1)
    except OSError as error:
        send("os error", [error.errno, error.strerror, error.filename])
    except HarnessError as error:
        send("error", str(error))
    except BaseException as error:
        send("error", f"the run was ended by {described(error)}")
        raise
    else:
        send("done", None)
