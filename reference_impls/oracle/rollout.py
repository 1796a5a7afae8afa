"""Attention rollout (Abnar and Zuidema 2020) and gradient rollout (Chefer et al. 2021), as matrices over the tokens."""

from __future__ import annotations

import numpy as np

from harness.graph import Graph
from harness.methods import GRADIENT, Method, Rollout, attention_weights, row_read, tokens_of_places
from reference_impls.oracle.backward import Activations, Relevances, backward, initial


def rollout(
    graph: Graph, activations: Activations, target: np.ndarray, method: Method, procedure: Rollout
) -> tuple[np.ndarray, Relevances]:
    """The figures of the tokens at the places of the input, and the relevance of every layer.

    The relevances are the gradient of the start down to the first attention weights, or zero throughout where no
    gradient is taken.
    """
    names = attention_weights(graph)
    if procedure.gradient:
        start = initial(activations[graph.output], target, method.head)
        relevances = backward(graph, activations, GRADIENT, start, down_to=names[0])
        matrix = gradient_rollout(
            [by_head(activations[name]) for name in names], [by_head(relevances[name]) for name in names]
        )
    else:
        relevances = {layer.name: np.zeros(activations[layer.name].shape) for layer in graph}
        matrix = attention_rollout([by_head(activations[name]) for name in names])
    row = row_read(graph, procedure.rows)
    figures = matrix.mean(axis=1) if row is None else matrix[:, row]
    return at_places(figures, graph), relevances


def by_head(weights: np.ndarray) -> np.ndarray:
    """(batch, head, token, token), of weights that may have no axis of heads."""
    return weights[:, None] if weights.ndim == 3 else weights


def attention_rollout(weights: list[np.ndarray]) -> np.ndarray:
    """``B_L ... B_1``, ``B = 0.5 * mean over heads of A + 0.5 * I`` (equation 1): (batch, token, token)."""
    identity = np.eye(weights[0].shape[-1])
    product = np.broadcast_to(identity, weights[0][:, 0].shape)
    for attention in weights:
        product = (0.5 * attention.mean(axis=1) + 0.5 * identity) @ product
    return product


def gradient_rollout(weights: list[np.ndarray], gradients: list[np.ndarray]) -> np.ndarray:
    """``R <- R + C R`` from ``R = I`` (equation 6), ``C = mean over heads of (G * A)+`` (equation 5)."""
    relevance = np.broadcast_to(np.eye(weights[0].shape[-1]), weights[0][:, 0].shape)
    for attention, gradient in zip(weights, gradients, strict=True):
        relevance = relevance + np.maximum(gradient * attention, 0.0).mean(axis=1) @ relevance
    return relevance


def at_places(figures: np.ndarray, graph: Graph) -> np.ndarray:
    """``figures`` (batch, token) at each place of the input that a token stands for, alike in all channels; else 0."""
    tokens = tokens_of_places(graph)
    placed = np.where(tokens >= 0, figures[:, tokens], 0.0)
    shape = (len(figures), *graph.input.shape)
    return np.array(np.broadcast_to(placed.reshape(*placed.shape, *(1,) * (len(shape) - placed.ndim)), shape))
