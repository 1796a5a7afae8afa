"""One run: a forward pass, and the walk back through the layers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import tensorflow as tf

from harness.graph import Graph
from harness.methods import Rule, rectifies_shares
from reference_impls.tensorflow.layers import Step, Tensor, Tensors, TwinLayer
from reference_impls.tensorflow.rules import looks_at_activations, propagate
from reference_impls.tensorflow.shared import Beside, Shared, passed_key, reached_key, start_key


@dataclass(frozen=True, eq=False)
class Network:
    """A graph and its layers, ready to run; ``layers`` holds all but the input, in forward order."""

    graph: Graph
    layers: Mapping[str, TwinLayer]
    dtype: str


@dataclass(frozen=True, eq=False)
class Forward:
    """A forward pass: every layer at its inputs, and what it made of them; ``outputs`` holds the input too.

    ``shared``: what backward passes on it share; None where there is only one.
    """

    steps: Mapping[str, Step]
    outputs: Mapping[str, Tensor]
    shared: Shared | Beside | None = None


@dataclass(frozen=True, eq=False)
class Explained:
    """What a procedure found at the input, before the method's postprocess, and at the layers, by name."""

    attribution: Tensor
    relevance: Mapping[str, Tensor]


def run_forward(network: Network, x: Tensor, shared: Shared | None = None) -> Forward:
    """Every layer's step on ``x``, (batch, *input shape)."""
    steps: dict[str, Step] = {}
    outputs: dict[str, Tensor] = {network.graph.input.name: x}
    for name, twin in network.layers.items():
        steps[name] = Step(twin, tuple(outputs[source] for source in twin.layer.inputs))
        outputs[name] = steps[name].output
    return Forward(steps, outputs, shared)


def forward_of(network: Network, outputs: Mapping[str, Tensor], shared: Shared | None) -> Forward:
    """The forward pass in which each layer has the given output, whatever it would make of its inputs."""
    steps = {
        name: Step(twin, tuple(outputs[source] for source in twin.layer.inputs))
        for name, twin in network.layers.items()
    }
    return Forward(steps, outputs, shared)


class StepsOn(Mapping[str, Step]):
    """Every layer at the given ``outputs`` of those that it reads; made where a step is asked for."""

    def __init__(self, network: Network, outputs: Mapping[str, np.ndarray]) -> None:
        self._network = network
        self._outputs = outputs

    def __getitem__(self, name: str) -> Step:
        twin = self._network.layers[name]
        inputs = (tf.constant(self._outputs[source], self._network.dtype) for source in twin.layer.inputs)
        return Step(twin, tuple(inputs))

    def __iter__(self) -> Iterator[str]:
        return iter(self._network.layers)

    def __len__(self) -> int:
        return len(self._network.layers)


def run_backward(
    network: Network,
    forward: Forward,
    rules: Mapping[str, Rule],
    start: str,
    relevance: Tensor,
    last: str | None = None,
) -> Iterator[tuple[str, Tensor]]:
    """Names of layers and the relevance of their outputs, from ``start`` back to ``last`` (None: the input).

    ``relevance`` is that of the output of ``start``. What a layer receives is the sum over its readers, of each
    reader's share or, where the layer's rule asks for it (`rectifies_shares`), of its positive part; a layer that
    reads another twice hands it one share. It is handed out once it is complete; it is kept only in what the passes on
    ``forward`` share. Layers with no way to ``start`` are left out.
    """
    graph = network.graph
    last = graph.input.name if last is None else last
    shared = forward.shared
    #: By layer, what its readers pass to it, in the order of the sum, with the keys of that.
    waiting: dict[str, list[tuple[str, Tensor]]] = defaultdict(list)
    waiting[start].append((start_key(start, relevance), relevance))
    for layer in reversed(graph.layers):
        if layer.name not in waiting:
            continue
        rule = rules.get(layer.name)
        rectified = rule is not None and rectifies_shares(rule) and len(graph.consumers(layer.name)) > 1
        rectified = rectified and layer.name != start
        keys, shares = zip(*waiting.pop(layer.name), strict=True)
        key = reached_key(layer.name, keys, rectified)
        add = partial(_sum, shares, rectified)
        reached = add() if shared is None else shared.known("reached", layer.name, key, add)
        yield layer.name, reached
        if layer.name == last:
            return
        below = passed_key(key, layer.name, rules[layer.name])
        step = partial(_passed, forward, layer.name, reached, rules[layer.name])
        if shared is None:
            passed = step()
        else:
            looks = looks_at_activations(network.layers[layer.name], rules[layer.name])
            below, passed = shared.passed(layer.name, below, step, looks)
        # A layer that reads another twice hands it one share: the sum.
        for source in dict.fromkeys(layer.inputs):
            parts = [part for name, part in zip(layer.inputs, passed, strict=True) if name == source]
            waiting[source].append((below, parts[0] if len(parts) == 1 else tf.add_n(parts)))


def _passed(forward: Forward, name: str, reached: Tensor, rule: Rule) -> Tensors:
    return propagate(forward.steps[name], reached, rule)


def _sum(shares: tuple[Tensor, ...], rectified: bool) -> Tensor:
    """What a layer receives: one share of each reader, or the positive part of it, added in their order."""
    total, *others = (tf.nn.relu(share) for share in shares) if rectified else shares
    for share in others:
        total = total + share
    return total
