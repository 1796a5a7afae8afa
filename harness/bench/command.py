"""The command `xai-harness bench`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.model_options import ModelKeras, ModelTorch, Words, one_case
from harness.naming import printable
from harness.sides import Device, InProcess, Sides, Timeout

if TYPE_CHECKING:
    from harness.bench.result import Bench, BenchRow


def bench_command(
    words: Words,
    model_keras: ModelKeras = None,
    model_torch: ModelTorch = None,
    reference: Annotated[
        str | None, typer.Option(help="Backend that is trusted; left out, the reference of the method.")
    ] = None,
    candidate: Annotated[
        str | None,
        typer.Option(help="Backend under test: a name, or FILE.py:NAME; left out, the port of the method."),
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    device: Device = "cpu",
    repeat: Annotated[int, typer.Option(help="How often each side is timed.")] = 5,
    target: Annotated[int | None, typer.Option(help="Class to explain; left out, the largest logit.")] = None,
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="A .npy file, (batch, *input_shape), instead of the model's example; several inputs by name: .npz.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for bench.html and bench.parquet.")] = None,
    in_process: InProcess = False,
    timeout: Timeout = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Time both sides on one case and compare them, by layer and in all. Exit status 1 if they differ."""
    from rich.console import Console
    from rich.text import Text

    from harness.backends import defaults_of
    from harness.bench import bench
    from harness.bench.page import write_bench
    from harness.checks import checked_dtype, read_input
    from harness.methods import method as method_named
    from harness.run_cli import require_folder
    from harness.runner import chosen_input

    if out is not None:
        require_folder(out)
    named_model, method = one_case(words, model_keras, model_torch)
    usual, dtype = defaults_of(method_named(method)), checked_dtype(dtype)
    given = read_input(input_file)
    loaded = named_model.load(given)
    x, _ = chosen_input(loaded, given)
    console = Console(stderr=True, highlight=False, markup=False)
    sides = reference or usual.reference, candidate or usual.candidate
    try:
        named = Sides(in_process, timeout).named(*sides)
        with named as (first, second), console.status("starting") as status:
            measured = bench(
                loaded,
                x,
                method,
                first,
                second,
                target,
                dtype,
                device,
                repeat,
                progress=lambda what: status.update(Text(printable(what))),
            )
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        raise typer.Exit(130) from None
    if out is not None:
        write_bench(measured, out)
    if as_json:
        print(json.dumps(measured.to_json(), allow_nan=False))
    else:
        _show(measured)
        if out is not None:
            print(printable(f"Page and table: {out}"))
    raise typer.Exit(0 if measured.comparison.passed else 1)


def _show(measured: Bench) -> None:
    import pandas

    print(
        printable(
            f"candidate {measured.candidate} against reference {measured.reference}: "
            f"{measured.model}, {measured.method}, {measured.dtype}, median of {measured.repeat}"
        )
    )
    for note in measured.notes:
        print(printable(f"note: {note}"))
    # Wider than most terminals, and still to be read by line: nothing is cut off.
    for line in pandas.DataFrame([_shown(row) for row in measured.rows]).to_string(index=False).splitlines():
        print(printable(line))
    print(f"Verdict: {measured.comparison.verdict}")


def _shown(row: BenchRow) -> dict[str, str]:
    spreads = {
        f"{name} {prefix}": f"{getattr(spread, name):.3g}"
        for prefix, spread in (("ref", row.reference), ("cand", row.candidate), ("diff", row.difference))
        for name in ("min", "max", "mean", "std")
    }
    return {
        "layer": row.layer,
        "ref s": _number(row.ref_seconds),
        "cand s": _number(row.cand_seconds),
        "speed-up": _number(row.speed_up),
        "ref MB": _number(row.ref_peak_bytes / 1e6),
        "cand MB": _number(row.cand_peak_bytes / 1e6),
        "mae": f"{row.mae:.2g}",
        "max abs": f"{row.max_abs:.2g}",
        **spreads,
        "verdict": row.verdict,
    }


def _number(value: float) -> str:
    return "" if value != value else f"{value:.3g}"
