"""The command line. Exit status: 0 everything passed, 1 something did not, 2 wrong use, 130 interrupted."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated, Any

import typer
import typer.core

from harness.bench.command import bench_command
from harness.cache_cli import app as cache_app
from harness.compare_cli import compare_command
from harness.diagnose_cli import diagnose_command
from harness.errors import HarnessError, InvalidInputError, described
from harness.estimate.command import estimate_command
from harness.golden_cli import app as golden_app
from harness.help_cli import name_values, show_whole_sentences
from harness.history_cli import history_command
from harness.inspect_cli import inspect_command
from harness.log_cli import DEFAULT, HELP, LEVELS, OPTION, at_the_front, show_from
from harness.naming import printable
from harness.peers_cli import app as peers_app
from harness.plain import json_text
from harness.report_cli import report_command, worklist_command
from harness.run_cli import AsJson, run_command
from harness.stability.command import stability_command
from harness.validation.command import validate_command
from harness.watch_cli import watch_command

#: What the parser of the command line raises. Some versions of typer carry a click of their own.
_UsageError: Any = typer.BadParameter.__base__


class _Commands(typer.core.TyperGroup):
    """The commands; one that other people's code ends by `sys.exit` has not done what it was asked for."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is None:
            return None
        for each in getattr(command, "commands", {}).values():
            name_values(each)
        return name_values(command)

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
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"xai-harness {version('xai-harness')}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    log_level: Annotated[str, typer.Option(OPTION, metavar="LEVEL", help=HELP)] = DEFAULT,
) -> None:
    if log_level not in LEVELS:
        raise InvalidInputError(f"{OPTION} {log_level!r}; expected {', '.join(LEVELS)}")
    show_from(log_level)


app.add_typer(golden_app, name="golden")
app.add_typer(peers_app, name="peers")
app.add_typer(cache_app, name="cache")
app.command("bench")(bench_command)
app.command("run")(run_command)
app.command("diagnose")(diagnose_command)
app.command("report")(report_command)
app.command("worklist")(worklist_command)
app.command("compare")(compare_command)
app.command("watch")(watch_command)
app.command("stability")(stability_command)
app.command("validate")(validate_command)
app.command("history")(history_command)
app.command("inspect")(inspect_command)
app.command("estimate")(estimate_command)


@app.command("methods")
def methods_command(
    patterns: Annotated[
        list[str] | None,
        typer.Argument(metavar="[GLOB]...", help="Names to list (quote globs); all if left out."),
    ] = None,
    dialect: Annotated[
        str | None,
        typer.Option(
            help="Those of one library or family: innvestigate, signxai, zennit, captum, signxai2, dlbacktrace, "
            "transformers or lxt."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the methods: name, family, dialect, parameters, source."""
    from fnmatch import fnmatchcase

    from harness.errors import UnknownNameError
    from harness.methods import CATALOGUE, DIALECTS
    from harness.terminal import print_json, print_table

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
        print_json(rows, indent=1)
        return
    print_table(
        [{**row, "parameters": ", ".join(row["parameters"])} for row in rows],
        ("name", "family", "dialect", "parameters", "source"),
    )
    print("Parameters follow a colon: lrp.epsilon:epsilon=0.25,input_layer_rule=flat")
    print("Names of signxai take other values too: lrp_epsilon_0_33, lrpsign_epsilon_0_4_std_x_mu_neg_1_5")


@app.command("models")
def models_command(as_json: AsJson = False) -> None:
    """List the model zoo: input, classes, licence, source, and whether the weights are here."""
    from harness.doctor import zoo_rows
    from harness.terminal import print_json, print_table

    rows = zoo_rows()
    if as_json:
        print_json(rows, indent=1)
        return
    print_table(rows, ("name", "input_shape", "classes", "licence", "source", "available"))


@app.command("backends")
def backends_command(as_json: AsJson = False) -> None:
    """List the backends, their versions, and what is missing."""
    from harness.doctor import backend_rows
    from harness.terminal import print_json, print_table

    rows = backend_rows()
    if as_json:
        print_json(rows, indent=1)
        return
    print_table(rows, ("name", "available", "versions", "note"))


@app.command("doctor")
def doctor_command(as_json: AsJson = False) -> None:
    """Say what this machine has and lacks, and what to do about it. Exit status 1 if something is missing."""
    from harness.doctor import findings
    from harness.terminal import print_json, print_table

    rows = findings()
    if as_json:
        print_json(rows, indent=1)
    else:
        print_table(rows, ("check", "ok", "found", "next"))
    raise typer.Exit(0 if all(row["ok"] for row in rows) else 1)


show_whole_sentences(app)


def main() -> None:
    """Entry point of `xai-harness`: a mistake of the user's is one line and exit status 2, never a traceback.

    With --json the line is a document too: ``{"error": ...}`` on standard output.
    """
    # Two frameworks share the processors: a thread that has nothing to do must not spin while the other works.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # What TensorFlow says while it starts is no concern of the user's; both ways of loading a model run the same one.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    show_from(DEFAULT)
    try:
        status = app(args=at_the_front(sys.argv[1:]), standalone_mode=False)
    except HarnessError as error:
        _fail(str(error))
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.ctx.get_help())
            sys.exit(2)
        where = error.ctx.command_path if error.ctx else "xai-harness"
        message = error.format_message().rstrip(".")
        _fail(f"{message}{' See' if message.endswith('?') else '; see'}: {where} --help")
    except (typer.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe has had enough: `xai-harness methods | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        _fail(_system_sentence(error))
    sys.exit(status if isinstance(status, int) else 0)


def _system_sentence(error: OSError) -> str:
    """What an operating-system error means, and what to do."""
    what = error.filename if isinstance(error.filename, str) else "a file"
    if error.errno == errno.ENOSPC:
        return f"the disk is full ({error.filename or 'while writing'}); free some space and run the same command again"
    if isinstance(error, PermissionError):
        return f"{what} cannot be written or read: permission denied; change its permissions, or name another place"
    if isinstance(error, NotADirectoryError | FileExistsError | IsADirectoryError):
        return f"{what} is in the way ({error.strerror}); name another place"
    if isinstance(error, FileNotFoundError):
        return f"{what} does not exist; check the path"
    return f"{error.strerror or described(error)} ({what}); mend that and run the same command again"


def _fail(message: str) -> None:
    line = printable(" ".join(message.split()))
    print("error: " + line, file=sys.stderr)
    if "--json" in sys.argv[1:]:
        print(json_text({"error": line}))
    sys.exit(2)


if __name__ == "__main__":
    main()
