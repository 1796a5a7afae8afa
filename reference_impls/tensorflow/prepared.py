"""A model made ready: one forward pass for all methods on an input, one sampling for all that share it."""

from __future__ import annotations

import collections
import hashlib
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from harness.backends.protocol import Arrays, Model
from harness.graph import Layer
from harness.methods import (
    GRADIENT,
    Composite,
    GradCam,
    Head,
    IntegratedGradients,
    Method,
    Smoothed,
)
from reference_impls.tensorflow.ends import postprocessed
from reference_impls.tensorflow.layers import Step, Tensor, twin_layer
from reference_impls.tensorflow.procedures import explain_procedure
from reference_impls.tensorflow.rules import propagate
from reference_impls.tensorflow.run import Explained, Forward, Network, run_forward


@dataclass(frozen=True)
class Input:
    """What tells one input from another: the sha256 of its bytes, and its shape."""

    digest: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Sampling:
    """All that the statistics of many runs depend on; ``target`` as bytes."""

    input: Input
    target: bytes
    composite: Composite
    head: Head
    procedure: IntegratedGradients | Smoothed
    layers: bool


#: Samplings that are kept: methods that share one follow each other in a suite, at most one other between them.
_KEPT_SAMPLINGS = 2


class PreparedTensorFlow:
    """A model's Keras twin in one dtype; keeps the last forward pass and the last samplings."""

    def __init__(self, model: Model, dtype: str) -> None:
        graph = model.graph
        keras_model = model.keras(dtype)
        layers = {
            layer.name: twin_layer(layer, keras_model.get_layer(layer.name), dtype)
            for layer in graph
            if layer.inputs
        }
        self._network = Network(graph, layers, dtype)
        self._forward: tuple[Input, Forward] | None = None
        self._samplings: collections.deque[tuple[Sampling, Explained]] = collections.deque(
            maxlen=_KEPT_SAMPLINGS
        )

    def run(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Arrays:
        """Run ``method`` on ``x``, (batch, *input shape); see `harness.backends.protocol.Prepared`.

        Arrays are read-only; the activations of two runs on the same input are the same memory. Raises
        UnsupportedMethodError where a rule does not fit a layer, InvalidInputError where the composite has no rule
        for one.
        """
        graph = self._network.graph
        which, forward = self._forward_pass(x)
        explained = self._explained(forward, which, method, target, layers)
        attribution = postprocessed(
            explained.attribution, forward.outputs[graph.input.name], method.postprocess
        )
        shown = layers and explained.relevance
        activations = {name: _array(output) for name, output in forward.outputs.items()} if shown else {}
        # No relevance has reached the others.
        relevances = {
            name: _array(explained.relevance[name]) if name in explained.relevance else np.zeros_like(values)
            for name, values in activations.items()
        }
        logits = _array(forward.outputs[graph.output])
        return Arrays(logits, _array(attribution), activations, relevances)

    def logits(self, x: np.ndarray) -> np.ndarray:
        """(batch, classes); the forward pass is kept for the run that follows."""
        return _array(self._forward_pass(x)[1].outputs[self._network.graph.output])

    def step(
        self, layer: Layer, inputs: tuple[np.ndarray, ...], relevance: np.ndarray, method: Method
    ) -> tuple[np.ndarray, ...]:
        """The step of ``layer`` alone; see `harness.backends.protocol.Steps`.

        For Grad-CAM it is a step of the plain gradient, which is what the layers of its run hold.
        """
        dtype = self._network.dtype
        tensors = tuple(tf.constant(np.asarray(values), dtype) for values in inputs)
        one = Step(self._network.layers[layer.name], tensors)
        composite = GRADIENT if isinstance(method.procedure, GradCam) else method.composite
        rule = composite.rule_for(layer, self._network.graph)
        return tuple(
            _array(share) for share in propagate(one, tf.constant(np.asarray(relevance), dtype), rule)
        )

    def _explained(
        self, forward: Forward, which: Input, method: Method, target: np.ndarray, layers: bool
    ) -> Explained:
        """What the method's procedure finds; the statistics of many runs are looked for among the kept ones."""
        if not isinstance(method.procedure, IntegratedGradients | Smoothed):
            return explain_procedure(self._network, forward, method, target, layers)
        asked = Sampling(which, target.tobytes(), method.composite, method.head, method.procedure, layers)
        for kept, explained in self._samplings:
            if asked in (kept, replace(kept, layers=False)):
                return explained
        explained = explain_procedure(self._network, forward, method, target, layers)
        self._samplings.append((asked, explained))
        return explained

    def _forward_pass(self, x: np.ndarray) -> tuple[Input, Forward]:
        """Every layer's step on ``x``; the last forward pass if it was on the same values."""
        which = Input(hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest(), x.shape)
        if self._forward is None or self._forward[0] != which:
            # Let go of the old activations before the new ones take their place.
            self._forward = None
            self._forward = which, run_forward(self._network, tf.constant(x, self._network.dtype))
        return self._forward


def _array(tensor: Tensor) -> np.ndarray:
    """The tensor's values as a read-only view of its memory where that is the host's, else a copy."""
    return np.asarray(tensor)
