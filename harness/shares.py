"""What one layer's step hands to the layers it reads: one share each, ready to be added to the others'."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from harness.graph import Graph, Layer
from harness.methods import Rule, rectifies_shares


def rectified_sources(graph: Graph, rules: Mapping[str, Rule]) -> frozenset[str]:
    """The layers that get the positive part of each reader's share: their rule asks for it, and several read them.

    ``rules``: by layer name, as `Composite.assign` gives them.
    """
    return frozenset(
        name for name, rule in rules.items() if rectifies_shares(rule) and len(graph.consumers(name)) > 1
    )


def shares_by_source(
    layer: Layer, relevances: Iterable[np.ndarray], rectified: frozenset[str]
) -> dict[str, np.ndarray]:
    """The share of each layer that ``layer`` reads, by name.

    ``relevances``: one array for each of ``layer.inputs``, (batch, *input shape), as a step returns them. A layer
    that reads another twice (``x * x``) is one reader with one share, their sum; it is rectified, where
    ``rectified`` (:func:`rectified_sources`) has the layer that is read, once it is complete.
    """
    shares: dict[str, np.ndarray] = {}
    for name, relevance in zip(layer.inputs, relevances, strict=True):
        shares[name] = shares[name] + relevance if name in shares else relevance
    return {name: np.maximum(share, 0) if name in rectified else share for name, share in shares.items()}
