"""The public comparison: the two runs judged, and the engine asked for the evidence that is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from harness.comparison.arrays import GivenAxes, judge_arrays
from harness.comparison.first_step import BothSteps
from harness.comparison.floor import MULTIPLE, NoiseFloor, derived, of_float32, unit_roundoff
from harness.comparison.metrics import relative_l2
from harness.comparison.postprocess import treated
from harness.comparison.rows import PASSING, Row
from harness.comparison.verdict import (
    HIGH_FLOOR,
    Comparison,
    Tolerance,
    by_measured_floor,
    check_comparable,
    doubtful,
    judge,
    on_equal_ground,
    results,
    with_first_divergent,
)
from harness.engine.cases import Engine, engine
from harness.engine.evidence import floor_of, ground_of, ground_of_result, layers_of_results, raised_floors
from harness.engine.many_runs import on_ground_of_runs
from harness.engine.moved_sums import floors_of_moved_sums
from harness.engine.single_steps import ground_of_steps
from harness.engine.witness import port_beside
from harness.errors import HarnessError, InvalidInputError
from harness.trace import Trace

#: What raises the floor of a method that joins many runs, and that of one run backwards.
_KINKS = "rounding puts units on the other side of a kink in single runs of this method and"
_SUMS = "in this network sums nearly cancel and are divided by; rounding"
#: Of rounding on equal ground: the bound that no floor is below, what it moves single steps by, two whole runs.
Evidence = Literal["bound", "single steps", "runs"]


def compare(
    reference: Trace | np.ndarray,
    candidate: Trace | np.ndarray,
    tolerance: Tolerance = None,
    floor: NoiseFloor | float | None = None,
    axes: GivenAxes | None = None,
) -> Comparison:
    """Compare two traces of one method on one model and input, layer by layer, or two arrays.

    Two traces: ``floor`` is the reference's noise floor. Left out, it is measured by running the reference again
    (a trace that came from `explain` can do that), but only where the bound that no floor is below leaves something
    open; for a trace read from a file it is one unit roundoff, and a note says so. ``axes`` is not taken: traces have
    theirs. Where activations agree and a relevance does not, or agrees only because its floor is high, the reference
    is run once more on the candidate's activations (harness.comparison.rerun), and the verdict on that relevance
    rests on this run.

    Two arrays, of one shape: the comparison has the row of the attribution alone. ``axes`` names their axes,
    ``("batch", "height", "width", "channel")``; a pair of such tuples those of the reference and of the candidate.
    Left out, the axes are not known, and a note says so: of arrays of one shape, nobody can then say whether they are
    over the same things. ``floor``: the reference's own movement under rounding, relative L2; left out, it is one
    unit roundoff of the coarser dtype, and a note says so.

    ``tolerance`` changes ``passed`` and no verdict: ``"close"``, or a bound on the relative L2 difference.

    Raises InvalidInputError where the traces are not of the same model, method, dtype, target, axes or shape, for
    arrays whose axes or shapes differ or that are not numeric, and for a trace beside an array.
    """
    if isinstance(reference, Trace) and isinstance(candidate, Trace):
        if axes is not None:
            raise InvalidInputError(
                "axes are given beside two traces, which have axes of their own; leave them out"
            )
        if floor is not None and not isinstance(floor, NoiseFloor):
            raise InvalidInputError(
                f"the floor of two traces is a NoiseFloor, a figure a layer, found {floor!r}; "
                "leave it out to have it measured"
            )
        return _compared(reference, candidate, tolerance, floor)
    if isinstance(reference, Trace) or isinstance(candidate, Trace):
        side = "reference" if isinstance(reference, Trace) else "candidate"
        raise InvalidInputError(
            f"the {side} is a trace, the other side an array; compare two traces, or the array with trace.attribution"
        )
    return judge_arrays(reference, candidate, tolerance, floor, axes)


def _compared(
    reference: Trace, candidate: Trace, tolerance: Tolerance, floor: NoiseFloor | None
) -> Comparison:
    check_comparable(reference, candidate)
    known = engine()
    if reference.case is None:
        notes = () if floor else ("the noise floor was not measured; verdicts allow for one rounding only",)
        comparison = judge(reference, candidate, floor or floor_of(known, reference), tolerance, notes)
    elif floor is not None:
        comparison = judge(reference, candidate, floor, tolerance)
        if not comparison.settled and comparison.verdict != "error":
            comparison = on_ground_of_runs(known, comparison, reference, candidate)
        comparison = _with_ground(known, comparison, reference, candidate)
        comparison = _with_witness(known, comparison, reference, candidate)
        comparison = _with_moved_sums(known, comparison, reference, candidate)
    else:
        comparison = _measured_where_needed(known, reference, candidate, tolerance)
    if comparison.first_different_relevance is None:
        return comparison
    return with_first_divergent(comparison, reference, candidate, _steps(known, reference, candidate))


def _measured_where_needed(
    known: Engine, reference: Trace, candidate: Trace, tolerance: Tolerance
) -> Comparison:
    """The comparison with the least evidence that decides it.

    What is within ten times a bound that no floor is below passes, on either ground; only where that leaves something
    open is anything measured: single steps first (`harness.engine.single_steps`), the floor of the whole run last. What
    passes earlier passes by the measured floors as well: those are higher.
    """
    bound = derived(reference.dtype, reference.case.model.graph)
    comparison = judge(reference, candidate, bound, tolerance, ruling="bound")
    if comparison.settled:
        return comparison
    if comparison.verdict != "error":
        comparison = on_ground_of_runs(known, comparison, reference, candidate)
        if comparison.settled:
            return comparison
        cheaper: tuple[Evidence, ...] = ("bound", "single steps")
        for evidence in cheaper:
            on_ground = _with_ground(known, comparison, reference, candidate, evidence)
            if on_ground.settled:
                return on_ground
    floor = floor_of(known, reference)
    comparison = _with_ground(known, by_measured_floor(comparison, floor), reference, candidate)
    for raised in raised_floors(known, reference, floor):
        if comparison.settled or comparison.verdict == "error":
            break
        comparison = _noted(by_measured_floor(comparison, raised), _KINKS)
    comparison = _with_witness(known, comparison, reference, candidate)
    return _with_moved_sums(known, comparison, reference, candidate)


def _noted(comparison: Comparison, rounding: str) -> Comparison:
    """``comparison`` with a sentence on how much a floor that ``rounding`` has raised hides."""
    high = max(row.floor for row in comparison.relevances)
    if high <= HIGH_FLOOR:
        return comparison
    sentence = (
        f"{rounding} moves it by up to {high:.1e}; what is within ten times that passes: "
        "compare in float64 to see less"
    )
    notes = tuple(each for each in comparison.notes if not each.startswith(rounding))
    return replace(comparison, notes=(*notes, sentence))


def _with_witness(known: Engine, comparison: Comparison, reference: Trace, candidate: Trace) -> Comparison:
    """``comparison`` with the attribution of a candidate without layers passed where it is the port's, which passes.

    See `harness.engine.witness`.
    """
    if comparison.settled or comparison.verdict == "error" or candidate.layers or candidate.case is None:
        return comparison
    beside = port_beside(known, reference, candidate)
    if beside is None or not _compared(*beside, None, None).passed:
        return comparison
    whole, port = (results(reference.inputs, each.attribution_array) for each in beside)

    def judged(row: Row) -> Row:
        if row.verdict in PASSING or row.layer not in whole:
            return row
        moved = relative_l2(whole[row.layer], port[row.layer])
        return replace(row, floor=max(row.floor, moved), verdict="equivalent", decided_by="port")

    note = (
        f"the attribution is that of {beside[1].backend!r}, which shows its layers and passes with them: "
        "rounding decides where the reference's differs"
    )
    return replace(
        comparison,
        rows=tuple(judged(row) for row in comparison.rows),
        attribution=judged(comparison.attribution),
        inputs=tuple(judged(row) for row in comparison.inputs),
        notes=(*comparison.notes, note),
    )


def _with_moved_sums(known: Engine, comparison: Comparison, reference: Trace, candidate: Trace) -> Comparison:
    """``comparison`` with the attribution of a candidate without layers held against the reference with moved sums.

    See `harness.engine.moved_sums`.
    """
    if comparison.settled or comparison.verdict == "error" or candidate.case is None:
        return comparison
    for count, floor in enumerate(floors_of_moved_sums(known, reference, candidate, comparison.floor)):
        if count == 0 and not _agree_in_float64(known, reference, candidate):
            break
        comparison = _noted(by_measured_floor(comparison, floor), _SUMS)
        if comparison.settled:
            break
    return comparison


def _agree_in_float64(known: Engine, reference: Trace, candidate: Trace) -> bool:
    """Whether the two agree in float64 as well, or the candidate knows float32 alone."""
    exact = known.run(replace(reference.case.in_dtype("float64"), layers=False), reference.executed_by)
    try:
        other = known.run(replace(candidate.case.in_dtype("float64"), layers=False), candidate.executed_by)
    except MemoryError:
        raise  # the memory at hand decides no verdict
    except Exception:  # other people's code
        return True
    return of_float32(other.attribution_array) or _compared(exact, other, None, None).passed


def _with_ground(
    known: Engine, comparison: Comparison, reference: Trace, candidate: Trace, evidence: Evidence = "runs"
) -> Comparison:
    """``comparison`` with doubtful relevances judged on equal ground, where the forward pass agrees.

    ``evidence``: of what rounding in the backward pass explains there.
    """
    # A function's own activations are not known where it did not run the twin once, on the very batch.
    own = "activations" not in candidate.provenance
    if own and comparison.forward and comparison.first_divergent_forward is None:
        source = next(iter(reference.layers))
        of_results = layers_of_results(reference)
        doubted = {of_results.get(row.layer, row.layer) for row in comparison.relevances if doubtful(row)}
        if not doubted:
            return comparison
        doubted |= {source}
        if evidence == "single steps":
            ground = ground_of_steps(known, candidate, reference, doubted)
        else:
            ground = ground_of(known, candidate, reference, doubted, measured=evidence == "runs")
        if source in ground and _follows_relevance(candidate, source, reference.case.x):
            ground |= {row: ground[layer] for row, layer in of_results.items() if layer in ground}
        return on_equal_ground(comparison, ground) if ground else comparison
    if not candidate.layers and any(map(doubtful, comparison.relevances)) and evidence != "single steps":
        measured = evidence == "runs"
        result = ground_of_result(known, candidate, reference, comparison.floor, measured)
        if result:
            return on_equal_ground(comparison, result)
    return comparison


def _steps(known: Engine, reference: Trace, candidate: Trace) -> BothSteps | None:
    """The single steps of both sides; None where a side has none or its run was read from a file."""
    if reference.case is None or candidate.case is None:
        return None
    try:
        one = known.offered(reference.case, reference.executed_by, "steps")
        other = known.offered(candidate.case, candidate.executed_by, "steps")
    except HarnessError:
        return None
    return None if one is None or other is None else BothSteps(reference.case.model.graph, one, other)


def _follows_relevance(run: Trace, source: str, x: np.ndarray) -> bool:
    """Whether the attribution is what the method makes of the relevance of the input, and stands or falls with it.

    That of a black box need not be: what autograd shows at the input is then not what it returned.
    """
    relevance = run.layers[source].relevance
    if relevance is None:
        return False
    expected = treated(relevance, x, run.method.postprocess)
    return relative_l2(expected, run.attribution_array) <= MULTIPLE * unit_roundoff(run.dtype)
