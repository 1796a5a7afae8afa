"""One name on one model: the library's answer against ours, and what is to be said of the difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from evidence.certification.docket import Trial
from evidence.certification.measure import (
    Place,
    first_above,
    places,
    places_on_their_activations,
)
from evidence.certification.reasons import Reason, reason_for
from evidence.certification.recordings import Answer, Recordings
from evidence.certification.sides import Sides
from harness.backends import Backend
from harness.comparison.floor import MULTIPLE
from harness.methods import Method, method
from harness.runner import why_not
from harness.trace import Trace


class Status(StrEnum):
    """What came of a name on a model; each has exactly one."""

    AGREES = "agrees"
    ILL_CONDITIONED = "ill-conditioned"
    KNOWN = "known behaviour"
    UNEXPLAINED = "unexplained"
    OURS_FAILED = "failed in the reference"
    LIBRARY_FAILED = "failed in the library"
    NO_ANSWER = "no answer"
    NOT_APPLICABLE = "does not apply"


#: Both sides answered.
COMPARED = (Status.AGREES, Status.ILL_CONDITIONED, Status.KNOWN, Status.UNEXPLAINED)
#: What certification cannot live with.
FATAL = (Status.UNEXPLAINED, Status.OURS_FAILED, Status.NO_ANSWER)


@dataclass(frozen=True)
class Finding:
    """The result of one name on one model; a row of `certification.csv`.

    ``error`` is the attribution's, ``floor`` its floor, ``double_error`` that of our float64 run; ``worst`` the
    largest error of any tensor. ``begins``: the first tensor from the output backwards above the bound, with its
    error and floor. ``layers``: how many tensors both sides keep. ``repairs``: what the adapter did to the
    library so that it ran at all. ``current``: the library's answer was recorded with the present adapter.
    """

    library: str
    group: str
    model: str
    method: str
    status: Status
    error: float | None = None
    floor: float | None = None
    double_error: float | None = None
    worst: float | None = None
    begins: str = ""
    begins_kind: str = ""
    begins_error: float | None = None
    begins_floor: float | None = None
    layers: int = 0
    reason: str = ""
    seconds: float | None = None
    repairs: tuple[str, ...] = ()
    current: bool = True

    def to_json(self) -> dict[str, Any]:
        """As plain values; infinities, which JSON has not, as text."""
        return {
            key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Finding:
        numbers = ("error", "floor", "double_error", "worst", "begins_error", "begins_floor", "seconds")
        read = {key: float(document[key]) for key in numbers if document[key] is not None}
        repairs = tuple(document["repairs"])
        return cls(**{**document, **read, "repairs": repairs, "status": Status(document["status"])})


class Court:
    """One trial: what the reference has to say to each of the library's answers."""

    def __init__(self, trial: Trial, reference: Backend) -> None:
        self.trial = trial
        self._sides = Sides(trial, reference)

    def refused(self, name: str) -> Finding | None:
        """The finding that ``name`` does not apply to the model; None where it does."""
        reason = why_not(method(name), self.trial.model)
        return self._finding(name, Status.NOT_APPLICABLE, reason=reason) if reason else None

    def ask(self, name: str, recordings: Recordings) -> Answer | None:
        """The library's answer to ``name``; None where only kept answers count and there is none."""
        return recordings.answer(self.trial.model, self.trial.x, method(name), self._sides.target)

    def judge(self, name: str, answer: Answer) -> Finding:
        """What the library's ``answer`` to ``name`` says of our own runs."""
        facts: dict[str, Any] = {"seconds": answer.seconds, "current": answer.current}
        if answer.trace is None:
            status = Status.NO_ANSWER if answer.late else Status.LIBRARY_FAILED
            return self._finding(name, status, reason=answer.message, **facts)
        facts["repairs"] = tuple(answer.trace.provenance.get("peer", {}).get("repairs", ()))
        try:
            status, reason, found = self._compared(method(name), answer.trace)
        except MemoryError:
            raise
        except Exception as error:  # a faulty reference is a finding about the reference
            said = " ".join(str(error).split())[:300]
            return self._finding(name, Status.OURS_FAILED, reason=f"{type(error).__name__}: {said}", **facts)
        begins = first_above(found)
        if begins is not None:
            facts |= {
                "begins": begins.name,
                "begins_kind": self._kind(begins.name),
                "begins_error": begins.error,
                "begins_floor": begins.floor,
            }
        return self._finding(
            name,
            status,
            error=found[-1].error,
            floor=found[-1].floor,
            double_error=found[-1].double,
            worst=max(place.error for place in found),
            layers=len(found),
            reason=reason,
            **facts,
        )

    def _compared(self, wanted: Method, theirs: Trace) -> tuple[Status, str, list[Place]]:
        """What the comparison comes to, why, and the places it was made at."""
        graph, single = self.trial.model.graph, self._sides.single
        ours = single.run(wanted, self._sides.target)
        known: Reason | None = None
        found: list[Place] = []
        deciding: list[Place] = []
        # One run that rounds otherwise shows little of what rounding can do: more of them where it is not enough.
        for others in (lambda: (self._sides.double,), lambda: (self._sides.double, *self._sides.moved)):
            sides = others()
            runs = [side.run(wanted, self._sides.target) for side in sides]
            found = places(theirs, ours, runs, graph)
            begins = first_above(found)
            if begins is None:
                return Status.AGREES, "", found
            noise = next((place for place in found if place.only_rounding), begins)
            known = reason_for(self.trial.library, wanted, graph, noise.name)
            on_ground = places_on_their_activations(theirs, single, sides, graph)
            # The forward pass is the same on both sides there: where there is ground, it decides.
            ground = {place.name: place for place in on_ground}
            deciding = [ground.get(place.name, place) for place in found]
            if all(place.allowed for place in deciding):
                reason = _of_rounding(found, on_ground, len(sides) - 1)
                return Status.ILL_CONDITIONED, reason + (f"; {known}" if known else ""), found
        if known and (
            known.excuses == "any" or (known.excuses == "rounding" and _rounding_at_most(deciding))
        ):
            return Status.KNOWN, str(known), found
        wrong = next(place for place in deciding if not place.allowed)
        where = "on the library's own activations " if wrong.name in ground else ""
        return (
            Status.UNEXPLAINED,
            f"{where}{wrong.error:.1e} at {wrong.name}, where {MULTIPLE:g} floors are {MULTIPLE * wrong.floor:.1e}",
            found,
        )

    def _kind(self, place: str) -> str:
        """The kind of the layer at ``place``; empty for the logits and the attribution."""
        return next((layer.kind for layer in self.trial.model.graph if layer.name == place), "")

    def _finding(self, name: str, status: Status, **facts: Any) -> Finding:
        trial = self.trial
        return Finding(trial.library, trial.group, trial.model.name, name, status, **facts)


