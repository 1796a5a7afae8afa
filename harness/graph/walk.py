"""The walk back: relevance from the output to the input, a layer at a time.

What a layer receives is the sum of one share for each layer that reads it. The oracle and the TensorFlow reference have
walks of their own; a test holds the three together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

import numpy as np

from harness.graph.graph import Graph, Layer


def shares_by_source(
    layer: Layer, relevances: Iterable[np.ndarray], rectified: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """The share of each layer that ``layer`` reads, by name.

    ``relevances``: one array for each of ``layer.inputs``, (batch, *input shape), as a step returns them. A layer
    that reads another twice (``x * x``) is one reader with one share, their sum; it is rectified, where
    ``rectified`` (`harness.methods.Composite.rectified_sources`) has the layer that is read, once it is complete.
    """
    shares: dict[str, np.ndarray] = {}
    for name, relevance in zip(layer.inputs, relevances, strict=True):
        shares[name] = shares[name] + relevance if name in shares else relevance
    return {name: np.maximum(share, 0) if name in rectified else share for name, share in shares.items()}


class Walk:
    """Relevance that is still to be passed down. ``start``: that of the output, (batch, *shape)."""

    def __init__(self, graph: Graph, start: np.ndarray, rectified: Collection[str] = ()) -> None:
        self._rectified = rectified
        self._waiting = {graph.output: start}

    def received(self, layer: Layer) -> np.ndarray:
        """What ``layer`` received, once: it is let go of. All layers that read it must have passed theirs down."""
        return self._waiting.pop(layer.name)

    def pass_down(self, layer: Layer, relevances: Iterable[np.ndarray]) -> None:
        """Hand to the layers that ``layer`` reads what its step returned, one array for each of its inputs."""
        for name, share in shares_by_source(layer, relevances, self._rectified).items():
            self._waiting[name] = self._waiting[name] + share if name in self._waiting else share


def walk_back(
    graph: Graph,
    start: np.ndarray,
    step: Callable[[Layer, np.ndarray], Iterable[np.ndarray]],
    rectified: Collection[str] = (),
) -> Iterator[tuple[Layer, np.ndarray]]:
    """Every layer that the output depends on with the relevance it received, the output first, the input last.

    ``step``: a layer and that relevance to the relevance of each of its inputs. Only what is still to be passed down
    is kept.
    """
    walk = Walk(graph, start, rectified)
    for layer in graph.backward():
        received = walk.received(layer)
        yield layer, received
        if layer.inputs:
            walk.pass_down(layer, step(layer, received))
