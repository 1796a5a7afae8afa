"""A pair from two models: read, aligned, brought under one set of names, and compared layer by layer."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import InvalidInputError, MissingFrameworkError, ModelSourceError
from harness.graph import ACTIVATION_KINDS, Graph, Layer
from ported_models.pair.align import align, place_of
from ported_models.pair.ported_pair import ForwardRow, PortedPair
from ported_models.pair.rewrite import after_alignment, before_alignment, renamed
from ported_models.pair.structure import difference
from ported_models.sources.keras_source import read_file, read_model
from ported_models.sources.steps import Reading
from ported_models.twins.forward import (
    LAYER_BOUND,
    keras_activations,
    relative_difference,
    torch_activations,
    torch_logits,
)
from ported_models.twins.layout import to_canonical, to_internal

#: What moves no value to another place of the last axis and mixes none of its entries.
_KEEPS_ORDER = (
    *(kind for kind in ACTIVATION_KINDS if kind != "softmax"),
    *("batch_norm", "scale", "dropout", "add", "multiply"),
)


def load_pair(
    keras_model: Any,
    torch_module: Any,
    layer_map: Mapping[str, str] | None = None,
    example: Any = None,
    name: str | None = None,
) -> PortedPair:
    """A Keras model and the torch module that a user ported from it, aligned by their weights.

    ``keras_model``: a built keras.Model, or the path of a file. ``layer_map``: Keras layer name to torch
    module path, for layers that weights cannot tell; it always wins. ``example``: one batch for the
    comparison of the forward pass, NumPy in canonical layout or a torch tensor in torch's (default: two
    samples of standard normal noise from a fixed seed).

    Where the two compute different things the pair is loaded all the same: ``verified`` is False,
    ``forward_report`` has the figures, and a warning names the first layer. Raises ModelSourceError where
    the layers cannot be aligned, and what reading either side raises.
    """
    keras = (
        read_file(keras_model, name, "float64")
        if isinstance(keras_model, str | Path)
        else read_model(keras_model, name, constants="float64")
    )
    x = _example(example, keras.graph)
    torch, module = _read_torch(torch_module, x, keras.graph.name)
    _check_reading(module, torch, x)
    torch = replace(torch, graph=before_alignment(keras.graph, torch.graph))
    pairs = align(keras, torch, layer_map or {})
    graph = after_alignment(keras.graph, torch.graph, pairs)
    named = renamed(graph, pairs, keras.graph.name, torch.origins)
    aligned = {ours: ours for ours in pairs}
    pair = PortedPair(
        graph=keras.graph,
        removed_softmax=keras.removed is not None,
        source=f"ported by hand: {type(torch_module).__name__}",
        torch_graph=named.graph,
        torch_paths={ours: named.origins[ours] for ours in aligned if ours in named.origins},
        torch_order=_orders(keras.graph, named.graph),
    )
    pair = pair.with_report(_compare(pair, aligned, x))
    _warn(pair)
    return pair


def _warn(pair: PortedPair) -> None:
    """Name the first layer that computes something else, or the first that would on another example."""
    first = pair.first_difference
    suspect = next((row for row in pair.forward_report if row.structure), None)
    if first is not None:
        why = f" ({first.structure})" if first.structure else ""
        warnings.warn(
            f"{pair.name}: the torch port first differs from the Keras model at layer {first.name!r} "
            f"({first.kind}), by {first.relative:.3g} relative in float64, expected at most {LAYER_BOUND:g}{why}",
            stacklevel=3,
        )
    elif suspect is not None:
        warnings.warn(
            f"{pair.name}: both sides compute the same on the example, but layer {suspect.name!r} differs: "
            f"{suspect.structure}; pass an example= that shows it",
            stacklevel=3,
        )


def _example(example: Any, graph: Graph) -> np.ndarray:
    """The batch to compare on, canonical layout, float64."""
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


def _read_torch(torch_module: Any, x: np.ndarray, name: str) -> tuple[Reading, Any]:
    """The module's graph with weights in float64, and the copy of the module that it was read from."""
    try:
        import torch
    except ImportError:
        raise MissingFrameworkError("torch") from None
    from ported_models.sources.torch_source import read_module

    if not isinstance(torch_module, torch.nn.Module):
        raise ModelSourceError(
            f"load_pair: found a {type(torch_module).__name__}, expected a torch.nn.Module"
        )
    module = copy.deepcopy(torch_module).double()
    reading = read_module(module, x, name)
    for note in reading.notes:
        warnings.warn(note, stacklevel=3)
    return reading, module.eval()


