"""The explanation run: forward under a composite's hooks, head, backward, what each layer got."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from harness.backends.protocol import Model
from harness.graph import Graph, Layer
from harness.methods import Method
from harness.methods.composite import Head
from harness.trace.trace import Trace
from ported_impls.capture import capture_layers, layer_traces
from ported_impls.heads import initial_relevance, resolve_target
from ported_impls.layout import feature_orders, in_canonical_order, in_twin_order, to_canonical, to_twin
from ported_impls.provenance import provenance
from ported_impls.torchvision_shim import zennit


@dataclass(frozen=True)
class HookedTwin:
    """A torch twin whose methods are Zennit composites: satisfies `Prepared` and `Steps`.

    ``composite`` makes the Zennit composite of a method; ``head`` overrides the method's head.
    """

    backend: str
    versions: Mapping[str, str]
    model: Model
    dtype: str
    twin: torch.nn.Module
    composite: Callable[[Method], zennit.core.Composite]
    head: Head | None = None

    def explain(
        self, x: np.ndarray, method: Method, target: np.ndarray | None = None, layers: bool = True
    ) -> Trace:
        """Run ``method`` on ``x`` (batch, ..., channel); ``target`` (batch,), or None for the largest logit.

        Raises InvalidInputError for a target outside the classes and for a network whose output is not
        (batch, classes).
        """
        graph: Graph = self.twin.graph  # that of a hand-made port, where it is one
        seen = to_twin(x).requires_grad_()
        with (
            self.composite(method).context(self.twin),
            capture_layers(self.twin, graph if layers else ()) as captured,
        ):
            output = self.twin(seen)
            logits = to_canonical(output)
            target = resolve_target(self.model.name, logits, target)
            seed = initial_relevance(logits, target, self.head or method.head)
            (gradient,) = torch.autograd.grad(output, seen, torch.from_numpy(seed), allow_unused=True)
        relevance = np.zeros_like(x) if gradient is None else to_canonical(gradient)
        return Trace(
            model=self.model.name,
            method=method,
            backend=self.backend,
            dtype=self.dtype,
            target=target,
            logits=logits,
            attribution=x * relevance if method.postprocess == "times_input" else relevance,
            layers=layer_traces(graph, captured, x, relevance, feature_orders(self.model)) if layers else {},
            provenance=provenance(self.backend, self.versions, self.model, self.dtype, x),
        )

    def propagate(
        self, layer: Layer, inputs: tuple[np.ndarray, ...], relevance: np.ndarray, method: Method
    ) -> tuple[np.ndarray, ...]:
        """The layer's module with its hook alone, on ``inputs`` and the ``relevance`` of its output."""
        if layer.kind == "input":
            return ()
        known = feature_orders(self.model)
        orders = [known.get(name) for name in layer.inputs]
        seen = [
            to_twin(in_twin_order(x, order)).requires_grad_() for x, order in zip(inputs, orders, strict=True)
        ]
        received = to_twin(in_twin_order(relevance, known.get(layer.name)))
        with self.composite(method).context(self.twin):
            output = self.twin.get_submodule(layer.name)(*seen)
            gradients = torch.autograd.grad(output, seen, received, allow_unused=True)
        return tuple(
            np.zeros_like(x) if gradient is None else in_canonical_order(to_canonical(gradient), order)
            for x, gradient, order in zip(inputs, gradients, orders, strict=True)
        )
