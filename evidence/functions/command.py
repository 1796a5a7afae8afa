"""The command `python -m evidence.functions` and its page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from evidence.functions.measure import DTYPE, MODELS, Row, rows, there
from evidence.functions.right import FUNCTIONS
from harness.engine import Store
from harness.files import write_text

PAGE = Path("reports/functions.md")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where no right function raises an alarm."""
    parser = argparse.ArgumentParser(prog="python -m evidence.functions", description=__doc__)
    parser.add_argument("--model", action="append", help="only on this network; may be repeated")
    parser.add_argument("--out", type=Path, help=f"the page; if not given, {PAGE}, or none for a part")
    parser.add_argument(
        "--kept-only", action="store_true", help="measure nothing; report what was measured before"
    )
    given = parser.parse_args(arguments)
    measured: list[Row] = []
    missing = 0
    for row in rows(given.model or MODELS, Store(), given.kept_only):
        if row is None:
            missing += 1
            continue
        measured.append(row)
        label = f"{row.function} / {row.method} / {row.model}"
        print(f"{'ALARM' if row.alarm else 'right'}  {label}: {row.verdict} {row.found}", flush=True)
    out = given.out or (None if given.model else PAGE)
    if out is not None:
        write_text(out, page(measured, missing))
    return 1 if any(row.alarm for row in measured) else 0


def page(measured: Sequence[Row], unmeasured: int = 0) -> str:
    """The table: a row a method, a column a network; in each cell how many functions, and what they raised."""
    missing = [each.name for each in FUNCTIONS if not there(each)]
    models = list(dict.fromkeys(row.model for row in measured))
    methods = list(dict.fromkeys(row.method for row in measured))
    alarms = [row for row in measured if row.alarm]
    lines = [
        "# Right functions",
        "",
        "Right implementations of methods as functions that return an attribution and nothing else, each compared",
        f"with the reference in {DTYPE} and diagnosed. Whatever is found is a false alarm.",
        "Made by `python -m evidence.functions`.",
        "",
        f"{len(measured)} cases, {len(methods)} methods, {len(models)} networks, "
        f"{len({row.function for row in measured})} kinds of function: **{len(alarms)} false alarms**.",
        *([f"Not installed, and left out: {', '.join(missing)}."] if missing else []),
        *([f"{unmeasured} cases were not measured with this code."] if unmeasured else []),
        "",
        f"| method | {' | '.join(models)} |",
        f"| --- |{' --- |' * len(models)}",
    ]
    for method in methods:
        cells = []
        for model in models:
            here = [row for row in measured if (row.method, row.model) == (method, model)]
            bad = [row.function for row in here if row.alarm]
            names = ", ".join(row.function for row in here if not row.alarm)
            cells.append((names or "does not apply") + (f"; ALARM: {', '.join(bad)}" if bad else ""))
        lines.append(f"| {method} | {' | '.join(cells)} |")
    if alarms:
        lines += ["", "## Alarms", ""]
        lines += [
            f"- {row.function}, {row.method}, {row.model}: {row.verdict}: {row.found}" for row in alarms
        ]
    return "\n".join(lines) + "\n"
