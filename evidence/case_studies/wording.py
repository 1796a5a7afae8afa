"""How the page writes numbers, tables, sources and answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from evidence.case_studies.sources import Fact
from evidence.dialects.idea import Source
from evidence.dialects.page import place


def number(value: float | None, digits: int = 4) -> str:
    """``value`` with that many digits; a dash where it is undefined."""
    if value is None:
        return "-"
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"


def correlation(value: float | None) -> str:
    """Pearson's r, cut and not rounded, so that 1 is 1 to the rounding of its own sums."""
    if value is None:
        return "-"
    if abs(abs(value) - 1) < 1e-12:
        return f"{round(value)}"
    return f"{int(value * 1e4) / 1e4:.4f}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def facts(these: Iterable[Fact]) -> str:
    """Facts with their sources, as a Markdown list."""
    return "\n".join(f"- {fact.what} ({_places(fact.sources)})" for fact in these)


def _places(sources: Iterable[Source]) -> str:
    by_library = groupby(sources, key=lambda source: f"{source.library} {source.version}")
    return "; ".join(f"{library}: {', '.join(map(place, these))}" for library, these in by_library)


def answer(diagnosis: Mapping[str, Any]) -> str:
    """What was built in, and what the harness called it; all else that it named; what is left when that is mended."""
    rows = []
    for fault in diagnosis["planted"]:
        where = fault["layers"]
        named = [name for name in where if name in fault["named at"]]
        share = f" at {len(named)} of {len(where)}" if len(named) < len(where) else ""
        causes = ", ".join(f"`{cause}`" for cause in fault["causes"])
        rows.append(
            (
                fault["words"],
                _listed(where) if where else "the run",
                f"{causes}{share}" if causes else "not named",
            )
        )
    parts = [table(("built in", "at", "the harness says"), rows)]
    if diagnosis["besides"]:
        parts += [
            "It also named, which is not what was built in:",
            "\n".join(f"- {each}" for each in diagnosis["besides"]),
        ]
    left = number(diagnosis["left"], 2)
    parts.append(f"With that mended, and nothing else, {left} is left (relative L2): {diagnosis['verdict']}.")
    return "\n\n".join(parts)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
