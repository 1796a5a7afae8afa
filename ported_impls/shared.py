"""The passes of many methods on one input: one forward pass, and of backward passes what they have in common once.

The network is walked back module by module (`ported_impls.walk`). A layer's last relevance is taken again where it
would be the sum of the very tensors that it was the sum of, and what a layer passed down where its rule and the tensor
that reached it are those of before; whatever changes in between makes new tensors, and with them everything below. A
method alone gives the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from harness.graph import Graph
from harness.methods import Head, Method, Selection
from ported_impls.capture import Captured
from ported_impls.edges import rectified_edges
from ported_impls.heads import initial_relevance
from ported_impls.layout import to_canonical, to_twin
from ported_impls.network import Findings
from ported_impls.walk import Ran, run_layers, walk_back


@dataclass(eq=False)
class _OnInput:
    """All that is kept of one input ``x``, (batch, ..., channel)."""

    x: np.ndarray
    ran: dict[str, Ran]
    activations: dict[str, np.ndarray]
    #: By layer, the last relevance and its array; and the relevance at the output, by head, selection and target.
    shown: dict[str, tuple[Tensor, np.ndarray]] = field(default_factory=dict)
    start: tuple[Head, Selection, bytes, Tensor] | None = None


class SharedPasses:
    """Runs methods of one run backwards on ``twin``, one module at a time; keeps what the next may share."""

    def __init__(self, twin: torch.nn.Module) -> None:
        self._twin = twin
        self._last: _OnInput | None = None

    def explain(self, x: np.ndarray, method: Method, target: np.ndarray) -> Findings:
        """What `ported_impls.network.explain_once` finds with every layer; all arrays are read-only."""
        graph: Graph = self._twin.graph
        kept = self._on(x)
        rules = method.composite.assign(graph)
        edges, waiting = rectified_edges(graph, rules), {graph.output: [self._start(kept, method, target)]}
        shown: dict[str, np.ndarray] = {}
        views: dict[Tensor, np.ndarray] = {}
        for name, tensor in walk_back(self._twin, graph.layers, kept.ran, rules, edges, waiting):
            # That of before goes here, layer by layer: two of all would be twice the memory.
            before, view = kept.shown.pop(name, (None, None))
            if tensor not in views:
                views[tensor] = view if view is not None and before is tensor else _view(tensor)
            del before, view
            shown[name] = views[tensor]
            kept.shown[name] = tensor, views[tensor]
        for name in kept.shown.keys() - shown.keys():
            del kept.shown[name]
        source = graph.input.name
        if source not in shown:
            shown[source] = np.zeros_like(x)
        captured = Captured({**kept.activations, source: kept.x}, shown)
        return Findings(kept.activations[graph.output], shown[source], shown[source], captured)

    def forget(self) -> None:
        """Let go of all that is kept."""
        self._last = None

    def _on(self, x: np.ndarray) -> _OnInput:
        last = self._last
        if (
            last is None
            or last.x.dtype != x.dtype
            or last.x.shape != x.shape
            or last.x.tobytes() != x.tobytes()
        ):
            self._last = None  # the memory is needed for the next
            self._last = last = self._forward(x)
        return last

    def _forward(self, x: np.ndarray) -> _OnInput:
        graph: Graph = self._twin.graph
        outputs = {graph.input.name: self._twin.get_submodule(graph.input.name)(to_twin(x))}
        ran = run_layers(self._twin, graph.layers, outputs)
        kept = x.copy()
        kept.setflags(write=False)
        return _OnInput(kept, ran, {name: _view(output) for name, output in outputs.items()})

    def _start(self, kept: _OnInput, method: Method, target: np.ndarray) -> Tensor:
        asked = method.head, method.selection, target.tobytes()
        if kept.start is None or kept.start[:3] != asked:
            logits = kept.activations[self._twin.graph.output]
            start = initial_relevance(logits, target, method.head, method.selection)
            kept.start = *asked, to_twin(start)
        return kept.start[3]


def _view(tensor: Tensor) -> np.ndarray:
    """The memory of ``tensor``, which nobody writes to from here on, in canonical layout."""
    array = to_canonical(tensor)
    whole = array if array.base is None or not isinstance(array.base, np.ndarray) else array.base
    whole.setflags(write=False)
    array.setflags(write=False)
    return array