def _check_reading(module: Any, reading: Reading, x: np.ndarray) -> None:
    """Raise ModelSourceError where the graph read from the module does not compute what the module does."""
    import torch

    from ported_models.twins import torch_twin

    with torch.no_grad():
        own = module(torch.from_numpy(np.ascontiguousarray(to_internal(x))))
        read = torch.from_numpy(torch_logits(torch_twin.build(reading.graph, "float64"), x))
        if reading.removed is not None:
            read = getattr(torch, reading.removed)(read, -1)
    order = reading.output_order or tuple(range(read.ndim))
    difference = relative_difference(read.permute(order).numpy(), own.numpy())
    if not difference <= LAYER_BOUND:
        raise ModelSourceError(
            f"torch module {type(module).__name__!r}: its own output differs by {difference:.3g} relative from "
            "that of the graph read from it; does it change between calls? otherwise export it to ONNX and load that"
        )


def _orders(keras: Graph, torch: Graph) -> dict[str, np.ndarray]:
    """By layer whose last axis is ordered otherwise on the torch side, the indices into canonical order.

    Of an input (*space, channel), entry ``(c, *s)`` of a channels-first flatten is entry ``(*s, c)`` of
    a channels-last one.
    """
    orders: dict[str, np.ndarray] = {}
    names = {layer.name for layer in keras}
    for layer in torch:
        if layer.kind == "flatten" and layer.attributes["order"] == "channels_first":
            *space, channels = layer.input_shapes[0]
            places = np.arange(layer.shape[0]).reshape(channels, *space)
            indices = np.moveaxis(places, 0, -1).reshape(-1)
            expected = keras[layer.name] if layer.name in names else None
            same = expected is not None and expected.attributes.get("order") == "channels_first"
            if not same and not np.array_equal(indices, np.arange(len(indices))):
                orders[layer.name] = indices
        elif layer.kind in _KEEPS_ORDER and layer.inputs and all(name in orders for name in layer.inputs):
            orders[layer.name] = orders[layer.inputs[0]]
    return orders


def _compare(pair: PortedPair, aligned: Mapping[str, str], x: np.ndarray) -> tuple[ForwardRow, ...]:
    """A row for every layer of the Keras graph; without a counterpart, against what stands in its place."""
    ours = keras_activations(pair.keras("float64"), pair.graph, x)
    theirs = torch_activations(pair.torch("float64"), pair.torch_graph, x)

    def row(layer: Layer) -> ForwardRow:
        place = place_of(layer, aligned, pair.graph)
        mine, other = ours[layer.name], theirs[place]
        if place in pair.torch_order and other.shape == mine.shape:
            other = other[..., pair.torch_order[place]]
        relative = relative_difference(other, mine) if other.shape == mine.shape else float("inf")
        return ForwardRow(
            layer.name, layer.kind, place, relative, relative <= LAYER_BOUND, _structure(pair, layer, aligned)
        )

    return tuple(row(layer) for layer in pair.graph)


def _structure(pair: PortedPair, layer: Layer, aligned: Mapping[str, str]) -> str | None:
    if layer.name not in aligned:
        return None if layer.kind in ("dropout", "flatten") else "missing in torch"
    theirs = pair.torch_graph[aligned[layer.name]]
    order = pair.torch_order.get(theirs.inputs[0]) if theirs.inputs else None
    return difference(layer, theirs, order)
