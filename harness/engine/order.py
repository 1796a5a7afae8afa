"""In which order methods are run, so that those that share most follow each other."""

from __future__ import annotations

from collections.abc import Sequence

from harness.graph import Graph
from harness.methods import Backward, GradCam, Method


def in_shared_order(methods: Sequence[Method], graph: Graph) -> list[Method]:
    """``methods`` with neighbours that agree in their rules from the output down as far as any two do.

    The rules from the output to the input are the way to a leaf of a tree; this walks the tree depth first. Those of
    one procedure of many runs stand together, Grad-CAM with what has its composite. Raises what `Composite.assign`
    raises.
    """

    def way(method: Method) -> tuple[str, ...]:
        rules = method.composite.assign(graph)
        procedure = method.procedure
        once = isinstance(procedure, Backward | GradCam)
        return (
            "" if once else repr(procedure),
            repr(method.head),
            *(repr(rules[layer.name]) for layer in reversed(graph.layers) if layer.inputs),
        )

    return sorted(methods, key=way)
