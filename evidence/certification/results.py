"""The result of a case."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """What came of a case; each has exactly one."""

    AGREES = "agrees"
    ILL_CONDITIONED = "ill-conditioned"
    KNOWN = "known behaviour"
    UNEXPLAINED = "unexplained"
    REFERENCE_FAILED = "failed in the reference"
    LIBRARY_FAILED = "failed in the library"
    NO_ANSWER = "no answer"
    NOT_APPLICABLE = "does not apply"


#: Both sides answered.
COMPARED = (Status.AGREES, Status.ILL_CONDITIONED, Status.KNOWN, Status.UNEXPLAINED)
#: What certification cannot live with.
FATAL = (Status.UNEXPLAINED, Status.REFERENCE_FAILED, Status.NO_ANSWER)


@dataclass(frozen=True)
class Result:
    """The result of one name on one model; a row of `certification.csv`.

    ``error`` is the attribution's, ``floor`` its floor, ``double_error`` that of the reference in float64. ``worst``:
    the largest error of any tensor. ``begins``: the first tensor from the output backwards above the bound, with its
    error and floor. ``layers``: how many tensors both sides keep. ``repairs``: what the adapter did to the
    library so that it ran at all. ``current``: the recording was made with the present adapter.
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
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Result:
        repairs = tuple(document["repairs"])
        return cls(**{**document, "repairs": repairs, "status": Status(document["status"])})
