"""What rounding does to single steps, measured on equal ground: a lower bound of the floor there, for far less work.

The floor on equal ground is the distance of two whole walks back, in float32 and in float64. What a layer passes down
differs between the two by the rounding of its own step and by that of what it received, which are independent: together
they are hardly less than the first alone, and mostly more. That one needs no other run: the step is done once more, in
the other dtype, on the very activations and the relevance that it had. Where a denominator nearly cancels it is nearly
all of the floor. It is measured only for layers that the bound leaves open.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from harness.backends import Steps, step_on_copies
from harness.comparison.metrics import relative_l2
from harness.comparison.rerun import Ground
from harness.engine.cases import Engine
from harness.engine.evidence import ground_at, in_other_dtype, walked_back
from harness.graph import shares_by_source
from harness.trace import Trace

#: Of what a step moves by, what counts: the two roundings may offset each other. The whole was at most 1.03 floors over
#: the catalogue on `digits-cnn` in float32.
SHARE = 0.5


def ground_of_steps(
    engine: Engine, candidate: Trace, reference: Trace, layers: Collection[str]
) -> dict[str, Ground]:
    """The relevance of ``layers`` on the candidate's activations, each held against what single steps move it by.

    From the output backwards to the first that is beyond it, which is left out with all below. Empty where the
    reference runs no single steps or computes in one dtype only, and where the method is more than one run backwards.
    """
    steps, scale = in_other_dtype(engine, reference)
    if steps is None:
        return {}
    grounds: dict[str, Ground] = {}
    walked: dict[str, np.ndarray] = {}
    #: Layers whose relevance was not made again, the last that was walked to at the end.
    waiting: list[str] = []
    largest = 0.0
    for name, relevance, bound in walked_back(engine, reference, candidate, measured=False):
        walked[name] = relevance
        if name != reference.case.model.graph.output:
            waiting.append(name)
        there = ground_at(name, relevance, max(bound, largest), candidate, reference)
        if name not in layers or there is None:
            continue
        # What a layer passes down is no more certain than what it received: the steps above count as well.
        while not there.within and waiting:
            above = waiting.pop()
            again = _received_again(above, walked, candidate, steps, reference)
            largest = max(largest, SHARE * scale * relative_l2(walked[above], again))
            there = there._replace(floor=max(there.floor, largest))
        if not there.within:
            return grounds
        grounds[name] = there._replace(by="single steps" if there.floor > bound else there.by)
    return grounds


def _received_again(
    name: str, walked: Mapping[str, np.ndarray], run: Trace, steps: Steps, reference: Trace
) -> np.ndarray:
    """What the layers that read ``name`` pass to it by ``steps``, each from its relevance in ``walked``."""
    graph = reference.case.model.graph
    rectified = run.method.composite.rectified_sources(graph)
    total: np.ndarray | None = None
    # In the order of a walk back, in which the shares are added.
    for layer in reversed(graph.consumers(name)):
        if layer.name not in walked:
            continue
        inputs = tuple(np.asarray(run.layers[source].activation) for source in layer.inputs)
        passed = step_on_copies(steps, layer, inputs, walked[layer.name], run.method)
        share = shares_by_source(layer, passed, rectified)[name]
        total = share if total is None else total + share
    assert total is not None  # the walk came here from one of them
    return total
