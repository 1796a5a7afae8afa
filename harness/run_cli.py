"""The command `xai-harness run`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.errors import InvalidInputError
from harness.executor_options import Jobs, On, TaskTimeout, executor_of
from harness.model_options import ModelKeras, Models, ModelTorch, sources
from harness.naming import printable
from harness.sides import Device, InProcess, Sides, Timeout

if TYPE_CHECKING:
    from harness.comparison import Tolerance
    from harness.runner import Selection

Methods = Annotated[
    list[str] | None, typer.Option("--method", help="Method name or glob (quote it); may be repeated.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result alone, no line a case.")]
Input = Annotated[
    Path | None,
    typer.Option(
        "--input",
        help="A .npy file, (batch, *input_shape), instead of the model's example; several inputs by name: .npz.",
    ),
]
Target = Annotated[int | None, typer.Option(help="Class to explain; left out, the largest logit.")]


def run_command(
    suite: Annotated[
        str,
        typer.Option(
            help="quick (digits), default (all models), large (41 methods on the two largest) or catalogue (hours)."
        ),
    ] = "quick",
    models: Models = None,
    methods: Methods = None,
    model_keras: ModelKeras = None,
    model_torch: ModelTorch = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Backend that is trusted; a name, or FILE.py:NAME; left out, that of the methods."),
    ] = None,
    candidate: Annotated[
        str | None,
        typer.Option(
            help="Backend under test: a name, or FILE.py:NAME for one of your own; left out, that of the methods."
        ),
    ] = None,
    dtype: Annotated[list[str] | None, typer.Option(help="float32 or float64; both if left out.")] = None,
    device: Device = "cpu",
    target: Target = None,
    tolerance: Annotated[
        str | None,
        typer.Option(
            metavar="close|NUMBER",
            help="What passes beside what rounding explains: close, or a bound on the relative L2 difference.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Result folder; left out, one under reports/runs with a name of this selection's own."
        ),
    ] = None,
    input_file: Input = None,
    diagnose: Annotated[
        str,
        typer.Option(
            metavar="auto|all|never",
            help="Which failed cases are diagnosed: one of those that fail alike within two minutes, each, or none.",
        ),
    ] = "auto",
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first case that does not pass.")
    ] = False,
    in_process: InProcess = False,
    timeout: Timeout = None,
    jobs: Jobs = None,
    where: On = "processes",
    task_timeout: TaskTimeout = None,
    force: Annotated[
        bool, typer.Option("--force", help="Compute every case again, also where its result is kept.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run methods through reference and candidate, compare every layer, leave a report.

    A run that was interrupted continues where it stopped; finished cases are not run again (see: xai-harness cache),
    unless a side is a file of your own: its code may be another by now.
    """
    from harness.backends import defaults_of_all
    from harness.checks import checked_device, checked_dtype, read_input
    from harness.engine import Store
    from harness.estimate import how_far_off
    from harness.methods import method
    from harness.report import document_of, set_aside, write_report
    from harness.runner import Selection, environment, known_methods, run, select_methods, suite_named
    from harness.terminal import RunDisplay, print_json

    which = checked_which(diagnose)
    chosen = suite_named(suite)
    named = sources(models, model_keras, model_torch)
    selection = Selection(
        models=tuple(named or chosen.models),
        methods=select_methods(methods or (), known_methods() if methods else chosen.methods),
        dtypes=tuple(checked_dtype(name) for name in dtype or chosen.dtypes),
        input=read_input(input_file),
        device=checked_device(device),
        target=target,
        tolerance=checked_tolerance(tolerance),
    )
    usual = defaults_of_all(method(name) for name in selection.methods)
    reference, candidate = reference or usual.reference, candidate or usual.candidate
    asked = described_selection(selection, reference, candidate)
    folder = out or default_folder("models" if named else suite, reference, candidate, asked, chosen.methods)
    executor = executor_of(jobs, where, task_timeout, in_process)
    require_folder(folder)
    count = len(selection.models) * len(selection.methods) * len(selection.dtypes)
    sides_of = Sides(in_process, timeout, per_case=True)
    facts: dict[str, Any] = {}
    notes: list[str] = []
    interrupted = False
    display = RunDisplay(count, as_json, quiet)
    rows: list[dict[str, Any]] = []
    try:
        with sides_of.named(reference, candidate) as (first, second), display:
            selection = replace(selection, reference=first, candidate=second)
            store = Store(force=force)
            facts = environment([first, second])
            rows = run(selection, folder, display.progress, store, executor, fail_fast)
            notes += _diagnosed(rows, which, selection, folder, store, display)
    except KeyboardInterrupt:
        interrupted = True
        rows = rows or display.rows
        notes.append(f"Interrupted: {len(rows)} of {count} cases are here.")
    skipped = [asdict(each) for each in display.skipped]
    if fail_fast and rows and not rows[-1]["passed"] and len(rows) < count:
        notes.append("Stopped at the first case that did not pass (--fail-fast).")
    page = folder
    if rows:
        repeat = repeating(reference, candidate, device, target, tolerance, input_file)
        document = document_of(rows, facts, skipped, repeat, notes=tuple(notes), selection=asked)
        if earlier := set_aside(folder, asked):
            print(
                printable(f"the report of another run that was in {folder} is now in {earlier}"),
                file=sys.stderr,
            )
        page = write_report(document, folder)
    if interrupted:
        print("interrupted; run the same command again to continue where it stopped", file=sys.stderr)
        raise typer.Exit(130) from None
    if not rows:
        raise InvalidInputError(f"nothing to run: {skipped[0]['reason']}" if skipped else "nothing to run")
    passed = sum(bool(row["passed"]) for row in rows)
    if as_json:
        print_json(
            {
                "passed": passed,
                "cases": len(rows),
                "folder": str(folder),
                "report": str(page),
                "rows": rows,
                "skipped": skipped,
                "notes": notes,
            }
        )
    else:
        not_run = sum(each["cases"] for each in skipped)
        left_out = f", {not_run} do not apply" if not_run else ""
        if (sentence := how_far_off(display.computed)) and not quiet:
            print(sentence)
        for note in notes:
            print(printable(note))
        print(printable(f"{passed} of {len(rows)} cases passed{left_out}. Report: {page}"))
    raise typer.Exit(0 if passed == len(rows) else 1)


