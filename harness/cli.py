"""The command line. Exit status: 0 everything passed, 1 something did not, 2 wrong use, 130 interrupted."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from harness.bench.command import bench_command
from harness.cache_cli import app as cache_app
from harness.diagnose_cli import diagnose_command
from harness.errors import HarnessError, InvalidInputError, described
from harness.estimate.command import estimate_command
from harness.executor_options import Jobs, On, TaskTimeout, executor_of
from harness.golden_cli import app as golden_app
from harness.history_cli import history_command
from harness.inspect_cli import inspect_command
from harness.model_options import ModelKeras, Models, ModelTorch, sources
from harness.naming import printable
from harness.peers_cli import app as peers_app
from harness.sides import Device, InProcess, Sides, Timeout
from harness.stability.command import stability_command


class _Commands(typer.core.TyperGroup):
    """The commands; one that other people's code ends by `sys.exit` has not done what it was asked for."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (SystemExit, GeneratorExit) as error:
            raise HarnessError(
                f"ended before it was done, by {described(error)} from code that it ran; "
                "take that out of the candidate or the model"
            ) from None


app = typer.Typer(
    cls=_Commands,
    help="Do two implementations of an explanation method compute the same thing, and if not, where do they part?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(golden_app, name="golden")
app.add_typer(peers_app, name="peers")
app.add_typer(cache_app, name="cache")
app.command("bench")(bench_command)
app.command("diagnose")(diagnose_command)
app.command("stability")(stability_command)
app.command("history")(history_command)
app.command("inspect")(inspect_command)
app.command("estimate")(estimate_command)

Methods = Annotated[
    list[str] | None, typer.Option("--method", help="Method name or glob (quote it); may be repeated.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Candidate = Annotated[
    str | None,
    typer.Option(
        help="Backend under test: a name, or FILE.py:NAME for one of your own; left out, that of the methods."
    ),
]
Reference = Annotated[
    str | None,
    typer.Option(help="Backend that is trusted; a name, or FILE.py:NAME; left out, that of the methods."),
]
Input = Annotated[
    Path | None,
    typer.Option("--input", help="A .npy file, (batch, *input_shape), instead of the model's example."),
]


@app.command("run")
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
    reference: Reference = None,
    candidate: Candidate = None,
    dtype: Annotated[list[str] | None, typer.Option(help="float32 or float64; both if left out.")] = None,
    device: Device = "cpu",
    out: Annotated[Path | None, typer.Option(help="Result folder; left out, one under reports/runs.")] = None,
    input_file: Input = None,
    in_process: InProcess = False,
    timeout: Timeout = None,
    jobs: Jobs = None,
    where: On = "processes",
    task_timeout: TaskTimeout = None,
    force: Annotated[
        bool, typer.Option("--force", help="Compute every case again, also where its result is kept.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run methods through reference and candidate, compare every layer, leave a report.

    A run that was interrupted continues where it stopped; finished cases are not run again (see: xai-harness cache),
    unless a side is a file of your own: its code may be another by now.
    """
    from harness.backends import defaults_of_all
    from harness.checks import checked_device, checked_dtype, read_array
    from harness.engine import Store
    from harness.estimate import how_far_off
    from harness.methods import method
    from harness.report import write_summary
    from harness.runner import (
        Selection,
        environment,
        known_methods,
        run,
        select_methods,
        suite_named,
    )
    from harness.terminal import RunDisplay

    chosen = suite_named(suite)
    named = sources(models, model_keras, model_torch)
    selection = Selection(
        models=tuple(named or chosen.models),
        methods=select_methods(methods or (), known_methods() if methods else chosen.methods),
        dtypes=tuple(checked_dtype(name) for name in dtype or chosen.dtypes),
        input=read_array(input_file),
        device=checked_device(device),
    )
    usual = defaults_of_all(method(name) for name in selection.methods)
    reference, candidate = reference or usual.reference, candidate or usual.candidate
    sides = f"{_as_file_name(reference)}-{_as_file_name(candidate)}"
    folder = out or Path("reports") / "runs" / f"{'models' if named else suite}-{sides}"
    count = len(selection.models) * len(selection.methods) * len(selection.dtypes)
    sides_of = Sides(in_process, timeout, per_case=True)
    executor = executor_of(jobs, where, task_timeout, in_process)
    try:
        with sides_of.named(reference, candidate) as (first, second), RunDisplay(count, as_json) as display:
            selection = replace(selection, reference=first, candidate=second)
            rows = run(selection, folder, display.progress, Store(force=force), executor)
            facts = environment([first, second])
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue where it stopped", file=sys.stderr)
        raise typer.Exit(130) from None
    skipped = [asdict(each) for each in display.skipped]
    if not rows:
        raise InvalidInputError(f"nothing to run: {skipped[0]['reason']}" if skipped else "nothing to run")
    write_summary(rows, folder, facts, skipped)
    passed = sum(bool(row["passed"]) for row in rows)
    if as_json:
        document = {
            "passed": passed,
            "cases": len(rows),
            "folder": str(folder),
            "rows": rows,
            "skipped": skipped,
        }
        print(json.dumps(document))
    else:
        not_run = sum(each["cases"] for each in skipped)
        left_out = f", {not_run} do not apply" if not_run else ""
        if said := how_far_off(display.computed):
            print(said)
        print(printable(f"{passed} of {len(rows)} cases passed{left_out}. Report: {folder / 'summary.md'}"))
    raise typer.Exit(0 if passed == len(rows) else 1)


@app.command("methods")
def methods_command(
    patterns: Annotated[
        list[str] | None,
        typer.Argument(metavar="[GLOB]...", help="Names to list (quote globs); all if left out."),
    ] = None,
    dialect: Annotated[str | None, typer.Option(help="innvestigate, signxai, zennit or dlbacktrace.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the methods: name, family, dialect, parameters, source."""
    from fnmatch import fnmatchcase

    from harness.errors import UnknownNameError
    from harness.methods import CATALOGUE, DIALECTS

    if dialect is not None and dialect not in DIALECTS:
        raise UnknownNameError("dialect", dialect, DIALECTS)
    rows = [
        {
            "name": name,
            "family": entry.family,
            "dialect": entry.dialect,
            "parameters": dict(entry.parameters),
            "source": entry.source,
        }
        for name, entry in CATALOGUE.items()
        if (dialect is None or entry in DIALECTS[dialect])
        and (not patterns or any(fnmatchcase(name, pattern) for pattern in patterns))
    ]
    if not rows:
        raise InvalidInputError(f"no method matches {', '.join(patterns or ())!r}; see: xai-harness methods")
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    _print_table(
        [{**row, "parameters": ", ".join(row["parameters"])} for row in rows],
        ("name", "family", "dialect", "parameters", "source"),
    )
    print("Parameters follow a colon: lrp.epsilon:epsilon=0.25,input_layer_rule=flat")
    print("Names of signxai take other values too: lrp_epsilon_0_33, lrpsign_epsilon_0_4_std_x_mu_neg_1_5")


@app.command("models")
def models_command(as_json: AsJson = False) -> None:
    """List the model zoo: input, classes, licence, source, and whether the weights are here."""
    from harness.doctor import zoo_rows

    rows = zoo_rows()
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    _print_table(rows, ("name", "input_shape", "classes", "licence", "source", "available"))


@app.command("backends")
def backends_command(as_json: AsJson = False) -> None:
    """List the backends, their versions, and what is missing."""
    from harness.doctor import backend_rows

    rows = backend_rows()
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    _print_table(rows, ("name", "available", "versions", "note"))


@app.command("doctor")
def doctor_command(as_json: AsJson = False) -> None:
    """Say what this machine has and lacks, and what to do about it. Exit status 1 if something is missing."""
    from harness.doctor import findings

    rows = findings()
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        _print_table(rows, ("check", "ok", "found", "next"))
    raise typer.Exit(0 if all(row["ok"] for row in rows) else 1)


def _as_file_name(backend: str) -> str:
    """The name of a backend as part of a file name; two files of one name are told apart by where they lie."""
    from harness.backends import is_user_file
    from harness.files import json_digest
    from harness.naming import file_name

    if not is_user_file(backend):
        return file_name(backend)
    file, _, name = backend.rpartition(":")
    return file_name(f"{Path(file).name}-{name}-{json_digest(str(Path(file).resolve()))[:8]}")


def _print_table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    from harness.terminal import print_table

    print_table(rows, columns)


def main() -> None:
    """Entry point of `xai-harness`: a mistake of the user's is one line and exit status 2, never a traceback."""
    # Two frameworks share the processors: a thread that has nothing to do must not spin while the other works.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Downloads are announced by log records; a long silence would look like a hang.
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("ported_models").setLevel(logging.INFO)
    try:
        app()
    except HarnessError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            _fail(
                f"the disk is full ({error.filename or 'while writing'}); "
                "free some space and run the same command again"
            )
        if isinstance(error, PermissionError):
            _fail(
                f"{error.filename or 'a file'} cannot be written or read: permission denied; choose another --out"
            )
        if isinstance(error, NotADirectoryError | FileExistsError | IsADirectoryError):
            _fail(f"{error.filename or 'a path'} is in the way ({error.strerror}); choose another --out")
        raise


def _fail(message: str) -> None:
    print("error: " + printable(" ".join(message.split())), file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
