"""A model made ready: one forward pass for all methods on an input, one sampling for all that share it."""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import tensorflow as tf

from harness.arrays import is_frozen
from harness.backends.protocol import Arrays, Model, OneRun
from harness.graph import Layer
from harness.methods import (
    GRADIENT,
    Composite,
    DeepLift,
    GradCam,
    Head,
    IntegratedGradients,
    Method,
    Selection,
    Smoothed,
)
from reference_impls.tensorflow.deep_lift import OverBaselines, run_of_both
from reference_impls.tensorflow.ends import initial_relevance, postprocessed
from reference_impls.tensorflow.layers import Step, Tensor, twin_layer
from reference_impls.tensorflow.procedures import explain_procedure, runs_of, statistic_of
from reference_impls.tensorflow.rules import propagate
from reference_impls.tensorflow.run import (
    Explained,
    Forward,
    Network,
    StepsOn,
    forward_of,
    run_backward,
    run_forward,
)
from reference_impls.tensorflow.sampling import Joined
from reference_impls.tensorflow.shared import Beside, Shared


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
    procedure: IntegratedGradients | Smoothed | DeepLift
    layers: bool


#: Bytes of relevance that the backward passes on one input may keep for each other. It changes no result.
_MOST_SHARED = 200 << 20
#: Copies of all activations, and of the largest, that a walk back on one sample holds at most.
_COPIES_OF_ACTIVATIONS, _COPIES_OF_LARGEST = 2, 16


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
    """A model's Keras twin in one dtype; keeps the last forward pass and the statistics of the last sampling.

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
        self._sampled: dict[Sampling, Explained] = {}

    def run(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Arrays:
        """Run ``method`` on ``x``, (batch, *input shape); see `harness.backends.protocol.Prepared`.

        Arrays are read-only; what two runs on the same input share is the same array in both. Raises
        UnsupportedMethodError where a rule does not fit a layer, InvalidInputError where the composite has no rule
        for one.
        """
        procedure = method.procedure
        if isinstance(procedure, IntegratedGradients | Smoothed | DeepLift):
            explained = self._joined(x, method, procedure, target, layers)
            return self._arrays(self._forward_pass(x), explained, method, layers)
        forward = self._forward_pass(x)
        explained = explain_procedure(self._network, forward, method, target, layers)
        return self._arrays(forward, explained, method, layers)

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
        # Where passes share nothing, no tensor comes again.
        views = self._relevances if forward.shared is not None else _Views()
        reached = views.of(explained.relevance) if shown else {}
        # No relevance has reached the others.
        relevances = {
            name: reached[name] if name in reached else _zeros(values) for name, values in activations.items()
        }
        logits = _array(forward.outputs[graph.output])
        return Arrays(logits, _array(attribution), activations, relevances)

    def run_queries(self, x: np.ndarray, method: Method, targets: np.ndarray, chunk: int) -> Iterator[Arrays]:
        """See `harness.backends.protocol.Queries`: one forward pass, and one walk back after the other."""
        forward = self._forward_pass(x)
        if isinstance(forward.shared, Shared):
            forward.shared.clear()
        alone = replace(forward, shared=None)
        for first in range(0, len(targets), chunk):
            runs = [
                self._arrays(
                    alone,
                    explain_procedure(self._network, alone, method, targets[place : place + 1], False),
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

    def forget(self) -> None:
        """See `harness.backends.protocol.Forgets`."""
        self._sampled, self._given, self._forward = {}, None, None
        self._activations, self._relevances, self._walked = _Views(), _Views(), _Views()

    def logits(self, x: np.ndarray) -> np.ndarray:
        """(batch, classes); the forward pass is kept for the run that follows."""
        return _array(self._forward_pass(x).outputs[self._network.graph.output])

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

    def _joined(
        self,
        x: np.ndarray,
        method: Method,
        procedure: IntegratedGradients | Smoothed | DeepLift,
        target: np.ndarray,
        layers: bool,
    ) -> Explained:
        """What the runs of ``procedure`` come to; looked for among what is kept."""
        asked = _sampling(x, target, method, procedure, layers)
        found = self._sampled.get(asked) or self._sampled.get(replace(asked, layers=True))
        if found is None:
            if isinstance(procedure, DeepLift):
                runs = self._lift(x, asked, method, target, procedure)
            else:
                runs = self._sample(x, asked, method, target, procedure)
            deque(runs, maxlen=0)  # holds none while the next is made
            found = self._sampled[asked]
        return found

    def runs(self, x: np.ndarray, method: Method, target: np.ndarray, layers: bool) -> Iterator[OneRun]:
        """The runs of a method that joins many; see `harness.backends.protocol.Runs`."""
        procedure = method.procedure
        assert isinstance(procedure, IntegratedGradients | Smoothed | DeepLift)
        asked = _sampling(x, target, method, procedure, layers)
        # Nobody but who is handed a run holds it.
        if isinstance(procedure, DeepLift):
            of_input, start = self._forward_pass(x), self._start(method, target)
            both = partial(run_of_both, self._network, of_input, start=start, eps=procedure.eps)
            return map(both, self._lift(x, asked, method, target, procedure))
        one_run = partial(self._one_run, method, target)
        return map(one_run, self._sample(x, asked, method, target, procedure, beside=True))

    def _one_run(self, method: Method, target: np.ndarray, run: Forward) -> OneRun:
        activations = {name: _array(output) for name, output in run.outputs.items()}
        return OneRun(activations, partial(self._walk_beside, run.shared, method, target))

    def _walk_beside(
        self,
        first: Shared | Beside | None,
        method: Method,
        target: np.ndarray,
        activations: Mapping[str, np.ndarray],
    ) -> Iterator[tuple[str, np.ndarray]]:
        """`OneRun.walk_back`, beside a pass that has left ``first``."""
        network, output = self._network, self._network.graph.output
        start = initial_relevance(activations[output], target, method.head, method.selection)
        shared = Beside(first) if isinstance(first, Shared) else None
        forward = Forward(StepsOn(network, activations), activations, shared)
        rules = method.composite.assign(network.graph)
        for name, relevance in run_backward(network, forward, rules, output, start):
            yield name, _array(relevance)

    def _lift(
        self, x: np.ndarray, asked: Sampling, method: Method, target: np.ndarray, procedure: DeepLift
    ) -> Iterator[Forward]:
        """The passes on the baselines of ``procedure``; once all were taken, what they come to is kept."""
        self._sampled = {}
        over = OverBaselines(self._network, self._forward_pass(x), procedure)
        yield from over.runs(self._start(method, target))
        self._sampled[asked] = over.result()

    @staticmethod
    def _start(method: Method, target: np.ndarray) -> Callable[[Tensor], Tensor]:
        """What is propagated from given logits."""
        return partial(initial_relevance, target=target, head=method.head, selection=method.selection)

    def _sample(
        self,
        x: np.ndarray,
        asked: Sampling,
        method: Method,
        target: np.ndarray,
        procedure: IntegratedGradients | Smoothed,
        beside: bool = False,
    ) -> Iterator[Forward]:
        """The runs of ``asked``; once all were taken, its statistic is kept, and those expected of the same runs.

        ``beside``: another backward pass shares with that of a run.
        """
        self.forget()  # the memory is needed for the statistics
        wanted = {statistic_of(procedure): procedure}
        runs = asked.composite, asked.head, asked.selection
        for other in self._expected:
            same = (other.composite, other.head, other.selection) == runs
            if same and isinstance(other.procedure, Smoothed) and _same_runs(other.procedure, procedure):
                wanted[other.procedure.statistic] = other.procedure
        joined = Joined(procedure, asked.layers, wanted)
        values = tf.constant(x, self._network.dtype)
        shared = partial(self._shared, len(x)) if beside else lambda: None
        yield from runs_of(self._network, values, method, procedure, target, joined, shared)
        for kind, each in wanted.items():
            self._sampled[replace(asked, procedure=each)] = joined.result(kind, values)

    def _forward_pass(self, x: np.ndarray) -> Forward:
        """Every layer's step on ``x``; the last forward pass if it was on the same values."""
        which = _input(x)
        if self._forward is None or self._forward[0] != which:
            # Let go of the old activations before the new ones take their place.
            self._forward = None
            values = tf.constant(x, self._network.dtype)
            self._forward = which, run_forward(self._network, values, self._shared(len(x)))
        return self._forward[1]


def _input(x: np.ndarray) -> Input:
    return Input(hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest(), x.shape)


def _sampling(
    x: np.ndarray,
    target: np.ndarray,
    method: Method,
    procedure: IntegratedGradients | Smoothed | DeepLift,
    layers: bool,
) -> Sampling:
    runs = (method.composite, method.head, method.selection)
    return Sampling(_input(x), target.tobytes(), *runs, procedure, layers)


def _same_runs(one: Smoothed, other: IntegratedGradients | Smoothed) -> bool:
    """Whether only what is made of the runs differs."""
    return isinstance(other, Smoothed) and replace(one, statistic=other.statistic) == other


def _zeros(like: np.ndarray) -> np.ndarray:
    """Zeros that nobody can write to: the system gives them no memory before somebody does."""
    zeros = np.zeros(like.shape, like.dtype)
    zeros.setflags(write=False)
    return zeros


def _array(tensor: Tensor) -> np.ndarray:
    """The tensor's values as a read-only view of its memory where that is the host's, else a copy."""
    return np.asarray(tensor)
