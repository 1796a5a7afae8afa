"""The command `xai-harness estimate`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.naming import printable
from harness.sides import InProcess, Sides, Timeout

if TYPE_CHECKING:
    from harness.backends import Backend
    from harness.methods import Method


def estimate_command(
    model: Annotated[
        str | None, typer.Argument(help="Zoo name or model file; left out with --model-keras.")
    ] = None,
    method: Annotated[str | None, typer.Argument(help="Method name; see: xai-harness methods")] = None,
    model_keras: Annotated[
        str | None, typer.Option("--model-keras", metavar="FILE", help="The Keras side of a pair.")
    ] = None,
    model_torch: Annotated[
        str | None, typer.Option("--model-torch", metavar="FILE.py:NAME", help="Its torch side; it is run.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Backend that is trusted; left out, the reference of the method.")
    ] = None,
    candidate: Annotated[
        str | None,
        typer.Option(help="Backend under test: a name, or FILE.py:NAME; left out, the port of the method."),
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="A .npy file, (batch, *input_shape), instead of the model's example; several inputs by name: .npz.",
        ),
    ] = None,
    queries: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="So many targets of one sample, by the candidate alone."),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="What they may take at most; 4G if left out.")
    ] = None,
    in_process: InProcess = False,
    timeout: Timeout = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Say what a case will take in time, memory and bytes, without computing it.

    The first time on a machine a few small networks are run, which takes some seconds.
    """
    from rich.console import Console

    from harness.api import list_models
    from harness.backends import defaults_of
    from harness.checks import checked_dtype, read_input
    from harness.engine import Store
    from harness.errors import InvalidInputError, UnknownNameError
    from harness.estimate import estimate, measured_machine
    from harness.methods import method as method_named
    from harness.model_sources import Source
    from harness.pairs import check_applies
    from harness.runner import chosen_input

    if model_keras or model_torch:
        if method is not None or not (model_keras and model_torch):
            raise InvalidInputError(
                "a pair has two sides and no MODEL: estimate METHOD --model-keras FILE --model-torch FILE.py:NAME"
            )
        model, method = None, model
    if method is None:
        raise InvalidInputError("the method is missing: xai-harness estimate MODEL METHOD")
    # What costs nothing to check comes first; the model comes after the machine, whose memory it would be counted in.
    wanted, dtype = method_named(method), checked_dtype(dtype)
    usual = defaults_of(wanted)
    reference, candidate = reference or usual.reference, candidate or usual.candidate
    given = read_input(input_file)
    if memory is not None and queries is None:
        raise InvalidInputError("--memory is what many queries may take; name how many: --queries NUMBER")
    if queries is not None and queries < 1:
        raise InvalidInputError(f"--queries is {queries}; expected a number of 1 or more")
    if model and not Path(model.rpartition(":")[0] or model).exists() and model not in list_models():
        raise UnknownNameError("model", model, list_models(), "See: xai-harness models")
    source = Source(model or "", model_keras or "", model_torch or "")
    console = Console(stderr=True, highlight=False, markup=False)
    try:
        named = Sides(in_process, timeout).named(reference, candidate)
        if queries is not None:
            with named as (_, second), console.status("measuring this machine"):
                loaded = source.load(given)
                _show_queries(loaded, wanted, second, queries, dtype, memory, as_json)
            return
        with named as (first, second), console.status("measuring this machine"):
            machine = measured_machine(first, second, dtype, Store())
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise typer.Exit(130) from None
    loaded = source.load(given)
    check_applies(wanted, loaded)
    x, _ = chosen_input(loaded, given)
    prediction = estimate(loaded.graph, wanted, len(x), dtype, machine)
    document: dict[str, Any] = {
        "model": loaded.name,
        "method": wanted.name,
        "dtype": dtype,
        "batch": len(x),
        "seconds": prediction.seconds,
        "seconds_of_loading": prediction.load_s,
        "bytes_of_memory": prediction.memory,
        "bytes_on_disk": prediction.disk,
        "work": asdict(prediction.work),
    }
    if as_json:
        from harness.terminal import print_json

        print_json(document, indent=1)
        return
    print(printable(f"{loaded.name}, {wanted.name}, {dtype}, {len(x)} sample{'' if len(x) == 1 else 's'}"))
    print(f"time    {prediction.seconds:.2f} s a case, and {prediction.load_s:.1f} s once for the model")
    print(f"memory  {prediction.memory / 1e9:.2f} GB")
    print(f"disk    {prediction.disk / 1e3:.0f} kB a case, in the run's folder and in the store")
    work = prediction.work
    print(
        f"work    {_count(work.multiply_adds)} multiply-adds a side, {work.layers} layers, "
        f"{_count(work.weights)} weights, {work.runs} run{'' if work.runs == 1 else 's'} of the network"
    )


def _show_queries(
    model: Any, method: Method, backend: Backend, count: int, dtype: str, memory: str | None, as_json: bool
) -> None:
    """What ``count`` targets of one sample of ``model`` take. Raises as `harness.explain_many`."""
    from harness.engine import Store
    from harness.estimate.queries import measured_pace, seconds_of
    from harness.pairs import check_applies
    from harness.queries import MEMORY, planned

    check_applies(method, model)
    plan = planned(model, method, backend, count, dtype, MEMORY if memory is None else memory)
    seconds = seconds_of(model.graph, method, count, plan.chunk, measured_pace(backend, dtype, Store()))
    document = {
        "model": model.name,
        "method": method.name,
        "backend": backend.name,
        "dtype": dtype,
        "queries": count,
        "chunk": plan.chunk,
        "seconds": seconds,
        "bytes_of_memory": plan.memory,
    }
    if as_json:
        from harness.terminal import print_json

        print_json(document, indent=1)
        return
    print(
        printable(
            f"{model.name}, {method.name}, {dtype}, {count} queries by {backend.name}, {plan.chunk} at a time"
        )
    )
    print(f"time    {seconds:.1f} s, {seconds / count:.2f} s a query")
    print(f"memory  {plan.memory / 1e9:.2f} GB at most beside the loaded model")


def _count(number: float) -> str:
    """``number`` as it is read: 17330, 1.3 million, 15 billion."""
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return f"{number:.0f}"
