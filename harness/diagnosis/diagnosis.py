"""The public call: from "these two differ" to one sentence a developer can act on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.api import as_model
from harness.backends import Backend, backend_named, defaults_of
from harness.case import Case as AskedCase
from harness.checks import checked_device
from harness.comparison.floor import of_float32
from harness.diagnosis.agreement import agree, doubtful, far_apart, same_numbers
from harness.diagnosis.case import Case
from harness.diagnosis.examine import Progress, examine
from harness.diagnosis.findings import Finding
from harness.diagnosis.measure import apart
from harness.diagnosis.repeat import repeat_finding
from harness.diagnosis.result import Diagnosis
from harness.engine import compare, engine, joins_many, require_support, run_ahead
from harness.errors import CandidateError, HarnessError, described
from harness.methods import Method
from harness.methods import method as method_named
from harness.pairs import unverified
from harness.state import STATE
from harness.trace import Trace

#: The note on a candidate that computes in float32 whatever it is asked for.
_SINGLE = "asked for float64, the candidate returns numbers of float32; judged in float32"


def diagnose(
    model: Any,
    x: Any,
    method: str | Method,
    reference: str | Backend | None = None,
    candidate: str | Backend | None = None,
    target: Any = None,
    dtype: str = "float32",
    reproduce_in: Path | str | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> Diagnosis:
    """Say which layer of ``candidate`` does something else than ``reference``, and what.

    Arguments as for `harness.explain`; ``reference`` and ``candidate`` are by default the method's own (tensorflow and
    torch for all but DLBacktrace). The two are compared in ``dtype``; what differs is looked for in
    float64 where it shows there too, because rounding hides less. ``reproduce_in``: the folder for the
    reproducer, else one in the system's temporary folder. ``progress`` is called with what is being done.
    ``device``: what the candidate computes on, as for `harness.explain`; the reference computes on the CPU.

    A candidate that does not run in float64, or differs and returns numbers of float32 there, is judged in float32, and
    a note says so.

    Raises what `harness.explain` raises, and CandidateError for what the candidate raises in every dtype.
    """
    report = progress or (lambda what: None)
    resolved = method_named(method)
    usual = defaults_of(resolved)
    sides = (
        backend_named(usual.reference if reference is None else reference),
        backend_named(usual.candidate if candidate is None else candidate),
    )
    asked = AskedCase.checked(as_model(model), x, resolved, target, dtype)
    for side in sides:
        require_support(side, asked)
    report("running both sides")
    run_ahead(engine(), replace(asked, device=checked_device(device)), *sides)
    case = _case(asked, sides, checked_device(device))
    folder = None if reproduce_in is None else Path(reproduce_in)
    case, own = _in_its_own_dtype(case)
    notes = (*own, *_left_out(case.candidate_run))
    left_behind, repeated = _state_finding(case), repeat_finding(case)
    if repeated is not None:
        # Nothing can be applied: what is left is what this run shows.
        alone = Diagnosis(case, (left_behind or repeated,), notes=notes, reproduce_in=folder)
        return _with_what_this_run_leaves(alone)
    differing, more = _where_it_shows(case, report)
    diagnosis = Diagnosis(case, ()) if differing is None else examine(differing, report)
    if left_behind is not None:
        diagnosis = _after(left_behind, diagnosis)
    return replace(diagnosis, notes=_noted(case, diagnosis, (*more, *notes)), reproduce_in=folder)


def _after(first: Finding, diagnosis: Diagnosis) -> Diagnosis:
    """``diagnosis`` with a finding before all others that changes no number of the run itself."""
    if not diagnosis.findings:
        return _with_what_this_run_leaves(replace(diagnosis, findings=(first,)))
    return replace(diagnosis, findings=(first, *diagnosis.findings), shown=None)


def _with_what_this_run_leaves(diagnosis: Diagnosis) -> Diagnosis:
    case = diagnosis.case
    left = apart((case.reference_run.attribution_array,), (case.candidate_run.attribution_array,))
    return replace(diagnosis, left=left, left_floor=case.attribution_floor)


def _in_its_own_dtype(case: Case) -> tuple[Case, tuple[str, ...]]:
    """``case`` in a dtype in which the candidate runs, and a note where that is not the one that was asked for.

    Raises CandidateError where it runs in none.
    """
    raised = _raised(case)
    if raised is None:
        return case, ()
    if case.dtype == "float64":
        other = replace(case, x=case.x.astype(np.float32), dtype="float32")
        if _raised(other) is None:
            note = f"the candidate does not run in float64 ({described(raised)}); judged in float32"
            return other, (note,)
    if isinstance(raised, HarnessError):
        raise raised
    raise CandidateError(case.candidate.name, f"raised {described(raised)}") from raised


def _raised(case: Case) -> Exception | None:
    """What the candidate raises in the dtype of ``case``; None where it runs."""
    try:
        _ = case.candidate_run
    except Exception as error:  # other people's code
        return error
    return None


def _where_it_shows(case: Case, report: Progress) -> tuple[Case | None, tuple[str, ...]]:
    """The case in the dtype in which the difference is looked for, and notes; None where there is no difference.

    Methods of many runs are first held against each other run by run, which costs no run more.
    """
    if joins_many(case.asked) and compare(case.reference_run, case.candidate_run).settled:
        return None, ()
    if case.dtype == "float64":
        if agree(case) if not far_apart(case) else _as_the_port(case):
            return None, ()
        single = replace(case, x=case.x.astype(np.float32), dtype="float32")
        return (single, (_SINGLE,)) if _is_single(case) and not agree(single) else (case, ())
    if not doubtful(case):
        return None, ()
    report("running both sides in float64")
    case.forget()
    finer = replace(case, x=case.x.astype(np.float64), dtype="float64")
    raised = _raised(finer)
    apart_there = raised is None and far_apart(finer) and not _as_the_port(finer)
    if apart_there and not _is_single(finer):
        return finer, ()
    if same_numbers(case):
        return None, ()
    if apart_there:
        return case, (_SINGLE,)
    if raised is None:
        return case, ("in float64 the two agree",)
    return case, (f"the candidate does not run in float64 ({described(raised)}); judged in float32",)


def _as_the_port(case: Case) -> bool:
    """Whether the candidate shows the attribution alone and gives what the port gives, which is right."""
    if case.candidate_run.layers:
        return False
    comparison = compare(case.reference_run, case.candidate_run)
    return comparison.attribution.decided_by == "port" and same_numbers(case)


def _is_single(case: Case) -> bool:
    """Whether the candidate, asked for float64, returns numbers of float32 where the reference does not."""
    reference, candidate = (
        np.asarray(run.attribution_array, np.float64) for run in (case.reference_run, case.candidate_run)
    )
    return bool(candidate.any()) and of_float32(candidate) and not of_float32(reference)


def _noted(case: Case, diagnosis: Diagnosis, notes: tuple[str, ...]) -> tuple[str, ...]:
    """``notes``, and of a pair that is not verified, where nothing differs, that this input does not show it."""
    reason = unverified(case.model)
    if diagnosis.findings or reason is None:
        return notes
    return (*notes, f"{reason}; this input does not show it")


def _left_out(run: Trace) -> tuple[str, ...]:
    """Why a run does not show the layers that were asked for, as a note."""
    reason = run.provenance.get("layers")
    return (f"only the attribution was judged: {reason}",) if reason else ()


def _case(asked: AskedCase, sides: tuple[Backend, Backend], device: str) -> Case:
    reference = engine().run(asked, sides[0])
    case = Case(asked.model, asked.x, asked.method, *sides, reference.target, asked.dtype, device=device)
    case.reference_run = reference
    return case


def _state_finding(case: Case) -> Finding | None:
    """What the candidate's run leaves changed: the next run would be of another model, input or arithmetic.

    It has been put back, so that what differs besides can be looked for as ever.
    """
    left = case.candidate_run.provenance.get(STATE)
    if left is None:
        return None
    error = apart((case.reference_run.attribution_array,), (case.candidate_run.attribution_array,))
    return Finding("run", None, "state", f"the candidate {left}", error, case.attribution_floor)
