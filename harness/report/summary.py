"""What a run says about itself: a page to read, and the same rows as CSV and Parquet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.comparison.rows import VERDICTS
from harness.errors import InvalidInputError
from harness.files import json_digest, write_text
from harness.naming import code_span, markdown
from harness.plain import plain
from harness.report.document import DOCUMENT, MEANINGS, Document, document_of, read_document
from harness.report.page import PAGE, write_page
from harness.report.tables import SEPARATOR, Row, table_csv, table_parquet
from harness.report.worklist import worklist

#: Relative L2 movement by rounding alone above which a case is listed as ill-conditioned.
ILL_CONDITIONED = 1e-3

_NEXT_STEPS = {
    "error": "read the message. Where it speaks of NaN or Inf, the case's CSV counts them on both sides: the "
    "first row, from the top, with a count on one side only is where they began.",
    "divergent": "where activations differ, mend the ported model first. Otherwise open the case's CSV. It "
    "runs from the output back to the input; the first row that is neither identical nor equivalent is where "
    "the difference is first seen. A `best_scale` far from 1 with a small `rel_l2_after_scale` there means a "
    "wrong factor (the head, a count, an epsilon), a low `sign_agreement` a sign or a clipped part, and "
    "everything else the rule of that layer.",
    "close": "no pass. Find the first such layer as for a divergent case; a stabilizer of another form or "
    "size, or one operation in lower precision, are the usual reasons.",
}


def write_summary(
    rows: Sequence[Row],
    folder: str | os.PathLike[str],
    facts: Mapping[str, Any] | None = None,
    skipped: Sequence[Mapping[str, Any]] = (),
    again: Callable[[Mapping[Any, Any]], list[str]] | None = None,
) -> Path:
    """Write the report of ``rows`` into ``folder``; return its Markdown page. See :func:`write_report`.

    Arguments as for `harness.report.document.document_of`.
    """
    write_report(document_of(rows, facts, skipped, again), folder)
    return Path(folder) / "summary.md"


def write_report(document: Document, folder: str | os.PathLike[str]) -> Path:
    """Write ``document`` into ``folder`` and return its page, ``report.html``; each file atomically.

    ``summary.md``, ``.csv`` and ``.parquet`` hold the same for readers, spreadsheets and programs, and ``report.json``
    the document itself, from which `xai-harness report` makes all of them again.
    """
    folder = Path(folder)
    table_csv(document.table, folder / "summary.csv")
    table_parquet(document.table, folder / "summary.parquet")
    write_text(folder / "summary.md", document_markdown(document))
    document.write(folder)
    return write_page(document, folder)


#: What makes a report, beside the files of its cases.
_PARTS = (PAGE, DOCUMENT, "summary.md", "summary.csv", "summary.parquet")


def set_aside(folder: Path, selection: Mapping[str, Any]) -> Path | None:
    """Where ``folder`` holds the report of another selection, move it into a folder of its own there, and return that.

    Its page has its cases in it; their files may be those of the new run from here on.
    """
    try:
        there = read_document(folder).selection
    except InvalidInputError:  # none, or a damaged one
        return None
    if not there or there == plain(selection):
        return None
    aside = folder / f"earlier-{json_digest(there)[:8]}"
    aside.mkdir(exist_ok=True)
    for name in _PARTS:
        if (folder / name).is_file():
            (folder / name).replace(aside / name)
    return aside


def summary_markdown(
    table: pd.DataFrame,
    facts: Mapping[str, Any],
    skipped: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The Markdown of a table that :func:`harness.report.tables.rows_table` returns."""
    return document_markdown(document_of(table.to_dict("records"), facts, skipped))


