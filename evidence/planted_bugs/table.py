"""The figures of a run of mutants as Markdown and as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evidence.planted_bugs.mutant import Expected
from evidence.planted_bugs.run import Case, Result
from evidence.planted_bugs.score import Score


@dataclass(frozen=True)
class Scored:
    """A case with its result and its score."""

    case: Case
    result: Result
    score: Score


@dataclass(frozen=True)
class Totals:
    """Of a number of cases; all but ``seconds`` are counts of cases, the last two of findings."""

    cases: int
    detected: int
    layer_right: int
    cause_right: int
    wrong_names: int
    unnamed: int
    seconds: float


def totals(rows: Sequence[Scored]) -> Totals:
    """The sums over ``rows``; ``seconds``: the mean."""
    scores = [row.score for row in rows]
    return Totals(
        cases=len(rows),
        detected=sum(each.detected for each in scores),
        layer_right=sum(each.layer_right for each in scores),
        cause_right=sum(each.cause_right for each in scores),
        wrong_names=sum(each.wrong_names for each in scores),
        unnamed=sum(each.unnamed for each in scores),
        seconds=sum(row.result.seconds for row in rows) / len(rows) if rows else 0.0,
    )


def markdown(
    rows: Sequence[Scored],
    healthy: Sequence[Scored],
    mutants: int,
    environment: str,
    missing: Sequence[Case] = (),
) -> str:
    """The report: summary, by cause, case by case, healthy ports.

    ``mutants``: how many different ones. ``missing``: cases that belong here and have not been run.
    """
    alarms = [row for row in healthy if row.result.findings or row.result.error]
    parts = [
        "# Planted bugs",
        f"How well `harness.diagnose` names faults that are known. {environment}",
        "A case is one faulty port on one model with one method. *Layer right*: the stages and layers found are "
        "those where the faults were put, no more and no fewer. *Cause right*: each of them has its name as "
        "well. A layer at which the planted bug changes nothing on that input is not owed (the mutant's step and "
        "the healthy port's are compared there). *Wrong names*: findings with a name that "
        "belongs to no fault of the case. "
        "*Unnamed*: findings that are `unknown` where a cause was planted.",
        *_missing(missing),
        "## Summary",
        _summary(rows, healthy, len(alarms), mutants),
        "## By cause",
        _by_cause(rows),
        "## By model",
        _grouped("model", rows, lambda row: (row.case.model,)),
        "## Cases",
        _cases(rows),
    ]
    if healthy:
        parts += ["## Healthy ports", _healthy(healthy, alarms)]
    return "\n\n".join(parts) + "\n"


def document(rows: Sequence[Scored], healthy: Sequence[Scored]) -> dict[str, Any]:
    """The same as JSON-able data."""
    return {
        "summary": asdict(totals(rows)),
        "cases": [_document(row) for row in rows],
        "healthy": [_document(row) for row in healthy],
        "false_alarms": sum(bool(row.result.findings or row.result.error) for row in healthy),
    }


def _document(row: Scored) -> dict[str, Any]:
    return {**asdict(row.case), "result": row.result.as_json(), "score": asdict(row.score)}


def _missing(missing: Sequence[Case]) -> list[str]:
    """A paragraph about the cases that have not been run, none where all have."""
    if not missing:
        return []
    counts: dict[tuple[str, str], int] = {}
    for case in missing:
        key = ("planted bugs" if case.expected else "healthy ports", case.model)
        counts[key] = counts.get(key, 0) + 1
    listed = ", ".join(f"{count} {what} on {model}" for (what, model), count in counts.items())
    return [
        f"**Not all cases have been run yet.** Missing: {listed}. `python -m evidence.planted_bugs` runs them."
    ]


def _summary(rows: Sequence[Scored], healthy: Sequence[Scored], alarms: int, mutants: int) -> str:
    sums, hard = totals(rows), totals([row for row in rows if row.case.hard])
    lines = [
        ("", "all", "hard ones"),
        ("mutants", str(mutants), str(len({row.case.mutant for row in rows if row.case.hard}))),
        ("cases", str(sums.cases), str(hard.cases)),
        ("detected", _share(sums.detected, sums.cases), _share(hard.detected, hard.cases)),
        ("layer right", _share(sums.layer_right, sums.cases), _share(hard.layer_right, hard.cases)),
        ("cause right", _share(sums.cause_right, sums.cases), _share(hard.cause_right, hard.cases)),
        ("wrong names", str(sums.wrong_names), str(hard.wrong_names)),
        ("unnamed", str(sums.unnamed), str(hard.unnamed)),
        ("seconds a case", f"{sums.seconds:.1f}", f"{hard.seconds:.1f}"),
        ("false alarms", f"{alarms} of {len(healthy)}" if healthy else "not run", ""),
    ]
    return _table(lines)


def _by_cause(rows: Sequence[Scored]) -> str:
    return _grouped("cause planted", rows, lambda row: {one.causes[0] for one in row.case.expected})


def _grouped(name: str, rows: Sequence[Scored], groups: Any) -> str:
    names = sorted({group for row in rows for group in groups(row)})
    lines: list[tuple[str, ...]] = [
        (name, "cases", "detected", "layer right", "cause right", "wrong names", "unnamed", "seconds")
    ]
    for group in names:
        sums = totals([row for row in rows if group in groups(row)])
        figures = (sums.cases, sums.detected, sums.layer_right, sums.cause_right)
        more = (sums.wrong_names, sums.unnamed)
        lines.append((group, *map(str, figures), *map(str, more), f"{sums.seconds:.1f}"))
    return _table(lines)


def _cases(rows: Sequence[Scored]) -> str:
    lines: list[tuple[str, ...]] = [
        ("mutant", "model", "method", "planted", "found", "layer", "cause", "seconds")
    ]
    for row in rows:
        case = row.case
        lines.append(
            (
                f"{case.mutant}{' (hard)' if case.hard else ''}",
                case.model,
                f"`{case.method}`",
                "; ".join(map(_owed, case.expected)),
                _findings(row.result),
                _mark(row.score.layer_right),
                _mark(row.score.cause_right),
                f"{row.result.seconds:.1f}",
            )
        )
    return _table(lines)


def _owed(one: Expected) -> str:
    where = "anywhere" if one.layers is None else _names(one.layers)
    return f"{' or '.join(one.causes)} at {where}{'' if one.stage is None else f' ({one.stage})'}"


def _findings(result: Result) -> str:
    if result.error is not None:
        return f"error: {result.error}"
    named = [f"{each.cause} at {_names(each.layers) or 'the run'} ({each.stage})" for each in result.findings]
    return "; ".join(named) or "nothing"


def _names(layers: Sequence[str]) -> str:
    shown = ", ".join(layers[:3])
    return f"{shown} and {len(layers) - 3} more" if len(layers) > 3 else shown


def _healthy(healthy: Sequence[Scored], alarms: Sequence[Scored]) -> str:
    models = sorted({row.case.model for row in healthy})
    lines: list[tuple[str, ...]] = [("model", "cases", "false alarms", "seconds a case")]
    for model in models:
        of_model = [row for row in healthy if row.case.model == model]
        false = sum(row in alarms for row in of_model)
        lines.append((model, str(len(of_model)), str(false), f"{totals(of_model).seconds:.1f}"))
    alarms_listed = [f"- {row.case.model}, `{row.case.method}`: {_findings(row.result)}" for row in alarms]
    return "\n\n".join([_table(lines), *(["\n".join(alarms_listed)] if alarms_listed else [])])


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.1f} %)" if whole else "0"


def _mark(right: bool) -> str:
    return "yes" if right else "**no**"


def _table(lines: Iterable[Sequence[str]]) -> str:
    head, *rows = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    rule = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *rows])
