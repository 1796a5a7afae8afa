"""A run of the reference against a library's recordings: what came of each case, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evidence.certification.cases import ModelCases
from evidence.certification.known_differences import KnownDifference, known_difference
from evidence.certification.measure import Place, first_above, places, places_on_recorded_activations
from evidence.certification.recordings import Recording, Recordings
from evidence.certification.reference_runs import ReferenceRuns
from evidence.certification.results import Result, Status
from evidence.certification.run_by_run import RunByRun
from evidence.kept import key_of
from harness.backends import Backend
from harness.comparison.floor import MULTIPLE
from harness.engine import Store
from harness.files import array_digest
from harness.methods import Method, method
from harness.runner import why_not
from harness.trace import Trace

#: Whose code a result depends on, beside that of the reference, the harness and the models.
_CODE = ("evidence.certification",)


def results_of(
    cases: ModelCases, recordings: Recordings, reference: Backend, versions: Mapping[str, str], store: Store
) -> Iterator[tuple[Result, bool]]:
    """The result of each of ``cases``, and whether nothing had to be run for it; none where there is no recording.

    ``versions``: the reference's, as they were when this process began; its source may change while it runs.
    """
    runs = ReferenceRuns(cases, reference)
    run_by_run = RunByRun(cases, runs, recordings)
    on = (cases.library, cases.group, cases.model.name, cases.model.digest, array_digest(cases.x))
    for name in cases.names:
        refused = not_applicable(cases, name)
        if refused is not None:
            yield refused, False
            continue
        recording = recordings.of(cases.model, cases.x, method(name), runs.target)
        if recording is None:
            continue
        key = key_of("certification", *on, name, recording.digest, dict(versions), code=_CODE)
        kept = store.get(key)
        if kept is not None:
            yield Result.from_json(kept), recording.reused
            continue
        result = compared(cases, runs, name, recording, run_by_run)
        # What the reference or the disk could not do this time, it may do the next.
        if result.status != Status.REFERENCE_FAILED:
            store.put(key, f"certification: {cases.library} {cases.model.name} {name}", result.to_json())
        yield result, False


def not_applicable(cases: ModelCases, name: str) -> Result | None:
    """The result that ``name`` does not apply to the model; None where it does."""
    reason = why_not(method(name), cases.model)
    return cases.result(name, Status.NOT_APPLICABLE, reason=reason) if reason else None


def compared(
    cases: ModelCases, runs: ReferenceRuns, name: str, recording: Recording, run_by_run: RunByRun
) -> Result:
    """The reference against the library's ``recording`` of ``name``."""
    facts: dict[str, Any] = {"seconds": recording.seconds, "current": recording.current}
    if recording.trace is None:
        status = Status.NO_ANSWER if recording.late else Status.LIBRARY_FAILED
        return cases.result(name, status, reason=recording.message, **facts)
    facts["repairs"] = tuple(recording.trace.provenance.get("peer", {}).get("repairs", ()))
    try:
        status, reason, at = _status(cases, runs, method(name), recording.trace, run_by_run)
    except MemoryError:
        raise
    except Exception as error:  # a reference that raises is a result about the reference
        message = " ".join(str(error).split())[:300]
        reason = f"{type(error).__name__}: {message}"
        return cases.result(name, Status.REFERENCE_FAILED, reason=reason, **facts)
    begins = first_above(at)
    if begins is not None:
        facts |= {
            "begins": begins.name,
            "begins_kind": next((each.kind for each in cases.model.graph if each.name == begins.name), ""),
            "begins_error": begins.error,
            "begins_floor": begins.floor,
        }
    return cases.result(
        name,
        status,
        error=at[-1].error,
        floor=at[-1].floor,
        double_error=at[-1].double,
        worst=max(place.error for place in at),
        layers=len(at),
        reason=reason,
        **facts,
    )


def _status(
    cases: ModelCases, runs: ReferenceRuns, wanted: Method, recorded: Trace, run_by_run: RunByRun
) -> tuple[Status, str, list[Place]]:
    """What the comparison comes to, why, and the places it was made at."""
    graph = cases.model.graph
    single = runs.single.run(wanted, runs.target)
    known: KnownDifference | None = None
    at: list[Place] = []
    deciding: list[Place] = []
    # One run that rounds otherwise shows little of what rounding can do: more of them where it is not enough.
    for others in (lambda: (runs.double,), lambda: (runs.double, *runs.moved)):
        rounded = others()
        at = places(recorded, single, [each.run(wanted, runs.target) for each in rounded], graph)
        begins = first_above(at)
        if begins is None:
            return Status.AGREES, "", at
        noise = next((place for place in at if place.only_rounding), begins)
        known = known_difference(cases.library, wanted, graph, noise.name)
        on_ground = places_on_recorded_activations(recorded, runs.single, rounded, graph)
        # The forward pass is the same on both sides there: where there is ground, it decides.
        ground = {place.name: place for place in on_ground}
        deciding = [ground.get(place.name, place) for place in at]
        if all(place.allowed for place in deciding):
            reason = _of_rounding(at, on_ground, len(rounded) - 1)
            return Status.ILL_CONDITIONED, reason + (f"; {known}" if known else ""), at
    there = run_by_run.places(recorded)
    if there and all(place.allowed for place in there):
        worst = max(there, key=lambda place: place.error)
        reason = "rounding of the forward pass falls on different sides of a kink in single runs; on the library's own "
        reason += f"activations in every run the reference is within {worst.error:.1e} of it"
        return Status.ILL_CONDITIONED, reason + (f"; {known}" if known else ""), at
    if known and (known.covers == "any" or (known.covers == "rounding" and _rounding_at_most(deciding))):
        return Status.KNOWN, str(known), at
    wrong = next(place for place in deciding if not place.allowed)
    where = "on the library's own activations " if wrong.name in ground else ""
    return (
        Status.UNEXPLAINED,
        f"{where}{wrong.error:.1e} at {wrong.name}, where {MULTIPLE:g} floors are {MULTIPLE * wrong.floor:.1e}",
        at,
    )


def _rounding_at_most(at: Sequence[Place]) -> bool:
    """Whether no place differs where more than rounding is left of the reference's values."""
    return all(place.allowed or place.only_rounding for place in at)


def _of_rounding(at: Sequence[Place], ground: Sequence[Place], moved: int) -> str:
    """How rounding accounts for the errors of ``at``; ``ground``: the same on the library's activations.

    ``moved``: how many runs beside the one in float64 it took to see it.
    """
    noise = next((place for place in at if place.only_rounding), None)
    if noise:
        return (
            f"nothing but rounding is left at {noise.name}: the reference in float32 is {noise.floor:.0e} from the "
            f"reference in float64, and the library's largest value is {noise.size:.1f} times the reference's"
        )
    if all(place.allowed for place in at):
        worst = max(at, key=lambda place: place.floor)
        other = (
            "the reference with everything moved by one unit in the last place"
            if moved
            else "the reference in float64"
        )
        reason = f"the reference in float32 is up to {worst.floor:.1e} from {other} ({worst.name})"
    else:
        reason = "rounding of the forward pass falls on different sides of a kink"
    if not ground:
        return reason
    worst = max(ground, key=lambda place: place.error)
    reason += f"; on the library's own activations the reference is within {worst.error:.1e} of it"
    return reason + (f", at a floor of {worst.floor:.1e} ({worst.name})" if worst.exceeds else "")
