"""torch modules as the neutral graph: traced by `torch.fx`, read operation by operation.

The module is run once, so that weights that are made by hooks are there; sizes are then followed through the
graph, and weights are read from the module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.errors import (
    HarnessError,
    MissingFrameworkError,
    ModelSourceError,
    UnknownNameError,
    UnsupportedLayerError,
)
from harness.graph import Input, default_axes
from harness.graph.inputs import SIDE_BY_SIDE
from ported_models.build import Builder
from ported_models.endings import ending_notes, input_notes, without_ending
from ported_models.model import PortedModel
from ported_models.proof import noted, prove
from ported_models.sources.names import Names, canonical
from ported_models.sources.steps import Reading

try:
    import torch
    from torch import nn
except ImportError:
    raise MissingFrameworkError("torch") from None

from ported_models.sources.torch_export import with_way_round
from ported_models.sources.torch_given import Given, Tensors, examples_of, given_inputs, graph_axes
from ported_models.sources.torch_own import TorchSource, evaluation, run
from ported_models.sources.torch_trace import is_torchs_own, traced
from ported_models.sources.torch_walk import Walk


def from_module(
    module: nn.Module,
    example: Any,
    name: str | None = None,
    axes: Any = None,
    output: str | int | None = None,
) -> PortedModel:
    """The model of one output of a torch module, as it is in evaluation mode.

    ``example``: one batch of inputs; a torch tensor in the module's own layout (batch, channel, ...), or a
    NumPy array in canonical layout (batch, ..., channel); for a module of several inputs a tuple of them in the
    order of forward, or a dict by its parameters' names, which are the names of the inputs. ``axes``: the names of
    the axes of the module's input in its own order, for a module that takes features last, e.g.
    ``("batch", "time", "feature")``; the example then has that order; of several inputs a dict by name. ``output``:
    which of the tensors that it returns in a tuple or dictionary, by place or name. The module's
    own output on it, and on noise, is compared with that of both twins (`ported_models.proof`). A layer is named by
    its module path or, for a function, by its name in the trace, dots replaced by underscores. A final
    softmax, log-softmax or sigmoid is taken off and recorded. Where training and evaluation differ and the module
    was in training mode, a warning says so.

    Raises ModelSourceError for a module that cannot be traced (control flow that depends on data) or that computes
    something else than was read, UnsupportedLayerError for an operation that the neutral graph cannot express.
    """
    try:
        reading = read_module(module, example, name, axes, output=output)
    except UnsupportedLayerError as error:
        given = given_inputs(module, example, axes, _origin(module))
        raise (with_way_round(error, module, given[0].example) if len(given) == 1 else error) from None
    model = PortedModel.from_graph(
        reading.graph,
        removed=reading.removed,
        notes=(*input_notes(reading.graph), *ending_notes(reading.removed)),
        source=f"torch module {type(module).__name__}",
    )
    given = given_inputs(module, example, axes, _origin(module))
    source = TorchSource(module, given, reading, _origin(module))
    return noted(model, (*reading.notes, *prove(model, source)))


def _origin(module: nn.Module) -> str:
    return f"torch module {type(module).__name__!r}"


def read_module(
    module: nn.Module,
    example: Any,
    name: str | None = None,
    axes: Any = None,
    sort: bool = True,
    output: str | int | None = None,
) -> Reading:
    """The graph of a torch module, with the module path (or traced name) of every layer; not proven yet.

    ``sort``: several inputs are put in the order of forward's parameters, else in that of the dict ``example``.
    ``output``: as in :func:`from_module`.
    """
    if not isinstance(module, nn.Module):
        raise ModelSourceError(f"found a {type(module).__name__}, expected a torch.nn.Module")
    origin = _origin(module)
    if any(isinstance(child, torch.jit.ScriptModule) for child in module.modules()):
        raise ModelSourceError(
            f"{origin}: is TorchScript, expected the module that it was made of: scripted code cannot be traced"
        )
    meta = next((name for name, tensor in module.named_parameters() if tensor.is_meta), None)
    if meta is not None:
        raise ModelSourceError(
            f"{origin}: parameter {meta!r} is on the meta device, where it has no values; load the weights first"
        )
    given = given_inputs(module, example, axes, origin, sort)
    if len(given) > 1 and is_torchs_own(module):
        raise ModelSourceError(
            f"{origin}: is a layer of torch's own and takes several inputs; "
            "write a module that calls it in its forward, whose parameters name the inputs"
        )
    try:
        return _read(module, given, name, origin, output)
    except UnsupportedLayerError as error:
        if given[0].sides[0] != 1:
            raise
        # Of one sample it cannot be seen which of two axes a reshape puts the batch into.
        try:
            return _read(module, tuple(each.repeated(2) for each in given), name, origin, output)
        except HarnessError:
            raise error from None


def _read(
    module: nn.Module, given: tuple[Given, ...], name: str | None, origin: str, chosen: str | int | None
) -> Reading:
    tensor = examples_of(given)
    trace = traced(module, tensor, origin)
    # Before its weights are read: hooks may make them anew in every forward pass.
    failure = _failure(module, tensor, origin, chosen)
    reserved = [str(node.target) for node in trace.graph.nodes if node.op == "call_module"]
    names = Names(reserved)
    builder, layers = _begun(name or canonical(type(module).__name__), given, names)
    dtype, notes = _dtype(module, [each.example for each in given]), list(trace.notes)
    inputs = list(zip(given, layers, strict=True))
    batch = given[0].sides[0]
    walk = Walk(module, trace.made, builder, names, origin, inputs, batch, dtype, {}, notes, chosen)
    with evaluation(module), torch.no_grad():
        output = walk.run(trace.graph)
    if failure is not None:  # reading it had nothing clearer to say
        raise failure
    graph, removed = without_ending(builder.graph(output.layer), walk.log_softmax)
    inner = [layer for layer in graph if layer.name in walk.log_softmax]
    if inner:
        raise UnsupportedLayerError(
            f"{origin}: layer {walk.origins[inner[0].name]!r} (log_softmax) stands inside the network; "
            "it is supported at the end only, where it is removed"
        )
    kept = {layer.name for layer in graph}
    uses = tuple(use for use in walk.uses if use.layer in kept)
    for each, layer in inputs:
        readers = graph.consumers(layer)
        turned = all(reader.kind == "permute" for reader in readers) and (readers or not each.name)
        if each.axes is None and len(each.order) == 3 and turned:
            which, option = "its input", 'axes=("batch", "time", "feature")'
            if each.name:
                which, option = (
                    f"its input {each.name!r}",
                    f'axes={{"{each.name}": ("batch", "time", "feature")}}',
                )
            walk.notes.append(
                f"{origin}: {which} was taken as (batch, channel, time), and it reads the second axis as places; "
                f"if its features stand last, pass {option}"
            )
    order = given[0].order if len(given) == 1 else None
    return Reading(graph, walk.origins, removed, tuple(walk.notes), output.order, uses, order, chosen)


def _begun(name: str, given: tuple[Given, ...], names: Names) -> tuple[Builder, list[str]]:
    """The graph up to its inputs, and the layer of each."""
    axes = [graph_axes(each.axes) if each.axes else default_axes(each.sides[1:]) for each in given]
    if len(given) == 1:
        layer = names.free("input")
        return Builder(name, given[0].sides[1:], axes[0], layer), [layer]
    layers = [names.free(each.name, f"input_{each.name}") for each in given]
    inputs = [
        Input(each.name, layer, each.sides[1:], called)
        for each, layer, called in zip(given, layers, axes, strict=True)
    ]
    return Builder.of_several(name, inputs, names.free(SIDE_BY_SIDE)), layers


def _failure(
    module: nn.Module, example: Tensors, origin: str, chosen: str | int | None
) -> HarnessError | None:
    """Run the module on the example; the error where it cannot be run."""
    try:
        run(module, example, origin, chosen)
    except (ModelSourceError, UnknownNameError) as error:
        return error
    return None


def _dtype(module: nn.Module, examples: Sequence[torch.Tensor]) -> np.dtype:
    """float64 for a module in double precision (one without parameters: for such an example), else float32."""
    first = next(module.parameters(), examples[0])
    return np.dtype(np.float64 if str(first.dtype).endswith("float64") else np.float32)
