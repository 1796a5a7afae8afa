"""`certification.md`, and what it is made of: `certification.csv`, the results, and `certification.json`, the facts."""

from __future__ import annotations

import ast
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from evidence.certification.cases import SINGLE_LAYERS, SMALL_SETS, names_on
from evidence.certification.lists import SEVERITY, by_status, errors_above, joined, markdown
from evidence.certification.measure import BOUND
from evidence.certification.results import COMPARED, FATAL, Result, Status
from harness.comparison.floor import MULTIPLE, RUNS

#: The columns of `certification.csv` that are numbers, empty where there is none.
_NUMBERS = ("error", "floor", "double_error", "worst", "begins_error", "begins_floor", "seconds")


@dataclass(frozen=True)
class Facts:
    """What the page shows of the run itself.

    ``command``: as typed. ``versions``: by side, what computed. ``planned``: how many cases, by library and group.
    """

    command: str
    versions: Mapping[str, Mapping[str, str]]
    libraries: tuple[str, ...]
    groups: tuple[str, ...]
    planned: Mapping[tuple[str, str], int]

    def as_json(self) -> dict[str, Any]:
        planned = [[library, group, count] for (library, group), count in self.planned.items()]
        return {**asdict(self), "planned": planned}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Facts:
        planned = {(library, group): count for library, group, count in value["planned"]}
        return cls(
            value["command"], value["versions"], tuple(value["libraries"]), tuple(value["groups"]), planned
        )


def certified(results: Sequence[Result], facts: Facts) -> bool:
    """Whether every case was run, something was compared, and nothing is left that needs an explanation."""
    return not _why_not(results, facts)


