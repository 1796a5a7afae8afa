"""The parts of the index: of each what it answers, what is kept of it, and how page, picture and sentence are made."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from evidence.certification.page import Facts, read_table
from evidence.certification.page import page as certification_page
from evidence.certification.results import COMPARED, Status
from evidence.planted_bugs.table import Figures, markdown, rows_by_cause, totals
from evidence.publish import conformance
from evidence.publish.benchmarks import benchmarks_page, benchmarks_picture, benchmarks_sentence
from evidence.publish.pictures import BAD, FAIR, GOOD, GRAY, OTHER, WORST, stacked
from evidence.scoreboard.page import STATES
from evidence.scoreboard.page import page as scoreboard_page
from evidence.scoreboard.rows import MODELS, libraries

Json = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """``name``: of its page and picture. ``kept``: the files in `reports/` that it is made of; ``command``: what makes
    them. ``page``, ``picture``, ``sentence``: from the folder that holds those files; the page is Markdown.
    """

    title: str
    question: str
    name: str
    kept: tuple[str, ...]
    command: str
    page: Callable[[Path], str]
    picture: Callable[[Path], Figure]
    sentence: Callable[[Path], str]


def _json(folder: Path, name: str) -> Json:
    value: Json = json.loads((folder / name).read_text(encoding="utf-8"))
    return value


# Certification ---------------------------------------------------------------------------------------------

_STATUS_COLORS = {
    Status.AGREES: GOOD,
    Status.ILL_CONDITIONED: FAIR,
    Status.KNOWN: OTHER,
    Status.UNEXPLAINED: BAD,
    Status.REFERENCE_FAILED: WORST,
    Status.LIBRARY_FAILED: "#8c8c8c",
    Status.NO_ANSWER: "#5c3d2e",
    Status.NOT_APPLICABLE: "#d9d9d9",
}


def _certification(folder: Path) -> str:
    facts = Facts.from_json(_json(folder, "certification.json"))
    return certification_page(read_table(_text(folder, "certification.csv")), facts)


def _text(folder: Path, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")


def _certification_picture(folder: Path) -> Figure:
    results = read_table(_text(folder, "certification.csv"))
    counts = Counter((f"{each.library}, {each.group}", each.status) for each in results)
    rows = list(dict.fromkeys(row for row, _ in counts))
    parts = {
        str(status): (color, [counts[row, status] for row in rows])
        for status, color in _STATUS_COLORS.items()
    }
    return stacked("The reference against the real libraries (cases)", "cases", rows, parts, share=True)


def _certification_sentence(folder: Path) -> str:
    results = read_table(_text(folder, "certification.csv"))
    counts = Counter(each.status for each in results)
    compared = sum(counts[status] for status in COMPARED)
    planned = sum(Facts.from_json(_json(folder, "certification.json")).planned.values())
    return (
        f"{planned} cases. Both sides answered in {compared}: {counts[Status.AGREES]} agree to 1e-5, "
        f"{counts[Status.ILL_CONDITIONED]} as far as their condition allows, {counts[Status.KNOWN]} differ in a way "
        f"of the library that is known, {counts[Status.UNEXPLAINED]} are unexplained. "
        f"{planned - len(results)} were not run."
    )


# Planted bugs ----------------------------------------------------------------------------------------------


def _figures(folder: Path) -> Figures:
    return Figures.from_json(_json(folder, "mutants.json"))


def _planted_picture(folder: Path) -> Figure:
    groups = {
        cause: (len(rows), totals(rows).cause_right)
        for cause, rows in rows_by_cause(_figures(folder).rows).items()
    }
    parts = {
        "layers and causes right": (GOOD, [right for _, right in groups.values()]),
        "not": (BAD, [count - right for count, right in groups.values()]),
    }
    return stacked("Planted bugs, by cause", "cases", list(groups), parts)


def _planted_sentence(folder: Path) -> str:
    figures = _figures(folder)
    sums = totals(figures.rows)
    alarms = sum(row.alarm for row in figures.healthy)
    healthy = (
        f"{alarms} false alarms on {len(figures.healthy)} healthy ports"
        if figures.healthy
        else "healthy ports not run"
    )
    missing = sum(count for *_, count in figures.missing)
    return (
        f"{len({row.mutant for row in figures.rows})} bugs in {sums.cases} cases: {sums.detected} detected, "
        f"layer right in {sums.layer_right}, cause right in {sums.cause_right}, {sums.wrong_names} wrong names; "
        f"{healthy}. {missing} cases were not run."
    )


# Scoreboard ------------------------------------------------------------------------------------------------


def _scores(folder: Path) -> dict[str, Counter[str]]:
    """By library, how many rows are in each state."""
    figures = _json(folder, "scoreboard.json")
    return {
        library.requirement: Counter(
            facts["state"]
            for row in figures.get(library.name, {"rows": {}})["rows"].values()
            for model, facts in row.items()
            if model in MODELS
        )
        for library in libraries().values()
    }


def _scoreboard_picture(folder: Path) -> Figure:
    scores = {name: counts for name, counts in _scores(folder).items() if counts.total()}
    colors = dict(zip(STATES, (GOOD, FAIR, OTHER, BAD, WORST, "#5c3d2e", GRAY), strict=True))
    parts = {
        STATES[state]: (color, [counts[state] for counts in scores.values()])
        for state, color in colors.items()
    }
    return stacked(
        "Other people's libraries against the reference (rows)", "rows", list(scores), parts, share=True
    )


def _scoreboard_sentence(folder: Path) -> str:
    scores = _scores(folder)
    sums: Counter[str] = sum(scores.values(), Counter())
    listed = ", ".join(f"{sums[state]} {words}" for state, words in STATES.items() if sums[state])
    empty = [name for name, counts in scores.items() if not counts.total()]
    later = f" Not run yet: {', '.join(empty)}." if empty else ""
    return f"{sums.total()} rows of {len(scores) - len(empty)} libraries: {listed}.{later}"


PARTS = (
    Part(
        "Conformance",
        "Do the port and the reference compute the same function?",
        "conformance",
        ("conformance.json",),
        "make run && python -m evidence.publish --run reports/runs/default-tensorflow-torch",
        lambda folder: conformance.page(_json(folder, "conformance.json")),
        lambda folder: conformance.picture(_json(folder, "conformance.json")),
        lambda folder: conformance.sentence(_json(folder, "conformance.json")),
    ),
    Part(
        "Certification",
        "Is the reference right about iNNvestigate and signxai?",
        "certification",
        ("certification.csv", "certification.json"),
        "make scores",
        _certification,
        _certification_picture,
        _certification_sentence,
    ),
    Part(
        "Planted bugs",
        "Does the diagnosis name the layer and the cause of a fault that is known?",
        "mutants",
        ("mutants.json",),
        "make scores",
        lambda folder: markdown(_figures(folder)),
        _planted_picture,
        _planted_sentence,
    ),
    Part(
        "Scoreboard",
        "What do Captum, Zennit, signxai2 and others compute?",
        "scoreboard",
        ("scoreboard.json",),
        "make scoreboard",
        lambda folder: scoreboard_page(_json(folder, "scoreboard.json")),
        _scoreboard_picture,
        _scoreboard_sentence,
    ),
    Part(
        "Benchmarks",
        "How long does it take, against the library itself?",
        "benchmarks",
        ("benchmarks/machine.json", "benchmarks/signxai.json"),
        "make benchmarks",
        benchmarks_page,
        benchmarks_picture,
        benchmarks_sentence,
    ),
)

#: The other pages: of each the file, what it says, and the command that measures it anew.
FURTHER = (
    (
        "zennit.md",
        "Zennit's own rules against the reference, name by name",
        "python -m benchmarks.candidate_table",
    ),
    ("zennit-versions.md", "Zennit 0.5.1 beside 1.0.0", "make scoreboard"),
    (
        "lxt.md",
        "AttnLRP and CP-LRP of lxt 2.1 against the reference, layer by layer",
        "python -m evidence.lxt",
    ),
    ("users-calls.md", "signxai and iNNvestigate as their users call them", "make users-calls"),
    ("functions.md", "right functions, which must raise no alarm", "make scores"),
    ("mutants-functions.md", "planted bugs in functions without layers", "python -m evidence.planted_bugs"),
    (
        "dlbacktrace.md",
        "DLBacktrace: versions of the package, speed of the port",
        "python -m evidence.dlbacktrace",
    ),
    ("models-torch.md", "torch networks that people have", "make models"),
    ("models-keras.md", "Keras networks, and networks of sequences", "make models"),
    ("models-onnx.md", "ONNX files that people have", "make models"),
    ("bounds.md", "derived bounds held against measured floors", "python -m evidence.bounds --runs 4"),
    ("onnx-suite.md", "the cases of `onnx.backend.test`", "make models"),
    ("attack-models.md", "hostile and mutated model files", "make attack-models"),
    ("../docs/case-studies.md", "three case studies of published code", "make scoreboard"),
)
