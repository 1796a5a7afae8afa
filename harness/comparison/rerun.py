"""The reference once more: for its noise floor, and on the candidate's activations.

Rounding does one thing that no bound on a smooth function covers: a pre-activation within rounding of a
kink (zero under a ReLU, six under a ReLU6, two equal values under a max pooling) falls on one side in
one run and on the other in the next, and the relevance of that unit is there or not. Which units these are
differs from run to run, so the reference's own movement may miss one that the candidate met. The
question is then asked on equal ground: the reference's rules are run backwards through the activations of
the candidate, which are the reference's own to within rounding, and the candidate has to agree with that.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from harness.backends.protocol import Backend, Model, Prepared, Steps
from harness.comparison.floor import FloorMeter, NoiseFloor
from harness.trace import Trace


@dataclass(eq=False)
class Rerun:
    """Runs one reference backend again on one model and input."""

    model: Model
    x: np.ndarray
    backend: Backend
    dtype: str
    prepared: Prepared

    def __post_init__(self) -> None:
        self._meter = FloorMeter(self.model, self.x, self.backend, self.dtype)
        self._floors: WeakKeyDictionary[Trace, NoiseFloor] = WeakKeyDictionary()

    def floor(self, trace: Trace, exact: Trace | None = None) -> NoiseFloor:
        """The noise floor of ``trace``, measured once; ``exact`` is its float64 run, if that is at hand."""
        if trace not in self._floors:
            self._floors[trace] = self._meter.measure(trace, exact)
        return self._floors[trace]

    def on_activations_of(self, candidate: Trace) -> dict[str, np.ndarray] | None:
        """Relevance of every layer by the reference's rules on the candidate's activations.

        None where the reference cannot run single steps or the candidate kept no activations.
        """
        if not isinstance(self.prepared, Steps):
            return None
        activation = {name: layer.activation for name, layer in candidate.layers.items()}
        if any(activation.get(layer.name) is None for layer in self.model.graph):
            return None
        graph, method = self.model.graph, candidate.method
        logits = np.asarray(activation[graph.output])
        seed = np.zeros_like(logits)
        rows = np.arange(len(logits))
        seed[rows, candidate.target] = logits[rows, candidate.target] if method.head == "logit" else 1
        relevance = {graph.output: seed}
        for layer in reversed(graph.layers[1:]):
            if layer.name not in relevance:
                continue
            inputs = tuple(np.asarray(activation[name]) for name in layer.inputs)
            shares = self.prepared.propagate(layer, inputs, relevance[layer.name], method)
            for name, share in zip(layer.inputs, shares, strict=True):
                relevance[name] = relevance[name] + share if name in relevance else share
        return relevance
