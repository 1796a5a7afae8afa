"""The lists of the report: cases that need a word, joined where one word is enough for several."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from evidence.certification.cases import SINGLE_LAYERS
from evidence.certification.measure import BOUND
from evidence.certification.results import COMPARED, Result, Status

#: From what weighs most to what weighs least.
SEVERITY = (
    Status.UNEXPLAINED,
    Status.REFERENCE_FAILED,
    Status.NO_ANSWER,
    Status.KNOWN,
    Status.ILL_CONDITIONED,
    Status.AGREES,
    Status.LIBRARY_FAILED,
    Status.NOT_APPLICABLE,
)
#: In Python's words for an object: differs from run to run.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_FIGURE = re.compile(r"\d[\d.e+-]*")


class _Alike(NamedTuple):
    """What cases that share a row of the list of errors have in common."""

    severity: int
    library: str
    where: str
    names: tuple[str, ...]
    place: str
    reason: str


def errors_above(results: Sequence[Result]) -> str:
    """All cases above the bound: a row for all names whose error begins at one layer, for one kind of reason."""
    above = [result for result in results if result.status in COMPARED and result.status != Status.AGREES]
    if not above:
        return f"## Above {BOUND:g}\n\nNone."
    rows: dict[_Alike, list[Result]] = {}
    for alike, cases in _by_place(above).items():
        # Single layers at which the same names part alike share a row too.
        where = SINGLE_LAYERS if cases[0].group == SINGLE_LAYERS else cases[0].model
        names = tuple(each.method for each in cases)
        rows.setdefault(alike._replace(where=where, names=names), []).extend(cases)
    intro = (
        "`begins at`: the first tensor, from the output backwards, whose error exceeds the bound. Names that part at "
        "the same place share a row: smallest and largest figure, and the reason of the worst of them."
    )
    header = [
        "status",
        "library",
        "model",
        "names",
        "begins at",
        "error there",
        "floor there",
        "largest error",
        "why",
    ]
    lines = [_row(alike, cases) for alike, cases in sorted(rows.items(), key=lambda row: row[0].severity)]
    return f"## Above {BOUND:g}\n\n{intro}\n\n" + markdown(header, lines)


def _by_place(results: Iterable[Result]) -> dict[_Alike, list[Result]]:
    """Cases of one model that begin at one place, for reasons that differ in their figures only."""
    by_place: dict[_Alike, list[Result]] = {}
    for each in results:
        place = f"{each.begins} ({each.begins_kind})" if each.begins_kind else each.begins
        kind = re.split("[:;]", each.reason)[0] if each.status == Status.ILL_CONDITIONED else each.reason
        alike = _Alike(
            SEVERITY.index(each.status), each.library, each.model, (), place, _FIGURE.sub("", kind)
        )
        by_place.setdefault(alike, []).append(each)
    return by_place


def _row(alike: _Alike, cases: Sequence[Result]) -> list[str]:
    worst = max(cases, key=lambda each: each.worst or 0.0)
    models = dict.fromkeys(each.model for each in cases)
    which = f" (`{worst.method}`" + (f" on {worst.model})" if len(models) > 1 else ")")
    return [
        worst.status,
        alike.library,
        ", ".join(models),
        ", ".join(f"`{name}`" for name in alike.names),
        alike.place,
        _range(each.begins_error for each in cases),
        _range(each.begins_floor for each in cases),
        _range(each.worst for each in cases),
        worst.reason + (which if len(cases) > 1 else ""),
    ]


def _range(values: Iterable[float | None]) -> str:
    """The smallest and the largest of ``values``, or the only one."""
    known = [value for value in values if value is not None]
    low, high = f"{min(known):.1e}", f"{max(known):.1e}"
    return low if low == high else f"{low} to {high}"


def by_status(title: str, intro: str, results: Sequence[Result], status: Status) -> str:
    """A section with the results of one status and their reasons; empty without any."""
    return joined(title, intro, [(each, each.reason) for each in results if each.status == status])


def joined(title: str, intro: str, chosen: Sequence[tuple[Result, str]]) -> str:
    """A section with one row for all names and models of a library that one text holds for; empty without any."""
    if not chosen:
        return ""
    by_text: dict[tuple[str, str], dict[str, list[str]]] = {}
    for each, reason in chosen:
        text = _ADDRESS.sub("", reason.replace(each.method, "NAME").replace(f"; {each.model} ", "; MODEL "))
        by_text.setdefault((each.library, text), {}).setdefault(each.model, []).append(each.method)
    rows = []
    for (library, text), by_model in by_text.items():
        by_names: dict[tuple[str, ...], list[str]] = {}
        for model, names in by_model.items():
            by_names.setdefault(tuple(names), []).append(model)
        for alike, models in by_names.items():
            count = str(len(alike) * len(models))
            rows.append([library, count, ", ".join(f"`{name}`" for name in alike), ", ".join(models), text])
    header = ["library", "cases", "names", "models", "what"]
    return f"## {title}\n\n" + (f"{intro}\n\n" if intro else "") + markdown(header, rows)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join([_line(header), _line(["---"] * len(header)), *map(_line, rows)])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(str(cell).split()).replace("|", "\\|") for cell in cells) + " |"
