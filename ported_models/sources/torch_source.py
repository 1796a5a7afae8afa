"""torch modules as the neutral graph: traced by `torch.fx`, read operation by operation.

The module is run once, so that weights that are made by hooks are there; sizes are then followed through the
graph, and weights are read from the module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.errors import HarnessError, MissingFrameworkError, ModelSourceError, UnsupportedLayerError
from harness.graph import Axes
from ported_models.build import Builder
from ported_models.endings import ending_notes, without_ending
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
from ported_models.sources.torch_own import (
    TorchSource,
    checked_axes,
    evaluation,
    example_tensor,
    graph_axes,
    input_order,
    run,
)
from ported_models.sources.torch_site import Order
from ported_models.sources.torch_trace import traced
from ported_models.sources.torch_walk import Walk


def from_module(
    module: nn.Module, example: Any, name: str | None = None, axes: Sequence[str] | None = None
) -> PortedModel:
    """The model of a torch module of one input and one output, as it is in evaluation mode.

    ``example``: one batch of inputs; a torch tensor in the module's own layout (batch, channel, ...), or a
    NumPy array in canonical layout (batch, ..., channel). ``axes``: the names of the axes of the module's input in
    its own order, for a module that takes features last, e.g. ``("batch", "time", "feature")``; the example then
    has that order. The module's own output on it, and on noise, is
    compared with that of both twins (`ported_models.proof`). A layer is named by its
    module path or, for a function, by its name in the trace, dots replaced by underscores. A final
    softmax, log-softmax or sigmoid is taken off and recorded. Where training and evaluation differ and the module
    was in training mode, a warning says so.

    Raises ModelSourceError for a module that cannot be traced (control flow that depends on data, several
    inputs) or that computes something else than was read, UnsupportedLayerError for an operation that the
    neutral graph cannot express.
    """
    named = None if axes is None else tuple(axes)
    try:
        reading = read_module(module, example, name, axes)
    except UnsupportedLayerError as error:
        raise with_way_round(error, module, example_tensor(module, example, named)) from None
    model = PortedModel.from_graph(
        reading.graph,
        removed=reading.removed,
        notes=ending_notes(reading.removed),
        source=f"torch module {type(module).__name__}",
    )
    source = TorchSource(module, example_tensor(module, example, named), reading, _origin(module))
    return noted(model, (*reading.notes, *prove(model, source)))


def _origin(module: nn.Module) -> str:
    return f"torch module {type(module).__name__!r}"


def read_module(
    module: nn.Module, example: Any, name: str | None = None, axes: Sequence[str] | None = None
) -> Reading:
    """The graph of a torch module, with the module path (or traced name) of every layer; not proven yet."""
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
    rank = _checked_rank(example, origin)
    named = None if axes is None else checked_axes(axes, rank, origin)
    tensor, order = example_tensor(module, example, named), input_order(rank, named)
    try:
        return _read(module, tensor, order, named, name, origin)
    except UnsupportedLayerError as error:
        batch = order.index(0)
        if tensor.shape[batch] != 1:
            raise
        # Of one sample it cannot be seen which of two axes a reshape puts the batch into.
        try:
            return _read(module, tensor.repeat_interleave(2, batch), order, named, name, origin)
        except HarnessError:
            raise error from None


def _read(
    module: nn.Module, tensor: torch.Tensor, order: Order, named: Axes | None, name: str | None, origin: str
) -> Reading:
    """``order``, ``named``: which axis of the graph's input each of the module's is, and what they are called."""
    rank = tensor.ndim
    batch, *sides = (tensor.shape[order.index(axis)] for axis in range(rank))
    trace = traced(module, tensor, origin)
    # Before its weights are read: hooks may make them anew in every forward pass.
    failure = _failure(module, tensor, origin)
    reserved = [str(node.target) for node in trace.graph.nodes if node.op == "call_module"]
    names = Names(reserved)
    builder = Builder(
        name or canonical(type(module).__name__),
        sides,
        graph_axes(named) if named else None,
        names.free("input"),
    )
    dtype, notes = _dtype(module, tensor), list(trace.notes)
    walk = Walk(module, trace.made, builder, names, origin, order, batch, dtype, {}, notes)
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
    if (
        named is None
        and rank == 3
        and all(layer.kind == "permute" for layer in graph.consumers(graph.input.name))
    ):
        walk.notes.append(
            f"{origin}: its input was taken as (batch, channel, time), and it reads the second axis as places; "
            'if its features stand last, pass axes=("batch", "time", "feature")'
        )
    return Reading(graph, walk.origins, removed, tuple(walk.notes), output.order, uses, order)


def _failure(module: nn.Module, example: torch.Tensor, origin: str) -> ModelSourceError | None:
    """Run the module on the example; the error where it cannot be run."""
    try:
        run(module, example, origin)
    except ModelSourceError as error:
        return error
    return None


def _checked_rank(example: Any, origin: str) -> int:
    """The number of the example's axes. Raises ModelSourceError for fewer than two."""
    shape = tuple(int(side) for side in getattr(example, "shape", ()))
    if len(shape) < 2:
        raise ModelSourceError(
            f"{origin}: example must be one batch, of two axes or more; found shape {shape}; "
            "pass e.g. torch.zeros(1, 3, 224, 224)"
        )
    return len(shape)


def _dtype(module: nn.Module, example: Any) -> np.dtype:
    """float64 for a module in double precision (one without parameters: for such an example), else float32."""
    first = next(module.parameters(), example)
    return np.dtype(np.float64 if str(first.dtype).endswith("float64") else np.float32)
