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
float64 alone it is how far this run moves when the weights do, by one unit in the last place. A layer beyond
its floor is measured that way too, in its own dtype, because a single run may be exact by chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from harness.backends.contract import capability
from harness.backends.handing import step_on_copies, walk_on_copies
from harness.backends.pairs import repeated, shown_of
from harness.backends.protocol import Steps, Walks
from harness.comparison.floor import MULTIPLE
from harness.comparison.rows import Ruling
from harness.graph import Graph, Layer
from harness.graph import walk_back as walked
from harness.methods import AT_ALL, BacktraceStart, Head
from harness.trace import Trace


class Ground(NamedTuple):
    """One layer's relevance on the candidate's activations, all relative L2.

    ``distance``: of the candidate from the reference there. ``floor``: what rounding in the backward pass
    explains of it. ``moved``: how far the reference came from its own run. ``by``: what ``floor`` is.
    """

    distance: float
    floor: float
    moved: float
    by: Ruling = "equal ground"

    @property
    def within(self) -> bool:
        """Whether rounding explains the distance."""
        return self.distance <= MULTIPLE * self.floor


def walk_back(prepared: Steps, graph: Graph, run: Trace) -> Iterator[tuple[str, np.ndarray]]:
    """Relevance by layer, output first, by the steps of ``prepared`` on the activations of ``run``."""
    method, logits = run.method, np.asarray(run.layers[graph.output].activation)
    seed = np.concatenate([_seed(logits, run.target, part.head) for part in method.parts])
    walks: Walks | None = capability(prepared, "walks")
    if walks is not None:
        activations = {layer.name: np.asarray(run.layers[layer.name].activation) for layer in graph}
        yield from walk_on_copies(walks, activations, seed, method).items()
        return

    def step(layer: Layer, received: np.ndarray) -> tuple[np.ndarray, ...]:
        inputs = tuple(repeated(np.asarray(run.layers[name].activation), method) for name in layer.inputs)
        return step_on_copies(prepared, layer, inputs, received, method)

    for layer, received in walked(graph, seed, step, method.composite.rectified_sources(graph)):
        yield layer.name, shown_of(received, method)


def _seed(logits: np.ndarray, target: np.ndarray, head: Head) -> np.ndarray:
    """The relevance of the output, (batch, classes): that of DLBacktrace, zero but at the targets, or at all."""
    if isinstance(head, BacktraceStart):
        return head.relevance(logits, target)
    if head in AT_ALL.values():
        whole = {"logits": logits, "ones": np.ones_like(logits), "relu_logits": np.maximum(logits, 0)}
        return whole[head]
    seed = np.zeros_like(logits)
    samples = np.arange(len(logits))
    logit = logits[samples, target]
    seed[samples, target] = {"logit": logit, "one": np.ones_like(logit), "relu_logit": np.maximum(logit, 0)}[
        head
    ]
    return seed
