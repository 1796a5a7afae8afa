"""What a network read from a file may cost, said before it is computed: a small file can ask for a great deal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import prod

from harness.errors import ModelSourceError
from harness.graph import KINDS, Graph, Layer

#: Set to anything, it lets files ask for what they like.
VARIABLE = "XAI_HARNESS_TRUST_MODELS"
#: Numbers that all layers of a network may have for one sample, and multiply-adds: so many for any file, and so many
#: more for each of its weights.
NUMBERS, NUMBERS_PER_WEIGHT = 2**27, 64
PRODUCTS, PRODUCTS_PER_WEIGHT = 2**33, 2**14
#: Numbers that one layer may have for one sample, and how many layers a network may have.
LARGEST_LAYER, MOST_LAYERS = 2**26, 2000
#: Operators that a file may have for each layer.
OPERATORS = 10


def trusted() -> bool:
    """Whether files may ask for what they like."""
    return bool(os.environ.get(VARIABLE))


def check_cost(graph: Graph, what: str, batch: int = 1, held: int | None = None) -> None:
    """Raise ModelSourceError where ``graph``, read from the file ``what``, asks for more than a file of its size may.

    ``batch``: how many samples the file takes at once. ``held``: the bytes of constants that it holds, where some of
    its weights are computed from others: a file has no more weights than that.
    """
    weights = sum(array.size for layer in graph for array in layer.weights.values())
    weights = weights if held is None else min(weights, held)
    sizes = [batch * prod(layer.shape) for layer in graph]
    check_numbers(what, weights, sizes, batch * sum(multiply_adds(layer) for layer in graph))


def check_layers(count: int, what: str) -> None:
    """Raise ModelSourceError where a file has so many layers that making its twins alone would take minutes."""
    if count > MOST_LAYERS and not trusted():
        raise ModelSourceError(
            f"{what}: has more layers than the {MOST_LAYERS} that are read; if you trust the file, set {VARIABLE}=1, "
            "and wait"
        )


def check_numbers(what: str, weights: int, sizes: Sequence[int], products: int) -> None:
    """The same of a file of so many ``weights`` whose layers have these ``sizes`` and take so many ``products``."""
    if trusted():
        return
    check_layers(len(sizes), what)
    offending = [
        (max(sizes, default=0), LARGEST_LAYER, "numbers in one layer"),
        (sum(sizes), NUMBERS + NUMBERS_PER_WEIGHT * weights, "numbers in its layers"),
        (products, PRODUCTS + PRODUCTS_PER_WEIGHT * weights, "multiply-adds"),
    ]
    for asked, limit, name in offending:
        if asked > limit:
            raise ModelSourceError(
                f"{what}: asks for {asked} {name}, at most {limit} are computed for a file of its size; if you trust "
                f"the file, set {VARIABLE}=1"
            )


def multiply_adds(layer: Layer) -> int:
    """Products that the layer takes for one sample: of each weight at each place, or of each window."""
    places = prod(layer.shape[:-1])
    if KINDS[layer.kind].convolution and not KINDS[layer.kind].transposed:
        return places * sum(array.size for key, array in layer.weights.items() if key.endswith("kernel"))
    if "pool_size" in layer.attributes:
        return prod(layer.shape) * prod(layer.attributes["pool_size"])
    if layer.weights:
        return max(places, prod(layer.input_shapes[0][:-1])) * max(
            array.size for array in layer.weights.values()
        )
    return prod(layer.shape)
