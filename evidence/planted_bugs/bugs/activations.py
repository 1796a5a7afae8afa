"""Activations that do not last until the way back needs them: overwritten in a run, or cleared before the next."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from evidence.planted_bugs import Fault, Mutant, Site
from harness.backends import Backend
from harness.graph import Graph, Layer
from harness.methods import Method, Rule
from ported_impls.steps import FormulaStep, OutputStep, RuleHook

from .planting import FaultyPort, Plant, exchange, mutant
from .sites import Where
from .transformers import WITH_ATTENTION, norm_gradient

MASKDINO = "report on LRP for MaskDINO: module.activations.clear(), and the next query"
NORMS = ("layer_norm", "rms_norm")


def added_to_its_input(layer: Layer, graph: Graph) -> bool:
    """A norm in front of a branch: the addition behind the branch reads the norm's input again, as its last one."""
    return any(
        reader.kind == "add" and reader.inputs[-1] == layer.inputs[0]
        for reader in graph.consumers(layer.inputs[0])
    )


BEFORE_A_BRANCH = Where(NORMS, having=added_to_its_input)


class AddInPlace(nn.Module):
    """``y += x`` into the memory of ``y``, the last input, which autograd does not notice."""

    def forward(self, *inputs: Tensor) -> Tensor:
        total: Tensor = sum(inputs[1:], start=inputs[0])
        inputs[-1].data.copy_(total.detach())
        return total


def recomputed(healthy: RuleHook | None, layer: Layer, rule: Rule) -> RuleHook:
    """The right step, all of it from the input that is kept."""
    if healthy is None:
        return FormulaStep(partial(norm_gradient, 1.5, rule))
    assert isinstance(healthy, OutputStep)
    shares = healthy.formula
    return FormulaStep(lambda module, x, relevance: shares(module, [x], module.forward(x), relevance)[0])


def adds_in_place(twin: nn.Module) -> None:
    for layer in twin.graph:
        if layer.kind == "add":
            twin._modules[layer.name] = AddInPlace()


class ClearedStep(RuleHook):
    """The step of ``healthy`` with the activations of the first run, which it clears; without any, R as it is."""

    def __init__(self, healthy: RuleHook, kept: dict[str, tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.healthy = healthy
        self.kept = kept

    def copy(self) -> ClearedStep:
        return ClearedStep(self.healthy.copy(), self.kept)

    def post_forward(self, module: nn.Module, input: tuple[Tensor, ...], output: Tensor) -> Tensor:
        taken = self.stored_tensors["taken"]
        self.kept.setdefault("input", taken)
        return super().post_forward(module, input, output)

    def backward(
        self, module: nn.Module, grad_input: tuple[Tensor, ...], grad_output: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        if not self.kept["input"]:
            return grad_output
        self.kept["input"] = ()
        self.healthy.stored_tensors.update(self.stored_tensors)
        with torch.no_grad():
            return self.healthy.backward(module, grad_input, grad_output)


def cleared(site: Site) -> Backend:
    """A port of its own: what it keeps is kept for its runs alone."""
    kept: dict[str, tuple[Tensor, ...]] = {}

    def hook(healthy: RuleHook, layer: Layer, rule: Rule) -> RuleHook:
        return ClearedStep(healthy, kept)

    return FaultyPort("activations-cleared-after-the-first-run", (exchange(site, "state", hook),))


def last_norm(graph: Graph, method: Method) -> tuple[str, ...]:
    return Where(NORMS, "last")(graph, method)


MUTANTS = (
    mutant(
        "activations-overwritten-in-place",
        "residual additions write into the memory of the branch they read, before the norms in front need it",
        Plant(Fault("state", BEFORE_A_BRANCH, "rule"), hook=recomputed, whole=adds_in_place),
        methods=("gradient", "input_t_gradient"),
        models=("encoder-net", "vit-digits", "vit-s-focus"),
        source="usual slip: x += y in the forward pass of a port that keeps activations",
    ),
    Mutant(
        "activations-cleared-after-the-first-run",
        "the activations of a norm are kept from the first run and cleared behind its step: the next has none",
        (Fault("state", last_norm, "rule"),),
        partial(cleared, last_norm),
        methods=("attnlrp:norm=held", "cp_lrp:norm=held"),
        models=WITH_ATTENTION,
        source=MASKDINO,
    ),
)
