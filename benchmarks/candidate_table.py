"""Which methods a candidate agrees on: runs a suite and writes `reports/CANDIDATE.md` and `.csv`.

    python benchmarks/candidate_table.py --candidate zennit --suite catalogue [--model NAME]... [--dtype float64]...

The page holds what the run measured and nothing else; `--why` appends a page written by hand.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.backends import backend_named
from harness.files import write_text
from harness.report import rows_table, table_csv, write_summary
from harness.runner import Progress, Selection, Skipped, environment, run, suite_named

_COLUMNS = (
    "model",
    "method",
    "dtype",
    "verdict",
    "first_divergent",
    "worst_layer",
    "worst_rel_l2",
    "worst_floor",
    "attribution_rel_l2",
    "attribution_pearson_r",
    "attribution_mae",
    "message",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidate", required=True)
    parser.add_argument("--reference", default="tensorflow")
    parser.add_argument("--suite", default="default")
    parser.add_argument("--model", action="append", help="only these models; all of the suite if left out")
    parser.add_argument("--dtype", action="append", help="only these dtypes; both if left out")
    parser.add_argument("--why", type=Path, help="a page written by hand, appended")
    arguments = parser.parse_args()
    suite = suite_named(arguments.suite)
    selection = Selection(
        tuple(arguments.model or suite.models),
        suite.methods,
        tuple(arguments.dtype or suite.dtypes),
        arguments.reference,
        arguments.candidate,
    )
    folder = Path("reports") / "runs" / f"{suite.name}-{arguments.reference}-{arguments.candidate}"
    skipped: list[Skipped] = []
    progress = Progress(started=lambda case: print(case, flush=True), skipped=skipped.append)
    rows = run(selection, folder, progress)
    backends = [backend_named(arguments.reference), backend_named(arguments.candidate)]
    write_summary(rows, folder, environment(backends), [asdict(each) for each in skipped])
    write_text(Path("reports") / f"{arguments.candidate}.md", page(rows, arguments, environment(backends)))
    table_csv(rows_table(rows)[list(_COLUMNS)], Path("reports") / f"{arguments.candidate}.csv")


def page(rows: list[dict[str, Any]], arguments: argparse.Namespace, facts: dict[str, str]) -> str:
    """The Markdown page: agreement, one cell a case; then where each case parts and how far apart it ends."""
    passed = [row for row in rows if row["passed"]]
    models = list(dict.fromkeys(row["model"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    by_case = {(row["method"], row["model"], row["dtype"]): row for row in rows}
    versions = ", ".join(f"{name} {value}" for name, value in facts.items() if len(value) < 40)
    lines = [
        f"# Candidate `{arguments.candidate}` against the reference `{arguments.reference}`",
        "",
        f"{len(passed)} of {len(rows)} cases agree to rounding. Written by `python {shlex.join(sys.argv)}`; "
        f"all figures: [{arguments.candidate}.csv]({arguments.candidate}.csv).",
        "",
        f"Measured with {versions}.",
        "",
        "Each cell: verdict in float64 / in float32, then Pearson's r and the relative L2 difference of the float64 "
        "attributions. A dash: not run, because the method does not apply to the model or the dtype was left out.",
        "",
        f"| method | {' | '.join(models)} |",
        f"| --- |{' --- |' * len(models)}",
    ]
    for method in methods:
        cells = [
            _cell(by_case.get((method, model, "float64")), by_case.get((method, model, "float32")))
            for model in models
        ]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    lines += [
        "",
        "## The layer whose step parts the two first (float64, from the output backwards)",
        "",
        f"| method | {' | '.join(models)} |",
        f"| --- |{' --- |' * len(models)}",
    ]
    for method in methods:
        cells = [_place(by_case.get((method, model, "float64"))) for model in models]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    if arguments.why:
        lines += ["", arguments.why.read_text(encoding="utf-8").strip()]
    return "\n".join(lines) + "\n"


def _cell(double: dict[str, Any] | None, single: dict[str, Any] | None) -> str:
    if not double and not single:
        return "-"
    verdicts = " / ".join(row["verdict"] if row else "-" for row in (double, single))
    if not double or double["passed"] or double.get("attribution_rel_l2") is None:
        return verdicts
    r = double["attribution_pearson_r"]
    correlation = "undefined" if r is None else f"{r:.4f}"
    return f"{verdicts}; r {correlation}, {double['attribution_rel_l2']:.2g}"


def _place(row: dict[str, Any] | None) -> str:
    if row is None or row["passed"]:
        return ""
    return (
        f"`{row['first_divergent']}`"
        if row.get("first_divergent")
        else row.get("message") or "in the activations"
    )


if __name__ == "__main__":
    main()
