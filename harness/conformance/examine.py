"""One case through both sides, and where it fails everything that a developer wants to read about it."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace
from typing import Any

from harness.backends import Backend
from harness.case import Case
from harness.comparison import Comparison, layers_around, verdict_line
from harness.comparison.verdict import Tolerance, check_tolerance
from harness.diagnosis import diagnose
from harness.errors import described, is_interrupt
from harness.methods import Method
from harness.naming import printable
from harness.runner import run_case

#: The cause of a case that one side could not run at all.
ERROR = "error"


@dataclass(frozen=True)
class Examined:
    """``causes``: of what differs (`harness.diagnosis.causes`), or "error"; empty where it passed.

    ``layers``: by cause, those that have it. ``words``: verdict, layers around the divergence with their floors, and
    the diagnosis; the verdict alone where it passed.
    """

    passed: bool
    words: str
    causes: frozenset[str] = frozenset()
    layers: frozenset[str] = frozenset()


def examined(
    model: Any,
    x: Any,
    method: Method,
    reference: Backend,
    candidate: Backend,
    dtype: str,
    target: Any = None,
    tolerance: Tolerance = None,
) -> Examined:
    """``method`` by both sides, compared; and diagnosed where it does not pass.

    Raises InvalidInputError for a case that is none; what a side raises is a result, with the cause "error".
    """
    check_tolerance(tolerance)
    quiet_frameworks()
    with warnings.catch_warnings():
        # Those of frameworks; where warnings are errors, they would be blamed on a side.
        warnings.simplefilter("ignore")
        outcome = run_case(Case.checked(model, x, method, target, dtype), reference, candidate)
        if outcome.comparison is None or outcome.reference is None:
            return Examined(False, printable(f"error: {outcome.message}"), frozenset({ERROR}))
        comparison = replace(outcome.comparison, tolerance=tolerance)
        if comparison.passed:
            return Examined(True, verdict_line(comparison))
        return _diagnosed(model, x, method, reference, candidate, dtype, outcome.reference.target, comparison)


def quiet_frameworks() -> None:
    """What frameworks print while they start is nobody's test result; before the first of them is imported."""
    for variable, value in (("TF_CPP_MIN_LOG_LEVEL", "3"), ("OMP_WAIT_POLICY", "PASSIVE")):
        os.environ.setdefault(variable, value)


def _diagnosed(
    model: Any,
    x: Any,
    method: Method,
    reference: Backend,
    candidate: Backend,
    dtype: str,
    target: Any,
    comparison: Comparison,
) -> Examined:
    lines = [verdict_line(comparison), "", layers_around(comparison), ""]
    causes: frozenset[str] = frozenset({"unknown"})
    layers: frozenset[str] = frozenset()
    try:
        diagnosis = diagnose(model, x, method, reference, candidate, target=target, dtype=dtype)
    except BaseException as error:  # the candidate is other people's code
        if is_interrupt(error):
            raise
        lines.append(f"no diagnosis: {described(error)}")
    else:
        findings = diagnosis.findings
        lines += [f"diagnosis: {each.sentence}" for each in findings] or ["diagnosis: no layer is to blame"]
        lines += [f"note: {note}" for note in (*comparison.notes, *diagnosis.notes)]
        if findings:
            causes = frozenset(each.cause for each in findings)
            layers = frozenset(
                name for each in findings for name in (each.layer, *each.also) if name is not None
            )
    return Examined(False, printable("\n".join(lines), lines=True), causes, layers)
