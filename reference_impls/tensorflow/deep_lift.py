"""DeepLIFT's multipliers (Shrikumar et al. 2017, rescale rule) as Captum 0.9.0 computes them (`_core/deep_lift.py`).

The formulas stand in `harness.methods.DeepLift`. A batch and its baseline run side by side, as two forward passes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from numpy.lib.stride_tricks import sliding_window_view

from harness.graph import Layer
from harness.methods import MAX_POOLING_KINDS, RESCALED_KINDS, DeepLift, baselines
from reference_impls.tensorflow.layers import Step, Tensor
from reference_impls.tensorflow.run import Explained, Forward, Network, run_forward

#: Multipliers in the run on the input and in that on the baseline.
Pair = tuple[Tensor, Tensor]


def explain_deep_lift(
    network: Network, forward: Forward, procedure: DeepLift, start: Callable[[Tensor], Tensor]
) -> Explained:
    """The mean over the baselines, of the layers that of their multipliers; ``start`` makes those of the logits."""
    source = network.graph.input.name
    x = forward.outputs[source]
    total = tf.zeros_like(x)
    sums: dict[str, Tensor] = {}
    for values in baselines(procedure, tuple(x.shape)):
        baseline = tf.constant(values, x.dtype)
        multipliers = _multipliers(network, forward, run_forward(network, baseline), start, procedure.eps)
        for name, multiplier in multipliers.items():
            sums[name] = sums[name] + multiplier if name in sums else multiplier
        at_input = multipliers.get(source, tf.zeros_like(x))
        total += (x - baseline) * at_input if procedure.times_difference else at_input
    count = tf.constant(procedure.count, x.dtype)
    return Explained(total / count, {name: each / count for name, each in sums.items()})


def _multipliers(
    network: Network, of_input: Forward, of_baseline: Forward, start: Callable[[Tensor], Tensor], eps: float
) -> dict[str, Tensor]:
    """By layer, the multipliers of its output in the run on the input."""
    graph = network.graph
    #: What readers hand down, added up, before any rule replaces it.
    handed = {graph.output: (start(of_input.outputs[graph.output]), start(of_baseline.outputs[graph.output]))}
    multipliers = {}
    for layer in reversed(graph.layers):
        if layer.name not in handed:
            continue
        pair = handed[layer.name]
        for reader in graph.consumers(layer.name):
            rule = _RULES.get(reader.kind)
            if rule is not None and reader.name in handed and layer.name != graph.output:
                steps = of_input.steps[reader.name], of_baseline.steps[reader.name]
                pair = rule(*steps, pair, handed[reader.name], eps)
        multipliers[layer.name] = pair[0]
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
    return multipliers


def _rescale(at_input: Step, at_baseline: Step, there: Pair, handed: Pair, eps: float) -> Pair:
    """The slope between the two runs in the place of the derivative; ``there`` where the input does not change."""
    change = at_input.inputs[0] - at_baseline.inputs[0]
    slope = tf.math.divide_no_nan(at_input.output - at_baseline.output, change)
    still = tf.abs(change) < eps
    return tf.where(still, there[0], handed[0] * slope), tf.where(still, there[1], handed[1] * slope)


def _through_max_pool(at_input: Step, at_baseline: Step, there: Pair, handed: Pair, eps: float) -> Pair:
    """Each window's gain over the baseline where the input's maximum is, its loss where the baseline's is."""
    x, b = at_input.inputs[0], at_baseline.inputs[0]
    top = tf.maximum(at_input.output, at_baseline.output)
    gains = _unpooled(at_input.layer, x, handed[0] * (top - at_baseline.output))
    losses = _unpooled(at_input.layer, b, handed[1] * (at_input.output - top))
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
