"""Rules that look at each reader's share of a layer's relevance, before the shares are summed.

Zennit's hooks see the sum only. Here each reader of such a layer gets an identity in front of that input,
whose way back is the positive part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from harness.graph import Graph
from harness.methods import Rule, rectifies_shares

#: By reader, for each layer whose share is rectified, the places among the reader's inputs where it is read.
Edges = Mapping[str, tuple[tuple[int, ...], ...]]


def rectified_edges(graph: Graph, rules: Mapping[str, Rule]) -> Edges:
    """The edges from layers under a rule with `rectifies_shares` that have several readers."""
    edges: dict[str, tuple[tuple[int, ...], ...]] = {}
    for name, rule in rules.items():
        readers = graph.consumers(name)
        if rectifies_shares(rule) and len(readers) > 1:
            for reader in readers:
                places = tuple(place for place, source in enumerate(reader.inputs) if source == name)
                edges[reader.name] = (*edges.get(reader.name, ()), places)
    return edges


@contextmanager
def rectified_shares(twin: torch.nn.Module, edges: Edges) -> Iterator[None]:
    """While open, the shares along ``edges`` are rectified.

    To be entered before the composite's context: Zennit's hook on the reader is then behind the identity,
    and what the hook gives back is what is rectified.
    """
    handles = [
        twin.get_submodule(reader).register_forward_pre_hook(partial(_behind_identities, sources))
        for reader, sources in edges.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _RectifiedShare(torch.autograd.Function):
    """Identity; on the way back ``max(R, 0)``."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, relevance: torch.Tensor) -> torch.Tensor:
        return relevance.clamp(min=0)


def _behind_identities(
    sources: tuple[tuple[int, ...], ...], module: torch.nn.Module, args: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor, ...]:
    """The inputs, one identity for each source: what a reader takes twice is one share."""
    inputs = list(args)
    for places in sources:
        shared = _RectifiedShare.apply(args[places[0]])
        for place in places:
            inputs[place] = shared
    return tuple(inputs)
