"""How long the sums of a network are, and what the order of summation alone may change.

Every implementation adds up a dot product in its own order. For n terms of one sign the result differs by
about ``sqrt(n)`` unit roundoffs (Higham and Mary 2019, "A new approach to probabilistic rounding error
analysis", SIAM J. Sci. Comput. 41(5), theorem 2.4: the bound grows with sqrt(n) u with high probability).
Moving every operand by one unit in the last place does not show this: independent movements average out
over the terms, as ``1 / sqrt(n)``, while the roundings of a running sum add up.
"""

from __future__ import annotations

import math

from harness.graph import Graph, Layer


def forward_terms(layer: Layer) -> int:
    """The number of terms in the longest sum that ``layer`` forms for one entry of its output."""
    if layer.traits.kernel:
        return max(array.size // array.shape[-1] for name, array in layer.weights.items() if name != "bias")
    if layer.traits.family == "average":
        return math.prod(layer.attributes.get("pool_size", layer.input_shapes[0][:-1]))
    if "matrix" in layer.weights:
        return layer.weights["matrix"].shape[1]
    if layer.traits.family == "recurrent":
        steps, features = layer.input_shapes[0]
        return steps * (features + layer.shape[-1])
    if layer.traits.family == "contraction":
        return layer.input_shapes[0][-1]
    if layer.traits.family == "sampling":
        return 4
    if layer.traits.along == "axis" and layer.traits.activation:
        return layer.shape[layer.attributes["axis"]]
    if layer.traits.along == "axes_count":
        return math.prod(layer.shape[-layer.attributes["axes_count"] :])
    if layer.traits.linear == "no" and layer.traits.channels == "mixed":
        return math.prod(layer.shape)
    return max(1, len(layer.inputs))


def backward_terms(layer: Layer) -> int:
    """The number of terms in the longest sum that the transpose of ``layer`` forms for one entry of an input."""
    if layer.traits.kernel:
        return max(array.size // array.shape[-2] for name, array in layer.weights.items() if name != "bias")
    if "matrix" in layer.weights:
        return layer.weights["matrix"].shape[0]
    if layer.traits.family == "contraction":
        return max(layer.shape[-2:])
    if layer.traits.family == "sampling":
        # All places may lie around the same pixel.
        return math.prod(layer.shape[1:-1])
    return forward_terms(layer)


def units_of(layer: Layer, weight: str) -> int:
    """By how many units in the last place ``weight`` moves, where its sum is to move as another order of it does."""
    return round(math.sqrt(forward_terms(layer))) if layer.traits.kernel and weight.endswith("kernel") else 1


def longest_forward_sums(graph: Graph) -> dict[str, int]:
    """For every layer the longest sum on any way from the input to its output, itself included."""
    longest: dict[str, int] = {}
    for layer in graph:
        longest[layer.name] = max([forward_terms(layer), *(longest[name] for name in layer.inputs)])
    return longest


def longest_sum(graph: Graph) -> int:
    """The longest sum of the network, forwards or backwards.

    It bounds what reaches any relevance: activations and logit enter the backward pass from its start.
    """
    return max(max(forward_terms(layer), backward_terms(layer)) for layer in graph)
