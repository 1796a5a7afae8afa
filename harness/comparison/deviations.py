"""The standard deviations that a rule takes of a layer's input, and what their rounding does.

Such a deviation is a sum over all of the input, longer than any sum of the network, and it multiplies the whole
denominator. How far it may be off depends on how it is added up. Torch 2.13 takes the numbers of a float64 tensor one
after the other on each thread and updates a running mean with each (Welford 1962, "Note on a method for calculating
corrected sums of squares and products", Technometrics 4(3)); these roundings do not average out, and the bound grows
with n, not with its root (Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance", The American
Statistician 37(3), table 1). `torch.std` of 3.2 million numbers was found 15 to 40 times ``sqrt(n)`` unit roundoffs
off, a fiftieth of n.
What that does to a relevance depends on the share of the deviation in the denominator, so it is measured, like all
rounding: the factor of the deviation is moved by n unit roundoffs.

In float32 nothing is moved: torch adds up in float64 there, TensorFlow and NumPy in pairs, and each was within 0.003
times ``sqrt(n)`` unit roundoffs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from harness.graph import Graph, Layer
from harness.methods import Assignment, Composite, Method, Rule, Sign, StdEpsilon

_UNIT_ROUNDOFF = float(np.finfo(np.float64).eps) / 2


def with_moved_deviations(method: Method, graph: Graph, generator: np.random.Generator) -> Method:
    """``method``, to be run in float64, with every deviation off by as much as its rounding may be, up or down.

    The method itself where none of its rules takes a deviation.
    """
    moved = [
        Assignment(both[int(generator.integers(2))], names=(name,))
        for name, rule in method.composite.assign(graph).items()
        if (both := moved_deviations(rule, graph[name]))
    ]
    if not moved:
        return method
    return replace(method, composite=Composite((*moved, *method.composite.assignments)))


def moved_deviations(rule: Rule, layer: Layer) -> tuple[Rule, ...]:
    """``rule`` with its deviation of ``layer``'s input too large and too small by rounding; none where it has none."""
    return tuple(_scaled(rule, layer))


def _scaled(rule: Rule, layer: Layer) -> Iterator[Rule]:
    off = math.prod(layer.input_shapes[0]) * _UNIT_ROUNDOFF
    for factor in (1 - off, 1 + off):
        if isinstance(rule, StdEpsilon):
            yield replace(rule, factor=rule.factor * factor)
        elif isinstance(rule, Sign) and rule.std_factor is not None:
            yield replace(rule, std_factor=rule.std_factor * factor)
