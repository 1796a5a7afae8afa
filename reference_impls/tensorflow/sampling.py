"""Procedures of many runs: Integrated Gradients, SmoothGrad, VarGrad."""

from __future__ import annotations

import collections
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Literal

import tensorflow as tf

from harness.methods import IntegratedGradients, Rule, Smoothed, gaussian_noise
from harness.methods.procedures import Each
from reference_impls.tensorflow.layers import Tensor
from reference_impls.tensorflow.run import Explained, Network, run_backward, run_forward
from reference_impls.tensorflow.statistics import Statistic, statistic

#: What is made of the runs.
Kind = Literal["mean", "variance"]


def explain_sampled(
    network: Network,
    x: Tensor,
    procedure: IntegratedGradients | Smoothed,
    rules: Mapping[str, Rule],
    start: Callable[[Tensor], Tensor],
    layers: bool,
    kinds: Collection[Kind],
) -> dict[Kind, Explained]:
    """By kind, what the runs from the points of ``procedure`` come to; ``start`` makes relevance of logits.

    ``layers``: whether that of every layer's relevance is wanted too. ``kinds``: each is what it would be alone, on the
    same runs; the statistic of ``procedure`` itself does not count. Only the sums are kept, and one run.
    """
    at_input = {kind: statistic(kind) for kind in kinds}
    at_layers: dict[Kind, dict[str, Statistic]] = {
        kind: collections.defaultdict(partial(statistic, kind)) for kind in kinds
    }
    for point in _points(procedure, x):
        for name, relevance in _run(network, point, rules, start):
            if layers:
                for kind in kinds:
                    at_layers[kind][name].add(relevance)
            if name == network.graph.input.name:
                for kind in kinds:
                    at_input[kind].add(_of_each(relevance, procedure.each))
    by_statistic: dict[Kind, Explained] = {}
    for kind in kinds:
        attribution = at_input[kind].result()
        if isinstance(procedure, IntegratedGradients):
            attribution = (x - tf.constant(procedure.baseline, x.dtype)) * attribution
        by_statistic[kind] = Explained(
            attribution, {name: each.result() for name, each in at_layers[kind].items()}
        )
    return by_statistic


def _run(
    network: Network, point: Tensor, rules: Mapping[str, Rule], start: Callable[[Tensor], Tensor]
) -> Iterator[tuple[str, Tensor]]:
    forward = run_forward(network, point)
    output = network.graph.output
    return run_backward(network, forward, rules, output, start(forward.outputs[output]))


def _points(procedure: IntegratedGradients | Smoothed, x: Tensor) -> Iterator[Tensor]:
    """The inputs of the runs, in order; sums and products in the order of the libraries.

    Path, iNNvestigate 2.1.2 `MultiplyWithLinspace`: ``baseline + (x - baseline) * (k / steps)``; with the
    endpoint, signxai 1.1.9.2 `PathIntegrator`: ``baseline + (x - baseline) / (steps - 1) * k``.
    """
    if isinstance(procedure, Smoothed):
        for noise in gaussian_noise(procedure, tuple(x.shape)):
            yield x + tf.constant(noise, x.dtype)
        return
    baseline = tf.constant(procedure.baseline, x.dtype)
    steps = tf.constant(procedure.steps, x.dtype)
    for k in tf.range(procedure.steps):
        k = tf.cast(k, x.dtype)
        if procedure.endpoint:
            yield baseline + (x - baseline) / (steps - 1) * k
        else:
            yield baseline + (x - baseline) * (k / steps)


def _of_each(relevance: Tensor, each: Each) -> Tensor:
    match each:
        case "abs":
            return tf.abs(relevance)
        case "square":
            return tf.square(relevance)
        case _:
            return relevance
