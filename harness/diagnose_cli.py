"""The command `xai-harness diagnose`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.model_options import ModelKeras, ModelTorch, Words, one_case
from harness.naming import printable
from harness.sides import Device, InProcess, Sides, Timeout

if TYPE_CHECKING:
    from harness.diagnosis import Diagnosis, Finding


def diagnose_command(
    words: Words,
    model_keras: ModelKeras = None,
    model_torch: ModelTorch = None,
    reference: Annotated[
        str | None, typer.Option(help="Backend that is trusted; left out, the reference of the method.")
    ] = None,
    candidate: Annotated[
        str | None,
        typer.Option(
            help="Backend under test: a name, or FILE.py:NAME for one of your own; left out, the port of the method."
        ),
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    device: Device = "cpu",
    target: Annotated[int | None, typer.Option(help="Class to explain; left out, the largest logit.")] = None,
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="A .npy file, (batch, *input_shape), instead of the model's example; several inputs by name: .npz.",
        ),
    ] = None,
    reproduce: Annotated[
        Path | None,
        typer.Option("--reproduce", help="Write a folder that shows the first finding on its own."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for a report of this case, report.html, with its reproducer.")
    ] = None,
    in_process: InProcess = False,
    timeout: Timeout = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Say which layer of the candidate does something else than the reference, and what."""
    from rich.console import Console
    from rich.text import Text

    from harness.backends import defaults_of
    from harness.checks import read_input
    from harness.diagnosis import diagnose
    from harness.diagnosis.document import diagnosis_document
    from harness.methods import method as method_named
    from harness.plain import json_text
    from harness.report import set_aside, write_report
    from harness.run_cli import require_folder
    from harness.runner import chosen_input
    from harness.runner.one import document_of_diagnosis

    named_model, method = one_case(words, model_keras, model_torch)
    for option, folder in (("--out", out), ("--reproduce", reproduce)):
        if folder is not None:
            require_folder(folder, option)
    usual = defaults_of(method_named(method))
    reference, candidate = reference or usual.reference, candidate or usual.candidate
    given = read_input(input_file)
    loaded = named_model.load(given)
    x, source = chosen_input(loaded, given)
    page: Path | None = None
    console = Console(stderr=True, highlight=False, markup=False)
    try:
        named = Sides(in_process, timeout).named(reference, candidate)
        with named as (first, second), console.status("starting") as status:
            diagnosis = diagnose(
                loaded,
                x,
                method,
                first,
                second,
                target=target,
                dtype=dtype,
                reproduce_in=reproduce or (None if out is None else out / "reproducer"),
                progress=lambda what: status.update(Text(printable(what))),
                device=device,
            )
            folder = diagnosis.reproducer if reproduce is not None else None
            # All that is left to compute: the candidate's process ends with this block.
            _ = diagnosis.introduced
            if out is not None:
                given_options = {
                    "--model-keras": model_keras,
                    "--model-torch": model_torch,
                    "--reference": reference,
                    "--candidate": candidate,
                    "--dtype": dtype,
                    "--device": None if device == "cpu" else device,
                    "--target": target,
                    "--input": input_file,
                }
                pairs = [(name, str(value)) for name, value in given_options.items() if value is not None]
                again = ["diagnose", *words, *(word for pair in pairs for word in pair)]
                document = document_of_diagnosis(diagnosis, source, out, again, {"diagnose": again})
                set_aside(out, document.selection)
                page = write_report(document, out)
    except KeyboardInterrupt:
        print("interrupted; run the same command again", file=sys.stderr)
        raise typer.Exit(130) from None
    if as_json:
        print(json_text(diagnosis_document(diagnosis, source, folder), indent=1))
    else:
        _show(diagnosis, source, folder)
        if page is not None:
            _say(f"Report: {page}")
    raise typer.Exit(1 if diagnosis.findings else 0)


def _show(diagnosis: Diagnosis, source: str, folder: Path | None) -> None:
    from harness.terminal import print_table

    case = diagnosis.case
    sides = f"candidate {case.candidate.name} against reference {case.reference.name}"
    _say(f"{sides}: {case.model.name}, {case.method.name}, {source}")
    for note in diagnosis.notes:
        _say(f"note: {note}")
    if not diagnosis.findings:
        print("Nothing is done differently.")
        return
    for number, finding in enumerate(diagnosis.findings, start=1):
        print()
        _say(f"{number}. {finding.layer or 'the whole run'} ({finding.stage}): {finding.cause}")
        for line in _lines(finding):
            _say(f"   {line}")
    if diagnosis.left is not None:
        print()
        _say(
            f"With all of it applied, the attributions are {diagnosis.left:.1e} apart; "
            f"rounding explains {diagnosis.left_floor:.1e}."
        )
    rows = _rows(diagnosis)
    if rows:
        print()
        print_table(rows, ("layer", "kind", "introduced", "inherited", "rounding"))
    if folder is not None:
        print()
        _say(f"Reproducer: {folder / 'reproduce.py'}")


def _say(line: str) -> None:
    print(printable(line))


def _lines(finding: Finding) -> list[str]:
    seen = (
        " This is where the difference is first seen: the candidate runs no single steps."
        if finding.first_seen
        else ""
    )
    lines = [f"{finding.words[:1].upper()}{finding.words[1:]}.{seen}"]
    if finding.incomplete:
        lines.append(f"{finding.incomplete[2:3].upper()}{finding.incomplete[3:]}.")
    rounding = f"rounding explains {finding.floor:.1e}"
    if finding.residual is None:
        lines.append(f"The step is off by {finding.error:.1e}; {rounding}.")
    else:
        lines.append(
            f"The step is off by {finding.error:.1e}, with this by {finding.residual:.1e}; {rounding}."
        )
    if finding.runner_up is not None:
        lines.append(f"Next best: {finding.runner_up[0]} ({finding.runner_up[1]:.1e}).")
    if finding.also:
        lines.append(f"The same at: {', '.join(finding.also)}.")
    lines += [f"{name.replace('_', ' ')}: {value}" for name, value in finding.facts.items()]
    return lines


def _rows(diagnosis: Diagnosis) -> list[dict[str, Any]]:
    """The layers that introduce something, and those around them."""
    table = diagnosis.introduced
    return [
        {
            "layer": row.layer,
            "kind": row.kind,
            "introduced": f"{row.introduced:.1e}{' *' if row.differs else ''}",
            "inherited": f"{row.inherited:.1e}",
            "rounding": f"{row.floor:.1e}",
        }
        for row in table.itertuples()
        if row.differs
    ]
