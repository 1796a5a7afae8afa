"""Which layer of one graph is which layer of the other, by weights and then by place."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.errors import ModelSourceError, UnknownNameError
from harness.graph import Graph, Layer
from ported_models.pair.places import by_place, in_order
from ported_models.sources.steps import Reading


def align(keras: Reading, torch: Reading, layer_map: Mapping[str, str]) -> dict[str, str]:
    """By name of a layer of the Keras graph, the name of its layer in the torch graph.

    ``layer_map`` (Keras layer to torch module path) decides first; then equal weights, ties in graph order;
    then kernels whose weights differ, where their place between aligned ones tells, or their size alone; then layers
    without weights, by what stands before and behind them (`ported_models.pair.places`). Layers without a
    counterpart are left out: those that a port forgot, or has in addition. Of several inputs both have the same, in one
    order.

    Raises UnknownNameError for a name in ``layer_map`` that no model has, ModelSourceError naming the
    layers where kernels of both sides find no counterpart, or none at all does.
    """
    pairs = {keras.graph.input.name: torch.graph.input.name}
    sides = [{layer.name for layer in side.graph} for side in (keras, torch)]
    for one, other in zip(keras.graph.inputs, torch.graph.inputs, strict=True):
        if one.layer in sides[0] and other.layer in sides[1]:
            pairs[one.layer] = other.layer
    pairs.update(_mapped(keras, torch, layer_map))
    _by_weights(keras.graph, torch.graph, pairs)
    _by_gaps(keras.graph, torch.graph, pairs)
    _check_kernels(keras, torch, pairs)
    by_place(keras.graph, torch.graph, pairs)
    return pairs


def _mapped(keras: Reading, torch: Reading, layer_map: Mapping[str, str]) -> dict[str, str]:
    return {
        _find(keras, name, "layer of the Keras model in layer_map"): _find(
            torch, path, "module of the torch model in layer_map"
        )
        for name, path in layer_map.items()
    }


def _find(reading: Reading, name: str, what: str) -> str:
    """The layer of this canonical name, or the first of this name or path in the source."""
    in_graph = [layer.name for layer in reading.graph]
    if name in in_graph:
        return name
    for layer in in_graph:
        if reading.origins.get(layer) == name:
            return layer
    raise UnknownNameError(what, name, {*in_graph, *reading.origins.values()})


def same_values(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two arrays hold the same values up to float32 rounding, in whatever order of axes or entries.

    Rounding is monotone, so sorted arrays stay sorted and can be compared entry by entry; one float32
    rounding moves an entry by at most half of ``eps``, and each side may have been rounded.
    """
    if first.size != second.size:
        return False
    if first.shape == second.shape and not apart(first, second).any():
        return True
    # Large kernels are seldom the same and long to sort: their sums of magnitudes tell most of them apart.
    sums = [np.abs(array).sum(dtype=np.float64) for array in (first, second)]
    if abs(sums[0] - sums[1]) > 2 * np.finfo(np.float32).eps * max(sums):
        return False
    return not apart(*(np.sort(array, axis=None) for array in (first, second))).any()


def apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which values of two arrays of one shape are further apart than one float32 rounding of each."""
    slack = np.finfo(np.float32).eps * np.maximum(np.abs(first), np.abs(second))
    return np.abs(first.astype(np.float64) - second) > slack


def _telling(layer: Layer) -> list[np.ndarray]:
    """The weights that tell the layer from another of its kind; what may be absent on one side tells nothing."""
    keys = layer.traits.weights or layer.traits.optional_weights
    return [layer.weights[key] for key in keys if key in layer.weights]


def _same_weights(keras: Layer, torch: Layer) -> bool:
    mine, other = _telling(keras), _telling(torch)
    return (
        keras.kind == torch.kind
        and len(mine) == len(other)
        and all(same_values(first, second) for first, second in zip(mine, other, strict=True))
    )


def _open(graph: Graph, taken: set[str]) -> list[Layer]:
    """Layers with weights that have no counterpart yet, in forward order."""
    return [layer for layer in graph if layer.weights and layer.name not in taken]


def _by_weights(keras: Graph, torch: Graph, pairs: dict[str, str]) -> None:
    """Layers of the same weights: first as many as keep the forward order, then those that do not."""
    layers, others = _open(keras, set(pairs)), _open(torch, set(pairs.values()))
    equal = np.array([[_same_weights(layer, other) for other in others] for layer in layers], bool)
    alike = np.array([[_same_size(layer, other) for other in others] for layer in layers], bool)
    if not equal.size:
        return
    matches = [(i, j) for i, j in in_order(equal, alike) if equal[i, j]]
    for i in range(len(layers)):
        rest = [j for j in np.flatnonzero(equal[i]) if j not in {match for _, match in matches}]
        if rest and i not in {match for match, _ in matches}:
            matches.append((i, int(rest[0])))
    pairs.update((layers[i].name, others[j].name) for i, j in matches)


def _by_gaps(keras: Graph, torch: Graph, pairs: dict[str, str]) -> None:
    """Layers of one kind whose weights differ: the same number of aligned layers stands before each."""
    keras_gaps, torch_gaps = _gaps(keras, set(pairs)), _gaps(torch, set(pairs.values()))
    for gap, layers in keras_gaps.items():
        others = list(torch_gaps.get(gap, []))
        for layer in layers:
            match = next((other for other in others if _same_size(layer, other)), None)
            if match is not None:
                pairs[layer.name] = match.name
                del others[: others.index(match) + 1]
    _alone(keras, torch, pairs)


def _alone(keras: Graph, torch: Graph, pairs: dict[str, str]) -> None:
    """Layers whose weights differ, where exactly one of their kind and size is left on either side.

    Branches stand in any order in a graph, so that what stands before such a layer does not always tell.
    """
    others = _open(torch, set(pairs.values()))
    layers = _open(keras, set(pairs))
    for layer in layers:
        matches = [other for other in others if _same_size(layer, other)]
        rivals = [other for other in layers if other is not layer and _same_size(other, layer)]
        if len(matches) == 1 and not rivals:
            pairs[layer.name] = matches[0].name


def _same_size(keras: Layer, torch: Layer) -> bool:
    sizes = [sum(array.size for array in _telling(layer)) for layer in (keras, torch)]
    return keras.kind == torch.kind and sizes[0] == sizes[1]


def _gaps(graph: Graph, aligned: set[str]) -> dict[int, list[Layer]]:
    """Open layers with weights by the number of aligned ones before them."""
    gaps: dict[int, list[Layer]] = {}
    before = 0
    for layer in graph:
        if layer.weights and layer.name in aligned:
            before += 1
        elif layer.weights:
            gaps.setdefault(before, []).append(layer)
    return gaps


def _check_kernels(keras: Reading, torch: Reading, pairs: Mapping[str, str]) -> None:
    """Unmatched kernels of one side are layers that the other lacks; unmatched ones of both are an error."""
    keras_kernels = [layer for layer in _open(keras.graph, set(pairs)) if layer.traits.kernel]
    torch_kernels = [layer for layer in _open(torch.graph, set(pairs.values())) if layer.traits.kernel]
    aligned = any(keras.graph[name].traits.kernel for name in pairs)
    if (keras_kernels and torch_kernels) or ((keras_kernels or torch_kernels) and not aligned):
        raise ModelSourceError(
            f"the layers cannot be aligned by their weights; unmatched in Keras: {_listed(keras, keras_kernels)}; "
            f"unmatched in torch: {_listed(torch, torch_kernels)}; "
            "pass layer_map={keras layer name: torch module path} for these, or check that the weights are copied"
        )


def _listed(reading: Reading, layers: list[Layer]) -> str:
    return ", ".join(f"{reading.origins[layer.name]!r} ({layer.kind})" for layer in layers) or "none"
