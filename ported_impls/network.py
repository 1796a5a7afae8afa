"""A twin under the hooks of one method: forward, and back from the target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from harness.graph import Graph, Layer
from harness.methods import Head, Selection
from ported_impls.capture import Captured, Tap, capture_layers, show_outputs, tap_relevance
from ported_impls.edges import Edges, rectified_shares
from ported_impls.heads import initial_relevance
from ported_impls.layout import to_canonical, to_twin
from ported_impls.torchvision_shim import zennit


@dataclass(frozen=True)
class Network:
    """``composite`` and ``edges`` are the method's; ``head`` and ``selection`` say where its relevance starts."""

    twin: torch.nn.Module
    composite: zennit.core.Composite
    head: Head
    edges: Edges = field(default_factory=dict)
    selection: Selection = "target"

    @property
    def graph(self) -> Graph:
        """That of the twin: of a hand-made port its own, where it is one."""
        graph: Graph = self.twin.graph
        return graph

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """The method's hooks on the twin; parameters and graph are as they were when it closes."""
        with rectified_shares(self.twin, self.edges), self.composite.context(self.twin):
            yield


@dataclass
class Findings:
    """What a procedure leaves behind, in canonical layout.

    ``attribution``: before post-processing. ``relevance``: of the input, in the trace. ``captured``: what
    the layers show; None where the procedure looks at no layer.
    """

    logits: np.ndarray
    attribution: np.ndarray
    relevance: np.ndarray
    captured: Captured | None


def look(network: Network, x: np.ndarray, recorded: Sequence[Layer]) -> tuple[np.ndarray, Captured]:
    """Logits and activations of ``x``."""
    with torch.no_grad(), network.hooks(), capture_layers(network.twin, recorded) as captured:
        logits = to_canonical(network.twin(to_twin(x)))
    return logits, captured


def explain_once(network: Network, x: np.ndarray, target: np.ndarray, recorded: Sequence[Layer]) -> Findings:
    """One run, forward and back."""
    seen = to_twin(x).requires_grad_()
    with network.hooks(), capture_layers(network.twin, recorded) as captured:
        output = network.twin(seen)
        logits = to_canonical(output)
        relevance = _back(output, start_of(network, logits, target), seen)
    return Findings(logits, relevance, relevance, captured)


def start_of(network: Network, logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The relevance of the output, (batch, classes)."""
    return initial_relevance(logits, target, network.head, network.selection)


def relevance_of(
    network: Network,
    x: np.ndarray,
    target: np.ndarray,
    recorded: Sequence[Layer],
    tap: Tap,
    shown: dict[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Relevance of ``x`` in one run; that of the ``recorded`` layers goes to ``tap``, activations into ``shown``."""
    seen = to_twin(x).requires_grad_()
    watched = () if shown is None else network.graph.layers
    with (
        network.hooks(),
        tap_relevance(network.twin, recorded, tap),
        show_outputs(network.twin, watched, {} if shown is None else shown),
    ):
        output = network.twin(seen)
        return _back(output, start_of(network, to_canonical(output), target), seen)


def gradient_of_sum(network: Network, x: np.ndarray, layer: Layer) -> np.ndarray:
    """Relevance of ``x`` where it starts with ones at the output of ``layer``."""
    seen = to_twin(x).requires_grad_()
    reached: list[torch.Tensor] = []
    with network.hooks():
        handle = network.twin.get_submodule(layer.name).register_forward_hook(
            lambda module, args, output: reached.append(output)
        )
        try:
            network.twin(seen)
        finally:
            handle.remove()
        (output,) = reached
        return _back(output, np.ones_like(to_canonical(output)), seen)


def _back(output: torch.Tensor, relevance: np.ndarray, seen: torch.Tensor) -> np.ndarray:
    """From the ``relevance`` of ``output`` to that of ``seen``; zeros where there is no way."""
    if not output.requires_grad:
        return np.zeros_like(to_canonical(seen))
    (gradient,) = torch.autograd.grad(output, seen, to_twin(relevance), allow_unused=True)
    return np.zeros_like(to_canonical(seen)) if gradient is None else to_canonical(gradient)
