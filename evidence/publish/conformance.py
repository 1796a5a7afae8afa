"""The conformance page: a run of the default suite, kept without the files of its cases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from evidence.certification.lists import markdown
from evidence.publish.pictures import matrix
from harness.comparison import VERDICTS
from harness.errors import InvalidInputError
from harness.report.document import SYMBOLS, Document, read_document

Json = dict[str, Any]
#: Of a case, what is kept.
KEPT = (
    *("model", "input", "method", "dtype", "reference", "candidate", "verdict", "passed", "message"),
    *("worst_layer", "worst_rel_l2", "worst_ratio", "attribution_rel_l2"),
)


def kept_of(run: Path) -> Json:
    """What is kept of the run in the folder ``run``. Raises InvalidInputError where it holds no run, or half of one."""
    document = read_document(run)
    wanted = document.selection
    try:
        cases = {
            (each["model"], method, dtype)
            for each in wanted["models"]
            for method in wanted["methods"]
            for dtype in wanted["dtypes"]
        }
    except (KeyError, TypeError):
        raise InvalidInputError(f"{run} is no run of a suite; name the folder that `make run` left") from None
    skipped = {(each["model"], each["method"]) for each in document.skipped}
    done = {(row["model"], row["method"], row["dtype"]) for row in document.rows}
    missing = [case for case in sorted(cases - done) if case[:2] not in skipped]
    if missing or not done:
        raise InvalidInputError(
            f"{run} lacks {len(missing)} of {len(cases)} cases, {' '.join(missing[0]) if missing else 'all'} first; "
            "run the same command again, which goes on where it stopped"
        )
    facts = {name: value for name, value in document.facts.items() if len(str(value)) < 40}
    return {
        "facts": facts,
        "skipped": [dict(each) for each in document.skipped],
        "cases": [{name: row.get(name) for name in KEPT} for row in document.rows],
    }


def sentence(kept: Json) -> str:
    """The result in a sentence."""
    document = _document(kept)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in document.counts.items())
    models = len({row["model"] for row in document.rows})
    return f"{document.passed} of {len(document.rows)} cases pass on {models} networks, {document.sides}: {counts}."


def page(kept: Json) -> str:
    """The Markdown page: a row a method, a column a network and dtype."""
    columns = list(dict.fromkeys((row["model"], row["dtype"]) for row in kept["cases"]))
    cells = {(row["method"], row["model"], row["dtype"]): _cell(row) for row in kept["cases"]}
    methods = list(dict.fromkeys(row["method"] for row in kept["cases"]))
    table = markdown(
        ["method", *(f"{model} {dtype}" for model, dtype in columns)],
        [[f"`{name}`", *(cells.get((name, *column), "") for column in columns)] for name in methods],
    )
    failed = [row for row in kept["cases"] if not row["passed"]]
    parts = [
        "# Conformance",
        f"The default suite (`make run`): one method for each rule. {sentence(kept)}",
        f"Measured with {', '.join(f'{name} {value}' for name, value in kept['facts'].items())}.",
        "In a cell: the verdict ([what it means](../docs/verdicts.md)); the relative L2 distance of the tensor that is "
        "nearest to its bound; in brackets how many noise floors that is (up to 10 pass).",
        table,
        *(["## What does not pass", "\n".join(map(_failure, failed))] if failed else []),
        *(["## Does not apply", "\n".join(map(_skipped, kept["skipped"]))] if kept["skipped"] else []),
    ]
    return "\n\n".join(parts) + "\n"


def picture(kept: Json) -> Figure:
    """The matrix: of two dtypes the worse verdict."""
    models = list(dict.fromkeys(row["model"] for row in kept["cases"]))
    methods = list(dict.fromkeys(row["method"] for row in kept["cases"]))
    worst = np.full((len(methods), len(models)), "", dtype=object)
    for row in kept["cases"]:
        place = methods.index(row["method"]), models.index(row["model"])
        worst[place] = max(worst[place], row["verdict"], key=_badness)
    dtypes = " and ".join(sorted({row["dtype"] for row in kept["cases"]}))
    return matrix(f"{_document(kept).sides}, the worse of {dtypes}", methods, models, worst)


def _badness(verdict: str) -> int:
    return -1 if not verdict else len(VERDICTS) - VERDICTS.index(verdict)


def _document(kept: Json) -> Document:
    return Document(tuple(kept["cases"]))


def _cell(row: Mapping[str, Any]) -> str:
    distance, floors = row["worst_rel_l2"], row["worst_ratio"]
    words = [SYMBOLS[row["verdict"]], row["verdict"]]
    if distance is not None:
        words.append(f"{distance:.1e}")
    if floors is not None:
        words.append(f"({floors:.2g})")
    return " ".join(words)


def _failure(row: Mapping[str, Any]) -> str:
    where = f", furthest at {row['worst_layer']}" if row["worst_layer"] else ""
    return f"- {row['model']}, `{row['method']}`, {row['dtype']}: {row['verdict']}{where}. {row['message']}".rstrip()


def _skipped(each: Mapping[str, Any]) -> str:
    return f"- {each['model']}, `{each['method']}`: {each['reason']}"
