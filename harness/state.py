"""What a backend of other people may leave changed: the model, its input, and what all code of the process shares.

Read before it runs, read again after it, and put back. What would change what anybody computes afterwards is a fault of
the run (cause ``state``); the rest is put back and said in a note, because importing a library changes it too.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

#: Under these keys the provenance of a trace says what its run left changed: as a fault, and as a note.
STATE, PUT_BACK = "state", "put back"
_SHOWN = 3


@dataclass(frozen=True)
class Part:
    """One piece of state.

    ``words``: what it is. ``read`` returns a value that is equal where the state is; a mapping, where a message shall
    say which of its keys differ. ``restore`` puts back what ``read`` returned. ``decides``: whether it changes
    what is computed afterwards. ``known``: what it must be, where that is known without reading it before the run.
    """

    words: str
    read: Callable[[], Any]
    restore: Callable[[Any], object]
    decides: bool = True
    known: Any = None


@runtime_checkable
class Stateful(Protocol):
    """A model that can say what of it, and of the frameworks of its twins, a backend may change."""

    def parts(self) -> Iterable[Part]: ...


@dataclass(frozen=True)
class Left:
    """What a run left changed, in words; empty where there is nothing. Put back by now."""

    faults: tuple[str, ...]
    notes: tuple[str, ...]


class Watch:
    """The state of ``model`` and of this process, as it is before a run."""

    def __init__(self, model: Any) -> None:
        parts = (*_process(), *(model.parts() if isinstance(model, Stateful) else ()))
        self._before = [(part, part.read() if part.known is None else part.known) for part in parts]

    def put_back(self) -> Left:
        """Put everything back that is not as it was, and say what that was."""
        faults: list[str] = []
        notes: list[str] = []
        for part, before in self._before:
            after = part.read()
            if not _same(before, after):
                (faults if part.decides else notes).append(part.words + _which(before, after))
                part.restore(before)
        return Left(tuple(faults), tuple(notes))


def _process() -> list[Part]:
    """What Python and NumPy keep for the whole process.

    Not the random generators: put back after each run, they would hide that a candidate draws from them.
    """
    return [
        Part(
            "NumPy's handling of floating-point errors (numpy.seterr)",
            np.geterr,
            lambda old: np.seterr(**old),
        ),
        Part("NumPy's errcall", np.geterrcall, np.seterrcall),
        Part("the working directory", os.getcwd, os.chdir),
        Part("sys.stdout or sys.stderr", lambda: (sys.stdout, sys.stderr), _restore_streams),
        Part("handlers of signals", _handlers, _restore_handlers),
        Part("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
        Part("environment variables", lambda: dict(os.environ), _restore_environment, False),
        Part("sys.path", lambda: list(sys.path), lambda old: sys.path.__setitem__(slice(None), old), False),
        Part("the filters of warnings", lambda: list(warnings.filters), _restore_filters, False),
    ]


def _handlers() -> dict[str, Any]:
    return {
        each.name: signal.getsignal(each)
        for each in signal.valid_signals()
        if isinstance(each, signal.Signals)
    }


def _restore_handlers(old: Mapping[str, Any]) -> None:
    for name, handler in old.items():
        # One that was not set from Python cannot be set from here.
        if handler is not None and signal.getsignal(signal.Signals[name]) is not handler:
            signal.signal(signal.Signals[name], handler)


def _restore_streams(old: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = old


def _restore_environment(old: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(old)


def _restore_filters(old: list[Any]) -> None:
    warnings.filters[:] = old  # type: ignore[index]
    warnings.filterwarnings("default", append=True)  # what is remembered of the others is out of date
    warnings.filters.pop()  # type: ignore[attr-defined]


def _same(before: Any, after: Any) -> bool:
    try:
        return bool(before == after)
    except Exception:  # a value that the run has put there may do anything when it is compared
        return False


def _which(before: Any, after: Any) -> str:
    """Which keys of a mapping differ."""
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return ""
    keys = [key for key in {**before, **after} if key not in before or not _same(before[key], after.get(key))]
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f" ({', '.join(map(str, keys[:_SHOWN]))}{more})"
