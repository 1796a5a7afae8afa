"""The commands `xai-harness report` and `xai-harness worklist`: what a run has left, read again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.naming import printable

Folder = Annotated[
    Path, typer.Argument(metavar="RUN", help="The folder of a run (see: xai-harness run --out).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def report_command(
    run: Folder,
    against: Annotated[
        Path | None, typer.Option(help="The folder of an earlier run: what improved since, and what broke.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The page; left out, report.html in RUN, or one named after the other run."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the page of a run again, or that of what has changed against another run.

    Exit status 1 where a case did not pass; with --against, where one broke.
    """
    from harness.naming import file_name
    from harness.report import changes, read_document, write_page
    from harness.terminal import print_json

    document = read_document(run)
    if against is None:
        page = write_page(document, run, out)
        if as_json:
            print_json(
                {
                    "report": str(page),
                    "passed": document.passed,
                    "cases": len(document.rows),
                    "verdicts": document.counts,
                }
            )
        else:
            print(printable(f"{document.passed} of {len(document.rows)} cases passed. Report: {page}"))
        raise typer.Exit(0 if document.passed == len(document.rows) else 1)
    changed = changes(document, read_document(against), _named(run), _named(against))
    page = write_page(document, run, out or run / f"against-{file_name(_named(against))}.html", changed)
    if as_json:
        print_json({**changed.document, "report": str(page)})
    else:
        for title, group in (("broke", changed.broke), ("improved", changed.improved)):
            for each in group:
                words = f"{title}  {each.model} {each.method} {each.dtype}: {each.before}, now {each.now}"
                print(printable(f"{words}  {each.note}".rstrip()))
        print(printable(f"{changed.sentence}. Report: {page}"))
    raise typer.Exit(1 if changed.broke else 0)


def worklist_command(run: Folder, as_json: AsJson = False) -> None:
    """What to mend first: the failing cases of a run by cause and layer, the cause of most cases first.

    Exit status 1 where there is something to mend.
    """
    from harness.report import read_document, worklist
    from harness.terminal import print_json

    tasks = worklist(read_document(run))
    if as_json:
        print_json([task.document for task in tasks])
    for place, task in enumerate(() if as_json else tasks, start=1):
        what = f"{task.cause} at {task.layer or 'the whole run'}" if task.cause else _unknown(task.layer)
        count = f"{len(task.cases)} case{'s' if len(task.cases) > 1 else ''}"
        print(printable(f"{place}. {what}, {task.model}: {count}"))
        print(printable(f"   {task.sentence}"))
        print(printable(f"   methods: {', '.join(task.methods)}"))
        if 0 < task.diagnosed < len(task.cases):
            print(f"   diagnosed by itself: {task.diagnosed}; the others fail alike")
        print(printable(f"   {task.again}"))
    if not tasks and not as_json:
        print("Nothing to mend: every case passed.")
    raise typer.Exit(1 if tasks else 0)


def _unknown(layer: str) -> str:
    return f"cause not known, parts first at {layer}" if layer else "a side raised"


def _named(folder: Path) -> str:
    return folder.resolve().name
