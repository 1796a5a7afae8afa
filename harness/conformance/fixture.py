"""The fixture ``conformance``: `check` runs a case, `golden` holds a run against a stored one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from harness.api import as_model
from harness.backends import Backend, backend_named, defaults_of
from harness.comparison.verdict import Tolerance
from harness.conformance.configured import Configured
from harness.conformance.examine import Examined, examined
from harness.conformance.golden import GoldenUse, compared_with_golden, recorded_golden
from harness.conformance.known import decided, known_of
from harness.conformance.parametrize import KNOWN, Parameters
from harness.errors import HarnessError, InvalidInputError
from harness.methods import Method
from harness.methods import method as method_named
from harness.naming import printable, shell
from harness.runner import chosen_input, why_not
from harness.trace import Trace


@dataclass
class Session:
    """What the tests of one run of pytest share: the model used last, candidates of files, goldens used."""

    golden_root: Path
    regenerate: bool = False
    used: list[GoldenUse] = field(default_factory=list)
    _model: tuple[str, Any] | None = None
    backends: dict[str, Backend] = field(default_factory=dict)
    configured: Configured = field(default_factory=Configured)

    def model(self, source: Any) -> Any:
        """``source`` loaded. Of names and files the last one is kept: a large network takes gigabytes."""
        if not isinstance(source, str | Path):
            return as_model(source)
        if self._model is None or self._model[0] != str(source):
            self._model = None
            self._model = (str(source), as_model(str(source)))
        return self._model[1]

    def backend(self, named: Any, default: str) -> Backend:
        """The backend; that of a file is run once."""
        if not isinstance(named, str):
            return backend_named(default if named is None else named)
        if named not in self.backends:
            self.backends[named] = backend_named(named)
        return self.backends[named]


class Conformance:
    """``parameters``: those of the case, where the test was given one by `parametrize_with_methods`."""

    def __init__(self, node: pytest.Item, session: Session, parameters: Parameters | None = None) -> None:
        self._node, self._session, self._parameters = node, session, parameters

    def check(
        self,
        model: Any = None,
        x: Any = None,
        method: str | Method | None = None,
        candidate: Any = None,
        *,
        reference: Any = None,
        target: Any = None,
        dtype: str | None = None,
        tolerance: Tolerance = None,
    ) -> None:
        """Fail the test where ``candidate`` computes something else than ``reference``, and say where and why.

        Arguments as for `harness.explain` and `harness.diagnose`. In a test of `parametrize_with_methods` what is left
        out is that of its case. ``dtype``: float64 where nothing is said. A method that does not apply to the model
        skips the test.
        """
        given = self._parameters or Parameters(None, "", "float64")
        case = replace(
            given,
            model=given.model if model is None else model,
            x=given.x if x is None else x,
            method=given.method if method is None else method,
            dtype=dtype or given.dtype,
            candidate=given.candidate if candidate is None else candidate,
            reference=given.reference if reference is None else reference,
        )
        again = shell(("pytest", self._node.nodeid))
        with one_line_errors():
            if case.model is None or not case.method:
                raise InvalidInputError(
                    "nothing to check: give model and method, or decorate the test with "
                    "harness.parametrize_with_methods"
                )
            settle(self._node, self._session, case, again, target, tolerance)

    def golden(self, name: str, trace: Trace) -> None:
        """Fail the test where ``trace`` is not what the golden ``name`` holds; ``--regen-golden`` stores it instead.

        ``name``: as `xai-harness golden list` has it (``tiny/lrp.z.float64``), or without model and dtype, which are
        then those of the trace.
        """
        session, again = self._session, shell(("pytest", "--regen-golden", self._node.nodeid))
        with one_line_errors():
            if session.regenerate:
                session.used.append(recorded_golden(session.golden_root, name, trace))
                return
            use, words = compared_with_golden(session.golden_root, name, trace)
            session.used.append(use)
        if words:
            pytest.fail(f"{words}\n\nif that was meant, record it anew: {again}", pytrace=False)


def settle(
    node: pytest.Item,
    session: Session,
    case: Parameters,
    again: str,
    target: Any = None,
    tolerance: Tolerance = None,
) -> None:
    """Run ``case`` and end the test as it deserves; ``again``: the command that repeats it.

    Raises HarnessError for a case that is none.
    """
    method = method_named(case.method)
    known = known_of(node.iter_markers(KNOWN), method.name) or session.configured.known_of(case.id)
    model = session.model(case.model)
    reason = why_not(method, model)
    if reason:
        pytest.skip(reason)
    if case.x is None and not model.examples:
        raise InvalidInputError(
            f"{model.name} ships no example input; give one: x=..., {('batch', *model.input_shape)}"
        )
    result: Examined = examined(
        model,
        chosen_input(model, None)[0] if case.x is None else case.x,
        method,
        session.backend(case.reference, defaults_of(method).reference),
        session.backend(case.candidate, defaults_of(method).candidate),
        case.dtype,
        target,
        session.configured.tolerance_of(case.id) if tolerance is None else tolerance,
    )
    decision = decided(result, known)
    if decision.status == "expected":
        pytest.xfail(decision.words)
    if decision.status == "failed":
        pytest.fail(f"{decision.words}\n\nrepeat: {again}", pytrace=False)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """A mistake of the user's, or a side that cannot be had, is one line and no traceback."""
    try:
        yield
    except HarnessError as error:
        pytest.fail(printable(f"error: {error}"), pytrace=False)
