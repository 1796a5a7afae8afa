"""A model made ready: one forward pass for all methods on an input, one sampling for all that share it."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from harness.backends.protocol import Model
from harness.errors import InvalidInputError
from harness.graph import Graph, Layer
from harness.methods import (
    GRADIENT,
    Composite,
    GradCam,
    Head,
    IntegratedGradients,
    Method,
    Smoothed,
)
from harness.trace.trace import LayerTrace, Trace
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

    def __init__(self, model: Model, dtype: str, backend: str, versions: dict[str, str]) -> None:
        graph = model.graph
        self._backend = backend
        self._facts = {
            "backend": backend,
            "versions": versions,
            "model_digest": model.digest,
            "dtype": dtype,
        }
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

    def explain(
        self, x: np.ndarray, method: Method, target: np.ndarray | None = None, layers: bool = True
    ) -> Trace:
        """Run ``method`` on ``x``, (batch, *input shape); see `harness.backends.protocol.Prepared`.

        Arrays of the trace are read-only; the activations of two traces of the same input are the same
        memory. Raises UnsupportedMethodError where a rule does not fit a layer, InvalidInputError where
        the composite has no rule for one or the output is no row of logits, and what `Method.check` raises.
        """
        graph = self._network.graph
        method.check(graph)
        which = Input(hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest(), x.shape)
        forward = self._forward_pass(x, which)
        logits = _array(forward.outputs[graph.output])
        if logits.ndim != 2:
            raise InvalidInputError(
                f"{graph.name}: output {graph.output!r} has shape {logits.shape}, expected "
                "(batch, classes); end the model in a layer with one logit per class"
            )
        target = np.asarray(logits.argmax(axis=1) if target is None else target, dtype=np.int64)
        explained = self._explained(forward, which, method, target, layers)
        attribution = postprocessed(
            explained.attribution, forward.outputs[graph.input.name], method.postprocess
        )
        return Trace(
            model=graph.name,
            method=method,
            backend=self._backend,
            dtype=self._network.dtype,
            target=target,
            logits=logits,
            attribution=_array(attribution),
            layers=_layer_traces(graph, forward, explained.relevance)
            if layers and explained.relevance
            else {},
            provenance={**self._facts, "input_digest": which.digest},
        )

    def propagate(
        self, layer: Layer, inputs: tuple[np.ndarray, ...], relevance: np.ndarray, method: Method
    ) -> tuple[np.ndarray, ...]:
        """The step of ``layer`` alone; see `harness.backends.protocol.Steps`.

        For Grad-CAM it is a step of the plain gradient, which is what the layers of its trace hold.
        """
        dtype = self._network.dtype
        tensors = tuple(tf.constant(np.asarray(values), dtype) for values in inputs)
        step = Step(self._network.layers[layer.name], tensors)
        composite = GRADIENT if isinstance(method.procedure, GradCam) else method.composite
        rule = composite.rule_for(layer, self._network.graph)
        return tuple(
            _array(share) for share in propagate(step, tf.constant(np.asarray(relevance), dtype), rule)
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

    def _forward_pass(self, x: np.ndarray, which: Input) -> Forward:
        """Every layer's step on ``x``; the last forward pass if it was on the same values."""
        if self._forward is None or self._forward[0] != which:
            # Let go of the old activations before the new ones take their place.
            self._forward = None
            self._forward = which, run_forward(self._network, tf.constant(x, self._network.dtype))
        return self._forward[1]


def _layer_traces(graph: Graph, forward: Forward, relevance: Mapping[str, Tensor]) -> dict[str, LayerTrace]:
    """All layers in forward order; zero relevance where none has reached a layer."""
    traces = {}
    for layer in graph:
        activation = _array(forward.outputs[layer.name])
        reached = relevance.get(layer.name)
        traces[layer.name] = LayerTrace(
            layer.name,
            layer.kind,
            layer.axes,
            activation,
            np.zeros_like(activation) if reached is None else _array(reached),
        )
    return traces


def _array(tensor: Tensor) -> np.ndarray:
    """The tensor's values as a read-only view of its memory where that is the host's, else a copy."""
    return np.asarray(tensor)
