"""DeepLIFT's multipliers (Shrikumar et al. 2017, rescale rule) as Captum 0.9.0 computes them (`_core/deep_lift.py`).

The formulas stand in `harness.methods.DeepLift`. A batch and its baseline run side by side, as two forward passes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow as tf
from numpy.lib.stride_tricks import sliding_window_view

from harness.backends.protocol import OneRun
from harness.graph import Layer
from harness.methods import MAX_POOLING_KINDS, RESCALED_KINDS, DeepLift, baselines
from reference_impls.tensorflow.layers import Tensor
from reference_impls.tensorflow.run import Explained, Forward, Network, StepsOn, run_forward

#: A layer's tensors in the run on the input and in that on the baseline.
Pair = tuple[Tensor, Tensor]


def explain_deep_lift(
    network: Network, forward: Forward, procedure: DeepLift, start: Callable[[Tensor], Tensor]
) -> Explained:
    """The mean over the baselines, of the layers that of their multipliers; ``start`` makes those of the logits."""
    over = OverBaselines(network, forward, procedure)
    deque(over.runs(start), maxlen=0)
    return over.result()


class OverBaselines:
    """The mean over the baselines of ``procedure``; ``forward`` is the pass on the input that is explained."""

    def __init__(self, network: Network, forward: Forward, procedure: DeepLift) -> None:
        self._network = network
        self._forward = forward
        self._procedure = procedure
        self._total = tf.zeros_like(self._x)
        self._sums: dict[str, Tensor] = {}

    @property
    def _x(self) -> Tensor:
        return self._forward.outputs[self._network.graph.input.name]

    def runs(self, start: Callable[[Tensor], Tensor]) -> Iterator[Forward]:
        """The pass on each baseline in order, which is counted in by then."""
        return (self._counted(values, start) for values in baselines(self._procedure, tuple(self._x.shape)))

    def _counted(self, values: np.ndarray, start: Callable[[Tensor], Tensor]) -> Forward:
        x, sums = self._x, self._sums
        baseline = tf.constant(values, x.dtype)
        beside = run_forward(self._network, baseline)
        found = multipliers(self._network, self._forward, beside, start, self._procedure.eps)
        for name, multiplier in found.items():
            sums[name] = sums[name] + multiplier if name in sums else multiplier
        at_input = found.get(self._network.graph.input.name, tf.zeros_like(x))
        self._total += (x - baseline) * at_input if self._procedure.times_difference else at_input
        return beside

    def result(self) -> Explained:
        """After the last run."""
        count = tf.constant(self._procedure.count, self._x.dtype)
        return Explained(self._total / count, {name: each / count for name, each in self._sums.items()})


def run_of_both(
    network: Network, of_input: Forward, of_baseline: Forward, start: Callable[[Tensor], Tensor], eps: float
) -> OneRun:
    """Both passes as one run: see `harness.backends.protocol.OneRun`."""
    activations = {
        name: np.concatenate([np.asarray(of_input.outputs[name]), np.asarray(output)])
        for name, output in of_baseline.outputs.items()
    }

    def walk_back(given: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        halves = [{name: np.split(each, 2)[half] for name, each in given.items()} for half in range(2)]
        first, second = (Forward(StepsOn(network, half), half) for half in halves)
        for name, multiplier in multipliers(network, first, second, start, eps).items():
            yield name, np.asarray(multiplier)

    return OneRun(activations, walk_back)


def multipliers(
    network: Network, of_input: Forward, of_baseline: Forward, start: Callable[[Tensor], Tensor], eps: float
) -> dict[str, Tensor]:
    """By layer, output first, the multipliers of its output in the run on the input.

    The passes may be given ones (`StepsOn`): what a layer made of its input is read from ``outputs``.
    """
    graph = network.graph
    #: What readers hand down, added up, before any rule replaces it.
    handed = {graph.output: (start(of_input.outputs[graph.output]), start(of_baseline.outputs[graph.output]))}
    found = {}
    for layer in reversed(graph.layers):
        if layer.name not in handed:
            continue
        pair = handed[layer.name]
        for reader in graph.consumers(layer.name):
            rule = _RULES.get(reader.kind)
            if rule is not None and reader.name in handed and layer.name != graph.output:
                inputs, outputs = (
                    (tf.constant(of_input.outputs[name]), tf.constant(of_baseline.outputs[name]))
                    for name in (reader.inputs[0], reader.name)
                )
                pair = rule(reader, inputs, outputs, pair, handed[reader.name], eps)
        found[layer.name] = pair[0]
        if not layer.inputs:
            continue
        passed = (
            run.steps[layer.name].pullback(multiplier)
            for run, multiplier in zip((of_input, of_baseline), pair, strict=True)
        )
        for name, *shares in zip(layer.inputs, *passed, strict=True):
            before = handed.get(name)
            added = shares if before is None else [a + b for a, b in zip(before, shares, strict=True)]
            handed[name] = (added[0], added[1])
    return found


def _rescale(layer: Layer, inputs: Pair, outputs: Pair, there: Pair, handed: Pair, eps: float) -> Pair:
    """The slope between the two runs in the place of the derivative; ``there`` where the input does not change."""
    change = inputs[0] - inputs[1]
    slope = tf.math.divide_no_nan(outputs[0] - outputs[1], change)
    still = tf.abs(change) < eps
    return tf.where(still, there[0], handed[0] * slope), tf.where(still, there[1], handed[1] * slope)


def _through_max_pool(
    layer: Layer, inputs: Pair, outputs: Pair, there: Pair, handed: Pair, eps: float
) -> Pair:
    """Each window's gain over the baseline where the input's maximum is, its loss where the baseline's is."""
    x, b = inputs
    top = tf.maximum(*outputs)
    gains = _unpooled(layer, x, handed[0] * (top - outputs[1]))
    losses = _unpooled(layer, b, handed[1] * (outputs[0] - top))
    change = x - b
    shared = tf.where(tf.abs(change) < eps, there[0], tf.math.divide_no_nan(gains + losses, change))
    return shared, shared


_RULES = {**dict.fromkeys(RESCALED_KINDS, _rescale), **dict.fromkeys(MAX_POOLING_KINDS, _through_max_pool)}


def _unpooled(layer: Layer, x: Tensor, values: Tensor) -> Tensor:
    """``values`` of windows where ``x`` is largest in them, at the first such place; where windows meet, the last."""
    margin = ((0, 0), *layer.attributes["padding"], (0, 0))
    padded = np.pad(np.asarray(x), margin, constant_values=-np.inf)
    size, strides = layer.attributes["pool_size"], layer.attributes["strides"]
    axes = tuple(range(1, padded.ndim - 1))
    every = (slice(None), *(slice(None, None, stride) for stride in strides))
    places = np.broadcast_to(np.arange(padded.size).reshape(padded.shape), padded.shape)
    seen, numbers = (sliding_window_view(each, size, axis=axes)[every] for each in (padded, places))
    flat = seen.reshape(*seen.shape[: padded.ndim], -1)
    winners = np.take_along_axis(numbers.reshape(flat.shape), flat.argmax(axis=-1)[..., np.newaxis], axis=-1)[
        ..., 0
    ]
    unpooled = np.zeros(padded.size, padded.dtype)
    # A place that is assigned several times keeps the last value, in the order of the windows.
    unpooled[winners.ravel()] = np.asarray(values).ravel()
    inside = tuple(
        slice(before, before + length) for (before, _), length in zip(margin, x.shape, strict=True)
    )
    return tf.constant(unpooled.reshape(padded.shape)[inside])
