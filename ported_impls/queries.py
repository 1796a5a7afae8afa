"""Many targets of one input: a batch of initial relevances goes back on activations that are computed once.

Activations have a batch of one sample; relevances have an axis ``query`` in front of it, which every rule is mapped
over (`torch.func.vmap`): what a rule makes of activations and weights alone, its denominators above all, is made once
for all queries of a chunk, and its products are those of all of them. The rules are those of the single run.

Where the activations take more than the limit of `ported_impls.parts`, the network is run part by part as there: what
crosses from part to part is computed once for all chunks, the inside of a part once a chunk.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from harness.backends.protocol import Arrays
from harness.graph import Graph, Layer
from harness.methods import Method, Rule, ShareProduct
from ported_impls.edges import rectified_edges
from ported_impls.heads import initial_relevance
from ported_impls.layout import to_canonical, to_twin
from ported_impls.parts import Parts, bytes_between, outputs_between, parts_of
from ported_impls.sampling import share_of_maps
from ported_impls.walk import Passed, Ran, run_layers, walk_back, way_back

#: Copies of a layer's output and of its inputs that its step holds at most, for each query: the relevance and its
#: quotient, the gradient and the product with it. What only moves values has no quotient and no product.
_COPIES, _COPIES_OF_MOVED = 2, 1
_MOVING = ("shape", "concat", "resampling", "edge", "identity")
#: The input that gets no relevance, by what a `ShareProduct` shares to.
_HELD = {"both": None, "first": 1, "second": 0}
#: What torch and the allocator take beside the tensors that are counted, however small these are.
_BESIDE = 64 << 20
#: Copies of a part's activations: outputs, and what autograd keeps of modules that make others inside.
_COPIES_OF_ACTIVATIONS = 2


def run_queries(
    twin: torch.nn.Module, x: np.ndarray, method: Method, targets: np.ndarray, chunk: int
) -> Iterator[Arrays]:
    """For ``chunk`` of the ``targets`` at a time: logits (1, classes) and attributions (query, *input shape).

    ``x``: (1, *input shape). ``method`` has one pass backwards; its attributions are before post-processing.
    """
    graph: Graph = twin.graph
    parts = parts_of(graph, x)
    given = outputs_between(twin, parts, to_twin(x))
    rules = method.composite.assign(graph)
    kept = run_layers(twin, parts[0], dict(given[0])) if len(parts) == 1 else None
    for first in range(0, len(targets), chunk):
        walk = _Walk(twin, parts, given, kept, rules)
        yield walk.back(x, method, targets[first : first + chunk])


class _Walk:
    """One chunk's way back; ``kept``: all modules, run already, where the network is one part."""

    def __init__(
        self,
        twin: torch.nn.Module,
        parts: Parts,
        given: Sequence[Mapping[str, Tensor]],
        kept: Mapping[str, Ran] | None,
        rules: Mapping[str, Rule],
    ) -> None:
        self._twin, self._parts, self._given, self._kept, self._rules = twin, parts, given, kept, rules

    def back(self, x: np.ndarray, method: Method, targets: np.ndarray) -> Arrays:
        graph: Graph = self._twin.graph
        edges = rectified_edges(graph, self._rules)
        waiting: dict[str, list[Tensor]] = {}
        logits = relevance = None
        for part, given in zip(reversed(self._parts), reversed(self._given), strict=True):
            ran, outputs = self._ran(part, given)
            if logits is None:
                logits = to_canonical(outputs[graph.output])
                starts = [
                    initial_relevance(logits, targets[place : place + 1], method.head, method.selection)
                    for place in range(len(targets))
                ]
                waiting[graph.output] = [torch.stack([to_twin(start) for start in starts])]
            for name, reached in walk_back(
                self._twin, part, ran, self._rules, edges, waiting, step_of_queries
            ):
                ran.pop(name, None)
                outputs.pop(name, None)
                if name == graph.input.name:
                    relevance = reached
        assert logits is not None
        if relevance is None:
            return Arrays(logits, np.zeros((len(targets), *x.shape[1:]), x.dtype))
        return Arrays(logits, to_canonical(relevance[:, 0]))

    def _ran(
        self, part: Sequence[Layer], given: Mapping[str, Tensor]
    ) -> tuple[dict[str, Ran], dict[str, Tensor]]:
        """The modules of ``part`` at their inputs, with no relevance of another chunk, and their outputs."""
        outputs = dict(given)
        if self._kept is None:
            return run_layers(self._twin, part, outputs), outputs
        ran = {name: Ran(each.inputs, each.output) for name, each in self._kept.items()}
        return ran, outputs | {name: each.output.detach() for name, each in ran.items()}


@torch.no_grad()
def step_of_queries(module: torch.nn.Module, layer: Layer, ran: Ran, rule: Rule, reached: Tensor) -> Passed:
    """`ported_impls.walk.step_of` for relevance ``reached`` with an axis of queries in front; shares have it too.

    An input that a rule holds gets none, where the single step gives it zeros.
    """
    if layer.traits.family == "sampling" and isinstance(rule, ShareProduct):
        return (share_of_maps(module, ran, rule, reached), None)
    held = _HELD[rule.to] if isinstance(rule, ShareProduct) else None
    back = way_back(module, layer, ran, rule)
    places: list[int] = []

    def one(relevance: Tensor) -> tuple[Tensor, ...]:
        passed = back(relevance)
        places[:] = [place for place, share in enumerate(passed) if share is not None and place != held]
        return tuple(share for place, share in enumerate(passed) if place in places)

    shares = torch.func.vmap(one)(reached)
    there = dict(zip(places, shares, strict=True))
    return tuple(there.get(place) for place in range(len(ran.inputs)))


def query_bytes(graph: Graph, itemsize: int, chunk: int) -> int:
    """What ``chunk`` queries of one sample take at most, beside the loaded model and the result.

    Counted on shapes: the activations of the largest part and what crosses between parts, and for each query the most
    that waits for a layer while another one makes its step.
    """
    sample = np.empty((1, *graph.input.shape), f"f{itemsize}")
    parts = parts_of(graph, sample)
    sizes = {layer.name: math.prod(layer.shape) for layer in graph}
    inside = max(sum(sizes[layer.name] for layer in part) for part in parts)
    waiting: dict[str, int] = {}
    largest = 0
    for layer in graph.backward():
        shares = waiting.pop(layer.name, 1)
        held = sum(count * sizes[name] for name, count in waiting.items())
        given = sum(sizes[name] for name in layer.inputs)
        copies = _COPIES_OF_MOVED if layer.traits.family in _MOVING else _COPIES
        own = (shares - 1 + copies) * sizes[layer.name] + copies * given
        largest = max(largest, held + own)
        for name in dict.fromkeys(layer.inputs):
            waiting[name] = waiting.get(name, 0) + 1
    entries = _COPIES_OF_ACTIVATIONS * inside + chunk * largest
    return _BESIDE + itemsize * entries + bytes_between(graph, parts, itemsize)
