"""A model made ready: one forward pass for all methods on an input, one sampling for all that share it."""

from __future__ import annotations

import collections
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from harness.arrays import is_frozen
from harness.backends.protocol import Arrays, Model
from harness.graph import Layer
from harness.methods import (
    GRADIENT,
    Composite,
    GradCam,
    Head,
    IntegratedGradients,
    Method,
    Selection,
    Smoothed,
)
from reference_impls.tensorflow.ends import postprocessed
from reference_impls.tensorflow.layers import Step, Tensor, twin_layer
from reference_impls.tensorflow.procedures import explain_procedure, explain_runs, statistic_of
from reference_impls.tensorflow.rules import propagate
from reference_impls.tensorflow.run import (
    Explained,
    Forward,
    Network,
    forward_of,
    run_backward,
    run_forward,
)
from reference_impls.tensorflow.shared import Shared


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
    selection: Selection
    procedure: IntegratedGradients | Smoothed
    layers: bool


#: Bytes of relevance that the backward passes on one input may keep for each other. It changes no result.
_MOST_SHARED = 200 << 20
#: Copies of all activations, and of the largest, that a walk back on one sample holds at most.
_COPIES_OF_ACTIVATIONS, _COPIES_OF_LARGEST = 2, 16
#: Samplings that are kept: methods that share one follow each other in a suite, at most one other between them.
_KEPT_SAMPLINGS = 2


