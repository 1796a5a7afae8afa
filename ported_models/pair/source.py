"""The two sides of a pair as they were handed in: read, and each compared with the graph read from it."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import InvalidInputError, MissingFrameworkError, ModelSourceError
from harness.graph import Graph
from ported_models.endings import with_ending
from ported_models.loading import check_file
from ported_models.model import PortedModel
from ported_models.proof import prove
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
    """The batch to compare on, canonical layout, float64. Raises InvalidInputError for one that does not fit."""
    shape = graph.input.shape
    if example is None:
        return np.random.default_rng(0).standard_normal((2, *shape))
    if isinstance(example, np.ndarray):
        x = example.astype(np.float64)
    else:
        x = to_canonical(example.detach().cpu().double().numpy())
    if x.shape[1:] != shape or len(x) == 0:
        raise InvalidInputError(
            f"example has shape {x.shape} (batch, ..., channel), expected {('batch', *shape)}; "
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


def read_torch(torch_module: Any, x: np.ndarray, name: str) -> tuple[Reading, Any]:
    """The module's graph with weights in float64, and the copy of the module that it was read from.

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
    _own_output(module, x)
    # The reading says where a module was in training mode.
    for child, training in modes.items():
        child.training = training
    reading = read_module(module, x, name)
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


def _own_output(module: Any, x: np.ndarray) -> Any:
    """What the module returns for ``x`` in evaluation mode; raises ModelSourceError where it cannot be run."""
    import torch

    with torch.no_grad():
        try:
            return module.eval()(torch.from_numpy(np.ascontiguousarray(to_internal(x))))
        except (Exception, SystemExit) as error:  # a user's module raises whatever it raises
            raise ModelSourceError(
                f"torch module {type(module).__name__!r} cannot be run on {x.shape} (batch, ..., channel): "
                f"{type(error).__name__}: {' '.join(str(error).split())[:200]}; check the example, and the module"
            ) from None


def check_torch(module: Any, reading: Reading, x: np.ndarray) -> None:
    """Raise ModelSourceError where the graph read from the module does not compute what the module does."""
    from ported_models.twins import torch_twin

    own = _own_output(module, x).numpy()
    read = with_ending(torch_logits(torch_twin.build(reading.graph, "float64"), x), reading.removed)
    order = reading.output_order or tuple(range(read.ndim))
    difference = relative_difference(read.transpose(order), own)
    if not difference <= LAYER_BOUND:
        raise ModelSourceError(
            f"torch module {type(module).__name__!r}: its own output differs by {difference:.3g} relative from "
            "that of the graph; does it change between calls, or is it changed by a hook or a patched method?"
        )
