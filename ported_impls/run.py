"""A twin whose methods are Zennit composites, as the harness uses it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from harness.backends.protocol import Model, StepProgram
from harness.errors import HarnessError
from harness.graph import Graph, Layer
from harness.methods import Head, Method
from harness.trace.trace import Trace
from ported_impls.capture import layer_traces
from ported_impls.edges import Edges
from ported_impls.layout import feature_orders, in_canonical_order, in_twin_order, to_canonical, to_twin
from ported_impls.network import Findings, Network
from ported_impls.postprocess import postprocessed
from ported_impls.procedures import SAMPLED, Find, find
from ported_impls.provenance import provenance
from ported_impls.step_program import Orders, forward_program, step_program
from ported_impls.torchvision_shim import zennit


class LastSampled:
    """The findings of the last procedure of many runs: methods that differ at the input only share them."""

    def __init__(self) -> None:
        self._kept: tuple[Hashable, bool, Findings] | None = None

    def get(self, key: Hashable, layers: bool, compute: Callable[[], Findings]) -> Findings:
        """What was kept under ``key``, with layers where they are asked for; else what ``compute`` finds.

        The arrays kept are read-only: several traces hold them.
        """
        if self._kept is not None and self._kept[0] == key and self._kept[1] >= layers:
            return self._kept[2]
        self._kept = None  # the memory is needed for the next
        found = compute()
        inside = found.captured
        shown = (*inside.activations.values(), *inside.relevances.values()) if inside is not None else ()
        for array in (found.logits, found.target, found.attribution, found.relevance, *shown):
            array.setflags(write=False)
        self._kept = (key, layers, found)
        return found


def _no_edges(method: Method) -> Edges:
    return {}


def _whole_name(method: Method) -> str:
    return method.name


@dataclass(frozen=True)
class HookedTwin:
    """Satisfies `Prepared`, `Steps` and `Programs`.

    ``composite`` makes the Zennit composite of a method, ``edges`` says which shares it rectifies; ``head``
    overrides the method's head. ``find`` carries out the procedures. ``deciding_name`` is what of a method's
    name ``composite`` looks at: two methods that differ elsewhere in their names are one.
    """

    backend: str
    versions: Mapping[str, str]
    model: Model
    dtype: str
    twin: torch.nn.Module
    composite: Callable[[Method], zennit.core.Composite]
    edges: Callable[[Method], Edges] = _no_edges
    head: Head | None = None
    find: Find = find
    deciding_name: Callable[[Method], str] = _whole_name
    last: LastSampled = field(default_factory=LastSampled, repr=False, compare=False)

    def explain(
        self, x: np.ndarray, method: Method, target: np.ndarray | None = None, layers: bool = True
    ) -> Trace:
        """Run ``method`` on ``x`` (batch, ..., channel); ``target`` (batch,), or None for the largest logit.

        Raises InvalidInputError for a target outside the classes, for a network whose output is not
        (batch, classes) and for a parameter that does not fit it, MethodDoesNotApplyError for a method that
        is not meant for such a network.
        """
        graph: Graph = self.twin.graph
        method.check(graph)

        def compute() -> Findings:
            network = Network(
                self.model.name,
                self.twin,
                self.composite(method),
                self.head or method.head,
                self.edges(method),
            )
            return self.find(network, x, method, target, graph.layers if layers else ())

        if isinstance(method.procedure, SAMPLED):
            found = self.last.get(self._runs_of(x, method, target), layers, compute)
        else:
            found = compute()
        traces = {}
        if layers and found.captured is not None:
            orders = feature_orders(self.model)
            traces = layer_traces(graph, found.captured, x, found.relevance, orders)
        return Trace(
            model=self.model.name,
            method=method,
            backend=self.backend,
            dtype=self.dtype,
            target=found.target,
            logits=found.logits,
            attribution=postprocessed(found.attribution, x, method.postprocess),
            layers=traces,
            provenance=provenance(self.backend, self.versions, self.model, self.dtype, x),
        )

    def _runs_of(self, x: np.ndarray, method: Method, target: np.ndarray | None) -> Hashable:
        """All that the runs of a method depend on; what is done at the input afterwards is left out."""
        chosen = None if target is None else tuple(np.asarray(target).ravel().tolist())
        runs = replace(method, name=self.deciding_name(method), postprocess="none")
        return x.shape, hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest(), chosen, runs

    def propagate(
        self, layer: Layer, inputs: tuple[np.ndarray, ...], relevance: np.ndarray, method: Method
    ) -> tuple[np.ndarray, ...]:
        """The layer's module with its hook alone, on ``inputs`` and the ``relevance`` of its output."""
        if not layer.inputs:
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

    def step_program(
        self,
        layer: Layer,
        inputs: tuple[np.ndarray, ...],
        relevance: np.ndarray,
        method: Method,
        kept: np.ndarray | None = None,
    ) -> StepProgram:
        """What :meth:`propagate` computes, as torch's own operations; see `harness.backends.Programs`."""
        orders = self._orders(layer, kept)
        return step_program(self.twin, self.composite(method), layer.name, inputs, relevance, orders, kept)

    def forward_program(
        self, layer: Layer, inputs: tuple[np.ndarray, ...], method: Method, kept: np.ndarray | None = None
    ) -> StepProgram:
        """The layer's output under the hooks of ``method``, as torch's own operations."""
        orders = self._orders(layer, kept)
        return forward_program(self.twin, self.composite(method), layer.name, inputs, orders, kept)

    def _orders(self, layer: Layer, kept: np.ndarray | None) -> Orders:
        """Raises HarnessError where a cut would go through an axis that the twin has in another order."""
        known = feature_orders(self.model)
        after = known.get(layer.name)
        if kept is not None and after is not None:
            raise HarnessError(
                f"layer {layer.name!r} is not cut down: the torch side orders its output otherwise"
            )
        return [known.get(name) for name in layer.inputs], after