class _Views:
    """Tensors as arrays; the same array for the same tensor as long as it is asked for in every run."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Tensor, np.ndarray]] = {}

    def of(self, tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        kept = {}
        for tensor in tensors.values():
            if id(tensor) not in kept:
                kept[id(tensor)] = self._kept.get(id(tensor)) or (tensor, _array(tensor))
        self._kept = kept
        return {name: kept[id(tensor)][1] for name, tensor in tensors.items()}


class PreparedTensorFlow:
    """A model's Keras twin in one dtype; keeps the last forward pass and the last samplings.

    Of the backward passes on the last input it keeps what the next may share, and the same of those on the activations
    that :meth:`walk_back` was last given.
    """

    #: Arrays of one run may be those of another; nobody can write to them.
    shares = True

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
        self._given: tuple[dict[str, np.ndarray], Forward] | None = None
        self._activations, self._relevances, self._walked = _Views(), _Views(), _Views()
        self._expected: tuple[Method, ...] = ()
        self._samplings: collections.deque[tuple[Sampling, Explained]] = collections.deque(
            maxlen=_KEPT_SAMPLINGS
        )

    def run(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Arrays:
        """Run ``method`` on ``x``, (batch, *input shape); see `harness.backends.protocol.Prepared`.

        Arrays are read-only; what two runs on the same input share is the same array in both. Raises
        UnsupportedMethodError where a rule does not fit a layer, InvalidInputError where the composite has no rule
        for one.
        """
        which, forward = self._forward_pass(x)
        return self._arrays(forward, self._explained(forward, which, method, target, layers), method, layers)

    def run_alone(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Arrays:
        """:meth:`run` with nothing from other runs, and nothing left for them."""
        forward = run_forward(self._network, tf.constant(x, self._network.dtype))
        explained = explain_procedure(self._network, forward, method, target, layers)
        return self._arrays(forward, explained, method, layers)

    def _arrays(self, forward: Forward, explained: Explained, method: Method, layers: bool) -> Arrays:
        graph = self._network.graph
        attribution = postprocessed(
            explained.attribution, forward.outputs[graph.input.name], method.postprocess
        )
        shown = layers and explained.relevance
        activations = self._activations.of(forward.outputs) if shown else {}
        reached = self._relevances.of(explained.relevance) if shown else {}
        # No relevance has reached the others.
        relevances = {
            name: reached[name] if name in reached else np.zeros_like(values)
            for name, values in activations.items()
        }
        logits = _array(forward.outputs[graph.output])
        return Arrays(logits, _array(attribution), activations, relevances)

    def run_queries(self, x: np.ndarray, method: Method, targets: np.ndarray, chunk: int) -> Iterator[Arrays]:
        """See `harness.backends.protocol.Queries`: one forward pass, and one walk back after the other."""
        which, forward = self._forward_pass(x)
        if forward.shared is not None:
            forward.shared.clear()
        alone = replace(forward, shared=None)
        for first in range(0, len(targets), chunk):
            runs = [
                self._arrays(
                    alone,
                    self._explained(alone, which, method, targets[place : place + 1], False),
                    method,
                    False,
                )
                for place in range(first, min(first + chunk, len(targets)))
            ]
            yield Arrays(runs[0].logits, np.concatenate([each.attribution for each in runs]))

    def query_bytes(self, method: Method, chunk: int) -> int:
        """See `harness.backends.protocol.Queries`.

        All activations are kept, and those that layers make inside; walking back, each layer's relevance waits until
        its readers have passed theirs.
        """
        sizes = [math.prod(layer.shape) for layer in self._network.graph]
        entries = _COPIES_OF_ACTIVATIONS * sum(sizes) + _COPIES_OF_LARGEST * max(sizes)
        entries += chunk * math.prod(self._network.graph.input.shape)
        return entries * np.dtype(self._network.dtype).itemsize

    def expect(self, methods: Sequence[Method]) -> None:
        """See `harness.backends.protocol.Expects`: several statistics of the same runs are then taken together."""
        self._expected = tuple(methods)

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

    def walk_back(
        self, activations: Mapping[str, np.ndarray], relevance: np.ndarray, method: Method
    ) -> dict[str, np.ndarray]:
        """The steps of ``method`` one after the other; see `harness.backends.protocol.Walks`."""
        network, output = self._network, self._network.graph.output
        start = tf.constant(np.asarray(relevance), network.dtype)
        forward = self._forward_of(activations)
        rules = method.composite.assign(network.graph)
        return self._walked.of(dict(run_backward(network, forward, rules, output, start)))

    def _forward_of(self, activations: Mapping[str, np.ndarray]) -> Forward:
        """The forward pass with ``activations``; that of before for the same arrays, which nobody writes to."""
        frozen = all(is_frozen(values) for values in activations.values())
        if frozen and self._given is not None:
            before, forward = self._given
            if before.keys() == activations.keys() and all(
                before[name] is activations[name] for name in before
            ):
                return forward
        self._given = None
        outputs = {name: tf.constant(values, self._network.dtype) for name, values in activations.items()}
        forward = forward_of(self._network, outputs, self._shared(len(outputs[self._network.graph.output])))
        if frozen:
            self._given = dict(activations), forward
        return forward

    def _shared(self, batch: int) -> Shared | None:
        """For the backward passes on ``batch`` samples; None where their relevance would take too much memory."""
        graph = self._network.graph
        entries = batch * sum(math.prod(layer.shape) for layer in graph)
        return Shared() if entries * np.dtype(self._network.dtype).itemsize <= _MOST_SHARED else None

    def _explained(
        self, forward: Forward, which: Input, method: Method, target: np.ndarray, layers: bool
    ) -> Explained:
        """What the method's procedure finds; the statistics of many runs are looked for among the kept ones."""
        if not isinstance(method.procedure, IntegratedGradients | Smoothed):
            return explain_procedure(self._network, forward, method, target, layers)
        procedure = method.procedure
        runs = (method.composite, method.head, method.selection)
        asked = Sampling(which, target.tobytes(), *runs, procedure, layers)
        for kept, explained in self._samplings:
            if asked in (kept, replace(kept, layers=False)):
                return explained
        # The memory is needed for the statistics.
        self._given = None
        if forward.shared is not None:
            forward.shared.clear()
        wanted = {statistic_of(procedure): procedure}
        for other in self._expected:
            same = (other.composite, other.head, other.selection) == runs
            if same and isinstance(other.procedure, Smoothed) and _same_runs(other.procedure, procedure):
                wanted[other.procedure.statistic] = other.procedure
        made = explain_runs(self._network, forward, method, procedure, target, layers, wanted)
        for kind, each in wanted.items():
            self._samplings.append((replace(asked, procedure=each), made[kind]))
        return made[statistic_of(procedure)]

    def _forward_pass(self, x: np.ndarray) -> tuple[Input, Forward]:
        """Every layer's step on ``x``; the last forward pass if it was on the same values."""
        which = Input(hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest(), x.shape)
        if self._forward is None or self._forward[0] != which:
            # Let go of the old activations before the new ones take their place.
            self._forward = None
            values = tf.constant(x, self._network.dtype)
            self._forward = which, run_forward(self._network, values, self._shared(len(x)))
        return self._forward


def _same_runs(one: Smoothed, other: IntegratedGradients | Smoothed) -> bool:
    """Whether only what is made of the runs differs."""
    return isinstance(other, Smoothed) and replace(one, statistic=other.statistic) == other


def _array(tensor: Tensor) -> np.ndarray:
    """The tensor's values as a read-only view of its memory where that is the host's, else a copy."""
    return np.asarray(tensor)
