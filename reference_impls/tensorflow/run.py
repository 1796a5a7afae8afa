"""One run: a forward pass, and the walk back through the layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import tensorflow as tf

from harness.graph import Graph
from harness.methods import Rule, rectifies_shares
from reference_impls.tensorflow.layers import Step, Tensor, TwinLayer
from reference_impls.tensorflow.rules import propagate


@dataclass(frozen=True, eq=False)
class Network:
    """A graph and its layers, ready to run; ``layers`` holds all but the input, in forward order."""

    graph: Graph
    layers: Mapping[str, TwinLayer]
    dtype: str


@dataclass(frozen=True, eq=False)
class Forward:
    """A forward pass: every layer at its inputs, and what it made of them; ``outputs`` holds the input too."""

    steps: Mapping[str, Step]
    outputs: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Explained:
    """What a procedure found at the input, before the method's postprocess, and at the layers, by name."""

    attribution: Tensor
    relevance: Mapping[str, Tensor]


def run_forward(network: Network, x: Tensor) -> Forward:
    """Every layer's step on ``x``, (batch, *input shape)."""
    steps: dict[str, Step] = {}
    outputs: dict[str, Tensor] = {network.graph.input.name: x}
    for name, twin in network.layers.items():
        steps[name] = Step(twin, tuple(outputs[source] for source in twin.layer.inputs))
        outputs[name] = steps[name].output
    return Forward(steps, outputs)


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
    reads another twice hands it one share. It is handed out once it is complete and not kept. Layers with no way
    to ``start`` are left out.
    """
    graph = network.graph
    last = graph.input.name if last is None else last
    received = {start: relevance}
    for layer in reversed(graph.layers):
        if layer.name not in received:
            continue
        reached = received.pop(layer.name)
        yield layer.name, reached
        if layer.name == last:
            return
        passed = propagate(forward.steps[layer.name], reached, rules[layer.name])
        # A layer that reads another twice hands it one share: the sum.
        for source in dict.fromkeys(layer.inputs):
            parts = [part for name, part in zip(layer.inputs, passed, strict=True) if name == source]
            share = tf.add_n(parts)
            if source in rules and rectifies_shares(rules[source]) and len(graph.consumers(source)) > 1:
                share = tf.nn.relu(share)
            received[source] = received[source] + share if source in received else share
