"""An ONNX file or proto as a model: read, checked, proven."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from harness.errors import ModelSourceError
from ported_models.endings import ending_notes, input_notes
from ported_models.limits import OPERATORS, check_cost, check_layers
from ported_models.loading import check_file, errors_in_one_line
from ported_models.model import PortedModel
from ported_models.onnx import read_onnx
from ported_models.onnx.external import external_tensors, read_external
from ported_models.onnx.own import OnnxSource
from ported_models.onnx.reading import AxesOfInputs, Sizes
from ported_models.proof import noted, prove, prove_twins


def load(
    source: Any, name: str | None, example: Any, axes: AxesOfInputs, output: str | int | None
) -> PortedModel:
    """The model of a path or a proto; the other arguments are those of `load_model`.

    Raises ModelSourceError and UnsupportedLayerError, as `load_model` does.
    """
    file = str(source) if isinstance(source, (str, Path)) else "the ONNX proto"
    with errors_in_one_line(file):
        return _loaded(source, name, example, axes, output)


def _loaded(
    source: Any, name: str | None, example: Any, axes: AxesOfInputs, output: str | int | None
) -> PortedModel:
    if isinstance(source, (str, Path)):
        path = Path(source)
        check_file(path)
        proto, name, file = _read_proto(path), name or path.stem, str(path)
    else:
        proto, name, file = source, name or source.graph.name or "model", "the ONNX proto"
        if external_tensors(proto):
            raise ModelSourceError(
                f"{file}: keeps its weights in other files; pass the path of the model instead"
            )
    check_layers(len(proto.graph.node) // OPERATORS, file)
    _check(proto, file)
    read = read_onnx(proto, name, file, output, _sizes(proto, example), axes)
    check_cost(read.graph, file, held=read.held)
    notes = (*read.notes, *input_notes(read.graph), *ending_notes(read.removed))
    model = PortedModel.from_graph(read.graph, removed=read.removed, notes=notes, source=file)
    try:
        own = OnnxSource(proto, read, file)
    except ModelSourceError as error:
        proven = prove_twins(model, read.graph, file, str(error))
    else:
        check_cost(read.graph, file, max(own.batch // 2, 1), read.held)
        proven = prove(model, own)
    return noted(model, proven)


def _sizes(proto: onnx.ModelProto, example: Any) -> Sizes:
    """The shape of an example, or of each of several: a mapping by name, or a tuple in the order of the inputs."""
    if isinstance(example, Mapping):
        return {str(name): np.shape(array) for name, array in example.items()}
    weights = {tensor.name for tensor in proto.graph.initializer}
    names = [value.name for value in proto.graph.input if value.name not in weights]
    if isinstance(example, tuple | list) and len(names) == len(example) > 1:
        return {name: np.shape(array) for name, array in zip(names, example, strict=True)}
    return None if example is None else np.shape(example)


def _read_proto(path: Path) -> onnx.ModelProto:
    """The file's proto, with the weights that are kept beside it. Raises `ModelSourceError` for what is none."""
    try:
        proto = onnx.load_model(path, load_external_data=False)
    except OSError as error:
        raise ModelSourceError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    except Exception:  # DecodeError, and whatever the bindings raise for a file that is none
        raise ModelSourceError(
            f"{path}: no ONNX model, or a truncated one; copy or export it again"
        ) from None
    read_external(proto, path)
    return proto


def _check(proto: onnx.ModelProto, file: str) -> None:
    """Raise ModelSourceError for a proto that is no valid model."""
    if proto.ir_version < 4:
        # Before version 4 an initializer had to be an input as well; files that forget it are read all the same.
        given = {value.name for value in proto.graph.input}
        if any(tensor.name not in given for tensor in proto.graph.initializer):
            newer = onnx.ModelProto()
            newer.CopyFrom(proto)
            newer.ir_version = 4
            proto = newer
    try:
        onnx.checker.check_model(proto)
    except Exception as error:  # ValidationError, and whatever the bindings raise for strings that are none
        reason = " ".join(str(error).split())[:200]
        raise ModelSourceError(f"{file}: no valid ONNX model ({reason}); export it again") from None
