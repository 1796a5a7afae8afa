"""A twin whose methods are Zennit composites, as the harness uses it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from harness.backends import CAPABILITIES
from harness.backends.protocol import Arrays, Model, OneRun, StepProgram
from harness.errors import HarnessError
from harness.graph import Graph, Layer
from harness.methods import Backward, DeepLift, Head, IntegratedGradients, Method, Smoothed, baselines
from ported_impls.deep_lift import Lifted
from ported_impls.edges import Edges
from ported_impls.layout import feature_orders, in_canonical_order, in_twin_order, to_canonical, to_twin
from ported_impls.network import Findings, Network
from ported_impls.parts import explain_in_parts, parts_of
from ported_impls.postprocess import postprocessed
from ported_impls.procedures import SAMPLED, Find, Joined, find, points, statistic_of
from ported_impls.queries import query_bytes, run_queries
from ported_impls.shared import SharedPasses
from ported_impls.statistics import Kind
from ported_impls.step_program import Orders, forward_program, step_program
from ported_impls.torchvision_shim import zennit


class LastSampled:
    """The findings of the last procedures of many runs: methods that differ at the input only share them."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Findings] = {}

    def get(self, keys: Sequence[Hashable]) -> Findings | None:
        """What is kept under one of ``keys``; None where nothing is."""
        return next((self._kept[key] for key in keys if key in self._kept), None)

    def clear(self) -> None:
        """Let go of all: the memory is needed for the next."""
        self._kept = {}

    def keep(self, found: dict[Hashable, Findings]) -> None:
        """``found`` takes the place of all before. Its arrays are made read-only: several traces hold them."""
        self._kept = found
        for findings in found.values():
            inside = findings.captured
            shown = (*inside.activations.values(), *inside.relevances.values()) if inside else ()
            for array in (findings.logits, findings.attribution, findings.relevance, *shown):
                array.setflags(write=False)


def _no_edges(method: Method) -> Edges:
    return {}


def _same_runs(one: Method, other: Method) -> bool:
    """Whether ``other`` is another statistic of the runs of ``one``."""
    if not (isinstance(one.procedure, Smoothed) and isinstance(other.procedure, Smoothed)):
        return False
    same = replace(other.procedure, statistic=one.procedure.statistic)
    return (one.composite, one.head, one.selection, one.procedure) == (
        other.composite,
        other.head,
        other.selection,
        same,
    )


def _whole_name(method: Method) -> str:
    return method.name


