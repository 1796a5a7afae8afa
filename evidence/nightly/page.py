"""`reports/nightly.md`: one page on what moved, since when, and which version moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evidence.nightly.steps import SHARE, Step
from harness.history import Move, since
from harness.naming import markdown

if TYPE_CHECKING:
    import pandas

#: So many lines of a list are shown; the history has all.
_SHOWN = 40


@dataclass(frozen=True)
class Night:
    """``before``: the date of the last night, empty where this is the first. ``table``: all nights, this one included.

    ``moves``: of cases; ``versions``: what has another version; ``red``: cases for which the night fails; ``left_out``:
    steps that were not asked for.
    """

    date: str
    before: str
    steps: tuple[Step, ...]
    moves: tuple[Move, ...]
    versions: tuple[str, ...]
    now: Mapping[str, str]
    red: tuple[tuple[str, ...], ...]
    table: pandas.DataFrame
    left_out: tuple[str, ...] = ()


def verdict(night: Night) -> str:
    """The night in one sentence."""
    problems = [step.name for step in night.steps if step.problem]
    notes = sum(len(step.notes) for step in night.steps)
    parts = []
    if night.left_out:
        parts.append(f"{len(night.steps)} of {len(night.steps) + len(night.left_out)} steps")
    if problems:
        parts.append(f"not carried out: {', '.join(problems)}")
    if night.red:
        parts.append(f"{len(night.red)} cases do not pass")
    if notes:
        parts.append(f"{notes} results are others than those kept under the same digest")
    if not night.before:
        parts.append("the first night: there is nothing to compare with")
    elif night.moves:
        parts.append(f"{len(night.moves)} cases moved")
    else:
        parts.append("nothing moved")
    return "; ".join(parts)


def page(night: Night) -> str:
    """The page."""
    sections = [
        "# Nightly",
        f"**{verdict(night)[:1].upper()}{verdict(night)[1:]}.** {night.date}"
        + (f", compared with {night.before}." if night.before else "."),
        _steps(night),
        _moves(night),
        _failing(night),
        _notes(night),
        _versions(night),
    ]
    return "\n\n".join(each for each in sections if each) + "\n"


def _steps(night: Night) -> str:
    rows = [
        (
            step.name,
            str(len(step.rows)),
            str(sum(bool(row["passed"]) for row in step.rows)),
            str(step.computed),
            str(step.looked_up),
            str(step.missing),
            f"{step.seconds:.0f}",
            step.problem,
        )
        for step in night.steps
    ]
    header = ("step", "cases", "pass", "computed", "looked up", "not known", "seconds", "problem")
    return (
        "## What was done\n\n"
        f"Every night computes all goldens, the quick suite, and of the rest {SHARE:.0%}, drawn anew by the date. The "
        "others were looked up by the digest of all that they depend on, code and versions included. Where nothing was "
        "kept under that digest, a case of the default suite is computed; one of the planted bugs or of certification "
        "counts as not known. Rows of the scoreboard that were not computed are those that are published.\n\n"
        f"{_grid(header, rows)}{_left_out(night)}"
    )


def _left_out(night: Night) -> str:
    if not night.left_out:
        return ""
    return (
        f"\n\nThis night was not asked for {', '.join(night.left_out)} (`--only`): nothing is said of them."
    )


def _moves(night: Night) -> str:
    if not night.moves:
        return ""
    rows = [
        (*move.case, move.was, move.now, since(night.table, move.case), "worse" if move.worse else "")
        for move in sorted(night.moves, key=lambda move: not move.worse)
    ]
    return f"## What moved\n\n{_list(('step', 'model', 'method', 'dtype', 'was', 'is', 'since', ''), rows)}"


def _failing(night: Night) -> str:
    rows = [
        (*case, str(row["verdict"]), since(night.table, case))
        for step in night.steps
        for row in step.rows
        if not row["passed"]
        for case in [tuple(str(row[name]) for name in ("step", "model", "method", "dtype"))]
    ]
    if not rows:
        return ""
    return f"## What does not pass\n\n{_list(('step', 'model', 'method', 'dtype', 'verdict', 'since'), rows)}"


def _notes(night: Night) -> str:
    notes = [note for step in night.steps for note in step.notes]
    if not notes:
        return ""
    lines = "\n".join(f"- {markdown(note)}" for note in notes[:_SHOWN])
    return f"## Others than kept\n\nOf the same case, code and versions, and yet another result:\n\n{lines}"


def _versions(night: Night) -> str:
    moved = "\n".join(f"- {markdown(each)}" for each in night.versions)
    heading = "Which version moved:" if moved else "No version moved." if night.before else ""
    rows = [(name, value) for name, value in night.now.items()]
    return "## Versions\n\n" + "\n\n".join(
        each for each in (heading, moved, _grid(("what", "version"), rows)) if each
    )


def _list(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    more = f"\n\n{len(rows) - _SHOWN} more are in the history." if len(rows) > _SHOWN else ""
    return _grid(header, rows[:_SHOWN]) + more


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [[markdown(str(cell)) for cell in line] for line in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
