"""`certification.md` and `certification.csv`: written from the findings, by nothing else."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from evidence.certification.docket import SINGLE_LAYERS, SMALL_SETS, names_on
from evidence.certification.lists import SEVERITY, by_status, errors_above, joined, markdown
from evidence.certification.measure import BOUND
from evidence.certification.trial import COMPARED, FATAL, Finding, Status
from harness.comparison.floor import MULTIPLE, RUNS


@dataclass(frozen=True)
class Facts:
    """What the page says about the run itself. ``versions``: by side, what computed. ``command``: as typed."""

    command: str
    versions: Mapping[str, Mapping[str, str]]
    libraries: tuple[str, ...]
    groups: tuple[str, ...]
    expected: Mapping[tuple[str, str], int]


def certified(findings: Sequence[Finding], facts: Facts) -> bool:
    """Whether every case was run, something was compared, and nothing is left that needs an explanation."""
    return not _why_not(findings, facts)


def page(findings: Sequence[Finding], facts: Facts) -> str:
    """The Markdown page."""
    sections = [
        _heading(findings, facts),
        _counts(findings, facts),
        *(_worst_errors(library, findings, facts) for library in facts.libraries),
        errors_above(findings),
        by_status(
            "Failed in the library",
            "The library raised this itself; the reference has nothing to be compared with.",
            findings,
            Status.LIBRARY_FAILED,
        ),
        by_status("No answer in time", "", findings, Status.NO_ANSWER),
        by_status("Failed in the reference", "", findings, Status.OURS_FAILED),
        by_status(
            "Does not apply",
            "The reason is the reference's own refusal, before any side is run.",
            findings,
            Status.NOT_APPLICABLE,
        ),
        joined(
            "Ran with a repair",
            "Without it the library raises; what the adapter does is no part of the computation.",
            [(each, repair) for each in findings for repair in each.repairs],
        ),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def table(findings: Iterable[Finding]) -> str:
    """All figures as CSV, a row a name and model."""
    written = io.StringIO()
    columns = [each.name for each in fields(Finding)]
    writer = csv.DictWriter(written, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(finding.to_json() for finding in findings)
    return written.getvalue()


# Sections ------------------------------------------------------------------------------------------------


def _heading(findings: Sequence[Finding], facts: Facts) -> str:
    compared = [finding for finding in findings if finding.status in COMPARED]
    agree = sum(finding.status == Status.AGREES for finding in compared)
    against = _why_not(findings, facts)
    verdict = f"**Not certified** ({', '.join(against)})" if against else "**Certified**"
    lines = [
        "# The reference against the real libraries",
        "",
        f"{verdict}: both sides ran in {len(compared)} cases; {agree} agree to {BOUND:g}, "
        f"{len(compared) - agree} are listed below with the place where they part and why.",
        "",
        "A case is one name on one model. Both sides explain the same input and the same class; the library runs in "
        "its own interpreter in float32, the reference `tensorflow` in float32 and in float64. The error is "
        "`max |ours - theirs| / max |theirs|`, ours in float32, taken of the logits, of the relevance of every layer "
        f"that the library keeps, and of the attribution. It may be {BOUND:g}, or where that is more, {MULTIPLE:g} "
        "times the floor: the distance between our own runs in float32 and float64, in the same measure; where that "
        f"is not enough, the furthest of it and {RUNS} runs with weights and input moved by one unit in the last "
        f"place. What exceeds {BOUND:g} is measured again with the reference's rules on the library's own activations, "
        "so that rounding in the forward pass is the same on both sides; where that can be done (one backward pass), "
        "it decides.",
        "",
        f"Command: `{facts.command}`",
        "",
    ]
    for side, versions in facts.versions.items():
        said = ", ".join(f"{name} {value}" for name, value in versions.items() if len(value) < 40)
        lines.append(f"- {side}: {said}")
    single = {finding.model for finding in findings if finding.group == SINGLE_LAYERS}
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
    earlier = sum(not finding.current for finding in findings)
    if earlier:
        lines.append(f"- {earlier} answers of a library were recorded with an earlier state of its adapter")
    return "\n".join(lines)


def _why_not(findings: Sequence[Finding], facts: Facts) -> list[str]:
    """What speaks against certification, in words; empty where nothing does."""
    counts = {status: sum(finding.status == status for finding in findings) for status in Status}
    against = [f"{counts[status]} {status}" for status in FATAL if counts[status]]
    missing = sum(facts.expected.values()) - len(findings)
    if missing:
        against.append(f"{missing} not run")
    if not any(counts[status] for status in COMPARED):
        against.append("nothing was compared")
    return against


def _counts(findings: Sequence[Finding], facts: Facts) -> str:
    """The table of counts; its columns add up to the number of cases, which is names times models."""
    header = ["library", "model", "names", "models", "cases", *Status, "not run"]
    rows = []
    for library in facts.libraries:
        for group in facts.groups:
            here = [each for each in findings if each.library == library and each.group == group]
            expected = facts.expected[library, group]
            names = {each.method for each in here}
            counts = [sum(each.status == status for each in here) for status in Status]
            numbers = [len(names), len({each.model for each in here}), expected, *counts]
            rows.append([library, group, *map(str, numbers), str(expected - sum(counts))])
    return "## Counts\n\nEvery row adds up: the last nine columns make the cases.\n\n" + markdown(
        header, rows
    )


def _worst_errors(library: str, findings: Sequence[Finding], facts: Facts) -> str:
    """One row a name, one column a model."""
    cells: dict[str, dict[str, list[Finding]]] = {}
    for finding in findings:
        if finding.library == library:
            cells.setdefault(finding.method, {}).setdefault(finding.group, []).append(finding)
    rows = [
        [f"`{name}`", *(_cell(library, name, group, by_group.get(group, [])) for group in facts.groups)]
        for name, by_group in cells.items()
    ]
    intro = (
        "The largest error of any tensor. For the single layers: the worst of them, and which; `-`: does not apply; "
        f"`i`: above {BOUND:g} and within what the floor allows; `k`: known behaviour of the library."
    )
    return f"## Worst error, {library}\n\n{intro}\n\n" + markdown(["name", *facts.groups], rows)


def _cell(library: str, name: str, group: str, found: Sequence[Finding]) -> str:
    if not found:
        return "not run" if name in names_on(library, group) else ""
    worst = min(found, key=lambda each: (SEVERITY.index(each.status), -(each.worst or 0.0)))
    words = {
        Status.NOT_APPLICABLE: "-",
        Status.LIBRARY_FAILED: "library fails",
        Status.NO_ANSWER: "no answer",
        Status.OURS_FAILED: "**reference fails**",
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
