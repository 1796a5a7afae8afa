"""The two sides of a pair as they were handed in: read, and each compared with the graph read from it."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import InvalidInputError, MissingFrameworkError, ModelSourceError
from harness.graph import Graph, joined, parted
from ported_models.endings import with_ending
from ported_models.loading import check_file
from ported_models.model import PortedModel
from ported_models.proof import drawn_input, prove
from ported_models.sources import keras_guard
from ported_models.sources.keras_own import KerasSource
from ported_models.sources.keras_source import open_model, read_file, read_model
from ported_models.sources.steps import Reading
from ported_models.twins.forward import LAYER_BOUND, relative_difference, torch_logits
from ported_models.twins.layout import to_canonical, to_internal


def read_keras(keras_model: Any, name: str | None) -> Reading:
    """The graph of a Keras model or file; numbers of its configuration in float64."""
    if isinstance(keras_model, str | Path):
        check_file(Path(keras_model))
        keras_guard.check_file(Path(keras_model))
        return read_file(keras_model, name, "float64")
    return read_model(keras_model, name, constants="float64")


def example_of(example: Any, graph: Graph) -> np.ndarray:
    """The batch to compare on, canonical layout, float64; several inputs, given by name, side by side.

    Raises InvalidInputError for one that does not fit.
    """
    if example is None:
        return drawn_input(graph)
    if not graph.inputs:
        return _example(example, graph.input.shape, "example")
    if not isinstance(example, Mapping) or set(example) != {each.name for each in graph.inputs}:
        found = ", ".join(map(repr, example)) if isinstance(example, Mapping) else type(example).__name__
        raise InvalidInputError(
            f"example is {found}, expected a mapping with one for each input of the Keras model: "
            f"{', '.join(repr(each.name) for each in graph.inputs)}"
        )
    arrays = {
        each.name: _example(example[each.name], each.shape, f"example of {each.name!r}")
        for each in graph.inputs
    }
    if len({len(array) for array in arrays.values()}) > 1:
        raise InvalidInputError(
            "example has batches of different lengths, expected the same samples of each input"
        )
    return joined(graph.inputs, arrays)


def _example(example: Any, shape: tuple[int, ...], what: str) -> np.ndarray:
    if isinstance(example, np.ndarray):
        x = example.astype(np.float64)
    else:
        x = to_canonical(example.detach().cpu().double().numpy())
    if x.shape[1:] != shape or len(x) == 0:
        raise InvalidInputError(
            f"{what} has shape {x.shape} (batch, ..., channel), expected {('batch', *shape)}; "
            "give NumPy arrays channels last, torch tensors channels first"
        )
    return x


def check_keras(keras_model: Any, reading: Reading, x: np.ndarray) -> tuple[str, ...]:
    """Raise ModelSourceError where the graph read from a Keras model does not compute what the model does.

    The model runs in its own precision, its ending included, on ``x`` and on noise. Returns a note where it
    could not be run: a file that this Keras cannot open.
    """
    model = PortedModel.from_graph(reading.graph)
    if not isinstance(keras_model, str | Path):
        source = KerasSource(keras_model, reading, f"Keras model {keras_model.name!r}", (x,))
        return prove(model, source, ("tensorflow",))
    own, why = open_model(Path(keras_model))
    if own is None:
        return (f"{keras_model}: its own output was not compared with its twin's, because {why}",)
    return prove(model, KerasSource(own, reading, str(keras_model), (x,)), ("tensorflow",))


def read_torch(
    torch_module: Any, x: np.ndarray, keras: Graph, layer_map: Mapping[str, str]
) -> tuple[Reading, Any]:
    """The module's graph with weights in float64, and the copy of the module that it was read from.

    Several inputs are in the order of ``keras``, the Keras side's; forward's parameter has the Keras input's name, or
    the one that ``layer_map`` has for it.

    Raises ModelSourceError for what is no module, or cannot be copied or run.
    """
    try:
        import torch
    except ImportError:
        raise MissingFrameworkError("torch") from None
    from ported_models.sources.torch_source import read_module

    if not isinstance(torch_module, torch.nn.Module):
        raise ModelSourceError(
            f"load_pair: found a {type(torch_module).__name__}, expected a torch.nn.Module"
        )
    module = _double_copy(torch_module)
    modes = {child: child.training for child in module.modules()}
    given = _given(x, keras, [layer_map.get(each.name, each.name) for each in keras.inputs])
    if isinstance(given, dict):
        _check_parameters(module, given, keras)
    _own_output(module, given)
    # The reading says where a module was in training mode.
    for child, training in modes.items():
        child.training = training
    reading = read_module(module, given, keras.name, sort=False)
    for note in reading.notes:
        warnings.warn(note, stacklevel=4)
    return reading, module.eval()


def _double_copy(module: Any) -> Any:
    """A copy in float64; the user's module stays as it is.

    What hooks such as `weight_norm` compute is kept as a tensor with a history, which torch refuses to copy: it is
    copied without, and comes anew with the copy's first run.
    """
    import torch

    known: dict[int, Any] = {}
    for child in module.modules():
        for value in vars(child).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                known[id(value)] = value.detach().clone()
    try:
        double = copy.deepcopy(module, known).double()
    except (RuntimeError, TypeError) as error:
        raise ModelSourceError(
            f"torch module {type(module).__name__!r} cannot be copied ({str(error).splitlines()[0]}); "
            "take tensors with a history, locks and open files out of it"
        ) from None
    for child in double.modules():
        for key, value in vars(child).items():
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                vars(child)[key] = value.double()
    return double


def _given(x: np.ndarray, graph: Graph, names: Sequence[str]) -> np.ndarray | dict[str, np.ndarray]:
    """``x``, canonical, as the module gets it: several inputs by ``names``, in their order; numbers of rows as such."""
    rows = graph.rows_at_input
    if not graph.inputs:
        return x if rows is None else x.astype(np.int64)
    parts = parted(graph.inputs, x).values()
    whole = [rows is not None and rows[each.places].any() for each in graph.inputs]
    return {
        name: part.astype(np.int64) if of_rows else part
        for name, part, of_rows in zip(names, parts, whole, strict=True)
    }


def _check_parameters(module: Any, given: Mapping[str, Any], keras: Graph) -> None:
    """Raise ModelSourceError where forward has no parameter for an input of the Keras side."""
    names = list(inspect.signature(module.forward).parameters)
    wrong = {each.name: name for each, name in zip(keras.inputs, given, strict=True) if name not in names}
    if wrong:
        raise ModelSourceError(
            f"torch module {type(module).__name__!r}: forward({', '.join(names)}) has no "
            f"{', '.join(map(repr, wrong.values()))}, an input of the Keras model; name its parameters so, or say "
            f"which is which with layer_map={{{next(iter(wrong))!r}: ...}}"
        )


def _own_output(module: Any, given: np.ndarray | dict[str, np.ndarray]) -> Any:
    """What the module returns for what it is given, canonical, in evaluation mode.

    Raises ModelSourceError where it cannot be run.
    """
    import torch

    def tensor(array: np.ndarray) -> Any:
        return torch.from_numpy(np.ascontiguousarray(to_internal(array)))

    with torch.no_grad():
        try:
            if isinstance(given, dict):
                return module.eval()(**{name: tensor(array) for name, array in given.items()})
            return module.eval()(tensor(given))
        except (Exception, SystemExit) as error:  # a user's module raises whatever it raises
            shapes = (
                {name: array.shape for name, array in given.items()}
                if isinstance(given, dict)
                else given.shape
            )
            raise ModelSourceError(
                f"torch module {type(module).__name__!r} cannot be run on {shapes} (batch, ..., channel): "
                f"{type(error).__name__}: {' '.join(str(error).split())[:200]}; check the example, and the module"
            ) from None


def check_torch(module: Any, reading: Reading, x: np.ndarray) -> None:
    """Raise ModelSourceError where the graph read from the module does not compute what the module does."""
    from ported_models.twins import torch_twin

    graph = reading.graph
    own = _own_output(module, _given(x, graph, [each.name for each in graph.inputs])).numpy()
    read = with_ending(torch_logits(torch_twin.build(reading.graph, "float64"), x), reading.removed)
    order = reading.output_order or tuple(range(read.ndim))
    difference = relative_difference(read.transpose(order), own)
    if not difference <= LAYER_BOUND:
        raise ModelSourceError(
            f"torch module {type(module).__name__!r}: its own output differs by {difference:.3g} relative from "
            "that of the graph; does it change between calls, or is it changed by a hook or a patched method?"
        )
