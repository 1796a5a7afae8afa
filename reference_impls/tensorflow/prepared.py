"""A model made ready: one forward pass for all methods on an input, then one walk back for each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from harness.backends.protocol import Model
from harness.errors import InvalidInputError
from harness.graph import Graph, Layer
from harness.methods import Method
from harness.trace.trace import LayerTrace, Trace
from reference_impls.tensorflow.layers import Step, Tensor, twin_layer
from reference_impls.tensorflow.rules import propagate


@dataclass(frozen=True, eq=False)
class Forward:
    """A forward pass on an input of this sha256 ``digest`` and ``shape``; ``outputs`` holds the input too."""

    digest: str
    shape: tuple[int, ...]
    steps: dict[str, Step]
    outputs: dict[str, Tensor]

    def was_on(self, digest: str, shape: tuple[int, ...]) -> bool:
        """Whether the input had these bytes in this shape."""
        return (digest, shape) == (self.digest, self.shape)


class PreparedTensorFlow:
    """A model's Keras twin in one dtype; keeps the forward pass of the last input it has seen."""

    def __init__(self, model: Model, dtype: str, backend: str, versions: dict[str, str]) -> None:
        self._graph: Graph = model.graph
        self._dtype = dtype
        self._backend = backend
        self._facts = {
            "backend": backend,
            "versions": versions,
            "model_digest": model.digest,
            "dtype": dtype,
        }
        keras_model = model.keras(dtype)
        self._layers = {
            layer.name: twin_layer(layer, keras_model.get_layer(layer.name), dtype)
            for layer in self._graph
            if layer.kind != "input"
        }
        self._forward: Forward | None = None

    def explain(
        self, x: np.ndarray, method: Method, target: np.ndarray | None = None, layers: bool = True
    ) -> Trace:
        """Run ``method`` on ``x``, (batch, *input shape); see `harness.backends.protocol.Prepared`.

        Arrays of the trace are read-only; the activations of two traces of the same input are the same
        memory. Raises UnsupportedMethodError where a rule does not fit a layer, InvalidInputError where
        the composite has no rule for one or the output is no row of logits.
        """
        rules = method.composite.assign(self._graph)
        forward = self._forward_pass(x)
        logits = _array(forward.outputs[self._graph.output])
        if logits.ndim != 2:
            raise InvalidInputError(
                f"{self._graph.name}: output {self._graph.output!r} has shape {logits.shape}, expected "
                "(batch, classes); end the model in a layer with one logit per class"
            )
        target = np.asarray(logits.argmax(axis=1) if target is None else target, dtype=np.int64)

        relevance: dict[str, Tensor] = {
            self._graph.output: tf.constant(_head(logits, target, method), self._dtype)
        }
        for layer in reversed(self._graph.layers[1:]):
            if layer.name not in relevance:
                continue
            step = forward.steps[layer.name]
            received = relevance[layer.name] if layers else relevance.pop(layer.name)
            shares = propagate(step, received, rules[layer.name])
            for source, share in zip(layer.inputs, shares, strict=True):
                relevance[source] = relevance[source] + share if source in relevance else share

        at_input = relevance[self._graph.input.name]
        source_values = forward.outputs[self._graph.input.name]
        attribution = at_input * source_values if method.postprocess == "times_input" else at_input
        return Trace(
            model=self._graph.name,
            method=method,
            backend=self._backend,
            dtype=self._dtype,
            target=target,
            logits=logits,
            attribution=_array(attribution),
            layers=_layer_traces(self._graph, forward, relevance) if layers else {},
            provenance={**self._facts, "input_digest": forward.digest},
        )

    def propagate(
        self, layer: Layer, inputs: tuple[np.ndarray, ...], relevance: np.ndarray, method: Method
    ) -> tuple[np.ndarray, ...]:
        """The step of ``layer`` alone; see `harness.backends.protocol.Steps`."""
        tensors = tuple(tf.constant(np.asarray(values), self._dtype) for values in inputs)
        step = Step(self._layers[layer.name], tensors)
        rule = method.composite.rule_for(layer, self._graph)
        return tuple(
            _array(share) for share in propagate(step, tf.constant(np.asarray(relevance), self._dtype), rule)
        )

    def _forward_pass(self, x: np.ndarray) -> Forward:
        """Every layer's step on ``x``; the last forward pass if it was on the same values."""
        digest = hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()
        if self._forward is None or not self._forward.was_on(digest, x.shape):
            # Let go of the old activations before the new ones take their place.
            self._forward = None
            self._forward = self._run(x, digest)
        return self._forward

    def _run(self, x: np.ndarray, digest: str) -> Forward:
        steps: dict[str, Step] = {}
        outputs: dict[str, Tensor] = {self._graph.input.name: tf.constant(x, self._dtype)}
        for name, layer in self._layers.items():
            steps[name] = Step(layer, tuple(outputs[source] for source in layer.layer.inputs))
            outputs[name] = steps[name].output
        return Forward(digest, x.shape, steps, outputs)


def _head(logits: np.ndarray, target: np.ndarray, method: Method) -> np.ndarray:
    """Initial relevance, (batch, classes): at each sample's target its logit or one, zero elsewhere."""
    initial = np.zeros_like(logits)
    rows = np.arange(len(logits))
    initial[rows, target] = logits[rows, target] if method.head == "logit" else 1
    return initial


def _layer_traces(graph: Graph, forward: Forward, relevance: dict[str, Tensor]) -> dict[str, LayerTrace]:
    """All layers in forward order; zero relevance where a layer has no way to the output."""
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
