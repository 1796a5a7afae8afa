"""The command `xai-harness stability`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.model_options import ModelKeras, ModelTorch, one_case
from harness.naming import printable
from harness.sides import InProcess, Sides, Timeout

if TYPE_CHECKING:
    from harness.methods import Method
    from harness.stability.result import Stability


def stability_command(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] METHOD",
            help="Zoo name, model file or FILE.py:NAME of a torch module (left out with a pair), then a method name or "
            "a .json file of harness.methods.to_json.",
        ),
    ],
    model_keras: ModelKeras = None,
    model_torch: ModelTorch = None,
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="A .npy file, (batch, *input_shape), instead of the model's example; several inputs by name: .npz.",
        ),
    ] = None,
    target: Annotated[int | None, typer.Option(help="Class to explain; left out, the largest logit.")] = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    backend: Annotated[
        str | None,
        typer.Option(help="Backend whose run is analysed; left out, the reference of the method's family."),
    ] = None,
    stabilizers: Annotated[
        bool, typer.Option("--stabilizers/--no-stabilizers", help="Try three stabilizer forms too.")
    ] = True,
    epsilon: Annotated[float, typer.Option(help="Epsilon of the three forms.")] = 0.1,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for report.html, layers.csv, ledger.csv, forms.csv and stability.json."),
    ] = None,
    in_process: InProcess = False,
    timeout: Timeout = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Say where relevance becomes extreme or NaN, and why. Exit status 1 if something is not finite."""
    from rich.console import Console
    from rich.text import Text

    from harness.backends import defaults_of
    from harness.checks import checked_dtype, read_input
    from harness.runner import chosen_input
    from harness.stability import analyse
    from harness.stability.show import show
    from harness.terminal import print_json

    # What costs nothing to check comes before the model is loaded.
    named_model, method = one_case(words, model_keras, model_torch)
    wanted = _read_method(method)
    checked_dtype(dtype)
    given = read_input(input_file)
    loaded = named_model.load(given)
    x, _ = chosen_input(loaded, given)
    console = Console(stderr=True, highlight=False, markup=False)
    try:
        named = Sides(in_process, timeout).named(backend or defaults_of(wanted).reference)
        with named as (chosen,), console.status("starting") as status:

            def report(what: str) -> None:
                status.update(Text(printable(what)))

            stability = analyse(
                loaded, x, wanted, chosen, target, dtype, stabilizers, epsilon, progress=report
            )
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        raise typer.Exit(130) from None
    if out is not None:
        write_tables(stability, out)
    if as_json:
        print_json(stability.to_json())
    else:
        show(stability)
        if out is not None:
            print(f"\nTables: {out}")
    raise typer.Exit(1 if stability.origin is not None else 0)


def write_tables(stability: Stability, folder: Path) -> None:
    """Write its tables and its page into ``folder``, each file atomically; forms.csv only where forms were tried."""
    from harness.files import write_json, write_text
    from harness.report import PAGE

    write_text(folder / "layers.csv", stability.table.to_csv(index=False))
    write_text(folder / "ledger.csv", stability.ledger_table.to_csv(index=False))
    if stability.forms is not None:
        write_text(folder / "forms.csv", stability.forms_table.to_csv(index=False))
    write_json(folder / "stability.json", stability.to_json())
    write_text(folder / PAGE, page(stability))


def page(stability: Stability) -> str:
    """The page of an analysis: the sentence, and its tables."""
    from harness.report import tables_html

    tables = {
        "Layers, from the output back": stability.table,
        "Conservation, by layer and sample": stability.ledger_table,
    }
    if stability.forms is not None:
        tables["Stabilizer forms"] = stability.forms_table
    case = f"{stability.model}, {stability.method.name}, {stability.backend} {stability.dtype}"
    return tables_html(
        f"Stability of {case}",
        stability.sentence.splitlines(),
        {heading: table.to_dict("records") for heading, table in tables.items()},
    )


def _read_method(name: str) -> Method:
    """The method of a catalogue name, or of a JSON file."""
    from harness.errors import InvalidInputError
    from harness.methods import Method, from_json
    from harness.methods import method as method_named

    if not name.endswith(".json"):
        return method_named(name)
    try:
        read = from_json(json.loads(Path(name).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InvalidInputError(f"{name} does not exist; write one with harness.methods.to_json") from None
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{name} is no readable method ({error}); write one with to_json") from None
    if not isinstance(read, Method):
        raise InvalidInputError(
            f"{name} holds {type(read).__name__}, expected a Method; write one with harness.methods.to_json"
        )
    return read
