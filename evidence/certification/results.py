"""The result of a case, and results on disk: a case is compared again only where something of it has changed."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from harness.files import write_json

#: Seconds between two writes of the results on one model.
_SAVE_EVERY_S = 10.0


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
        """As plain values; infinities, which JSON has not, as text."""
        return {
            key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Result:
        numbers = ("error", "floor", "double_error", "worst", "begins_error", "begins_floor", "seconds")
        read = {key: float(document[key]) for key in numbers if document[key] is not None}
        repairs = tuple(document["repairs"])
        return cls(**{**document, **read, "repairs": repairs, "status": Status(document["status"])})


class KeptResults:
    """The results on one model, by name, in one file; written now and then, and when the block ends.

    ``key``: of everything that all of them depend on; a file with another key counts as empty.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._key = key
        self._saved = time.monotonic()
        self._by_name: dict[str, dict[str, Any]] = {}
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            return
        if document.get("key") == key:
            self._by_name = document["results"]

    def __enter__(self) -> KeptResults:
        return self

    def __exit__(self, *_: object) -> None:
        self._save()

    def get(self, name: str, recording: str) -> Result | None:
        """The result of ``name``, if it was computed from this recording (its digest)."""
        kept = self._by_name.get(name)
        return Result.from_json(kept["result"]) if kept and kept["recording"] == recording else None

    def put(self, result: Result, recording: str) -> None:
        """Keep ``result``, computed from ``recording``."""
        self._by_name[result.method] = {"recording": recording, "result": result.to_json()}
        if time.monotonic() - self._saved > _SAVE_EVERY_S:
            self._save()

    def _save(self) -> None:
        write_json(self._path, {"key": self._key, "results": self._by_name})
        self._saved = time.monotonic()
