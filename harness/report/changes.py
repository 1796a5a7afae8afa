"""Two runs compared: what improved, what broke, what only one has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from harness.comparison import VERDICTS
from harness.report.document import Document
from harness.report.tables import Row

#: What names a case in two runs.
KEY = ("model", "input", "method", "dtype")


@dataclass(frozen=True)
class Change:
    """A case that is not what it was; ``before`` and ``now``: its verdicts, empty where it is not there."""

    model: str
    input: str
    method: str
    dtype: str
    before: str
    now: str
    note: str = ""


@dataclass(frozen=True)
class Changes:
    """``broke``: passed before and does not any more, or has a worse verdict; ``improved``: the other way round.

    ``new``, ``gone``: cases that only the later or only the earlier run has. ``same``: how many have the verdict that
    they had. ``name``, ``other``: what the two runs are called.
    """

    name: str
    other: str
    improved: tuple[Change, ...]
    broke: tuple[Change, ...]
    new: tuple[Change, ...]
    gone: tuple[Change, ...]
    same: int

    @property
    def sentence(self) -> str:
        parts = (
            (len(self.improved), "improved"),
            (len(self.broke), "broke"),
            (self.same, "unchanged"),
            (len(self.new), "new"),
            (len(self.gone), "gone"),
        )
        return ", ".join(f"{count} {what}" for count, what in parts if count or what in ("improved", "broke"))

    @property
    def document(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def changes(document: Document, before: Document, name: str, other: str) -> Changes:
    """What is another in ``document`` than it was in ``before``; ``name`` and ``other``: what they are called."""
    now, then = _by_case(document), _by_case(before)
    improved: list[Change] = []
    broke: list[Change] = []
    same = 0
    for key in now.keys() & then.keys():
        before_rank, rank = _rank(then[key]), _rank(now[key])
        if rank == before_rank:
            same += 1
            continue
        change = _change(key, then[key], now[key])
        (improved if rank > before_rank else broke).append(change)
    return Changes(
        name,
        other,
        tuple(sorted(improved, key=_place)),
        tuple(sorted(broke, key=_place)),
        tuple(_change(key, None, now[key]) for key in now if key not in then),
        tuple(_change(key, then[key], None) for key in then if key not in now),
        same,
    )


def _by_case(document: Document) -> dict[tuple[str, ...], Row]:
    return {tuple(str(row.get(key) or "") for key in KEY): row for row in document.rows}


def _rank(row: Row) -> tuple[bool, int]:
    """What passed before what did not; then by verdict. That equal arrays differ by rounding now is no change."""
    verdict = str(row["verdict"])
    return bool(row["passed"]), min(VERDICTS.index(verdict), VERDICTS.index("equivalent"))


def _change(key: tuple[str, ...], before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> Change:
    row = now or before or {}
    where = row.get("first_divergent_forward") or row.get("first_divergent")
    note = " ".join(
        str(part) for part in (row.get("cause"), f"at {where}" if where else "", row.get("message")) if part
    )
    then, here = ("" if row is None else str(row["verdict"]) for row in (before, now))
    model, given, method, dtype = key
    return Change(model, given, method, dtype, then, here, note)


def _place(change: Change) -> tuple[str, ...]:
    return (change.model, change.method, change.dtype, change.input)
