"""The figures of a run of mutants: as rows that are kept, as a Markdown page made of them, and as plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
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
class Row:
    """A case as the page shows it.

    ``causes``: of each planted fault the first name; empty for a healthy port. ``planted``, ``found``: in words.
    ``closed``: with all that was found applied to the reference, rounding explains what is left of the difference.
    ``alarm``: something was found, or the diagnosis raised. The others as in `evidence.planted_bugs.score.Score`.
    """

    mutant: str
    model: str
    method: str
    hard: bool
    causes: tuple[str, ...]
    planted: str
    found: str
    closed: bool
    alarm: bool
    detected: bool
    layer_right: bool
    cause_right: bool
    wrong_names: int
    unnamed: int
    seconds: float


@dataclass(frozen=True)
class Figures:
    """What `reports/mutants.json` holds, and all that the page is made of.

    ``environment``: what the figures were made with, in a line. ``missing``: kind (planted bugs, healthy ports), model
    and number of the cases that belong here and have not been run.
    """

    environment: str
    rows: tuple[Row, ...]
    healthy: tuple[Row, ...] = ()
    missing: tuple[tuple[str, str, int], ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Figures:
        rows, healthy = (
            tuple(Row(**{**each, "causes": tuple(each["causes"])}) for each in value[kind])
            for kind in ("rows", "healthy")
        )
        missing = tuple((str(kind), str(model), int(count)) for kind, model, count in value["missing"])
        return cls(value["environment"], rows, healthy, missing)


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


def figures_of(
    rows: Sequence[Scored], healthy: Sequence[Scored], environment: str, missing: Sequence[Case] = ()
) -> Figures:
    """The rows of a run. ``missing``: cases that belong here and have not been run."""
    counts = Counter(("planted bugs" if case.expected else "healthy ports", case.model) for case in missing)
    return Figures(
        environment,
        tuple(map(_row, rows)),
        tuple(map(_row, healthy)),
        tuple((kind, model, count) for (kind, model), count in counts.items()),
    )


def _row(scored: Scored) -> Row:
    case, result, score = scored.case, scored.result, scored.score
    return Row(
        mutant=case.mutant,
        model=case.model,
        method=case.method,
        hard=case.hard,
        causes=tuple(one.causes[0] for one in case.expected),
        planted="; ".join(map(_owed, case.expected)),
        found=_findings(result),
        closed=result.complete and result.error is None,
        alarm=bool(result.findings or result.error),
        **asdict(score),
        seconds=round(result.seconds, 3),
    )


def totals(rows: Sequence[Row]) -> Totals:
    """The sums over ``rows``; ``seconds``: the mean."""
    return Totals(
        cases=len(rows),
        detected=sum(each.detected for each in rows),
        layer_right=sum(each.layer_right for each in rows),
        cause_right=sum(each.cause_right for each in rows),
        wrong_names=sum(each.wrong_names for each in rows),
        unnamed=sum(each.unnamed for each in rows),
        seconds=sum(row.seconds for row in rows) / len(rows) if rows else 0.0,
    )


def rows_by_cause(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """By planted cause, in the order of the alphabet; a case with two faults is under both."""
    rows = list(rows)
    causes = sorted({cause for row in rows for cause in row.causes})
    return {cause: [row for row in rows if cause in row.causes] for cause in causes}


def markdown(figures: Figures) -> str:
    """The page: summary, by cause, case by case, healthy ports."""
    rows, healthy = figures.rows, figures.healthy
    parts = [
        "# Planted bugs",
        f"How well `harness.diagnose` names faults that are known. {figures.environment}",
        "A case is one faulty port on one model with one method. *Layer right*: the stages and layers found are "
        "those where the faults were put, no more and no fewer. *Cause right*: each of them has its name as "
        "well. A layer at which the planted bug changes nothing on that input is not owed (the mutant's step and "
        "the healthy port's are compared there). *Wrong names*: findings with a name that "
        "belongs to no fault of the case. "
        "*Unnamed*: findings that are `unknown` where a cause was planted.",
        "*Gap closed*: with all that was found applied to the reference, rounding explains what is left between it "
        "and the candidate. Where it does not, the diagnosis says that it is incomplete. Not all can be applied: "
        "not chance, NaN, a sample that depends on its batch, reduced precision, or the border of a padding in the "
        "backward pass; and some planted bugs are meant to be `unknown`.",
        *_missing(figures.missing),
        "## Summary",
        _summary(rows, healthy),
        "## By cause",
        _grouped("cause planted", rows_by_cause(rows)),
        "## By model",
        _grouped("model", {name: [row for row in rows if row.model == name] for name in _models(rows)}),
        "## Cases",
        _cases(rows),
    ]
    if healthy:
        parts += ["## Healthy ports", _healthy(healthy)]
    return "\n\n".join(parts) + "\n"


def document(rows: Sequence[Scored], healthy: Sequence[Scored]) -> dict[str, Any]:
    """The same as JSON-able data."""
    return {
        "summary": asdict(totals([_row(row) for row in rows])),
        "cases": [_document(row) for row in rows],
        "healthy": [_document(row) for row in healthy],
        "false_alarms": sum(bool(row.result.findings or row.result.error) for row in healthy),
    }


def _document(row: Scored) -> dict[str, Any]:
    return {**asdict(row.case), "result": row.result.as_json(), "score": asdict(row.score)}


def _models(rows: Iterable[Row]) -> list[str]:
    return sorted({row.model for row in rows})


def _missing(missing: Sequence[tuple[str, str, int]]) -> list[str]:
    """A paragraph about the cases that have not been run, none where all have."""
    if not missing:
        return []
    listed = ", ".join(f"{count} {kind} on {model}" for kind, model, count in missing)
    return [
        f"**Not all cases have been run yet.** Missing: {listed}. `python -m evidence.planted_bugs` runs them."
    ]


def _summary(rows: Sequence[Row], healthy: Sequence[Row]) -> str:
    hard_rows = [row for row in rows if row.hard]
    sums, hard = totals(rows), totals(hard_rows)
    alarms = sum(row.alarm for row in healthy)
    lines = [
        ("", "all", "hard ones"),
        (
            "mutants",
            *(str(len({row.mutant for row in each})) for each in (rows, hard_rows)),
        ),
        ("cases", str(sums.cases), str(hard.cases)),
        ("detected", _share(sums.detected, sums.cases), _share(hard.detected, hard.cases)),
        ("layer right", _share(sums.layer_right, sums.cases), _share(hard.layer_right, hard.cases)),
        ("cause right", _share(sums.cause_right, sums.cases), _share(hard.cause_right, hard.cases)),
        ("wrong names", str(sums.wrong_names), str(hard.wrong_names)),
        ("unnamed", str(sums.unnamed), str(hard.unnamed)),
        (
            "gap closed",
            *(_share(sum(row.closed for row in each), len(each)) for each in (rows, hard_rows)),
        ),
        ("seconds a case", f"{sums.seconds:.1f}", f"{hard.seconds:.1f}"),
        ("false alarms", f"{alarms} of {len(healthy)}" if healthy else "not run", ""),
    ]
    return _table(lines)


def _grouped(name: str, groups: Mapping[str, Sequence[Row]]) -> str:
    lines: list[tuple[str, ...]] = [
        (name, "cases", "detected", "layer right", "cause right", "wrong names", "unnamed", "seconds")
    ]
    for group, rows in groups.items():
        *counts, seconds = astuple(totals(rows))
        lines.append((group, *map(str, counts), f"{seconds:.1f}"))
    return _table(lines)


def _cases(rows: Sequence[Row]) -> str:
    lines: list[tuple[str, ...]] = [
        ("mutant", "model", "method", "planted", "found", "layer", "cause", "closed", "seconds")
    ]
    for row in rows:
        lines.append(
            (
                f"{row.mutant}{' (hard)' if row.hard else ''}",
                row.model,
                f"`{row.method}`",
                row.planted,
                row.found,
                _mark(row.layer_right),
                _mark(row.cause_right),
                _mark(row.closed),
                f"{row.seconds:.1f}",
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


def _healthy(healthy: Sequence[Row]) -> str:
    lines: list[tuple[str, ...]] = [("model", "cases", "false alarms", "seconds a case")]
    for model in _models(healthy):
        of_model = [row for row in healthy if row.model == model]
        false = sum(row.alarm for row in of_model)
        lines.append((model, str(len(of_model)), str(false), f"{totals(of_model).seconds:.1f}"))
    alarms = [f"- {row.model}, `{row.method}`: {row.found}" for row in healthy if row.alarm]
    return "\n\n".join([_table(lines), *(["\n".join(alarms)] if alarms else [])])


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.1f} %)" if whole else "0"


def _mark(right: bool) -> str:
    return "yes" if right else "**no**"


def _table(lines: Iterable[Sequence[str]]) -> str:
    head, *rows = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    rule = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *rows])
