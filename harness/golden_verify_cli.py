"""The command `xai-harness golden verify`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.executor_options import Jobs, On, TaskTimeout, executor_of
from harness.golden_options import (
    GOLDEN_ROOT,
    AsJson,
    Dtypes,
    Methods,
    RootFolder,
    Suite,
    is_wanted,
    selection,
)
from harness.model_options import ModelKeras, Models, ModelTorch, sources
from harness.naming import printable
from harness.sides import InProcess, Sides, Timeout


def verify_command(
    models: Models = None,
    methods: Methods = None,
    model_keras: ModelKeras = None,
    model_torch: ModelTorch = None,
    suite: Suite = None,
    candidate: Annotated[
        str, typer.Option(help="Backend under test: a name, or FILE.py:NAME for one of your own.")
    ] = "torch",
    dtype: Dtypes = None,
    root: RootFolder = GOLDEN_ROOT,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Result folder; left out, one under reports/runs with a name of this selection's own."
        ),
    ] = None,
    junitxml: Annotated[Path | None, typer.Option(help="Write the result as JUnit XML, too.")] = None,
    in_process: InProcess = False,
    timeout: Timeout = None,
    causes: Annotated[
        int, typer.Option(min=0, help="Of so many goldens that regressed, look for the cause.")
    ] = 5,
    jobs: Jobs = None,
    where: On = "processes",
    task_timeout: TaskTimeout = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first golden that does not hold.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print what does not hold and the result, no line a golden.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the candidate against the stored goldens; the reference's framework is not needed."""
    from harness.errors import InvalidInputError
    from harness.files import json_digest
    from harness.golden import Models as Loaded
    from harness.golden import inspect, nothing_there, verify_all, verify_spread
    from harness.golden.causes import name_causes
    from harness.golden.summary import counted, junit, not_held
    from harness.report import document_of, set_aside, write_report
    from harness.run_cli import as_file_name, require_folder
    from harness.runner import environment
    from harness.terminal import Watch, print_json

    wanted, patterns = selection(models, model_keras, methods, suite, dtype)
    inspected = inspect(root)
    names = [name for name in inspected.manifest.entries if is_wanted(name, wanted, patterns, dtype)]
    if not names and not inspected.problems:
        raise InvalidInputError(nothing_there(root, wanted, patterns))
    asked = {"goldens": str(root), "names": names, "candidate": candidate}
    whole = len(names) == len(inspected.manifest.entries) and root == GOLDEN_ROOT
    ending = "" if whole else f"-{json_digest(asked)[:8]}"
    folder = out or Path("reports") / "runs" / f"golden-{as_file_name(candidate)}{ending}"
    require_folder(folder)
    given = sources(models, model_keras, model_torch)
    loaded = Loaded(tuple(given))
    executor = executor_of(jobs, where, task_timeout, in_process)

    def wants(name: str) -> bool:
        return is_wanted(name, wanted, patterns, dtype)

    rows: list[dict[str, Any]] = []
    facts: dict[str, Any] = {}
    notes: list[str] = []
    interrupted = False
    try:
        with (
            Sides(in_process, timeout, per_case=True).named(candidate) as (backend,),
            Watch(len(names), as_json or quiet) as watch,
        ):
            facts = environment([backend]) | {"goldens": str(root)}
            if executor is None:
                judged = verify_all(inspected, backend, loaded, wants, folder, watch.started)
            else:
                judged = verify_spread(inspected, backend, given, executor, wants, folder, watch.started)
            for row in judged:
                row.setdefault("candidate", backend.name)
                rows.append(row)
                lines = [row["layers"]] if row["layers"] else []
                lines.append(f"{'pass' if row['passed'] else 'FAIL'}  {row['case']}  {row['message']}")
                watch.finished("\n".join(lines), bool(row["passed"]))
                if fail_fast and not row["passed"]:
                    notes.append("Stopped at the first golden that does not hold (--fail-fast).")
                    break
            name_causes(rows, inspected, backend, loaded, causes, watch.started)
    except KeyboardInterrupt:
        notes.append(f"Interrupted: {len(rows)} of {len(names)} goldens are here.")
        interrupted = True
    # What is wrong with the root first, then the entries by name, whoever was done first.
    order = {name: place for place, name in enumerate(sorted(inspected.entries), start=1)}
    rows.sort(key=lambda row: order.get(row["case"], 0))
    kept = [{key: value for key, value in row.items() if key not in ("layers", "case")} for row in rows]
    page = folder
    if kept:
        title = "Goldens verified"
        report = document_of(
            kept, facts, (), _verify_again(root), notes=tuple(notes), selection=asked, title=title
        )
        if earlier := set_aside(folder, asked):
            print(
                printable(f"the report of another run that was in {folder} is now in {earlier}"),
                file=sys.stderr,
            )
        page = write_report(report, folder)
    if interrupted:
        print("interrupted; run the same command again", file=sys.stderr)
        raise typer.Exit(130) from None
    if junitxml is not None:
        junit(rows, junitxml)
    passed = sum(bool(row["passed"]) for row in rows)
    if as_json:
        for row in rows:
            del row["layers"]
        document = {
            "passed": passed,
            "cases": len(rows),
            "folder": str(folder),
            "report": str(page),
            "rows": rows,
            "leftovers": list(inspected.leftovers),
        }
        print_json(document)
    else:
        for leftover in inspected.leftovers:
            print(
                printable(f"left by an interrupted recording, harmless: {leftover}; xai-harness golden prune")
            )
        for line in not_held(rows):
            print(printable(line))
        print(printable(counted(rows)))
        print(printable(f"{passed} of {len(rows)} goldens hold. Report: {page}"))
    raise typer.Exit(0 if passed == len(rows) else 1)


def _verify_again(root: Path) -> Callable[[Mapping[Any, Any]], list[str]]:
    """The words of the command that verifies one golden again, by its row."""
    return lambda row: [
        *("golden", "verify", "--root", str(root), "--model", str(row["model"])),
        *("--method", str(row["method"]), "--dtype", str(row["dtype"]), "--candidate", str(row["candidate"])),
    ]
