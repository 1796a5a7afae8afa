"""Known differences: a case that is expected to fail, for one cause and for no other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from harness.conformance.examine import ERROR, Examined
from harness.diagnosis.causes import CAUSES
from harness.errors import InvalidInputError, UnknownNameError

if TYPE_CHECKING:
    import pytest


@dataclass(frozen=True)
class Known:
    """``causes``: all of a case's. ``layer``: one of those that differ; None for any. ``reason``: for the report."""

    causes: frozenset[str]
    layer: str | None = None
    reason: str = ""

    @property
    def words(self) -> str:
        where = f" at {self.layer}" if self.layer else ""
        why = f" ({self.reason})" if self.reason else ""
        return f"{', '.join(sorted(self.causes))}{where}{why}"


@dataclass(frozen=True)
class Decision:
    """``status``: passed, failed or expected (to fail, and for this cause). ``words`` say why it is not passed."""

    status: str
    words: str = ""


def known_of(marks: Iterable[pytest.Mark], method: str) -> Known | None:
    """What the first of the marks ``known_difference`` that is about ``method`` says; None where none is.

    Raises UnknownNameError for a cause that is none, InvalidInputError for a mark without any.
    """
    for mark in marks:
        facts = dict(mark.kwargs)
        if fnmatchcase(method, facts.pop("methods", "*")):
            return known_difference(*mark.args, **facts)
    return None


def known_difference(*causes: str, layer: str | None = None, reason: str = "") -> Known:
    """Raises UnknownNameError for a cause that is none, InvalidInputError where there is none at all."""
    if not causes:
        raise InvalidInputError("a known difference has no cause; name it: known_difference('bias-handling')")
    for cause in causes:
        if cause not in (*CAUSES, ERROR):
            raise UnknownNameError("cause", cause, (*CAUSES, ERROR), "See: docs/causes.md")
    return Known(frozenset(causes), layer, reason)


def decided(result: Examined, known: Known | None) -> Decision:
    """What a result is worth, if it was expected to be as ``known`` says."""
    if known is None:
        return Decision("passed") if result.passed else Decision("failed", result.words)
    if result.passed:
        return Decision(
            "failed", f"passes, but is known to differ: {known.words}; take the mark away\n{result.words}"
        )
    if result.causes != known.causes:
        causes = ", ".join(sorted(result.causes))
        return Decision("failed", f"known to differ: {known.words}; found: {causes}\n{result.words}")
    if known.layer is not None and known.layer not in result.layers:
        layers = ", ".join(sorted(result.layers)) or "no layer"
        return Decision("failed", f"known to differ: {known.words}; found at {layers}\n{result.words}")
    return Decision("expected", known.words)
