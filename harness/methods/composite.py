"""Composites: which layer gets which rule, always explicit, as data; and methods made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.errors import InvalidInputError
from harness.graph import (
    ACTIVATION_KINDS,
    AVERAGE_POOLING_KINDS,
    KERNEL_KINDS,
    Graph,
    Layer,
)
from harness.methods.rules import FusedBatchNorm, Gradient, Pass, Rule, Z


@dataclass(frozen=True)
class Assignment:
    """``rule`` for every layer that meets all conditions; an empty condition is met by every layer.

    ``kinds``: the layer's kind is one of these. ``names``: its canonical name is one of these.
    ``reads_input``: it sees the network's input, at most reshaped.
    """

    rule: Rule
    kinds: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    reads_input: bool = False

    def applies(self, layer: Layer, graph: Graph) -> bool:
        return (
            (not self.kinds or layer.kind in self.kinds)
            and (not self.names or layer.name in self.names)
            and (not self.reads_input or graph.reads_input(layer))
        )


@dataclass(frozen=True)
class Composite:
    """An ordered list of assignments; the first that applies to a layer decides."""

    assignments: tuple[Assignment, ...]

    def rule_for(self, layer: Layer, graph: Graph) -> Rule:
        """The rule of ``layer``; raises InvalidInputError where no assignment applies."""
        for assignment in self.assignments:
            if assignment.applies(layer, graph):
                return assignment.rule
        raise InvalidInputError(f"the composite has no rule for layer {layer.name!r} ({layer.kind})")

    def assign(self, graph: Graph) -> dict[str, Rule]:
        """The rule of every layer but the input, by canonical name, in forward order."""
        return {layer.name: self.rule_for(layer, graph) for layer in graph if layer.kind != "input"}


#: The initial relevance at the target neuron: its logit, or one; zero at every other neuron.
Head = Literal["logit", "one"]
#: What is done to the relevance of the input to get the attribution.
Postprocess = Literal["none", "times_input"]


@dataclass(frozen=True)
class Method:
    """A method with every parameter fixed: start (``head``), rule per layer, and what is done at the input."""

    name: str
    composite: Composite
    head: Head = "logit"
    postprocess: Postprocess = "none"


def lrp_composite(rule: Rule, input_layer_rule: Rule | None = None) -> Composite:
    """One rule for all kernels, as iNNvestigate 2.1.2's fixed-parameter analyzers do it (`LRP._create_analysis`).

    Kernels get ``rule`` (those that see the input ``input_layer_rule``, if given), batch norms the rule
    on their fused line, add and average pooling :class:`Z`, activations :class:`Pass`, the rest
    (max pooling, multiply, layer norm, reshaping, padding, ...) the gradient.

    The graph does not keep how an activation was written, so all are read as iNNvestigate reads those
    inside a layer and `Activation` layers. It sends stand-alone `ReLU`, `LeakyReLU`, `ELU` and `PReLU`
    layers through their gradient instead (`LRP._default_reverse_mapping`), which differs where relevance
    reaches a unit that is off (w_square, flat) or the slope is not one.
    """
    first = (
        (Assignment(input_layer_rule, kinds=KERNEL_KINDS, reads_input=True),)
        if input_layer_rule is not None
        else ()
    )
    if isinstance(rule, Pass | Gradient | FusedBatchNorm):
        raise InvalidInputError(f"{type(rule).__name__} is no rule for a kernel")
    return Composite(
        (
            *first,
            Assignment(rule, kinds=KERNEL_KINDS),
            Assignment(FusedBatchNorm(rule), kinds=("batch_norm",)),
            Assignment(rule, kinds=("scale",)),
            Assignment(Z(), kinds=("add", *AVERAGE_POOLING_KINDS)),
            Assignment(Pass(), kinds=ACTIVATION_KINDS),
            Assignment(Gradient()),
        )
    )


GRADIENT = Composite((Assignment(Gradient()),))
