"""What there is to mend in a port: the failing cases by cause and layer, the cause of most cases first."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from harness.report.document import Document
from harness.report.tables import SEPARATOR, Row

#: In the place of a cause where a case was diagnosed and nothing was found, or not diagnosed.
_NO_CAUSE = ("", "nothing found", "no diagnosis", "unknown")


@dataclass(frozen=True)
class Task:
    """Cases that one change may turn green.

    ``cause``: see `harness.diagnosis.causes`; empty where it is not known, and then ``layer`` is where the cases part
    first, or ``sentence`` what a side raised. ``cases``: names of all, ``diagnosed`` of them by themselves: of the
    others it is supposed, because they fail alike. ``again``: the command that repeats the first.
    """

    cause: str
    stage: str
    layer: str
    model: str
    sentence: str
    cases: tuple[str, ...]
    methods: tuple[str, ...]
    diagnosed: int
    again: str

    @property
    def document(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def worklist(document: Document) -> list[Task]:
    """The failing cases of ``document`` in groups: known causes first, then by how many cases each has."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in document.rows:
        if not row["passed"]:
            groups.setdefault(_group(row), []).append(row)
    tasks = [_task(rows) for rows in groups.values()]
    return sorted(tasks, key=lambda task: (not task.cause, -len(task.cases), task.model, task.layer))


def _group(row: Row) -> tuple[str, ...]:
    cause = _text(row, "cause")
    if cause not in _NO_CAUSE:
        return (cause, _text(row, "model"), _text(row, "diagnosed_layer"))
    return ("", _text(row, "model"), _layer(row), _text(row, "message"))


def _task(rows: list[Row]) -> Task:
    first = next((row for row in rows if not row.get("like")), rows[0])
    cause = _text(first, "cause")
    known = cause not in _NO_CAUSE
    return Task(
        cause=cause if known else "",
        stage=_text(first, "stage"),
        layer=_text(first, "diagnosed_layer") if known else _layer(first),
        model=_text(first, "model"),
        sentence=_text(first, "diagnosis") or _text(first, "message") or "not diagnosed",
        cases=tuple(" ".join(_text(row, key) for key in ("model", "method", "dtype")) for row in rows),
        methods=tuple(dict.fromkeys(_text(row, "method") for row in rows)),
        diagnosed=sum(bool(row.get("diagnosis")) for row in rows),
        again=_text(first, "again"),
    )


def _layer(row: Row) -> str:
    return _text(row, "first_divergent_forward") or _text(row, "first_divergent") or _text(row, "worst_layer")


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    if isinstance(value, list | tuple):
        return SEPARATOR.join(map(str, value))
    return "" if value is None or value != value else str(value)
