"""The passes of many methods on one input: one forward pass, and of backward passes what they have in common once.

Every module runs on inputs of its own, so that its backward pass can be asked for alone. A layer's last relevance is
taken again where it would be the sum of the very tensors that it was the sum of, and what a layer passed down where its
rule and the tensor that reached it are those of before; whatever changes in between makes new tensors, and with them
everything below. The operations and their order are those of autograd's own walk (later modules first), so that a
method alone gives the same bits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from harness.graph import Graph, Layer
from harness.methods import Head, Method, Rule, Selection
from ported_impls.capture import Captured
from ported_impls.composite import hook_for
from ported_impls.edges import Edges, rectified_edges
from ported_impls.heads import initial_relevance
from ported_impls.layout import to_canonical, to_twin
from ported_impls.network import Findings

#: For each input of a layer its relevance, None where none reaches it.
Passed = tuple[Tensor | None, ...]


@dataclass(eq=False)
class _Ran:
    """A module that has run on ``inputs``, which are its own; and what was last made of relevance there."""

    inputs: tuple[Tensor, ...]
    output: Tensor
    parts: tuple[Tensor, ...] = ()
    total: Tensor | None = None
    rule: str = ""
    reached: Tensor | None = None
    passed: Passed = ()

    def sum_of(self, parts: tuple[Tensor, ...]) -> Tensor:
        """The sum of ``parts``, in their order."""
        same = len(parts) == len(self.parts) and all(map(_is, parts, self.parts))
        if self.total is None or not same:
            self.parts, self.total = parts, parts[0]
            for part in parts[1:]:
                self.total = self.total + part
        return self.total

    def passed_down(self, rule: Rule, reached: Tensor, step: Callable[[], Passed]) -> Passed:
        """What ``step`` makes of the relevance that ``reached`` the output."""
        text = repr(rule)  # it has all fields, and tells 0.0 from -0.0
        if self.reached is not reached or self.rule != text:
            self.passed = ()  # the memory is needed for what comes in its place
            self.rule, self.reached, self.passed = text, reached, step()
        return self.passed


def _is(one: object, other: object) -> bool:
    return one is other


@dataclass(eq=False)
class _OnInput:
    """All that is kept of one input ``x``, (batch, ..., channel)."""

    x: np.ndarray
    ran: dict[str, _Ran]
    activations: dict[str, np.ndarray]
    #: By the tensor, its array; and the relevance at the output, by head, selection and target.
    arrays: dict[Tensor, np.ndarray] = field(default_factory=dict)
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
        relevances = self._back(kept, rules, rectified_edges(graph, rules), self._start(kept, method, target))
        views = {tensor: kept.arrays.get(tensor) for tensor in relevances.values()}
        kept.arrays = {tensor: _view(tensor) if view is None else view for tensor, view in views.items()}
        shown = {name: kept.arrays[tensor] for name, tensor in relevances.items()}
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
        ran: dict[str, _Ran] = {}
        for layer in graph:
            if layer.inputs:
                inputs = tuple(outputs[name].detach().requires_grad_() for name in layer.inputs)
                ran[layer.name] = _Ran(inputs, self._twin.get_submodule(layer.name)(*inputs))
                outputs[layer.name] = ran[layer.name].output.detach()
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

    def _back(
        self, kept: _OnInput, rules: Mapping[str, Rule], edges: Edges, start: Tensor
    ) -> dict[str, Tensor]:
        """By layer, the relevance that reaches its output; the input is among them."""
        graph: Graph = self._twin.graph
        waiting: dict[str, list[Tensor]] = defaultdict(list)
        waiting[graph.output].append(start)
        relevances = {}
        inputs = _Ran((), start)
        for layer in reversed(graph.layers):
            if layer.name not in waiting:
                continue
            ran = kept.ran.get(layer.name, inputs)
            reached = relevances[layer.name] = ran.sum_of(tuple(waiting.pop(layer.name)))
            if not layer.inputs:
                continue
            for name, share in _by_source(layer, self._passed(layer, ran, rules[layer.name], reached, edges)):
                waiting[name].append(share)
        return relevances

    def _passed(self, layer: Layer, ran: _Ran, rule: Rule, reached: Tensor, edges: Edges) -> Passed:
        """One share for each source of ``layer``, at the first place where it is read."""

        def step() -> Passed:
            passed = list(_step(self._twin.get_submodule(layer.name), layer, ran, rule, reached))
            for place, name in enumerate(layer.inputs):
                first = layer.inputs.index(name)
                again = passed[place]
                if place != first and again is not None:
                    before = passed[first]
                    passed[first], passed[place] = again if before is None else before + again, None
            return tuple(passed)

        passed = ran.passed_down(rule, reached, step)
        rectified = {places[0] for places in edges.get(layer.name, ())}
        if not rectified:
            return passed
        return tuple(
            share.clamp(min=0) if share is not None and place in rectified else share
            for place, share in enumerate(passed)
        )


def _by_source(layer: Layer, passed: Passed) -> list[tuple[str, Tensor]]:
    return [(name, share) for name, share in zip(layer.inputs, passed, strict=True) if share is not None]


@torch.no_grad()
def _step(module: torch.nn.Module, layer: Layer, ran: _Ran, rule: Rule, reached: Tensor) -> Passed:
    """Relevance of each input of a module that has run, under ``rule``."""
    hook = hook_for(rule, layer)
    if hook is not None:
        hook.stored_tensors.update(input=ran.inputs, output=ran.output)
        passed: Passed = tuple(hook.backward(module, (), (reached,)))
        return passed
    if not ran.output.requires_grad:
        return (None,) * len(ran.inputs)
    return torch.autograd.grad(ran.output, ran.inputs, reached, retain_graph=True, allow_unused=True)


def _view(tensor: Tensor) -> np.ndarray:
    """The memory of ``tensor``, which nobody writes to from here on, in canonical layout."""
    array = to_canonical(tensor)
    whole = array if array.base is None or not isinstance(array.base, np.ndarray) else array.base
    whole.setflags(write=False)
    array.setflags(write=False)
    return array
