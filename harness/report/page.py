"""The page of a document: one HTML file with everything in it, which asks nothing of the network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from harness.comparison import MULTIPLE, VERDICTS
from harness.files import json_digest, write_text
from harness.naming import printable
from harness.report.cases import case_detail, packed
from harness.report.changes import Changes
from harness.report.document import MEANINGS, SYMBOLS, Document

#: The page of a run, beside its `report.json`.
PAGE = "report.html"


def write_page(
    document: Document, folder: Path, path: Path | None = None, changes: Changes | None = None
) -> Path:
    """Write the page of ``document``, whose cases have their files under ``folder``, atomically.

    ``path``: the file, `report.html` in ``folder`` where none is given. ``changes``: against another run, shown first.
    """
    path = path or folder / PAGE
    write_text(path, page_html(document, folder, changes))
    return path


def page_html(document: Document, folder: Path, changes: Changes | None = None) -> str:
    """The page as text. Names are text wherever they stand: autoescaped, or packed where a script reads them."""
    shared: dict[str, Any] = {}
    details = []
    for row in document.rows:
        detail = case_detail(row, folder)
        view = detail.get("view")
        if view:
            _share(view, shared)
        details.append(packed(detail))
    cases = [_case(place, row) for place, row in enumerate(document.rows)]
    return _template("report.html.j2").render(
        document=document,
        cases=cases,
        details=details,
        shared=packed(shared),
        columns=_columns(cases),
        lines=_lines(cases),
        verdicts=[verdict for verdict in reversed(VERDICTS) if verdict in document.counts],
        options={
            key: sorted({case[key] for case in cases if case[key]})
            for key in ("family", "model", "dtype", "cause")
        },
        symbols=SYMBOLS,
        meanings=MEANINGS,
        multiple=MULTIPLE,
        facts=list(_flat(document.facts)),
        changes=changes,
        seconds=sum(float(row.get("seconds_total") or 0) for row in document.rows),
    )


def _share(view: dict[str, Any], shared: dict[str, Any]) -> None:
    """Put what cases of one model and input have in common into ``shared``, its digest in its place."""

    def kept(value: Any) -> str:
        digest = json_digest(value)[:16]
        shared.setdefault(digest, value)
        return digest

    view["network"] = kept(view["network"])
    for sample in view["samples"]:
        sample["input"] = kept(sample["input"])


def _case(place: int, row: Mapping[str, Any]) -> dict[str, Any]:
    def text(key: str) -> str:
        value = row.get(key)
        return (
            ""
            if value is None
            else printable("; ".join(map(str, value)) if isinstance(value, list) else str(value))
        )

    ratio = row.get("worst_ratio")
    return {
        "id": place,
        "passed": bool(row["passed"]),
        "symbol": SYMBOLS[str(row["verdict"])],
        "rank": VERDICTS.index(str(row["verdict"])),
        "floors": ratio if isinstance(ratio, int | float) and ratio == ratio else None,
        "rel_l2": row.get("worst_rel_l2"),
        "seconds": row.get("seconds_total"),
        "parts_at": text("first_divergent_forward") or text("first_divergent"),
        **{
            key: text(key)
            for key in (
                *(
                    "model",
                    "method",
                    "family",
                    "dtype",
                    "input",
                    "verdict",
                    "cause",
                    "diagnosis",
                    "like",
                    "message",
                ),
                *(
                    "worst_layer",
                    "reference",
                    "candidate",
                    "again",
                    "target",
                    "notes",
                    "diagnosed_layer",
                    "stage",
                ),
            )
        },
    }


def _columns(cases: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """The models in the order of the run, each with its dtypes."""
    columns: dict[str, dict[str, None]] = {}
    for case in cases:
        columns.setdefault(case["model"], {})[case["dtype"]] = None
    return [(model, list(dtypes)) for model, dtypes in columns.items()]


def _lines(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The matrix: a line a method, its cells by model and dtype; several cases share a cell where inputs differ."""
    lines: dict[str, dict[str, Any]] = {}
    for case in cases:
        line = lines.setdefault(
            case["method"], {"method": case["method"], "family": case["family"], "cells": {}}
        )
        line["cells"].setdefault((case["model"], case["dtype"]), []).append(case)
    return list(lines.values())


def _flat(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((printable(f"{prefix}{name}"), printable(str(value))))
    return rows


def tables_html(
    title: str, sentences: Iterable[str], tables: Mapping[str, Sequence[Mapping[str, Any]]]
) -> str:
    """A page of sentences and tables that sort, for what is no run of cases; ``tables``: by heading, rows.

    The columns of a table are the keys of its rows, in the order in which they are met.
    """
    shown = {}
    for heading, rows in tables.items():
        names = list(dict.fromkeys(name for row in rows for name in row))
        shown[heading] = (
            [(name, _is_number_column(rows, name)) for name in names],
            [[_cell(row.get(name)) for name in names] for row in rows],
        )
    return _template("tables.html.j2").render(title=title, sentences=list(sentences), tables=shown)


def _is_number_column(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    values = [row[name] for row in rows if row.get(name) is not None]
    return bool(values) and all(isinstance(value, int | float) for value in values)


def _cell(value: Any) -> tuple[str, str]:
    """What a cell shows, and what it is sorted by."""
    if value is None or (isinstance(value, float) and value != value):
        return "", ""
    if isinstance(value, float):
        return f"{value:.4g}", repr(value)
    return printable(str(value)), printable(str(value))


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.report", "page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = lambda value: "" if value is None or value != value else f"{value:.3g}"
    return environment.get_template(name)
