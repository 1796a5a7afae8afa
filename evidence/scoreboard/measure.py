"""One row: what the harness says of a library's method on a network, within a limit of time."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from evidence.kept import key_of
from evidence.scoreboard.rows import Row, library_named
from harness.api import explain
from harness.backends import Backend, why_unsupported
from harness.comparison import compare_arrays
from harness.diagnosis import Diagnosis, diagnose
from harness.diagnosis.measure import explained
from harness.errors import HarnessError, MethodDoesNotApplyError, described
from harness.files import json_digest
from harness.methods import method as method_named
from harness.methods import to_json

#: Seconds that one row may take.
LIMIT_S = 120
#: What `diagnose` reports once it is known that the two differ.
_LOOKED_FOR = "forward pass"
_CODE = ("evidence.scoreboard", "ported_impls", "reference_impls")
Json = dict[str, Any]


class _OutOfTime(BaseException):
    """No Exception: nothing on the way may take it for the candidate's."""


def key(row: Row, model: Any, x: np.ndarray) -> str:
    """What a row is kept under: the case, the library's pins, and the code on both sides."""
    library = library_named(row.library)
    adapters = [library.adapter, library.adapter.parent / "adapter.py", library.constraints]
    method = to_json(method_named(row.method_for(x)))
    facts = [row.library, library.requirement, method, model.digest, json_digest([x.tolist(), str(x.dtype)])]
    return key_of("scoreboard", facts, [_text(each) for each in adapters], code=_CODE)


def measure(row: Row, model: Any, x: np.ndarray, candidate: Backend, limit_s: float = LIMIT_S) -> Json:
    """The row's facts: ``state`` ("agree", "one", "several", "unknown", "fail", "late", "none"), and its grounds.

    "one": one cause, at any number of layers. "unknown": at least one difference that is not named, or not within
    ``limit_s``, which is then among the facts. "none": the library has no such method for the network, or it is not
    meant for it; ``note`` says why. "late": no verdict within ``limit_s``, which is none of the library's faults.
    """
    started = time.monotonic()
    doing = ["starting"]
    facts: Json = {"state": "fail", "causes": [], "note": "", "left": None, "apart": None}
    try:
        method = method_named(row.method_for(x))
        reason = why_unsupported(candidate, method, model.graph)
        if reason:
            return {**facts, "state": "none", "note": reason}
        candidate.prepare(model, str(x.dtype))  # a process that starts anew takes its time, and not the row's
        with _limited(limit_s):
            diagnosis = diagnose(model, x, method, candidate=candidate, progress=doing.append)
            facts |= _facts(diagnosis)
    except MethodDoesNotApplyError as error:
        return {**facts, "state": "none", "note": str(error)}
    except _OutOfTime:
        if _LOOKED_FOR not in doing:
            facts |= {"state": "late", "note": f"no verdict within {limit_s:g} s", "limit_s": limit_s}
        else:
            facts |= {"state": "unknown", "note": f"not explained within {limit_s:g} s", "limit_s": limit_s}
            facts |= {"apart": _apart(model, x, row, candidate)}
    except HarnessError as error:
        facts |= {"note": described(error)}
    except Exception as error:  # a fault of ours costs its row, and is not laid to the library's charge
        facts |= {"state": "unknown", "note": f"the diagnosis failed: {described(error)}"}
    # Where the adapter lies on this machine is nobody's business.
    facts["note"] = facts["note"].replace(f"{library_named(row.library).adapter}:backend", row.library)
    return {**facts, "seconds": round(time.monotonic() - started, 1)}


def _facts(diagnosis: Diagnosis) -> Json:
    findings = diagnosis.findings
    causes = [
        {
            "cause": each.cause,
            "stage": each.stage,
            "layers": [layer for layer in (each.layer, *each.also) if layer],
            "residual": _finite(each.residual),
            "words": each.words,
            "parameters": {
                name: value
                for name, value in each.parameters.items()
                if isinstance(value, int | float) and np.isfinite(value)
            },
        }
        for each in findings
    ]
    reference, candidate = diagnosis.case.reference_run, diagnosis.case.candidate_run
    distance = compare_arrays(np.asarray(reference.attribution), np.asarray(candidate.attribution))[0].rel_l2
    left, left_floor = getattr(diagnosis, "left", None), getattr(diagnosis, "left_floor", None)
    complete = None if left is None or left_floor is None else bool(explained(left, left_floor))
    return {
        "state": state_of([named(each, complete) for each in causes], complete),
        "causes": causes,
        "apart": _finite(distance),
        "left": _finite(left),
        "complete": complete,
        "note": " ".join(diagnosis.notes),
    }


def _apart(model: Any, x: np.ndarray, row: Row, candidate: Backend) -> float | None:
    """Relative L2 of the two attributions; None where it is not finite."""
    method = row.method_for(x)
    reference = explain(model, x, method, layers=False)
    other = explain(model, x, method, candidate, reference.target, layers=False)
    distance = compare_arrays(np.asarray(reference.attribution), np.asarray(other.attribution))[0].rel_l2
    return _finite(distance)


def _finite(value: float | None) -> float | None:
    """``value`` as JSON has it: None for what is not finite."""
    return None if value is None or not np.isfinite(value) else float(value)


def named(cause: Json, complete: bool | None) -> str:
    """The name of a cause; what has none in words, where it closes the gap (``complete``), such as another quadrature,
    or is other noise.
    """
    closes = complete and cause["residual"] is not None
    if cause["cause"] == "unknown" and (closes or "other_noise" in cause.get("parameters", {})):
        return str(cause["words"])
    return str(cause["cause"])


def state_of(causes: list[str], complete: bool | None = None) -> str:
    """The state of a row by the causes of its findings.

    ``complete``: whether the reference with all of them applied agrees with the library; None where that was not tried.
    """
    if not causes:
        return "agree"
    if set(causes) & {"nan", "nondeterminism"}:
        return "fail"
    if "unknown" in causes or complete is False:
        return "unknown"
    return "one" if len(set(causes)) == 1 else "several"


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raises _OutOfTime in the block after ``seconds``."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        with suppress(ValueError):
            signal.signal(signal.SIGALRM, before)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
