"""The scoreboard as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from evidence.scoreboard.measure import named
from evidence.scoreboard.rows import MODELS, libraries, rows
from harness.diagnosis.causes import CAUSES

Json = dict[str, Any]
#: The states of a row, in the order of the summary, and what the page calls them.
STATES = {
    "agree": "agree",
    "one": "agree but for one cause",
    "several": "differ by several causes",
    "unknown": "differ, not all named",
    "fail": "fail",
    "late": "not finished",
    "none": "does not apply",
}
_INTRODUCTION = """\
# Scoreboard

Written by `make scoreboard` (`python -m evidence.scoreboard`). Each library runs in an interpreter of its own, as a
candidate, on the torch or Keras twin; the reference is this project's TensorFlow one. A row is one method of the
library that has a counterpart here, called as its users call it. *Left* is how far the reference with all causes
applied is from the library, *apart* how far it is without (relative L2 of the attribution). A row stays as it was
measured until it is asked for again, so that rows may be of different commits."""


def page(figures: Mapping[str, Json]) -> str:
    """The Markdown page of what was measured, by library."""
    lines = [*_INTRODUCTION.splitlines(), "", *_summary(figures)]
    for library in libraries().values():
        lines += ["", *_library(library.name, figures.get(library.name))]
    return "\n".join(lines) + "\n"


def _summary(figures: Mapping[str, Json]) -> Iterator[str]:
    yield "## Summary"
    yield ""
    yield f"| library | {' | '.join(STATES.values())} | not run yet | cells |"
    yield f"| --- | {' | '.join('---' for _ in STATES)} | --- | --- |"
    for library in libraries().values():
        measured = figures.get(library.name, {"rows": {}})["rows"]
        shown = [measured.get(row.method, {}).get(row.model) for row in rows((library.name,), MODELS)]
        counts = Counter("" if facts is None else facts["state"] for facts in shown)
        cells = " | ".join(str(counts[state]) for state in (*STATES, ""))
        yield f"| {library.requirement} | {cells} | {len(shown)} |"


def _library(name: str, entry: Json | None) -> Iterator[str]:
    wanted = dict.fromkeys(row.method for row in rows((name,), MODELS))
    yield f"## {name}"
    yield ""
    if entry is None:
        yield "Not measured yet."
        return
    if "refused" in entry:
        yield f"Cannot be hosted: {entry['refused']}"
        return
    versions = ", ".join(f"{key} {text}" for key, text in entry.get("versions", {}).items())
    yield f"{entry['requirement']} (pins: {', '.join(entry['pins'])}; beside {versions}). Command of a row:"
    yield f"`xai-harness diagnose MODEL METHOD --candidate {name}`"
    yield ""
    yield f"| method | what a user writes | {' | '.join(MODELS)} |"
    yield f"| --- | --- | {' | '.join('---' for _ in MODELS)} |"
    notes: dict[str, int] = {}
    for method in wanted:
        if (row := entry["rows"].get(method)) is not None:
            cells = " | ".join(_cell(row.get(model), notes) for model in MODELS)
            yield f"| `{method}` | {_escaped(row['says'])} | {cells} |"
    if notes:
        yield ""
        for note, number in notes.items():
            yield f"{number}. {_escaped(note)}"


def _cell(facts: Json | None, notes: dict[str, int]) -> str:
    if facts is None:
        return "not run yet"
    state, names = (
        facts["state"],
        list(dict.fromkeys(_name(each, facts.get("complete")) for each in facts["causes"])),
    )
    left = "" if facts["left"] is None else f", left {facts['left']:.1e}"
    apart = "" if facts["apart"] is None else f", {facts['apart']:.1e} apart"
    number = f" ({notes.setdefault(facts['note'], len(notes) + 1)})" if facts["note"] else ""
    if state == "agree":
        return f"agree{number}"
    if state == "late":
        return f"not finished{number}"
    if state == "none":
        return f"does not apply{number}"
    if state == "fail":
        return f"fail{': ' + ', '.join(names) if names else ''}{number}"
    causes = ", ".join(names) or "`unknown`"
    word = state if state in ("one", "several") else "differ"
    return f"{word}: {causes}{left or apart}{number}"


def _name(cause: Json, complete: bool | None) -> str:
    name = named(cause, complete)
    return f"`{name}`" if name in CAUSES else _escaped(name)


def _escaped(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
