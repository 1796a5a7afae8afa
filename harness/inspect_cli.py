"""The command `xai-harness inspect`: what is read of a model, what is not, and what to do."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.model_options import ModelKeras, ModelTorch, sources
from harness.naming import printable


@dataclass(frozen=True)
class Inspection:
    """What became of loading a model.

    ``refused``: the sentence of the refusal, "" where it loads. ``unread``: a sentence for each layer that is not read.
    ``unverified``: of a pair, why it is not one network. ``layers``: those that were read, in forward order.
    ``inputs``: of a model of several, the shape of each by name, without the batch.
    """

    model: str
    refused: str
    unread: tuple[str, ...]
    unverified: str
    notes: tuple[str, ...]
    layers: tuple[dict[str, Any], ...]
    inputs: dict[str, list[int]] = field(default_factory=dict)

    @property
    def loads(self) -> bool:
        return not self.refused


def inspect_command(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="Model file, zoo name, or FILE.py:NAME of a torch module; left out with a pair.",
        ),
    ] = None,
    model_keras: ModelKeras = None,
    model_torch: ModelTorch = None,
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="A .npy file, (batch, *input_shape): for a torch module, and for an ONNX file of open sizes; "
            "several inputs by name: .npz.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """List the layers of a model: what is read, what is not, and what to do. Exit status 1 if it does not load."""
    from harness.checks import read_input
    from harness.errors import InvalidInputError
    from harness.terminal import print_json

    named = sources([model] if model else None, model_keras, model_torch)
    if len(named) != 1:
        raise InvalidInputError("name one model: MODEL, or --model-keras FILE and --model-torch FILE.py:NAME")
    source = named[0]
    inspection = inspected(source.words, lambda: source.load(read_input(input_file)))
    if as_json:
        print_json({"loads": inspection.loads, **asdict(inspection)}, indent=1)
    else:
        _show(inspection)
    raise typer.Exit(0 if inspection.loads and not inspection.unverified else 1)


def inspected(words: str, load: Any) -> Inspection:
    """What becomes of ``load()``, which is the model called ``words``."""
    from harness.errors import HarnessError, UnsupportedLayerError, described, is_interrupt

    try:
        with warnings.catch_warnings():
            # Each is a note of the model, too.
            warnings.simplefilter("ignore")
            model = load()
    except UnsupportedLayerError as error:
        return Inspection(words, str(error), error.unread, "", (), _layers(error.read))
    except HarnessError as error:
        return Inspection(words, str(error), (), "", (), ())
    except BaseException as error:
        if is_interrupt(error):
            raise
        sentence = f"{words}: reading it fails ({described(error)}); this is a fault of the reader: report it"
        return Inspection(words, sentence, (), "", (), ())
    unverified = getattr(model, "unverified", None) or ""
    inputs = {each.name: list(each.shape) for each in model.graph.inputs}
    return Inspection(words, "", (), unverified, tuple(model.notes), _layers(model.layers), inputs)


def _layers(layers: Any) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "layer": layer.name,
            "kind": layer.kind,
            "shape": list(layer.shape),
            "weights": int(sum(array.size for array in layer.weights.values())),
        }
        for layer in layers
    )


def _show(inspection: Inspection) -> None:
    from harness.terminal import print_table

    if inspection.layers:
        print_table(list(inspection.layers), ("layer", "kind", "shape", "weights"))
        print()
    for note in inspection.notes:
        _say(f"note: {note}")
    if inspection.loads:
        weights = sum(layer["weights"] for layer in inspection.layers)
        if inspection.inputs:
            shapes = (f"{name} ({', '.join(map(str, shape))})" for name, shape in inspection.inputs.items())
            _say(f"Its inputs, channels last and without the batch: {', '.join(shapes)}.")
        _say(f"{inspection.model} loads: {len(inspection.layers)} layers, {weights} weights.")
        if inspection.unverified:
            _say(f"It is not verified: {inspection.unverified}; see: xai-harness diagnose")
        return
    if len(inspection.unread) > 1 or inspection.layers:
        _say(
            f"{inspection.model} does not load: {_counted(len(inspection.layers), 'is', 'are')} read, "
            f"{len(inspection.unread)} not:"
        )
        advices: dict[str, int] = {}
        for sentence in inspection.unread:
            what, _, advice = sentence.partition("; ")
            advices[advice] = advices.get(advice, 0) + 1
            _say(f"- {what.removeprefix(f'{inspection.model}: ')}")
        for advice, count in advices.items():
            _say(f"What to do{f' ({count} of them)' if len(advices) > 1 else ''}: {advice}")
        return
    # A sentence about a file begins with its name.
    why = inspection.refused.removeprefix(f"{inspection.model}: ")
    _say(f"{inspection.model} does not load: {why}")


def _counted(count: int, one: str, more: str) -> str:
    return f"{count} layer{'' if count == 1 else 's'} {one if count == 1 else more}"


def _say(line: str) -> None:
    print(printable(" ".join(line.split())))
