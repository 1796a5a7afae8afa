"""A twin under DLBacktrace, as the harness uses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from harness.backends.protocol import Arrays
from harness.errors import UnsupportedMethodError
from harness.graph import Graph, Layer
from harness.methods import BacktraceStart, Method, Rule
from ported_impls.dlbacktrace.rules import Relevances, propagate
from ported_impls.dlbacktrace.start import start
from ported_impls.layout import to_canonical, to_twin

#: `propagate`, or something else in its place.
Propagate = Callable[
    [Layer, nn.Module, tuple[Tensor, ...], Relevances, Rule, int | None], tuple[Relevances, ...]
]
Start = Callable[[Tensor, Tensor, BacktraceStart], Tensor]


@dataclass(frozen=True)
class TwinBacktrace:
    """Satisfies `Prepared`, `Logits`, `Steps` and `PairSteps`.

    ``chunk``: numbers held at once in a step; None for what follows from the shapes. ``propagate`` and ``start``: what
    a step and the beginning are.
    """

    twin: nn.Module
    chunk: int | None = None
    propagate: Propagate = propagate
    start: Start = start

    @property
    def graph(self) -> Graph:
        graph: Graph = self.twin.graph
        return graph

    def run(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Arrays:
        """Run ``method`` on ``x`` (batch, ..., channel), for the classes ``target`` (batch,)."""
        rules = method.composite.assign(self.graph)
        with torch.no_grad():
            outputs = self._forward(to_twin(x))
            heads = self._heads(method)
            wanted = torch.as_tensor(target).to(outputs[self.graph.output].device)
            begun = tuple(self.start(outputs[self.graph.output], wanted, head) for head in heads)
            shown, kept = heads.index(self._head(method)), {}
            waiting: dict[str, Relevances] = {self.graph.output: begun}
            for layer in reversed(self.graph.layers):
                received = waiting.pop(layer.name, None)
                if received is None:
                    continue
                if layers or not layer.inputs:
                    kept[layer.name] = received[shown]
                if layer.inputs:
                    inputs = tuple(outputs[name] for name in layer.inputs)
                    passed = self.propagate(
                        layer, self._module(layer), inputs, received, rules[layer.name], self.chunk
                    )
                    for name, share in zip(layer.inputs, passed, strict=True):
                        before = waiting.get(name)
                        waiting[name] = (
                            share
                            if before is None
                            else tuple(a + b for a, b in zip(before, share, strict=True))
                        )
        source = self.graph.input.name
        attribution = kept.get(source, torch.zeros_like(outputs[source]))
        if not layers:
            return Arrays(to_canonical(outputs[self.graph.output]), to_canonical(attribution))
        relevances = {
            layer.name: to_canonical(kept.get(layer.name, torch.zeros_like(outputs[layer.name])))
            for layer in self.graph
        }
        activations = {name: to_canonical(each) for name, each in outputs.items()}
        return Arrays(activations[self.graph.output], to_canonical(attribution), activations, relevances)

    def logits(self, x: np.ndarray) -> np.ndarray:
        """(batch, classes)."""
        with torch.no_grad():
            return to_canonical(self._forward(to_twin(x))[self.graph.output])

    def step(
        self, layer: Layer, inputs: tuple[np.ndarray, ...], relevance: np.ndarray, method: Method
    ) -> tuple[np.ndarray, ...]:
        """The relevance of each input of ``layer``, in default mode.

        Raises UnsupportedMethodError in contrast mode: a step there takes two relevances, a trace shows one of them.
        """
        if self._head(method).part != "whole":
            raise UnsupportedMethodError(
                f"{method.name}: a single step of contrast mode takes both relevances; give both to step_pair"
            )
        given, received = tuple(to_twin(x) for x in inputs), (to_twin(relevance),)
        rule = method.composite.rule_for(layer, self.graph)
        with torch.no_grad():
            passed = self.propagate(layer, self._module(layer), given, received, rule, self.chunk)
        return tuple(to_canonical(share) for (share,) in passed)

    def step_pair(
        self,
        layer: Layer,
        inputs: tuple[np.ndarray, ...],
        relevances: tuple[np.ndarray, np.ndarray],
        method: Method,
    ) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """For each input of ``layer`` both relevances of contrast mode."""
        given, received = tuple(to_twin(x) for x in inputs), tuple(to_twin(each) for each in relevances)
        rule = method.composite.rule_for(layer, self.graph)
        with torch.no_grad():
            passed = self.propagate(layer, self._module(layer), given, received, rule, self.chunk)
        return tuple((to_canonical(favour), to_canonical(against)) for favour, against in passed)

    def _forward(self, x: Tensor) -> dict[str, Tensor]:
        """The output of every layer."""
        outputs: dict[str, Tensor] = {}
        for layer in self.graph:
            given = [outputs[name] for name in layer.inputs] or [x]
            outputs[layer.name] = self._module(layer)(*given)
        return outputs

    def _module(self, layer: Layer) -> nn.Module:
        return self.twin.get_submodule(layer.name)

    @staticmethod
    def _head(method: Method) -> BacktraceStart:
        assert isinstance(method.head, BacktraceStart)
        return method.head

    def _heads(self, method: Method) -> tuple[BacktraceStart, ...]:
        """The starts of a run: one in default mode, two in contrast mode."""
        head = self._head(method)
        if head.part == "whole":
            return (head,)
        return replace(head, part="for"), replace(head, part="against")
