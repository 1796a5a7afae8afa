"""Procedures of many runs: Integrated Gradients, SmoothGrad, VarGrad."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Literal

import tensorflow as tf

from harness.methods import IntegratedGradients, Rule, Smoothed, gaussian_noise
from harness.methods.procedures import Each
from reference_impls.tensorflow.layers import Tensor
from reference_impls.tensorflow.quadrature import nodes_and_weights
from reference_impls.tensorflow.run import Explained, Forward, Network, run_backward, run_forward
from reference_impls.tensorflow.shared import Shared
from reference_impls.tensorflow.statistics import Statistic, statistic

#: What is made of the runs.
Kind = Literal["mean", "variance", "sum"]


class Joined:
    """What the runs of ``procedure`` come to, by statistic; only the sums are kept.

    ``layers``: whether that of every layer's relevance is wanted too. ``kinds``: each is what it would be alone, on the
    same runs; the statistic of ``procedure`` itself does not count.
    """

    def __init__(
        self, procedure: IntegratedGradients | Smoothed, layers: bool, kinds: Collection[Kind]
    ) -> None:
        self._procedure = procedure
        self._layers = layers
        self._at_input = {kind: statistic(kind) for kind in kinds}
        self._at_layers: dict[Kind, dict[str, Statistic]] = {
            kind: defaultdict(partial(statistic, kind)) for kind in kinds
        }

    def add(self, name: str, relevance: Tensor, weight: float | None, is_input: bool) -> None:
        """Count in the relevance of one layer in one run."""
        if self._layers:
            for layers in self._at_layers.values():
                layers[name].add(_weighed(relevance, weight))
        if is_input:
            for each in self._at_input.values():
                each.add(_weighed(_of_each(relevance, self._procedure.each), weight))

    def result(self, kind: Kind, x: Tensor) -> Explained:
        """After the last run from the points around, or on the way to, ``x``; once a kind."""
        procedure, attribution = self._procedure, self._at_input[kind].result()
        if isinstance(procedure, IntegratedGradients) and procedure.times_difference:
            attribution = (x - tf.constant(procedure.baseline, x.dtype)) * attribution
        layers = self._at_layers.pop(kind)
        # One after the other: what a statistic was made of goes when it is there.
        return Explained(attribution, {name: layers.pop(name).result() for name in list(layers)})


def runs_from(
    network: Network,
    x: Tensor,
    procedure: IntegratedGradients | Smoothed,
    rules: Mapping[str, Rule],
    start: Callable[[Tensor], Tensor],
    joined: Joined,
    shared: Callable[[], Shared | None] = lambda: None,
) -> Iterator[Forward]:
    """The forward pass of each run, which ``joined`` has counted in by then; nothing here holds one handed out.

    ``start`` makes relevance of logits; ``shared`` what another backward pass on a run may take of this one.
    """
    graph = network.graph

    def run_from(point: tuple[Tensor, float | None]) -> Forward:
        values, weight = point
        forward = run_forward(network, values, shared())
        initial = start(forward.outputs[graph.output])
        for name, relevance in run_backward(network, forward, rules, graph.output, initial):
            joined.add(name, relevance, weight, name == graph.input.name)
        return forward

    return map(run_from, _points(procedure, x))


def _weighed(relevance: Tensor, weight: float | None) -> Tensor:
    return relevance if weight is None else relevance * tf.constant(weight, relevance.dtype)


def _points(procedure: IntegratedGradients | Smoothed, x: Tensor) -> Iterator[tuple[Tensor, float | None]]:
    """The inputs of the runs, in order, and what each counts where that is not the same for all.

    Sums and products are in the order of the libraries.

    Path, iNNvestigate 2.1.2 `MultiplyWithLinspace`: ``baseline + (x - baseline) * (k / steps)``; with the
    endpoint, signxai 1.1.9.2 `PathIntegrator`: ``baseline + (x - baseline) / (steps - 1) * k``.
    """
    if isinstance(procedure, Smoothed):
        for noise in gaussian_noise(procedure, tuple(x.shape)):
            yield x + tf.constant(noise, x.dtype), None
        return
    baseline = tf.constant(procedure.baseline, x.dtype)
    if procedure.quadrature != "mean":
        for place, weight in nodes_and_weights(procedure):
            yield baseline + tf.constant(place, x.dtype) * (x - baseline), weight
        return
    steps = tf.constant(procedure.steps, x.dtype)
    for k in tf.range(procedure.steps):
        k = tf.cast(k, x.dtype)
        if procedure.endpoint:
            yield baseline + (x - baseline) / (steps - 1) * k, None
        else:
            yield baseline + (x - baseline) * (k / steps), None


def _of_each(relevance: Tensor, each: Each) -> Tensor:
    match each:
        case "abs":
            return tf.abs(relevance)
        case "square":
            return tf.square(relevance)
        case _:
            return relevance
