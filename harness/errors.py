"""Errors that are a user's to mend: one line that names the thing, what was found, and what to do next."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable, Sequence
from typing import Any


class HarnessError(Exception):
    """Base of every error this project raises on purpose; the command line prints it and exits with 2."""


class UnknownNameError(HarnessError, KeyError):
    """A model, method, backend or suite that does not exist."""

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        known = sorted(known)
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        message = f"unknown {what} {name!r}"
        if nearest:
            message += f"; did you mean {nearest[0]!r}?"
        elif known:
            message += f"; there are: {', '.join(known)}"
        stop = "." if hint[:1].isupper() and not message.endswith("?") else ""
        super().__init__(message + (f"{stop} {hint}" if hint else ""))

    def __str__(self) -> str:
        return str(self.args[0])


class InvalidInputError(HarnessError, ValueError):
    """An array, target or parameter that cannot be used as it is."""


class UnsupportedLayerError(HarnessError):
    """A layer that the neutral graph cannot express; names the layer, its type and the file.

    ``unread``: a sentence for each such layer of the source; ``read``: the layers (`harness.graph.Layer`) that were
    read beside them, in forward order.
    """

    def __init__(self, message: str, unread: Sequence[str] = (), read: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.unread = tuple(unread) or (message,)
        self.read = tuple(read)

    @classmethod
    def of_all(cls, unread: Sequence[str], read: Sequence[Any] = ()) -> UnsupportedLayerError:
        """One error for several layers: it says the first, and how many more there are."""
        more = len(unread) - 1
        rest = "" if not more else f" ({more} more: xai-harness inspect lists them all)"
        return cls(unread[0] + rest, unread, read)


class UnsupportedMethodError(HarnessError):
    """A method that a backend does not implement."""


class MethodDoesNotApplyError(InvalidInputError):
    """A method on a network it is not meant for."""


class PeerError(HarnessError):
    """A peer library's interpreter that is missing, crashed, ran out of time or answered with rubbish."""


class MissingPeerError(PeerError):
    """A peer that is not installed: few need it, and its absence is no fault."""


class CandidateError(HarnessError):
    """What code of a user's own did in its process; ``what``: its verb and the rest, "raised ValueError: ..."."""

    def __init__(self, who: str, what: str) -> None:
        super().__init__(f"{who} {what}")
        self.what = what


class ModelSourceError(HarnessError):
    """A file or object that is no model, is truncated, or cannot be fetched."""


class MissingFrameworkError(HarnessError, ImportError):
    """A framework that a backend or twin needs and this environment lacks."""

    def __init__(self, framework: str) -> None:
        super().__init__(
            f"{framework} is not installed; install it with: pip install 'xai-harness[{framework}]'"
        )


def described(error: BaseException) -> str:
    """Type and message of ``error`` on one line, cut where it runs too long to be read."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # an exception of other people's code may fail even to say what it is
        text = ""
    name = type(error).__name__
    return f"{name}: {text[:300]}" if text else name


def is_interrupt(error: BaseException) -> bool:
    """Whether ``error`` is the user's Ctrl-C.

    Where this process ignores SIGINT, no Ctrl-C reaches it: code has raised the KeyboardInterrupt by itself.
    """
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


def blamed(side: str, name: str, error: BaseException) -> str:
    """What went wrong on one side, in one line: which side, which backend, and what it did."""
    did = error.what if isinstance(error, CandidateError) else f"raised {described(error)}"
    return f"{side} {name!r} {did}"
