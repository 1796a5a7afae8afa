"""Where faults are put: layers by kind, rule and place, so that one fault fits many networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.graph import CONVOLUTION_KINDS, KERNEL_KINDS, WEIGHTED_KINDS, Graph, Layer
from harness.methods import Method

Condition = Callable[[Layer, Graph], bool]


def anything(layer: Layer, graph: Graph) -> bool:
    return True


@dataclass(frozen=True)
class Where:
    """The layers of ``kinds`` (all for none) that the method gives a rule of ``ruled`` (any for none).

    ``having``: a further condition. Of those in forward order ``pick`` takes all, the first, the last or the
    one in the middle (place ``n // 2`` of ``n``).
    """

    kinds: tuple[str, ...] = ()
    pick: Literal["all", "first", "middle", "last"] = "all"
    ruled: tuple[type, ...] = ()
    having: Condition = anything

    def __call__(self, graph: Graph, method: Method) -> tuple[str, ...]:
        rules = method.composite.assign(graph)
        names = [
            layer.name
            for layer in graph
            if (not self.kinds or layer.kind in self.kinds)
            and (not self.ruled or isinstance(rules.get(layer.name), self.ruled))
            and self.having(layer, graph)
        ]
        if self.pick == "all" or not names:
            return tuple(names)
        place = {"first": 0, "middle": len(names) // 2, "last": len(names) - 1}[self.pick]
        return (names[place],)


# --- conditions ---------------------------------------------------------------------------------------


def biased(layer: Layer, graph: Graph) -> bool:
    """It has a bias that is not zero."""
    return bool(np.any(layer.weights.get("bias", 0)))


def inner(layer: Layer, graph: Graph) -> bool:
    """It does not read the network's input."""
    return layer.kind != "input" and not graph.reads_input(layer)


def negative_too(layer: Layer, graph: Graph) -> bool:
    """Relevance reaches its negative outputs: it is not the output, and no ReLU reads it.

    Nor is it a map of classes that is averaged into the logits: relevance is at the target's map alone, which
    is positive wherever a target was predicted well.
    """
    readers = graph.consumers(layer.name)
    return bool(readers) and not any(
        reader.kind in ("relu", "relu6") or reader.name == graph.output for reader in readers
    )


def reads_input(layer: Layer, graph: Graph) -> bool:
    return layer.kind != "input" and graph.reads_input(layer)


def both(one: Condition, other: Condition) -> Condition:
    return lambda layer, graph: one(layer, graph) and other(layer, graph)


def square(layer: Layer, graph: Graph) -> bool:
    """Its input is (height, width, channel) with both sides alike and more than 1."""
    shape = layer.input_shapes[0] if layer.input_shapes else ()
    return len(shape) == 3 and shape[0] == shape[1] > 1


def spread_out(layer: Layer, graph: Graph) -> bool:
    """Its input has more than one place and more than one channel."""
    shape = layer.input_shapes[0]
    return len(shape) > 1 and shape[-1] > 1 and int(np.prod(shape[:-1])) > 1


def overlapping_or_not(layer: Layer, graph: Graph) -> bool:
    """Two spatial axes (the pooling faults are written for those)."""
    return len(layer.input_shapes[0]) == 3


def ordinary(layer: Layer, graph: Graph) -> bool:
    """A convolution with one group."""
    return layer.attributes.get("groups", 1) == 1


# --- sites --------------------------------------------------------------------------------------------


def output(graph: Graph, method: Method) -> tuple[str, ...]:
    return (graph.output,)


def source(graph: Graph, method: Method) -> tuple[str, ...]:
    return (graph.input.name,)


def kernels(pick: str = "all", having: Condition = anything, ruled: tuple[type, ...] = ()) -> Where:
    return Where(WEIGHTED_KINDS, pick, ruled, having)  # type: ignore[arg-type]


def convolutions(pick: str = "all", having: Condition = anything, ruled: tuple[type, ...] = ()) -> Where:
    return Where(CONVOLUTION_KINDS, pick, ruled, having)  # type: ignore[arg-type]


def dense(pick: str = "all", having: Condition = anything, ruled: tuple[type, ...] = ()) -> Where:
    return Where(("dense",), pick, ruled, having)  # type: ignore[arg-type]


def readers_of_the_input(graph: Graph, method: Method) -> tuple[str, ...]:
    return tuple(layer.name for layer in graph.consumers(graph.input.name))


#: The layer with a kernel that reads the input.
first_kernel = Where(KERNEL_KINDS, "first", having=reads_input)