def _diagnosed(
    rows: list[dict[str, Any]], which: Any, selection: Selection, folder: Path, store: Any, display: Any
) -> list[str]:
    """Gives the failed rows their causes, and says in sentences what was done."""
    from harness.runner import name_causes

    sides: Any = (selection.reference, selection.candidate)
    done = name_causes(rows, which, selection, sides, folder, store, display.started)
    return [done.sentence] if done.sentence and which != "never" else []


def checked_which(text: str) -> Any:
    """Which failures are diagnosed. Raises InvalidInputError."""
    if text not in ("auto", "all", "never"):
        raise InvalidInputError(f"--diagnose is {text!r}; expected auto, all or never")
    return text


def checked_tolerance(text: str | None) -> Tolerance:
    """What ``--tolerance`` says. Raises InvalidInputError."""
    from harness.comparison.verdict import tolerance_in

    return None if text is None else tolerance_in(text, "--tolerance")


def described_selection(selection: Selection, reference: str, candidate: str) -> dict[str, Any]:
    """What a run was asked for, as plain data: two runs with the same are of the same cases."""
    from harness.files import input_digest
    from harness.runner.run import plain_source

    return {
        "models": [plain_source(each) for each in selection.models],
        "methods": list(selection.methods),
        "dtypes": list(selection.dtypes),
        "reference": reference,
        "candidate": candidate,
        "device": selection.device,
        "target": selection.target,
        "tolerance": selection.tolerance,
        "input": None if selection.input is None else input_digest(selection.input),
    }


def default_folder(
    name: str, reference: str, candidate: str, asked: Mapping[str, Any], suite_methods: tuple[str, ...]
) -> Path:
    """A folder under reports/runs that no other selection has.

    A whole suite with nothing else asked for has its name and those of the sides; every other selection has the first
    digits of its digest behind them.
    """
    from harness.files import json_digest

    plain = {"device": "cpu", "target": None, "tolerance": None, "input": None}
    whole = (
        name != "models"
        and asked["methods"] == list(suite_methods)
        and asked["dtypes"] == ["float64", "float32"]
        and all(asked[key] == value for key, value in plain.items())
    )
    ending = "" if whole else f"-{json_digest(asked)[:8]}"
    return Path("reports") / "runs" / f"{name}-{as_file_name(reference)}-{as_file_name(candidate)}{ending}"


def require_folder(folder: Path, option: str = "--out") -> None:
    """Raise InvalidInputError before the first case where nothing could be left in ``folder``, named by ``option``."""
    if folder.exists() and not folder.is_dir():
        raise InvalidInputError(f"{option} {folder} is a file; name a folder")
    standing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not standing.is_dir():
        raise InvalidInputError(f"{option} {folder}: {standing} is a file; name another folder")
    try:
        with tempfile.NamedTemporaryFile(dir=standing, prefix=".xai-harness-"):
            pass
    except OSError as error:
        raise InvalidInputError(
            f"{option} {folder} cannot be written ({error.strerror}: {standing}); name another folder"
        ) from None


def repeating(
    reference: str,
    candidate: str,
    device: str,
    target: int | None,
    tolerance: str | None,
    input_file: Path | None,
) -> Callable[[Mapping[Any, Any]], list[str]]:
    """The words of the command that repeats the case of a row, with the options of this run."""

    def words(row: Mapping[Any, Any]) -> list[str]:
        source = row.get("source") or {"model": str(row["model"])}
        given = {
            "--model": source.get("model"),
            "--model-keras": source.get("keras"),
            "--model-torch": source.get("torch"),
            "--method": row["method"],
            "--dtype": row["dtype"],
            "--reference": reference,
            "--candidate": candidate,
            "--device": None if device == "cpu" else device,
            "--target": target,
            "--tolerance": tolerance,
            "--input": input_file,
        }
        pairs = ((name, str(value)) for name, value in given.items() if value not in (None, ""))
        return ["run", *(word for pair in pairs for word in pair)]

    return words


def as_file_name(backend: str) -> str:
    """The name of a backend as part of a file name; two files of one name are told apart by where they lie."""
    from harness.backends import is_user_file
    from harness.files import json_digest
    from harness.naming import file_name

    if not is_user_file(backend):
        return file_name(backend)
    file, _, name = backend.rpartition(":")
    return file_name(f"{os.path.basename(file)}-{name}-{json_digest(str(Path(file).resolve()))[:8]}")
