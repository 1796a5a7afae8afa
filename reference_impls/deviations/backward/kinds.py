"""What the deviations have to know about a layer: where it stands, and how much each of its outputs sees."""

from __future__ import annotations

from functools import lru_cache
from math import prod

from harness.graph import Graph, Kind, Layer
from harness.methods import Composite, Rule
from harness.steps import Step
from reference_impls.deviations.backward.wholes import whole_of


def has_weights(step: Step) -> bool:
    """Whether a rule may replace the weights of the layer by others."""
    return step.layer.traits.weighted


def has_bias(step: Step) -> bool:
    """Whether the layer has a bias that is not zero everywhere."""
    return "bias" in step.layer.weights and bool(step.layer.weights["bias"].any())


def seen_by_an_output(layer: Layer) -> int:
    """How many inputs an output of the layer is the sum of, those in the padding among them."""
    weights = layer.weights
    if "kernel" in weights:
        return 1 if layer.traits.family == "scale" else prod(weights["kernel"].shape[:-1])
    if "depthwise_kernel" in weights:
        *space, channels, _ = weights["depthwise_kernel"].shape
        return prod((*space, channels))
    return 1


def cause_of_rule(step: Step) -> str:
    """The name of the cause where the layer has another rule."""
    return "input-layer-rule" if is_input_layer(step) else "rule-mapping"


def is_input_layer(step: Step) -> bool:
    """Whether the layer is one with weights that reads the input, at most reshaped or padded."""
    layer = placed(step)
    return (
        layer is not None
        and step.layer.traits.weighted
        and step.graph.reads_input(layer, through_padding=True)
    )


def placed(step: Step) -> Layer | None:
    """The layer in the graph that the step, or the one it is an excerpt of, is made at; None where it is in none."""
    name = whole_of(step).layer.name
    return next((layer for layer in step.graph if layer.name == name), None)


def readers(step: Step) -> tuple[Layer, ...]:
    """The layers that read the output of this one."""
    return step.graph.consumers(whole_of(step).layer.name)


@lru_cache(maxsize=4)
def assigned(composite: Composite, graph: Graph) -> dict[str, Rule]:
    """`Composite.assign`, which looks at every layer for every layer, once."""
    return composite.assign(graph)


def _choice(kind: Kind) -> str:
    """The same word for kinds whose rules are a matter of choice among the same ones."""
    if kind.weighted:
        return "weighted"
    if kind.sums:
        return "sums"
    return kind.family if kind.activation or kind.family == "maximum" else kind.name


def neighbours(step: Step) -> list[tuple[Layer, Rule]]:
    """The other layers of such kinds and their rules, the nearest in forward order first."""
    layer = placed(step)
    if layer is None:
        return []
    rules = assigned(step.method.composite, step.graph)
    here = step.graph.index(layer)
    others = [
        (abs(place - here), place, other)
        for place, other in enumerate(step.graph.layers)
        if _choice(other.traits) == _choice(layer.traits) and place != here
    ]
    return [(other, rules[other.name]) for _, _, other in sorted(others, key=lambda each: each[:2])]