def _rounding_at_most(found: Sequence[Place]) -> bool:
    """Whether no place differs where more than rounding is left of our values."""
    return all(place.allowed or place.only_rounding for place in found)


def _of_rounding(found: Sequence[Place], ground: Sequence[Place], moved: int) -> str:
    """How rounding accounts for the errors of ``found``; ``ground``: the same on the library's activations.

    ``moved``: how many runs beside the one in float64 it took to see it.
    """
    noise = next((place for place in found if place.only_rounding), None)
    if noise:
        return (
            f"nothing but rounding is left at {noise.name}: ours in float32 is {noise.floor:.0e} from ours in float64, "
            f"and the library's largest value is {noise.size:.1f} times ours"
        )
    if all(place.allowed for place in found):
        worst = max(found, key=lambda place: place.floor)
        other = "ours with everything moved by one unit in the last place" if moved else "ours in float64"
        said = f"ours in float32 is up to {worst.floor:.1e} from {other} ({worst.name})"
    else:
        said = "rounding of the forward pass falls on different sides of a kink"
    if not ground:
        return said
    worst = max(ground, key=lambda place: place.error)
    said += f"; on the library's own activations ours is within {worst.error:.1e} of it"
    return said + (f", at a floor of {worst.floor:.1e} ({worst.name})" if worst.exceeds else "")
