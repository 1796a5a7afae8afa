"""Which layer without weights is which, by what stands before and behind it; and where a layer stands.

Layers with weights are aligned first (`ported_models.pair.align`). Two layers without weights stand in one
place if the same of those stand before them, and the same behind them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import permutations

import numpy as np

from harness.graph import KINDS, Graph, Layer

#: Of more branches than these, not every order is tried.
MOST_BRANCHES = 5

#: The aligned layers before and behind a layer, by their names in the Keras graph.
Place = tuple[frozenset[str], frozenset[str]]


def by_place(keras: Graph, torch: Graph, pairs: dict[str, str]) -> None:
    """Add to ``pairs`` the layers without weights: in one place by kind, then by group, then moved ones by kind."""
    inverse = {torch_places: keras_places for keras_places, torch_places in pairs.items()}
    keras_places = _places(keras, {name: name for name in pairs})
    torch_places = _places(torch, inverse)
    _in_one_place(keras, torch, keras_places, torch_places, pairs, lambda kind: kind)
    _in_one_place(keras, torch, keras_places, torch_places, pairs, _group)
    _moved(keras, torch, keras_places, torch_places, pairs)


def _group(kind: str) -> str:
    """One word for kinds that a port may confuse: where a kind is not found, another of its group takes the place."""
    traits = KINDS[kind]
    if traits.activation or traits.commutative:
        return "activation" if traits.activation else "commutative"
    if traits.pooling:
        return f"{traits.places} over {traits.space}"
    return "reshape" if kind == "flatten" else kind


def _never_moved(layer: Layer) -> bool:
    """Padding may stand in a layer or in the convolution behind it; what only moves values may be there or not."""
    return layer.kind == "zero_pad" or layer.traits.family == "shape"


def _places(graph: Graph, names: Mapping[str, str]) -> dict[str, Place]:
    """The place of every layer; ``names``: by aligned layer of ``graph``, what it is called in a place."""
    before: dict[str, frozenset[str]] = {}
    for layer in graph:
        before[layer.name] = frozenset().union(
            *(before[name] | ({names[name]} if name in names else set()) for name in layer.inputs)
        )
    behind: dict[str, frozenset[str]] = defaultdict(frozenset)
    for layer in reversed(graph.layers):
        own = behind[layer.name] | ({names[layer.name]} if layer.name in names else set())
        for name in layer.inputs:
            behind[name] = behind[name] | own
    return {layer.name: (before[layer.name], behind[layer.name]) for layer in graph}


def _open(graph: Graph, taken: set[str]) -> list[Layer]:
    return [layer for layer in graph if not layer.weights and layer.name not in taken]


def _in_one_place(
    keras: Graph,
    torch: Graph,
    keras_places: Mapping[str, Place],
    torch_places: Mapping[str, Place],
    pairs: dict[str, str],
    group_of: Callable[[str], str],
) -> None:
    """As many layers of one place as keep their order."""
    sequences: dict[Place, tuple[list[Layer], list[Layer]]] = defaultdict(lambda: ([], []))
    for layer in _open(keras, set(pairs)):
        sequences[keras_places[layer.name]][0].append(layer)
    for layer in _open(torch, set(pairs.values())):
        sequences[torch_places[layer.name]][1].append(layer)
    for first, second in sequences.values():
        kinds = [np.array([group_of(layer.kind) for layer in side], object) for side in (first, second)]
        same = kinds[0][:, None] == kinds[1]
        for i, j in in_order(same, same):
            pairs[first[i].name] = second[j].name


def in_order(equal: np.ndarray, alike: np.ndarray) -> list[tuple[int, int]]:
    """Pairs in increasing order of both indices: as many equal ones as there can be, then as many alike.

    The alike ones break ties: of three equal layers against two and a changed one between them, the middle
    one is left for its place. (The alignment of sequences of Needleman and Wunsch, 1970, without gap costs.)
    """
    rows, columns = equal.shape
    gain = np.where(equal, min(rows, columns) + 1, np.where(alike, 1, 0))
    best = np.zeros((rows + 1, columns + 1), int)
    for i in reversed(range(rows)):
        for j in reversed(range(columns)):
            best[i, j] = max(best[i + 1, j], best[i, j + 1], best[i + 1, j + 1] + gain[i, j])
    matches, i, j = [], 0, 0
    while i < rows and j < columns:
        if gain[i, j] and best[i, j] == best[i + 1, j + 1] + gain[i, j]:
            matches.append((i, j))
            i, j = i + 1, j + 1
        elif best[i, j] == best[i + 1, j]:
            i += 1
        else:
            j += 1
    return matches


def _moved(
    keras: Graph,
    torch: Graph,
    keras_places: Mapping[str, Place],
    torch_places: Mapping[str, Place],
    pairs: dict[str, str],
) -> None:
    """What is left on both sides, one kind at a time: those first whose places have most in common."""
    others = _open(torch, set(pairs.values()))
    common = [
        (-_alike(keras_places[layer.name], torch_places[other.name]), i, j)
        for i, layer in enumerate(keras)
        if not layer.weights and layer.name not in pairs and not _never_moved(layer)
        for j, other in enumerate(others)
        if other.kind == layer.kind
    ]
    for _, i, j in sorted(common):
        name, other_name = keras.layers[i].name, others[j].name
        if name not in pairs and other_name not in pairs.values():
            pairs[name] = other_name


def _alike(first: Place, second: Place) -> float:
    """Part of the layers before and behind either that stand there for both (Jaccard index)."""
    shared = sum(len(a & b) for a, b in zip(first, second, strict=True))
    either = sum(len(a | b) for a, b in zip(first, second, strict=True))
    return shared / either if either else 1.0


def place_of(layer: Layer, pairs: Mapping[str, str], keras: Graph, torch: Graph) -> str:
    """The torch layer that stands where ``layer`` does: its counterpart, else what its readers read instead."""
    if layer.name in pairs:
        return pairs[layer.name]
    for reader in keras.consumers(layer.name):
        if reader.name not in pairs:
            return place_of(reader, pairs, keras, torch)
        inputs = torch[pairs[reader.name]].inputs
        place = reader.inputs.index(layer.name)
        if place < len(inputs):
            known = {pairs[name] for name in reader.inputs if name in pairs}
            # The branches of a sum may stand in another order.
            free = [name for name in inputs if name not in known] if reader.traits.commutative else []
            return free[0] if free else inputs[place]
    return torch.output


def nearest_behind(graph: Graph, name: str, aligned: set[str]) -> tuple[str, ...]:
    """The first aligned layers that the output of ``name`` reaches, in forward order; empty at the end."""
    reached: set[str] = set()
    pending = [name]
    while pending:
        for reader in graph.consumers(pending.pop()):
            if reader.name in aligned:
                reached.add(reader.name)
            else:
                pending.append(reader.name)
    return tuple(layer.name for layer in graph if layer.name in reached)


def _sources(graph: Graph, name: str, aligned: set[str]) -> set[str]:
    """The aligned layers that ``name`` is or comes from, through layers that have no counterpart."""
    if name in aligned:
        return {name}
    return set().union(*(_sources(graph, source, aligned) for source in graph[name].inputs))


def elsewhere(layer: Layer, keras: Graph, torch: Graph) -> str | None:
    """What a layer reads on the two sides, where that is not the same; both graphs have the same names.

    Layers of one side alone in between do not count: they have rows of their own in the report.
    """
    other = torch[layer.name]
    aligned = {each.name for each in keras} & {each.name for each in torch}
    if len(other.inputs) != len(layer.inputs):
        counts = f"{len(other.inputs)} inputs there, {len(layer.inputs)} in Keras"
        return f"stands elsewhere in torch: it has {counts}"
    wanted = [_sources(keras, name, aligned) for name in layer.inputs]
    sources = [_sources(torch, name, aligned) for name in other.inputs]
    fits = {order: [bool(wanted[i] & sources[j]) for i, j in enumerate(order)] for order in _orders(layer)}
    best = max(fits, key=lambda order: sum(fits[order]))
    if all(fits[best]):
        return None
    place = fits[best].index(False)
    which = "its input" if len(wanted) == 1 else f"input {place + 1}"
    there, here = other.inputs[best[place]], layer.inputs[place]
    return f"stands elsewhere in torch: {which} is {there!r} there, {here!r} in Keras"


def _orders(layer: Layer) -> list[tuple[int, ...]]:
    """The orders in which the inputs may stand; of many, only their own."""
    own = tuple(range(len(layer.inputs)))
    return list(permutations(own)) if layer.traits.commutative and len(own) <= MOST_BRANCHES else [own]
