"""`pytest --conformance`: one test for each model, method and dtype of a suite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from harness.backends import CANDIDATE, REFERENCE
from harness.conformance.examine import quiet_frameworks
from harness.conformance.fixture import Session, one_line_errors, settle
from harness.conformance.parametrize import Parameters
from harness.naming import shell
from harness.runner import Suite

#: What the node ids begin with.
ROOT = "conformance"


@dataclass(frozen=True)
class Selection:
    """``wanted``: ids of the command line, all where there are none."""

    suite: Suite
    session: Session
    candidate: str = CANDIDATE
    reference: str = REFERENCE
    dtypes: tuple[str, ...] = ("float64", "float32")
    wanted: frozenset[str] = frozenset()


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
        for case in cases:
            if not chosen.wanted or case.id in chosen.wanted:
                item = ConformanceItem.from_parent(
                    self, name=case.id, parameters=case, session_state=chosen.session
                )
                item.add_marker(ROOT)
                if self.config.pluginmanager.hasplugin("xdist"):
                    item.add_marker(pytest.mark.xdist_group(case.model))
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
