"""The command `xai-harness validate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.model_options import ModelKeras, ModelTorch, Words, one_case
from harness.naming import printable
from harness.sides import InProcess, Sides, Timeout

if TYPE_CHECKING:
    from harness.validation.analysis import Validation


def validate_command(
    words: Words,
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
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float64",
    candidate: Annotated[
        str | None,
        typer.Option(help="Backend to validate: a name, or FILE.py:NAME; left out, the port of the method."),
    ] = None,
    in_process: InProcess = False,
    timeout: Timeout = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Sums, NaN and Inf, and what each layer hands on of what it received. Exit status 1 where one is off."""
    from harness.backends import defaults_of
    from harness.checks import checked_dtype, read_input
    from harness.methods import method as method_named
    from harness.runner import chosen_input
    from harness.terminal import print_json
    from harness.validation.analysis import validate

    source, method = one_case(words, model_keras, model_torch)
    resolved = method_named(method)
    checked_dtype(dtype)
    given = read_input(input_file)
    loaded = source.load(given)
    x, _ = chosen_input(loaded, given)
    try:
        with Sides(in_process, timeout).named(candidate or defaults_of(resolved).candidate) as (side,):
            found = validate(loaded, x.astype(dtype), resolved, side, target, dtype)
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        raise typer.Exit(130) from None
    if as_json:
        print_json(found.to_json())
    else:
        _show(found)
    raise typer.Exit(0 if found.passed else 1)


_COLUMNS = (
    "layer",
    "kind",
    "received",
    "passed on",
    "by the rule",
    "factor",
    "min",
    "mean",
    "max",
    "std",
    "note",
)


def _show(found: Validation) -> None:
    from harness.terminal import print_table

    print(printable(f"{found.backend}: {found.method} on {found.model}, {found.dtype}"))
    print(f"relevance begins with {found.start:.6g}; the attribution has {found.end:.6g} in sum")
    rows = []
    for each in found.layers:
        figures = {
            "received": each.received,
            "passed on": each.passed,
            "by the rule": each.by_rule,
            "factor": each.factor,
            "min": each.statistics.min,
            "mean": each.statistics.mean,
            "max": each.statistics.max,
            "std": each.statistics.std,
        }
        shown = {name: f"{figure:.4g}" for name, figure in figures.items() if figure is not None}
        note = "" if each.right and each.finite else "off"
        rows.append({"layer": each.layer, "kind": each.kind, **shown, "note": note})
    print_table(rows, _COLUMNS)
    for sentence in found.sentences:
        print(printable(sentence))
    if found.passed:
        print("all layers are finite and hand on what their rules do")
