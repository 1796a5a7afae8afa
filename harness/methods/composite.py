"""Composites: which layer gets which rule, always explicit, as data."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.errors import InvalidInputError
from harness.graph import Graph, Layer, Role, role_in_attention
from harness.methods.later import LATER
from harness.methods.rules import Bounded, FusedBatchNorm, Gradient, Rule, rectifies_shares


@dataclass(frozen=True)
class Assignment:
    """``rule`` for every layer that meets all conditions; an empty condition is met by every layer.

    ``kinds``: the layer's kind is one of these. ``names``: its canonical name is one of these.
    ``reads_input``: it sees the network's input, at most reshaped; ``through_padding``: zero padding in
    between does not count either. ``until_index``: it is not behind this place in the network's layers, in
    forward order from 0, the input; all layers count. ``kernel_index``: it is the layer with a kernel at
    this place among those, in forward order from 0. ``first``: it is the first layer of ``kinds``.
    ``same_shape``: it has one input, of the shape of its output. ``output``: it is the network's output.
    ``inside``: it can be written inside the layer before, a layer with a kernel that nothing else reads.
    ``softmaxed``: its input at this place, from 0, is a softmax, at most moved or scaled: attention weights.
    ``role``: it is this product of an attention (`harness.graph.role_in_attention`).
    """

    rule: Rule
    kinds: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    reads_input: bool = False
    through_padding: bool = False
    until_index: int | None = None
    kernel_index: int | None = None
    first: bool = False
    same_shape: bool = False
    output: bool = field(default=False, metadata=LATER)
    inside: bool = field(default=False, metadata=LATER)
    softmaxed: int | None = field(default=None, metadata=LATER)
    role: Role | None = field(default=None, metadata=LATER)

    def applies(self, layer: Layer, graph: Graph) -> bool:
        return (
            (not self.kinds or layer.kind in self.kinds)
            and (not self.names or layer.name in self.names)
            and (not self.reads_input or graph.reads_input(layer, self.through_padding))
            and (self.until_index is None or graph.index(layer) <= self.until_index)
            and (self.kernel_index is None or _kernel_layers(graph)[self.kernel_index].name == layer.name)
            and (not self.first or next(each.name for each in graph if each.kind in self.kinds) == layer.name)
            and (not self.same_shape or layer.input_shapes == (layer.shape,))
            and (not self.output or layer.name == graph.output)
            and (not self.inside or _inside(layer, graph))
            and (self.softmaxed is None or _softmaxed(layer, graph, self.softmaxed))
            and (self.role is None or role_in_attention(layer, graph) == self.role)
        )

    def check(self, graph: Graph) -> None:
        """Raise InvalidInputError where an index is past the end of the network."""
        if self.until_index is not None and self.until_index >= len(graph):
            raise InvalidInputError(
                f"until_layer_idx is {self.until_index}; {graph.name} has the layers 0 to {len(graph) - 1}"
            )
        kernels = len(_kernel_layers(graph))
        if self.kernel_index is not None and self.kernel_index >= kernels:
            raise InvalidInputError(
                f"the list of rules has more than the {kernels} layers with a kernel that {graph.name} has"
            )


def _inside(layer: Layer, graph: Graph) -> bool:
    (source,) = layer.inputs if len(layer.inputs) == 1 else (None,)
    return (
        source is not None
        and graph[source].traits.kernel
        and source != graph.output
        and len(graph.consumers(source)) == 1
    )


def _softmaxed(layer: Layer, graph: Graph, place: int) -> bool:
    """Whether the values of input ``place`` are those of a softmax, at most moved, dropped or scaled."""
    if place >= len(layer.inputs):
        return False
    source = graph[layer.inputs[place]]
    while source.kind != "softmax":
        if len(source.inputs) != 1 or source.traits.family not in (
            "shape",
            "identity",
            "resampling",
            "scale",
        ):
            return False
        source = graph[source.inputs[0]]
    return True


def _kernel_layers(graph: Graph) -> list[Layer]:
    return [layer for layer in graph if layer.traits.weighted]


@dataclass(frozen=True)
class Composite:
    """An ordered list of assignments; the first that applies to a layer decides."""

    assignments: tuple[Assignment, ...]

    def rule_for(self, layer: Layer, graph: Graph) -> Rule:
        """The rule of ``layer``; raises InvalidInputError where no assignment applies.

        An input of several gets none of them: what it received goes back to its place among the others.
        """
        if layer.kind == "part":
            return Gradient()
        for assignment in self.assignments:
            if assignment.applies(layer, graph):
                return assignment.rule
        raise InvalidInputError(
            f"the composite has no rule for layer {layer.name!r} ({layer.kind}); add an assignment for it, or take a "
            "method that has one ('gradient' has one for every layer)"
        )

    def assign(self, graph: Graph) -> dict[str, Rule]:
        """The rule of every layer but the input, by canonical name, in forward order.

        Raises InvalidInputError where a layer gets none, an assignment's index is past the end, or a rule has bounds
        for other channels than the layer reads.
        """
        for assignment in self.assignments:
            assignment.check(graph)
        rules = {layer.name: self.rule_for(layer, graph) for layer in graph if layer.inputs}
        for name, rule in rules.items():
            _require_channels(rule, graph[name])
        return rules

    def rectified_sources(self, graph: Graph) -> frozenset[str]:
        """The layers that get the positive part of each reader's share: their rule asks for it, and several read them.

        Raises what :meth:`assign` raises.
        """
        return frozenset(
            name
            for name, rule in self.assign(graph).items()
            if rectifies_shares(rule) and len(graph.consumers(name)) > 1
        )


def _require_channels(rule: Rule, layer: Layer) -> None:
    kernel_rule = rule.rule if isinstance(rule, FusedBatchNorm) else rule
    bounded = kernel_rule.channels if isinstance(kernel_rule, Bounded) else None
    if bounded is not None and bounded != layer.input_shapes[0][-1]:
        raise InvalidInputError(
            f"the bounds of layer {layer.name!r} ({layer.kind}) are for {bounded} channels, but its input has "
            f"{layer.input_shapes[0][-1]}; give one low and one high, or one for each channel of that input"
        )


GRADIENT = Composite((Assignment(Gradient()),))