def page(results: Sequence[Result], facts: Facts) -> str:
    """The Markdown page."""
    sections = [
        _heading(results, facts),
        _counts(results, facts),
        *(_worst_errors(library, results, facts) for library in facts.libraries),
        errors_above(results),
        by_status(
            "Failed in the library",
            "The library raised this itself; the reference has nothing to be compared with.",
            results,
            Status.LIBRARY_FAILED,
        ),
        by_status("No answer in time", "", results, Status.NO_ANSWER),
        by_status("Failed in the reference", "", results, Status.REFERENCE_FAILED),
        by_status(
            "Does not apply",
            "The reason is the reference's own refusal, before any side is run.",
            results,
            Status.NOT_APPLICABLE,
        ),
        joined(
            "Ran with a repair",
            "Without it the library raises; what the adapter does is no part of the computation.",
            [(each, repair) for each in results for repair in each.repairs],
        ),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def table(results: Iterable[Result]) -> str:
    """All figures as CSV, a row a name and model."""
    written = io.StringIO()
    columns = [each.name for each in fields(Result)]
    writer = csv.DictWriter(written, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(result.to_json() for result in results)
    return written.getvalue()


def read_table(text: str) -> list[Result]:
    """What :func:`table` has written; numbers as they are there."""
    return [_result(row) for row in csv.DictReader(io.StringIO(text))]


def _result(row: Mapping[str, str]) -> Result:
    number = {name: float(row[name]) if row[name] else None for name in _NUMBERS}
    repairs = ast.literal_eval(row["repairs"])
    return Result.from_json(
        {
            **row,
            **number,
            "layers": int(row["layers"]),
            "repairs": repairs,
            "current": row["current"] == "True",
        }
    )


# Sections ------------------------------------------------------------------------------------------------


def _heading(results: Sequence[Result], facts: Facts) -> str:
    compared = [result for result in results if result.status in COMPARED]
    agree = sum(result.status == Status.AGREES for result in compared)
    problems = _why_not(results, facts)
    outcome = f"**Not certified** ({', '.join(problems)})" if problems else "**Certified**"
    lines = [
        "# The reference against the real libraries",
        "",
        f"{outcome}: both sides ran in {len(compared)} cases; {agree} agree to {BOUND:g}, "
        f"{len(compared) - agree} are listed below with the place where they part and why.",
        "",
        "A case is one name on one model. Both sides explain the same input and the same class; the library runs in "
        "its own interpreter in float32, the reference `tensorflow` in float32 and in float64. The error is "
        "`max |reference - library| / max |library|`, the reference in float32, taken of the logits, of the relevance "
        f"of every layer that the library keeps, and of the attribution. It may be {BOUND:g}, or where that is more, "
        f"{MULTIPLE:g} times the floor: the distance between the reference's own runs in float32 and float64, in the "
        "same measure; where that "
        f"is not enough, the furthest of it and {RUNS} runs with weights and input moved by one unit in the last "
        f"place. What exceeds {BOUND:g} is measured again with the reference's rules on the library's own activations, "
        "so that rounding in the forward pass is the same on both sides; where that can be done (one backward pass), "
        "it decides.",
        "",
        f"Command: `{facts.command}`",
        "",
    ]
    for side, versions in facts.versions.items():
        listed = ", ".join(f"{name} {value}" for name, value in versions.items() if len(value) < 40)
        lines.append(f"- {side}: {listed}")
    single = {result.model for result in results if result.group == SINGLE_LAYERS}
    if single:
        lines.append(
            f"- {SINGLE_LAYERS}: {len(single)} networks of one layer and a dense classifier, every kind of layer, with "
            "random weights, biased and unbiased, on inputs with negative values "
            "(`evidence/certification/single_layers.py`)"
        )
    for group in (group for group in facts.groups if group in SMALL_SETS):
        lines.append(
            f"- {group}: a smaller set of names, one of each family; sampling (smoothgrad, vargrad, integrated "
            "gradients) is left out there, and run in full on the other models"
        )
    earlier = sum(not result.current for result in results)
    if earlier:
        lines.append(f"- {earlier} recordings of a library were not made with its adapter as it is here")
    return "\n".join(lines)


def _why_not(results: Sequence[Result], facts: Facts) -> list[str]:
    """Why the reference is not certified, in words; empty where nothing does."""
    counts = {status: sum(result.status == status for result in results) for status in Status}
    problems = [f"{counts[status]} {status}" for status in FATAL if counts[status]]
    missing = sum(facts.planned.values()) - len(results)
    if missing:
        problems.append(f"{missing} not run")
    if not any(counts[status] for status in COMPARED):
        problems.append("nothing was compared")
    return problems


def _counts(results: Sequence[Result], facts: Facts) -> str:
    """The table of counts; its columns add up to the number of cases, which is names times models."""
    header = ["library", "model", "names", "models", "cases", *Status, "not run"]
    rows = []
    for library in facts.libraries:
        for group in facts.groups:
            here = [each for each in results if each.library == library and each.group == group]
            planned = facts.planned[library, group]
            names = {each.method for each in here}
            counts = [sum(each.status == status for each in here) for status in Status]
            numbers = [len(names), len({each.model for each in here}), planned, *counts]
            rows.append([library, group, *map(str, numbers), str(planned - sum(counts))])
    return "## Counts\n\nEvery row adds up: the last nine columns make the cases.\n\n" + markdown(
        header, rows
    )


def _worst_errors(library: str, results: Sequence[Result], facts: Facts) -> str:
    """One row a name, one column a model."""
    cells: dict[str, dict[str, list[Result]]] = {}
    for result in results:
        if result.library == library:
            cells.setdefault(result.method, {}).setdefault(result.group, []).append(result)
    rows = [
        [f"`{name}`", *(_cell(library, name, group, by_group.get(group, [])) for group in facts.groups)]
        for name, by_group in cells.items()
    ]
    intro = (
        "The largest error of any tensor. For the single layers: the worst of them, and which; `-`: does not apply; "
        f"`i`: above {BOUND:g} and within what the floor allows; `k`: known behaviour of the library."
    )
    return f"## Worst error, {library}\n\n{intro}\n\n" + markdown(["name", *facts.groups], rows)


def _cell(library: str, name: str, group: str, results: Sequence[Result]) -> str:
    if not results:
        return "not run" if name in names_on(library, group) else ""
    worst = min(results, key=lambda each: (SEVERITY.index(each.status), -(each.worst or 0.0)))
    words = {
        Status.NOT_APPLICABLE: "-",
        Status.LIBRARY_FAILED: "library fails",
        Status.NO_ANSWER: "no answer",
        Status.REFERENCE_FAILED: "**reference fails**",
    }
    if worst.status in words:
        return words[worst.status]
    mark = {
        Status.AGREES: "",
        Status.ILL_CONDITIONED: " i",
        Status.KNOWN: " k",
        Status.UNEXPLAINED: " **unexplained**",
    }
    text = f"{worst.worst:.1e}{mark[worst.status]}"
    return f"{text} ({worst.model})" if group == SINGLE_LAYERS else text
