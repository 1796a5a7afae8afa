"""DeepLIFT with the rescale rule: multipliers of a run and of the run on a baseline, walked back side by side; float64.

Formulas: :class:`harness.methods.DeepLift`. Arrays are batch-first and channels-last.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from harness.graph import Graph, Layer
from harness.methods import MAX_POOLING_KINDS, RESCALED_KINDS, DeepLift, Method, baselines
from reference_impls.oracle import derivative, forward
from reference_impls.oracle.backward import Activations, Relevances, initial
from reference_impls.oracle.windows import pooling_windows

#: The multipliers of a layer's output, of the run on the input and of that on the baseline.
Pair = tuple[np.ndarray, np.ndarray]


def deep_lift(
    graph: Graph, activations: Activations, target: np.ndarray, method: Method, procedure: DeepLift
) -> Generator[Activations, None, tuple[np.ndarray, Relevances]]:
    """The attribution, and by layer the mean of its multipliers over the baselines.

    On the way it yields the activations of the run on each baseline.
    """
    x = activations[graph.input.name]
    attribution = np.zeros(x.shape)
    means = {layer.name: np.zeros(activations[layer.name].shape) for layer in graph}
    for baseline in baselines(procedure, x.shape):
        beside = forward.activations(graph, baseline)
        for name, multiplier in of_input(graph, activations, beside, target, method, procedure).items():
            means[name] += multiplier / procedure.count
            if name == graph.input.name:
                difference = x - baseline if procedure.times_difference else 1.0
                attribution += difference * multiplier / procedure.count
        yield beside
    return attribution, means


def of_input(
    graph: Graph,
    activations: Activations,
    beside: Activations,
    target: np.ndarray,
    method: Method,
    procedure: DeepLift,
) -> Relevances:
    """By layer that the output depends on, the multipliers of its output in the run on the input."""
    start = (
        initial(activations[graph.output], target, method.head),
        initial(beside[graph.output], target, method.head),
    )
    pairs = multipliers(graph, activations, beside, start, procedure.eps)
    return {name: multiplier for name, (multiplier, _) in pairs.items()}


def multipliers(
    graph: Graph, of_input: Activations, of_baseline: Activations, start: Pair, eps: float
) -> dict[str, Pair]:
    """By layer that the output depends on, the multipliers of its output."""
    handed: dict[str, Pair] = {graph.output: start}
    final: dict[str, Pair] = {}
    for layer in reversed(graph.layers):
        if layer.name not in handed:
            continue
        onward = handed[layer.name]
        # The network's output has no reader that counts.
        for reader in graph.consumers(layer.name) if layer.name != graph.output else ():
            if reader.kind in RULED and reader.name in handed:
                (x,), (b,) = (tuple(run[name] for name in reader.inputs) for run in (of_input, of_baseline))
                outputs = of_input[reader.name], of_baseline[reader.name]
                onward = replaced(reader, (x, b), outputs, onward, handed[reader.name], eps)
        final[layer.name] = onward
        if not layer.inputs:
            continue
        shares = [
            derivative.vjp(layer, tuple(run[name] for name in layer.inputs), multiplier)
            for run, multiplier in zip((of_input, of_baseline), onward, strict=True)
        ]
        for name, of_x, of_b in zip(layer.inputs, *shares, strict=True):
            before = handed.get(name)
            handed[name] = (of_x, of_b) if before is None else (before[0] + of_x, before[1] + of_b)
    return final


#: Layers that have a rule.
RULED = (*RESCALED_KINDS, *MAX_POOLING_KINDS)


def replaced(layer: Layer, inputs: Pair, outputs: Pair, before: Pair, handed: Pair, eps: float) -> Pair:
    """What the rule of ``layer`` puts in the place of the multipliers ``before`` of its input.

    ``handed``: what the layers behind handed to its output.
    """
    x, b = inputs
    difference = x - b
    small = np.abs(difference) < eps
    divisor = np.where(small, 1.0, difference)
    if layer.kind in RESCALED_KINDS:
        slope = (outputs[0] - outputs[1]) / divisor
        of_x, of_b = (
            np.where(small, old, multiplier * slope) for old, multiplier in zip(before, handed, strict=True)
        )
        return of_x, of_b
    larger = np.maximum(*outputs)
    total = put_back(layer, x, handed[0] * (larger - outputs[1]))
    total += put_back(layer, b, handed[1] * (outputs[0] - larger))
    both = np.where(small, before[0], total / divisor)
    return both, both


def put_back(layer: Layer, x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The ``values`` of a max pooling's windows at the first largest entry of each; the last window's stays."""
    windows = pooling_windows(layer)
    padded = windows.pad(x, value=-np.inf)
    counts = windows.counts(x.shape[1:-1])
    place = np.arange(padded[0, ..., 0].size).reshape(1, *padded.shape[1:-1], 1)
    best = np.full((x.shape[0], *counts, x.shape[-1]), -np.inf)
    winner = np.zeros(best.shape, dtype=int)
    for offset in windows.offsets():
        met = windows.met(padded, offset, counts)
        where = np.broadcast_to(windows.met(place, offset, counts), met.shape)
        # Of a window of nothing but -inf, too, the first entry.
        winner = np.where((met > best) | (offset == (0,) * len(offset)), where, winner)
        best = np.maximum(best, met)
    back = np.zeros((x.shape[0], place.size, x.shape[-1]))
    for sample in range(x.shape[0]):
        for channel in range(x.shape[-1]):
            for at, value in zip(
                winner[sample, ..., channel].flat, values[sample, ..., channel].flat, strict=True
            ):
                back[sample, at, channel] = value
    return windows.unpad(back.reshape(padded.shape))
