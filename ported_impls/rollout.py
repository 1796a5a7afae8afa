"""Rollout of attention in the port: a row over the tokens is carried from the last attention to the first.

Abnar and Zuidema 2020 (arXiv:2005.00928), equation 1; Chefer et al. 2021 (arXiv:2103.15679), equations 5 and 6. The
product of the layers' matrices is never made, only its row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.graph import Graph, Layer
from harness.methods import Rollout, attention_weights, row_read, tokens_of_places
from ported_impls.network import Findings, Network, explain_once, look


def rollout(
    network: Network, x: np.ndarray, procedure: Rollout, target: np.ndarray, recorded: Sequence[Layer]
) -> Findings:
    """The row of the tokens at the places of ``x``; the layers' relevance is the gradient down to the first attention.

    ``network`` has the gradient's hooks, which are none.
    """
    graph = network.graph
    names = attention_weights(graph)
    looked_at = recorded or [graph[name] for name in names]
    if procedure.gradient:
        findings = explain_once(network, x, target, looked_at)
        captured = findings.captured
        assert captured is not None
        reached = {name: captured.relevances.get(name) for name in names}
        below = {each.name for each in graph.layers[: graph.index(graph[names[0]])]}
        captured.relevances = {
            name: array for name, array in captured.relevances.items() if name not in below
        }
        logits = findings.logits
    else:
        logits, captured = look(network, x, looked_at)
        reached = {}
    tokens = graph[names[0]].shape[-1]
    row = np.full((len(x), 1, tokens), 1 / tokens, x.dtype)
    chosen = row_read(graph, procedure.rows)
    if chosen is not None:
        row = np.zeros_like(row)
        row[:, 0, chosen] = 1
    for name in reversed(names):
        weights = captured.activations[name].reshape(len(x), -1, tokens, tokens)
        gradient = reached.get(name)
        if not procedure.gradient:
            row = 0.5 * (row @ weights.mean(axis=1)) + 0.5 * row
        elif gradient is not None:
            positive = np.clip(gradient.reshape(weights.shape) * weights, 0, None)
            row = row + row @ positive.mean(axis=1)
    attribution = _spread(row[:, 0], graph)
    return Findings(logits, attribution, np.zeros_like(attribution), captured if recorded else None)


def _spread(row: np.ndarray, graph: Graph) -> np.ndarray:
    """``row`` (batch, token) on the input, (batch, *input shape)."""
    tokens = tokens_of_places(graph)
    spread = np.zeros((len(row), *graph.input.shape), row.dtype)
    for token in range(row.shape[1]):
        there = tokens == token
        spread[:, there] = row[:, token].reshape(-1, *(1,) * (spread[:, there].ndim - 1))
    return spread
