"""`pytest --conformance`: one test for each model, method and dtype of a suite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import pytest

from harness.backends import CANDIDATE, REFERENCE
from harness.conformance.examine import quiet_frameworks
from harness.conformance.fixture import Session, one_line_errors, settle
from harness.conformance.known import known_difference
from harness.conformance.parametrize import KNOWN, Parameters
from harness.errors import InvalidInputError
from harness.naming import shell
from harness.runner import Suite

#: What the node ids begin with.
ROOT = "conformance"


@dataclass(frozen=True)
class Selection:
    """``wanted``: ids of the command line, all where there are none; ``known``: lines "GLOB: CAUSE, ...: REASON"."""

    suite: Suite
    session: Session
    candidate: str = CANDIDATE
    reference: str = REFERENCE
    dtypes: tuple[str, ...] = ("float64", "float32")
    wanted: frozenset[str] = frozenset()
    known: tuple[str, ...] = ()


class Cases(pytest.Collector):
    """All cases of a suite. Raises CollectError for an id that is none of them."""

    def __init__(self, selection: Selection, **more: Any) -> None:
        super().__init__(name=ROOT, nodeid=ROOT, **more)
        self._selection = selection

    def collect(self) -> Iterator[pytest.Item]:
        chosen = self._selection
        cases = [
            Parameters(model, method, dtype, chosen.candidate, chosen.reference)
            for model in chosen.suite.models
            for method in chosen.suite.methods
            for dtype in chosen.dtypes
        ]
        unknown = sorted(chosen.wanted - {case.id for case in cases})
        if unknown:
            raise self.CollectError(
                f"{ROOT}::{unknown[0]}: the suite {chosen.suite.name!r} has no such case; "
                "see: pytest --conformance --collect-only -q"
            )
        differences = known_differences(chosen.known)
        for case in cases:
            if not chosen.wanted or case.id in chosen.wanted:
                item = ConformanceItem.from_parent(
                    self, name=case.id, parameters=case, session_state=chosen.session
                )
                item.add_marker(ROOT)
                if self.config.pluginmanager.hasplugin("xdist"):
                    item.add_marker(pytest.mark.xdist_group(case.model))
                for pattern, mark in differences:
                    if fnmatchcase(case.id, pattern):
                        item.add_marker(mark)
                yield item


class ConformanceItem(pytest.Item):
    """One case."""

    def __init__(self, parameters: Parameters, session_state: Session, **more: Any) -> None:
        super().__init__(**more)
        self._parameters, self._session_state = parameters, session_state

    def runtest(self) -> None:
        quiet_frameworks()
        case = self._parameters
        options = {"reference": case.reference, "candidate": case.candidate, "dtype": case.dtype}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        again = shell(("xai-harness", "diagnose", str(case.model), str(case.method), *words))
        with one_line_errors():
            settle(self, self._session_state, case, again)

    def reportinfo(self) -> tuple[str, None, str]:
        return ROOT, None, self.name


def known_differences(lines: Sequence[str]) -> list[tuple[str, pytest.MarkDecorator]]:
    """By glob over ids, the mark of each line ``GLOB: CAUSE[, CAUSE] [: REASON]``.

    Raises InvalidInputError for another line, UnknownNameError for a cause that is none.
    """
    differences = []
    for line in lines:
        pattern, *rest = (part.strip() for part in line.split(":", 2))
        if not rest:
            raise InvalidInputError(
                f"known difference {line!r}: expected GLOB: CAUSE, with a reason behind another colon"
            )
        causes = [cause.strip() for cause in rest[0].split(",")]
        reason = rest[1] if len(rest) > 1 else ""
        known_difference(*causes, reason=reason)
        differences.append((pattern, getattr(pytest.mark, KNOWN)(*causes, reason=reason)))
    return differences
