"""A pair layer by layer: how far its sides are apart at each, and what the layers differ in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from harness.graph import Graph, Layer
from ported_models.pair.places import elsewhere, nearest_behind, place_of
from ported_models.pair.ported_pair import ForwardRow, PortedPair
from ported_models.pair.structure import difference
from ported_models.twins.forward import LAYER_BOUND, keras_activations, relative_difference, torch_activations

Activations = Mapping[str, np.ndarray]


def feature_orders(keras: Graph, torch: Graph) -> dict[str, np.ndarray]:
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
        elif layer.traits.per_value and layer.inputs and all(name in orders for name in layer.inputs):
            orders[layer.name] = orders[layer.inputs[0]]
    return orders


def compared(pair: PortedPair, x: np.ndarray) -> PortedPair:
    """The pair with its report: a row for every layer of the Keras graph, and one for every layer that only torch has.

    ``x``: (batch, *input shape), float64. A layer of one side alone is at fault where it changes values, and the
    layers behind it, or the outputs, differ.
    """
    keras = keras_activations(pair.keras("float64"), pair.graph, x)
    torch = torch_activations(pair.torch("float64"), pair.torch_graph, x)
    torch = {
        name: array[..., pair.torch_order[name]] if name in pair.torch_order else array
        for name, array in torch.items()
    }
    aligned = {layer.name for layer in pair.graph} & {layer.name for layer in pair.torch_graph}
    outputs = apart(keras[pair.graph.output], torch[pair.torch_graph.output])
    rows = {
        layer.name: _aligned_row(pair, layer, keras, torch) for layer in pair.graph if layer.name in aligned
    }

    def excused(row: ForwardRow) -> ForwardRow:
        """``row``, of a layer of one side alone, with what the layers behind it say."""
        behind = [rows[name].ok for name in row.reaches] or [outputs <= LAYER_BOUND]
        return replace(row, ok=row.ok or all(behind))

    extra = [
        excused(_extra_row(pair, layer, torch, aligned))
        for layer in pair.torch_graph
        if layer.name not in aligned and not layer.traits.keeps_values
    ]
    report: list[ForwardRow] = []
    for layer in pair.graph:
        report += [row for row in extra if row.reaches and row.reaches[0] == layer.name]
        report.append(
            rows[layer.name]
            if layer.name in aligned
            else excused(_missing_row(pair, layer, keras, torch, aligned))
        )
    report += [row for row in extra if not row.reaches]
    return replace(pair, forward_report=tuple(report), outputs_apart=outputs)


def apart(keras: np.ndarray, torch: np.ndarray) -> float:
    """``|torch - keras| / |keras|``; infinite where the shapes differ."""
    return relative_difference(torch, keras) if torch.shape == keras.shape else float("inf")


def _aligned_row(pair: PortedPair, layer: Layer, keras: Activations, torch: Activations) -> ForwardRow:
    relative = apart(keras[layer.name], torch[layer.name])
    other = pair.torch_graph[layer.name]
    moved = elsewhere(layer, pair.graph, pair.torch_graph)
    order = pair.torch_order.get(other.inputs[0]) if other.inputs else None
    structure, ok, name = moved or difference(layer, other, order), relative <= LAYER_BOUND, layer.name
    structural = moved is not None
    return ForwardRow(name, layer.kind, name, relative, ok, structure, structural, reaches=(name,))


def _missing_row(
    pair: PortedPair, layer: Layer, keras: Activations, torch: Activations, aligned: set[str]
) -> ForwardRow:
    """Against what stands in the layer's place."""
    place = place_of(layer, {name: name for name in aligned}, pair.graph, pair.torch_graph)
    mine, other = keras[layer.name], torch[place]
    if layer.traits.keeps_values and mine.size == other.size:
        other = other.reshape(mine.shape)
    relative = apart(mine, other)
    # A dropout does nothing in inference, whatever stands in its place.
    ok = relative <= LAYER_BOUND or layer.traits.family == "identity"
    silent = ok and layer.traits.keeps_values
    return ForwardRow(
        layer.name,
        layer.kind,
        place,
        relative,
        ok,
        None if silent else "missing in torch",
        structural=not silent,
        reaches=nearest_behind(pair.graph, layer.name, aligned),
    )


def _extra_row(pair: PortedPair, layer: Layer, torch: Activations, aligned: set[str]) -> ForwardRow:
    """Against what the layer reads."""
    relative = apart(torch[layer.inputs[0]], torch[layer.name])
    order = [each.name for each in pair.graph]
    reaches = tuple(sorted(nearest_behind(pair.torch_graph, layer.name, aligned), key=order.index))
    name, ok = layer.name, relative <= LAYER_BOUND
    return ForwardRow(name, layer.kind, name, relative, ok, "only in torch", structural=True, reaches=reaches)


def with_folds(pair: PortedPair, rows: Mapping[str, ForwardRow]) -> PortedPair:
    """The report with a row for every batch norm that one side has folded, behind the layer that took it in.

    ``rows``: by that layer, the batch norm's row; the layer is compared as folded, so its own row has the
    same figures.
    """
    report: list[ForwardRow] = []
    for row in pair.forward_report:
        fold = rows.get(row.name)
        if fold is None:
            report.append(row)
        else:
            report += [replace(row, relative=fold.relative, ok=row.ok and fold.ok), fold]
    return replace(pair, forward_report=tuple(report))
