"""How a fault gets into a port: the healthy one, with some hooks, modules, seed or result exchanged.

`FaultyPort` is `ported_impls.backend.TorchBackend` but for its `Plant`s. Steps of single layers, activations and
relevances come from the same machinery as the healthy port's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evidence.planted_bugs import Fault, Mutant, Site
from harness.backends import Backend
from harness.backends.protocol import Arrays, Model, Prepared
from harness.files import installed_versions
from harness.graph import Graph, Layer
from harness.methods import GRADIENT, Method, Rule
from ported_impls.capture import capture_layers
from ported_impls.composite import hook_for
from ported_impls.edges import rectified_edges
from ported_impls.layout import to_canonical, to_twin
from ported_impls.network import Findings, Network
from ported_impls.postprocess import postprocessed
from ported_impls.run import HookedTwin
from ported_impls.steps import FormulaStep
from ported_impls.torchvision_shim import zennit

#: (healthy hook, None for the gradient; layer; its rule) -> hook, None for the gradient.
Exchange = Callable[[Any, Layer, Rule], Any]
#: (rule, module, input, relevance of the output) -> relevance of the input.
Formula = Callable[[Rule, nn.Module, Tensor, Tensor], Tensor | None]
#: (module, layer) -> the module that stands in its place; the one given may be changed.
Rebuild = Callable[[nn.Module, Layer], nn.Module]
#: (logits, target) -> initial relevance, (batch, classes).
Seed = Callable[[np.ndarray, np.ndarray], np.ndarray]
#: (attribution, input) -> attribution.
Finish = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Plant:
    """A fault and the one thing that makes it."""

    fault: Fault
    hook: Exchange | None = None
    module: Rebuild | None = None
    whole: Callable[[nn.Module], None] | None = None
    seed: Seed | None = None
    finish: Finish | None = None


# --- kinds of plant -----------------------------------------------------------------------------------


def formula(site: Site, cause: str, step: Formula, *or_cause: str) -> Plant:
    """The layers' step is ``step``."""
    return exchange(site, cause, lambda healthy, layer, rule: FormulaStep(partial(step, rule)), *or_cause)


def after(
    site: Site, cause: str, change: Callable[[nn.Module, Tensor, Tensor], Tensor], *or_cause: str
) -> Plant:
    """The layers' step is the right one, followed by ``change`` (module, input, relevance of the input)."""
    return exchange(site, cause, lambda healthy, layer, rule: Followed(healthy, change), *or_cause)


def exchange(site: Site, cause: str, hook: Exchange, *or_cause: str) -> Plant:
    """The layers have another hook."""
    return Plant(Fault(cause, site, "rule", or_cause), hook=hook)


def rebuilt(site: Site, cause: str, module: Rebuild, *or_cause: str, or_site: Site | None = None) -> Plant:
    """The layers' modules are others; ``site`` must not ask for rules."""
    return Plant(Fault(cause, site, "forward", or_cause, or_site), module=module)


def seeded(site: Site, cause: str, seed: Seed, *or_cause: str) -> Plant:
    """The relevance starts otherwise."""
    return Plant(Fault(cause, site, "head", or_cause), seed=seed)


def finished(cause: str, finish: Finish, *or_cause: str) -> Plant:
    """Something is done to the attribution after all else."""
    return Plant(Fault(cause, None, "postprocess", or_cause), finish=finish)


def mutant(
    name: str,
    what: str,
    *plants: Plant,
    methods: Sequence[str],
    models: Sequence[str],
    source: str,
    **facts: Any,
) -> Mutant:
    """``plants`` in the healthy port."""
    faults = tuple(plant.fault for plant in plants)
    build = partial(FaultyPort, name, plants)
    return Mutant(name, what, faults, build, tuple(methods), tuple(models), source, **facts)


# --- the faulty port ----------------------------------------------------------------------------------


@dataclass(eq=False)
class FaultyPort:
    """Satisfies `harness.backends.Backend`."""

    name: str
    plants: tuple[Plant, ...]

    def version(self) -> dict[str, str]:
        return installed_versions("torch", "zennit", "numpy")

    def supports(self, method: Method, graph: Graph) -> str:
        return ""

    def prepare(self, model: Model, dtype: str, device: str = "cpu") -> Prepared:
        twin = self._rebuilt(model.torch(dtype))
        seeds = [plant.seed for plant in self.plants if plant.seed is not None]
        port = HookedTwin(
            model=model,
            twin=twin,
            composite=partial(self._composite, twin.graph),
            edges=lambda method: rectified_edges(twin.graph, method.composite.assign(twin.graph)),
        )
        if seeds:
            port = replace(port, find=partial(find_from, seeds[0]))
        finishes = tuple(plant.finish for plant in self.plants if plant.finish is not None)
        return Finished(port, finishes) if finishes else port

    def _rebuilt(self, twin: nn.Module) -> nn.Module:
        if all(plant.module is None and plant.whole is None for plant in self.plants):
            return twin
        twin = copied(twin)
        anyhow = Method("gradient", GRADIENT)
        for plant in self.plants:
            if plant.module is not None:
                assert plant.fault.site is not None
                for name in plant.fault.site(twin.graph, anyhow):
                    twin._modules[name] = plant.module(twin._modules[name], twin.graph[name])
            if plant.whole is not None:
                plant.whole(twin)
        return twin

    def _composite(self, graph: Graph, method: Method) -> Any:
        rules = method.composite.assign(graph)
        hooks = {name: hook_for(rule, graph[name]) for name, rule in rules.items()}
        for plant in self.plants:
            if plant.hook is not None:
                assert plant.fault.site is not None
                for name in plant.fault.site(graph, method):
                    hooks[name] = plant.hook(hooks[name], graph[name], rules[name])
        return zennit.core.Composite(module_map=lambda context, name, module: hooks.get(name))


