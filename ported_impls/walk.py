"""Back through a twin one module at a time: each runs on inputs of its own, so that its step can be asked for alone.

The operations and their order are those of autograd's own walk (later modules first), so that the bits are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.graph import Layer
from harness.methods import Rule
from ported_impls.composite import hook_for
from ported_impls.edges import Edges

#: For each input of a layer its relevance, None where none reaches it.
Passed = tuple[Tensor | None, ...]


@dataclass(eq=False)
class Ran:
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


#: (module, layer, its run, rule, relevance of its output) -> relevance of its inputs.
Step = Callable[[torch.nn.Module, Layer, Ran, Rule, Tensor], Passed]


def _is(one: object, other: object) -> bool:
    return one is other


def run_layers(twin: torch.nn.Module, layers: Sequence[Layer], outputs: dict[str, Tensor]) -> dict[str, Ran]:
    """The modules of ``layers``, run on ``outputs`` by layer name, to which what they give is added."""
    ran: dict[str, Ran] = {}
    for layer in layers:
        if layer.inputs:
            inputs = tuple(outputs[name].detach().requires_grad_() for name in layer.inputs)
            ran[layer.name] = Ran(inputs, twin.get_submodule(layer.name)(*inputs))
            outputs[layer.name] = ran[layer.name].output.detach()
    return ran


@torch.no_grad()
def step_of(module: torch.nn.Module, layer: Layer, ran: Ran, rule: Rule, reached: Tensor) -> Passed:
    """Relevance of each input of a module that has run, under ``rule``."""
    return way_back(module, layer, ran, rule)(reached)


def way_back(module: torch.nn.Module, layer: Layer, ran: Ran, rule: Rule) -> Callable[[Tensor], Passed]:
    """From the relevance of the output of a module that has run to that of its inputs, under ``rule``."""
    hook = hook_for(rule, layer)
    if hook is not None:
        hook.stored_tensors.update(input=ran.inputs, output=ran.output)
        return hook.way_back(module)
    if not ran.output.requires_grad:
        return lambda reached: (None,) * len(ran.inputs)
    return lambda reached: torch.autograd.grad(
        ran.output, ran.inputs, reached, retain_graph=True, allow_unused=True
    )


def walk_back(
    twin: torch.nn.Module,
    layers: Sequence[Layer],
    ran: Mapping[str, Ran],
    rules: Mapping[str, Rule],
    edges: Edges,
    waiting: dict[str, list[Tensor]],
    step: Step = step_of,
) -> Iterator[tuple[str, Tensor]]:
    """From the last of ``layers`` to the first, each that relevance reaches, with the relevance of its output.

    ``waiting``: the shares of each output that have come so far, by layer name. Those of ``layers`` are taken out, and
    what these pass down is put in, before the layer is given. ``step``: what makes a layer's shares of the relevance of
    its output.
    """
    for layer in reversed(layers):
        if layer.name not in waiting:
            continue
        shares = tuple(waiting.pop(layer.name))
        if not layer.inputs:
            yield layer.name, Ran((), shares[0]).sum_of(shares)
            continue
        reached = ran[layer.name].sum_of(shares)
        module, rule = twin.get_submodule(layer.name), rules[layer.name]
        passed = _passed(module, layer, ran[layer.name], rule, reached, edges, step)
        for name, share in zip(layer.inputs, passed, strict=True):
            if share is not None:
                waiting.setdefault(name, []).append(share)
        yield layer.name, reached


def _passed(
    module: torch.nn.Module,
    layer: Layer,
    ran: Ran,
    rule: Rule,
    reached: Tensor,
    edges: Edges,
    step: Step,
) -> Passed:
    """One share for each source of ``layer``, at the first place where it is read."""

    def joined() -> Passed:
        passed = list(step(module, layer, ran, rule, reached))
        for place, name in enumerate(layer.inputs):
            first = layer.inputs.index(name)
            again = passed[place]
            if place != first and again is not None:
                before = passed[first]
                passed[first], passed[place] = again if before is None else before + again, None
        return tuple(passed)

    passed = ran.passed_down(rule, reached, joined)
    rectified = {places[0] for places in edges.get(layer.name, ())}
    if not rectified:
        return passed
    return tuple(
        share.clamp(min=0) if share is not None and place in rectified else share
        for place, share in enumerate(passed)
    )
