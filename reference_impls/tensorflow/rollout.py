"""Attention through the layers: Abnar and Zuidema 2020, equation 1, and Chefer et al. 2021, equations 5 and 6."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import tensorflow as tf

from harness.methods import Rollout, Rule, attention_weights, row_read, tokens_of_places
from reference_impls.tensorflow.layers import Tensor
from reference_impls.tensorflow.run import Explained, Forward, Network, run_backward


def explain_rollout(
    network: Network, forward: Forward, procedure: Rollout, rules: Mapping[str, Rule], initial: Tensor
) -> Explained:
    """The tokens' figures of `harness.methods.Rollout`, where their places are; ``rules`` are the gradient's.

    ``initial``: (batch, classes), the start of the gradient. The layers' relevance is the gradient from the output to
    the first attention weights, or zero at the output where none is taken.
    """
    graph = network.graph
    names = attention_weights(graph)
    weights = [_heads(forward.outputs[name]) for name in names]
    if procedure.gradient:
        relevance = dict(run_backward(network, forward, rules, graph.output, initial, last=names[0]))
        # Where no gradient reached the weights, it is zero.
        slopes = [_heads(relevance.get(name, tf.zeros_like(forward.outputs[name]))) for name in names]
        steps = [
            _one(weight) + tf.reduce_mean(tf.nn.relu(slope * weight), axis=1)
            for weight, slope in zip(weights, slopes, strict=True)
        ]
    else:
        relevance = {graph.output: tf.zeros_like(initial)}
        steps = [(tf.reduce_mean(weight, axis=1) + _one(weight)) / 2 for weight in weights]
    flow = _product(steps)
    row = row_read(graph, procedure.rows)
    figures = tf.reduce_mean(flow, axis=1) if row is None else flow[:, row, :]
    return Explained(_on_input(figures, network), relevance)


def _heads(weights: Tensor) -> Tensor:
    """(batch, head, token, token); one head where there is no axis of heads."""
    return weights if weights.shape.rank == 4 else tf.expand_dims(weights, 1)


def _one(weight: Tensor) -> Tensor:
    """The identity over the tokens of ``weight``."""
    return tf.eye(weight.shape[-1], dtype=weight.dtype)


def _product(steps: Iterable[Tensor]) -> Tensor:
    """Of (batch, token, token), the first layer's rightmost."""
    first, *others = steps
    for step in others:
        first = tf.linalg.matmul(step, first)
    return first


def _on_input(figures: Tensor, network: Network) -> Tensor:
    """(batch, *input shape): at each place the figure of its token, (batch, token), 0 where it has none."""
    tokens = tokens_of_places(network.graph)
    # A token behind the last has nothing.
    padded = tf.pad(figures, [[0, 0], [0, 1]])
    placed = tf.gather(padded, tf.constant(tokens % padded.shape[1]), axis=1)
    shape = network.graph.input.shape
    while placed.shape.rank <= len(shape):
        placed = tf.expand_dims(placed, -1)
    return tf.broadcast_to(placed, (placed.shape[0], *shape))
