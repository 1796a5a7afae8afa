"""A pass backwards for the attribution alone, in less memory than all activations take.

The network is cut into parts of layers that follow one another. Forwards only what later parts read is kept; each part
is run again before relevance goes back through it (Chen et al. 2016, arXiv:1604.06174). Every module runs on the same
numbers and shares are added in the same order, so that the bits are those of one pass.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from harness.files import byte_count
from harness.graph import Graph, Layer
from harness.methods import Method
from ported_impls.edges import rectified_edges
from ported_impls.heads import initial_relevance
from ported_impls.layout import to_canonical, to_twin
from ported_impls.network import Findings
from ported_impls.walk import run_layers, walk_back

#: Bytes that the activations of a part take at most, where no layer alone takes more; the variable names another size.
LIMIT, LIMIT_VARIABLE = "512M", "XAI_HARNESS_ACTIVATION_BYTES"

Parts = Sequence[Sequence[Layer]]


def parts_of(graph: Graph, x: np.ndarray) -> Parts:
    """The layers of ``graph`` in parts whose activations for ``x`` are within the limit; one where all are.

    Raises InvalidInputError where the variable names no size.
    """
    limit = byte_count(os.environ.get(LIMIT_VARIABLE, LIMIT), LIMIT_VARIABLE)
    sizes = [math.prod(layer.shape) * len(x) * x.itemsize for layer in graph]
    crossing = _crossing(graph, sizes)
    parts, start, taken = [], 0, 0
    for place, size in enumerate(sizes):
        taken += size
        if taken > limit and place > start:
            # Where least has to be kept, in the second half of what fits.
            cut = min(range((start + place + 1) // 2, place + 1), key=crossing.__getitem__)
            cut = max(cut, start + 1)
            parts.append(graph.layers[start:cut])
            start, taken = cut, sum(sizes[cut : place + 1])
    return [*parts, graph.layers[start:]]


def _crossing(graph: Graph, sizes: Sequence[int]) -> list[int]:
    """For a cut in front of each layer, the bytes that are read behind it and made before."""
    place = {layer.name: index for index, layer in enumerate(graph)}
    change = [0] * (len(sizes) + 1)
    for layer in graph:
        readers = [place[reader.name] for reader in graph.consumers(layer.name)]
        if readers:
            change[place[layer.name] + 1] += sizes[place[layer.name]]
            change[max(readers) + 1] -= sizes[place[layer.name]]
    return np.cumsum(change).tolist()


def explain_in_parts(
    twin: torch.nn.Module, parts: Parts, x: np.ndarray, method: Method, target: np.ndarray
) -> Findings:
    """What `ported_impls.network.explain_once` finds without layers, ``parts`` being those of the twin's graph."""
    graph: Graph = twin.graph
    source, rules = graph.input.name, method.composite.assign(graph)
    edges = rectified_edges(graph, rules)
    given = outputs_between(twin, parts, to_twin(x))
    waiting: dict[str, list[Tensor]] = {}
    logits = relevance = None
    for part in reversed(parts):
        outputs = given.pop()
        ran = run_layers(twin, part, outputs)
        if logits is None:
            logits = to_canonical(outputs[graph.output])
            start = initial_relevance(logits, target, method.head, method.selection)
            waiting[graph.output] = [to_twin(start)]
        for name, reached in walk_back(twin, part, ran, rules, edges, waiting):
            ran.pop(name, None)
            outputs.pop(name, None)
            if name == source:
                relevance = to_canonical(reached)
    assert logits is not None
    attribution = np.zeros_like(x) if relevance is None else relevance
    return Findings(logits, attribution, attribution, None)


@torch.no_grad()
def outputs_between(twin: torch.nn.Module, parts: Parts, x: Tensor) -> list[dict[str, Tensor]]:
    """By part, the outputs of layers before it that it reads, by name; the last part is not run.

    It is given the network's output as well, where that is of a part before.
    """
    graph: Graph = twin.graph
    read = _read(graph, parts)
    outputs = {graph.input.name: twin.get_submodule(graph.input.name)(x)}
    given = []
    for place, part in enumerate(parts):
        given.append({name: output for name, output in outputs.items() if name in read[place]})
        if place == len(parts) - 1:
            break
        for layer in part:
            if layer.inputs:
                module = twin.get_submodule(layer.name)
                outputs[layer.name] = module(*(outputs[name] for name in layer.inputs))
        later = set().union(*read[place + 1 :])
        outputs = {name: output for name, output in outputs.items() if name in later}
    return given


def bytes_between(graph: Graph, parts: Parts, itemsize: int) -> int:
    """Of what :func:`outputs_between` gives for one sample, each output once."""
    part_of = {layer.name: place for place, part in enumerate(parts) for layer in part}
    crossing = {
        name for place, names in enumerate(_read(graph, parts)) for name in names if part_of[name] < place
    }
    return itemsize * sum(math.prod(graph[name].shape) for name in crossing | {graph.input.name})


def _read(graph: Graph, parts: Parts) -> list[set[str]]:
    """By part, the layers whose outputs its layers read; the last one reads the network's output as well."""
    read = [{name for layer in part for name in layer.inputs} for part in parts]
    read[-1].add(graph.output)
    return read