def document_markdown(document: Document) -> str:
    """The result in one sentence, verdicts, causes, model by method, what did not pass, the environment."""
    table = document.table
    parts = [
        f"# {markdown(document.title)}",
        _result(table),
        *(markdown(note) for note in document.notes),
        *(
            ()
            if table.empty
            else (
                _verdict_counts(table),
                _matrix(table),
                _causes(document),
                _failures(table),
                _cautions(table),
                _model_notes(table),
            )
        ),
        _skipped(document.skipped),
        _facts(document.facts),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _result(table: pd.DataFrame) -> str:
    if table.empty:
        return "No case was run."
    passed = int(table["passed"].sum())
    sides = sorted(
        {
            f"candidate {row.candidate} against reference {row.reference}"
            for row in table.itertuples()
            if row.reference
        }
    )
    verb = "passed" if passed == len(table) else "passed; what did not is listed below"
    alone = int((table["alone"] != "").sum())
    again = (
        f" {_count(alone, 'case')} {'was' if alone == 1 else 'were'} also computed with nothing shared between "
        "methods, and came out the same bit for bit."
        if alone
        else ""
    )
    return (
        f"{passed} of {_count(len(table), 'case')} {verb} ({markdown(', '.join(sides))}).{again} "
        f"Time: {table['seconds_total'].sum():.1f} s, of it {table['seconds_reference'].sum():.1f} s in the "
        f"reference and {table['seconds_candidate'].sum():.1f} s in the candidate."
    )


def _verdict_counts(table: pd.DataFrame) -> str:
    counts = table["verdict"].value_counts()
    rows = [
        (verdict, str(counts.get(verdict, 0)), MEANINGS[verdict])
        for verdict in reversed(VERDICTS)
        if counts.get(verdict, 0)
    ]
    return _section("Verdicts", _grid(("verdict", "cases", "meaning"), rows))


def _matrix(table: pd.DataFrame) -> str:
    dtypes = sorted(table["dtype"].unique())
    models = list(dict.fromkeys(table["model"]))
    worst = {
        key: min(verdicts, key=VERDICTS.index)
        for key, verdicts in table.groupby(["method", "model", "dtype"])["verdict"].agg(list).items()
    }
    rows = []
    for method in dict.fromkeys(table["method"]):
        cells = ([worst.get((method, model, dtype), "not run") for dtype in dtypes] for model in models)
        rows.append((method, *(" / ".join(cell) for cell in cells)))
    several = " Where a model has several inputs, the worst verdict stands here."
    explanation = f"Each cell: {' / '.join(dtypes)}.{several if table['input'].nunique() > 1 else ''}"
    return _section("Methods and models", f"{explanation}\n\n{_grid(('method', *models), rows)}")


def _failures(table: pd.DataFrame) -> str:
    failed = table[~table["passed"]]
    if failed.empty:
        return ""
    cases = "\n".join(_failure(row) for row in failed.to_dict("records"))
    verdicts = set(failed["verdict"])
    bullets = "\n".join(
        f"- **{verdict}**: {step}" for verdict, step in _NEXT_STEPS.items() if verdict in verdicts
    )
    command = failed.iloc[0]["again"]
    return _section(
        "What did not pass", f"{cases}\n\nWhat to do next:\n\n{bullets}\n\nOne case again:\n\n    {command}"
    )


def _causes(document: Document) -> str:
    """What is to be mended first: the causes that were found, those of most cases first."""
    tasks = worklist(document)
    if not any(task.cause for task in tasks):
        return ""
    rows = [(str(len(task.cases)), task.cause or "not known", task.layer, task.sentence) for task in tasks]
    return _section("Causes", _grid(("cases", "cause", "layer", "what is done differently"), rows))


def _cautions(table: pd.DataFrame) -> str:
    """What a pass leaves open: methods that rounding alone moves far, and units that it put over a kink."""
    loose = table[table["largest_floor"] > ILL_CONDITIONED]
    noted = table[table["passed"] & (table["notes"] != "")]
    lines = [
        f"- {markdown(row['model'])}, {markdown(row['method'])}, {row['dtype']}: rounding alone moves the reference by "
        f"{_number(row['largest_floor'])} (relative L2) at {code_span(row['largest_floor_layer'])}"
        for row in loose.to_dict("records")
    ]
    lines += [
        f"- {markdown(row['model'])}, {markdown(row['method'])}, {row['dtype']}: {markdown(row['notes'])}"
        for row in noted.to_dict("records")
    ]
    if not lines:
        return ""
    counts = (
        f"Where rounding alone moves the reference by more than {ILL_CONDITIONED:g}, the method is ill-conditioned on "
        "this input in this dtype: two right implementations may differ by that much. Where the reference can run "
        "single steps, the verdict rests on the candidate's own activations (docs/verdicts.md); "
        "the float64 row of the case tells more."
    )
    return _section("Read with care", counts + "\n\n" + "\n".join(lines))


def _model_notes(table: pd.DataFrame) -> str:
    """What was read otherwise than it stands in a model's source."""
    noted = table[table["model_notes"] != ""].drop_duplicates("model")
    lines = [
        f"- {markdown(row['model'])}: {markdown(row['model_notes'])}" for row in noted.to_dict("records")
    ]
    return _section("How the models were read", "\n".join(lines)) if lines else ""


def _skipped(skipped: Sequence[Mapping[str, Any]]) -> str:
    if not skipped:
        return ""
    rows = [(each["model"], each["method"], each["reason"]) for each in skipped]
    return _section("Not run: the method does not apply", _grid(("model", "method", "why"), rows))


def _failure(row: Mapping[Any, Any]) -> str:
    name = ", ".join(markdown(row[key]) for key in ("model", "method", "dtype", "input") if row[key])
    details = []
    if row["first_divergent_forward"]:
        where = row["first_divergent_forward"]
        details.append(
            f"activations part first at {code_span(where)}: the two models differ, not the methods"
        )
    if row["first_divergent"]:
        details.append(f"first divergent layer {code_span(row['first_divergent'])}")
    if row["worst_layer"]:
        details.append(
            f"worst {code_span(row['worst_layer'])}: relative L2 {_number(row['worst_rel_l2'])}, "
            f"{_number(row['worst_ratio'])} times its noise floor of {_number(row['worst_floor'])}"
        )
    if row["attribution_mae"] == row["attribution_mae"]:
        details.append(
            f"attribution: MAE {_number(row['attribution_mae'])}, largest difference "
            f"{_number(row['attribution_max_abs'])}, r {_number(row['attribution_pearson_r'])}"
        )
    if row["diagnosis"]:
        details.append(f"cause: {markdown(row['diagnosis'])}")
    elif row["like"]:
        details.append(
            f"fails like {markdown(row['like'])} ({markdown(row['cause'])}); not diagnosed by itself"
        )
    if row["message"]:
        details.append(markdown(row["message"]))
    if row["files"]:
        details.append(", ".join(f"[{name}](<{name}>)" for name in _shown_files(row["files"])))
    return "\n".join((f"- {name}: **{row['verdict']}**", *(f"  - {detail}" for detail in details)))


def _shown_files(files: str) -> list[str]:
    """Those that a person opens: what only the page reads is left out."""
    return [name for name in files.split(SEPARATOR) if not name.endswith(".view.json")]


def _facts(facts: Mapping[str, Any]) -> str:
    rows = list(_flat(facts))
    return _section("Environment", _grid(("what", "value"), rows)) if rows else ""


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}"


def _grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [[markdown(str(cell)) for cell in line] for line in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _count(number_of: int, what: str) -> str:
    return f"{number_of} {what}" if number_of == 1 else f"{number_of} {what}s"


def _number(value: float | None) -> str:
    """Three significant digits for reading; a word where there is no number."""
    return "not known" if value is None or value != value else f"{value:.3g}"