def copied(twin: nn.Module) -> nn.Module:
    """Modules of its own; graph and weights are shared, which a plant therefore replaces and never changes."""
    shared = [twin.graph, *twin.parameters(), *twin.buffers()]
    return copy.deepcopy(twin, {id(each): each for each in shared})


def find_from(
    seed: Seed,
    network: Network,
    x: np.ndarray,
    method: Method,
    target: np.ndarray,
    recorded: Sequence[Layer],
) -> Findings:
    """One run whose relevance starts as ``seed`` says."""
    seen = to_twin(x).requires_grad_()
    with network.hooks(), capture_layers(network.twin, recorded) as captured:
        output = network.twin(seen)
        logits = to_canonical(output)
        (gradient,) = torch.autograd.grad(output, seen, to_twin(seed(logits, target)))
        relevance = to_canonical(gradient)
    return Findings(logits, relevance, relevance, captured)


@dataclass(frozen=True)
class Finished:
    """``port`` with ``finishes`` after its method's own post-processing."""

    port: HookedTwin
    finishes: tuple[Finish, ...]

    def run(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Arrays:
        arrays = self.port.run(x, replace(method, postprocess="none"), target, layers)
        attribution = postprocessed(arrays.attribution, x, method.postprocess)
        for finish in self.finishes:
            attribution = finish(attribution, x)
        return replace(arrays, attribution=attribution)

    def step(self, *step: Any) -> tuple[np.ndarray | None, ...]:
        return self.port.step(*step)

    def step_program(self, *step: Any) -> Any:
        return self.port.step_program(*step)

    def forward_program(self, *step: Any) -> Any:
        return self.port.forward_program(*step)


# --- hooks --------------------------------------------------------------------------------------------


class Followed(zennit.core.Hook):
    """A hook, or the gradient where it is None, whose result goes through ``change``."""

    def __init__(self, healthy: Any, change: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.healthy = healthy
        self.change = change

    def copy(self) -> Any:
        hook: Any = _Plain() if self.healthy is None else self.healthy.copy()
        backward, change = hook.backward, self.change

        def changed(module: nn.Module, *gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            relevances = backward(module, *gradients)
            inputs = hook.stored_tensors.get("input", gradients[0])
            with torch.no_grad():
                return tuple(
                    change(module, x.detach(), each) for x, each in zip(inputs, relevances, strict=True)
                )

        hook.backward = changed
        # A chain of plants copies the copy: each has to follow the one before.
        hook.copy = lambda: Followed(self.healthy, self.change).copy()
        return hook


class _Plain(zennit.core.Hook):
    """The gradient, with the input kept."""

    def forward(self, module: nn.Module, input: tuple[Tensor, ...], output: Tensor) -> None:
        self.stored_tensors["input"] = input

    def backward(
        self, module: nn.Module, grad_input: tuple[Tensor, ...], grad_output: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        return grad_input


class Shares(zennit.core.Hook):
    """``shares(inputs, relevance of the output)``: the relevance of each input of an add."""

    def __init__(self, shares: Callable[[tuple[Tensor, ...], Tensor], Sequence[Tensor]]) -> None:
        super().__init__()
        self.shares = shares

    def copy(self) -> Shares:
        return Shares(self.shares)

    def forward(self, module: nn.Module, input: tuple[Tensor, ...], output: Tensor) -> None:
        self.stored_tensors["input"] = input

    def backward(
        self, module: nn.Module, grad_input: tuple[Tensor, ...], grad_output: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        inputs = tuple(x.detach() for x in self.stored_tensors["input"])
        with torch.no_grad():
            return tuple(self.shares(inputs, grad_output[0]))


__all__ = [
    "Backend",
    "Finished",
    "Followed",
    "Plant",
    "Shares",
    "after",
    "exchange",
    "finished",
    "formula",
    "mutant",
    "rebuilt",
    "seeded",
]
