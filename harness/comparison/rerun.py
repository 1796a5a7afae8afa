"""The reference once more: for its noise floor, and on the candidate's activations.

Rounding in the forward pass does two things to relevance that a bound on the result covers badly. A
pre-activation within rounding of a kink (zero under a ReLU, six under a ReLU6, two equal values under a max
pooling) falls on one side in one run and on the other in the next, and the relevance of that unit is there
or not; the reference's own movement may miss the unit that the candidate met. And where denominators nearly
cancel, the floor is so high that a wrong rule would pass under it.

Both are settled on equal ground: the reference's rules are run backwards through the activations of the
candidate, which are the reference's own to within rounding. The rounding of the forward pass is then the
same on both sides, and what still differs is the backward pass. Its floor is the distance between this run in
float32 and in float64, on the same activations; for a float64 case that distance times the ratio of the two
unit roundoffs, because rounding scales with it and a different rule does not. For a reference that computes in
float64 alone it is how far this run moves when the weights do, by one unit in the last place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from harness.backends.handing import step_on_copies
from harness.backends.protocol import Backend, Model, Prepared, Steps
from harness.comparison.floor import MULTIPLE, FloorMeter, NoiseFloor, unit_roundoff
from harness.comparison.metrics import relative_l2
from harness.comparison.postprocess import treated
from harness.comparison.summation import longest_sum
from harness.errors import HarnessError
from harness.graph import Graph
from harness.methods import Backward, Head
from harness.shares import rectified_sources, shares_by_source
from harness.trace import LayerTrace, Trace


class Ground(NamedTuple):
    """One layer's relevance on the candidate's activations, all relative L2.

    ``distance``: of the candidate from the reference there. ``floor``: what rounding in the backward pass
    explains of it. ``moved``: how far the reference came from its own run.
    """

    distance: float
    floor: float
    moved: float


@dataclass(eq=False)
class Rerun:
    """Runs one reference backend again on one model and input. ``in_dtype`` prepares it in a dtype."""

    model: Model
    x: np.ndarray
    backend: Backend
    dtype: str
    prepared: Prepared
    in_dtype: Callable[[str], Prepared]

    def __post_init__(self) -> None:
        self._meter = FloorMeter(self.model, self.x, self.backend, self.dtype, self.in_dtype)
        self._floors: WeakKeyDictionary[Trace, NoiseFloor] = WeakKeyDictionary()

    def floor(self, trace: Trace, exact: Trace | None = None) -> NoiseFloor:
        """The noise floor of ``trace``, measured once; ``exact`` is its float64 run, if that is at hand."""
        if trace not in self._floors:
            self._floors[trace] = self._meter.measure(trace, exact)
        return self._floors[trace]

    def on_activations_of(self, candidate: Trace, reference: Trace) -> dict[str, Ground] | None:
        """Every layer's relevance on the candidate's activations, from the output backwards.

        None where the reference cannot run single steps, the candidate kept no activations, or the method
        is more than one run backwards.
        """
        graph = self.model.graph
        if any(
            layer.name not in candidate.layers or candidate.layers[layer.name].activation is None
            for layer in graph
        ):
            return None
        grounds: dict[str, Ground] = {}
        for name, relevance, floor in self._walked_back(candidate):
            received, before = candidate.layers[name].relevance, reference.layers[name].relevance
            if received is not None and before is not None:
                distance = relative_l2(relevance, received)
                grounds[name] = Ground(distance, floor, relative_l2(before, relevance))
        return grounds or None

    def result_on_activations_of(
        self, candidate: Trace, reference: Trace, floor: NoiseFloor
    ) -> Ground | None:
        """The attribution on the candidate's activations, for one that shows no layers.

        None where its activations are not known, are not the reference's to within ``floor``, or where
        :meth:`on_activations_of` is None as well.
        """
        if candidate.activations is None or not reference.layers:
            return None
        shown = candidate.activations()
        for name, layer in reference.layers.items():
            if layer.activation is None or name not in shown:
                return None
            if relative_l2(layer.activation, shown[name]) > MULTIPLE * floor.of_activation(name):
                return None
        layers = {
            layer.name: LayerTrace(layer.name, layer.kind, layer.axes, shown.get(layer.name))
            for layer in self.model.graph
        }
        for name, relevance, allowed in self._walked_back(replace(candidate, layers=layers)):
            if name == self.model.graph.input.name:
                result = treated(relevance, self.x, candidate.method.postprocess)
                distance = relative_l2(result, candidate.attribution)
                return Ground(distance, allowed, relative_l2(reference.attribution, result))
        return None

    def _walked_back(self, run: Trace) -> Iterator[tuple[str, np.ndarray, float]]:
        """Layer, its relevance on the activations of ``run`` and the floor of that, from the output backwards.

        Nothing where the reference cannot run single steps or the method is more than one run backwards.
        """
        graph, prepared = self.model.graph, self.prepared
        if not isinstance(run.method.procedure, Backward) or not isinstance(prepared, Steps):
            return
        others, scale = self._otherwise_rounded()
        if not others:
            return
        walks = [walk_back(side, model.graph, run) for model, side in others]
        floor = unit_roundoff(self.dtype) * float(np.sqrt(longest_sum(graph)))
        for (name, relevance), *otherwise in zip(walk_back(prepared, graph, run), *walks, strict=True):
            # What a layer passes down is no more certain than what it received.
            floor = max(floor, *(scale * relative_l2(relevance, other) for _, other in otherwise))
            yield name, relevance, floor

    def _otherwise_rounded(self) -> tuple[list[tuple[Model, Steps]], float]:
        """What walks back as the reference does but for rounding, and what of its distance rounding explains."""
        other = "float64" if self.dtype == "float32" else "float32"
        try:
            side = self.in_dtype(other)
        except HarnessError:  # it computes in one dtype only
            moved = [(model, side) for model, side, _ in self._meter.moved_models()]
            return [(model, side) for model, side in moved if isinstance(side, Steps)], 1.0
        scale = min(1.0, unit_roundoff(self.dtype) / unit_roundoff(other))
        return [(self.model, side)] if isinstance(side, Steps) else [], scale


def walk_back(prepared: Steps, graph: Graph, run: Trace) -> Iterator[tuple[str, np.ndarray]]:
    """Relevance by layer, output first, by the steps of ``prepared`` on the activations of ``run``.

    Only what is still to be passed down is kept. A layer that does not reach the output is left out.
    """
    method = run.method
    rectified = rectified_sources(graph, method.composite.assign(graph))
    waiting = {graph.output: _seed(np.asarray(run.layers[graph.output].activation), run.target, method.head)}
    for layer in reversed(graph.layers):
        if layer.name not in waiting:
            continue
        received = waiting.pop(layer.name)
        yield layer.name, received
        if layer.kind == "input":
            continue
        inputs = tuple(np.asarray(run.layers[name].activation) for name in layer.inputs)
        shares = step_on_copies(prepared, layer, inputs, received, method)
        for name, share in shares_by_source(layer, shares, rectified).items():
            waiting[name] = waiting[name] + share if name in waiting else share


def _seed(logits: np.ndarray, target: np.ndarray, head: Head) -> np.ndarray:
    """The relevance of the output, (batch, classes): zero but at the targets."""
    seed = np.zeros_like(logits)
    samples = np.arange(len(logits))
    logit = logits[samples, target]
    seed[samples, target] = {"logit": logit, "one": np.ones_like(logit), "relu_logit": np.maximum(logit, 0)}[
        head
    ]
    return seed