@dataclass(frozen=True)
class HookedTwin:
    """Satisfies `Prepared`, `Steps`, `Runs` and `Programs`, and gives logits.

    ``composite`` makes the Zennit composite of a method, ``edges`` says which shares it rectifies; ``head``
    overrides the method's head. ``find`` carries out the procedures. ``deciding_name`` is what of a method's
    name ``composite`` looks at: two methods that differ elsewhere in their names are one. ``passes``: what runs of one
    pass backwards share; None where ``composite`` is not this package's own, whose rules the layers' hooks are.
    """

    model: Model
    twin: torch.nn.Module
    composite: Callable[[Method], zennit.core.Composite]
    edges: Callable[[Method], Edges] = _no_edges
    head: Head | None = None
    find: Find = find
    deciding_name: Callable[[Method], str] = _whole_name
    last: LastSampled = field(default_factory=LastSampled, repr=False, compare=False)
    passes: SharedPasses | None = field(default=None, repr=False, compare=False)
    expected: list[Method] = field(default_factory=list, repr=False, compare=False)

    @property
    def graph(self) -> Graph:
        """That of the twin: of a hand-made port its own."""
        graph: Graph = self.twin.graph
        return graph

    @property
    def shares(self) -> bool:
        """Whether runs have arrays in common, which nobody can write to."""
        return self.passes is not None

    def run(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Arrays:
        """Run ``method`` on ``x`` (batch, ..., channel), for the classes ``target`` (batch,).

        Raises InvalidInputError for a parameter that does not fit the network.
        """
        if self.passes is not None and isinstance(method.procedure, Backward):
            if layers:
                return self._arrays(self.passes.explain(x, method, target), x, method, layers)
            parts = parts_of(self.graph, x)
            if len(parts) > 1:
                findings = explain_in_parts(self.twin, parts, x, method, target)
                return self._arrays(findings, x, method, layers)
        if isinstance(method.procedure, SAMPLED | DeepLift):
            # What has layers serves one who asks for none as well.
            keys = [self._runs_of(x, method, target, each) for each in {layers, True}]
            kept = self.last.get(keys)
            if kept is not None:
                return self._arrays(kept, x, method, layers)
            self.last.clear()
            findings = self._sampled(x, method, target, layers)
        else:
            findings = self._findings(x, method, target, layers)
        return self._arrays(findings, x, method, layers)

    @property
    def capabilities(self) -> frozenset[str]:
        """Many targets at once go through this package's own rules; its own procedures alone show their runs."""
        absent = {"queries"} if self.passes is None else set()
        return frozenset(CAPABILITIES) - absent - (set() if self.find is find else {"runs"})

    def runs(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Iterator[OneRun]:
        """The runs of a method that joins many; see `harness.backends.Runs`."""
        procedure = method.procedure
        orders = feature_orders(self.model)
        self.last.clear()

        def one_run(shown: Mapping[str, np.ndarray]) -> OneRun:
            return OneRun(
                {name: in_canonical_order(array, orders.get(name)) for name, array in shown.items()}
            )

        # Nothing here holds a run that was handed out.
        if isinstance(procedure, DeepLift):
            lifted = Lifted(self._network(method), x, procedure, self.graph.layers)
            yield from (one_run(lifted.run(each, target)) for each in baselines(procedure, x.shape))
            self.last.keep({self._runs_of(x, method, target, True): lifted.findings()})
            return
        assert isinstance(procedure, SAMPLED)
        by_kind, joined = self._joined(x, method, procedure, target, layers)

        def made(point: tuple[np.ndarray, float | None]) -> OneRun:
            shown: dict[str, np.ndarray] = {}
            joined.run(*point, target, shown)
            return one_run(shown)

        yield from map(made, points(procedure, x))
        self._keep(by_kind, joined)

    def run_alone(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Arrays:
        """:meth:`run` from end to end through autograd, with nothing from other runs."""
        return self._arrays(self._findings(x, method, target, layers), x, method, layers)

    def run_queries(self, x: np.ndarray, method: Method, targets: np.ndarray, chunk: int) -> Iterator[Arrays]:
        """See `harness.backends.protocol.Queries`."""
        assert self.passes is not None
        self.passes.forget()  # the memory is needed
        for arrays in run_queries(self.twin, x, method, targets, chunk):
            yield replace(arrays, attribution=postprocessed(arrays.attribution, x, method.postprocess))

    def query_bytes(self, method: Method, chunk: int) -> int:
        """See `harness.backends.protocol.Queries`."""
        return query_bytes(self.graph, np.dtype(self.twin.dtype).itemsize, chunk)

    def _network(self, method: Method) -> Network:
        head = self.head or method.head
        return Network(self.twin, self.composite(method), head, self.edges(method), method.selection)

    def _findings(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Findings:
        network = self._network(method)
        return self.find(network, x, method, target, self.graph.layers if layers else ())

    def _sampled(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Findings:
        """What the runs of ``method`` come to; it is kept, and so are other statistics of them that are expected."""
        own = self._runs_of(x, method, target, layers)
        procedure = method.procedure
        if self.find is not find or not isinstance(procedure, SAMPLED):
            self.last.keep({own: self._findings(x, method, target, layers)})
        else:
            by_kind, joined = self._joined(x, method, procedure, target, layers)
            for point, weight in points(procedure, x):
                joined.run(point, weight, target)
            self._keep(by_kind, joined)
        kept = self.last.get([own])
        assert kept is not None
        return kept

    def _joined(
        self,
        x: np.ndarray,
        method: Method,
        procedure: IntegratedGradients | Smoothed,
        target: np.ndarray,
        layers: bool,
    ) -> tuple[dict[Kind, Hashable], Joined]:
        """The runs of ``method`` before the first one, and by statistic what it is kept under."""
        by_kind: dict[Kind, Hashable] = {statistic_of(procedure): self._runs_of(x, method, target, layers)}
        if self.passes is not None:
            self.passes.forget()  # the memory is needed for the statistics
            for other in self.expected:
                if isinstance(other.procedure, Smoothed) and _same_runs(method, other):
                    by_kind[other.procedure.statistic] = self._runs_of(x, other, target, layers)
        recorded = self.graph.layers if layers else ()
        return by_kind, Joined(self._network(method), x, procedure, recorded, by_kind)

    def _keep(self, by_kind: dict[Kind, Hashable], joined: Joined) -> None:
        self.last.keep({by_kind[kind]: each for kind, each in joined.findings().items()})

    def forget(self) -> None:
        """See `harness.backends.protocol.Forgets`."""
        self.last.clear()
        if self.passes is not None:
            self.passes.forget()

    def expect(self, methods: Sequence[Method]) -> None:
        """See `harness.backends.protocol.Expects`: several statistics of the same runs are then taken together."""
        self.expected[:] = methods

    def _arrays(self, findings: Findings, x: np.ndarray, method: Method, layers: bool) -> Arrays:
        attribution = postprocessed(findings.attribution, x, method.postprocess)
        if not layers or findings.captured is None:
            return Arrays(findings.logits, attribution)
        source, orders = self.graph.input.name, feature_orders(self.model)
        whole = findings.captured.activations[source] if self.shares else x
        activations = {**findings.captured.activations, source: whole}
        relevances = {**findings.captured.relevances, source: findings.relevance}
        for layer in self.graph:  # a layer that no gradient reached
            if layer.name not in relevances:
                relevances[layer.name] = np.zeros((len(x), *layer.shape), x.dtype)
        # Nobody writes to what was captured: one that is handed these arrays needs no copies.
        for array in (*findings.captured.activations.values(), *relevances.values()):
            array.setflags(write=False)
        return Arrays(
            findings.logits,
            attribution,
            {name: in_canonical_order(array, orders.get(name)) for name, array in activations.items()},
            {name: in_canonical_order(array, orders.get(name)) for name, array in relevances.items()},
        )

    def logits(self, x: np.ndarray) -> np.ndarray:
        """(batch, classes)."""
        with torch.no_grad():
            return to_canonical(self.twin(to_twin(x)))

    def _runs_of(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Hashable:
        """All that the runs of a method depend on; what is done at the input afterwards is left out."""
        runs = replace(method, name=self.deciding_name(method), postprocess="none")
        digest = hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()
        return x.shape, digest, target.tobytes(), runs, layers

    def step(
        self, layer: Layer, inputs: tuple[np.ndarray, ...], relevance: np.ndarray, method: Method
    ) -> tuple[np.ndarray | None, ...]:
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
            None if gradient is None else in_canonical_order(to_canonical(gradient), order)
            for gradient, order in zip(gradients, orders, strict=True)
        )

    def step_program(
        self,
        layer: Layer,
        inputs: tuple[np.ndarray, ...],
        relevance: np.ndarray,
        method: Method,
        kept: np.ndarray | None = None,
    ) -> StepProgram:
        """What :meth:`step` computes, as torch's own operations; see `harness.backends.Programs`."""
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
