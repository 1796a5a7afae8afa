"""The forward pass first: where activations differ, the model was ported wrongly, not the method.

Each layer is judged on the candidate's own inputs to it, so that several faults are told apart in one pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.comparison.summation import forward_terms
from harness.diagnosis.case import Case
from harness.diagnosis.measure import apart, explained, movement, summation_floor
from harness.graph import Layer
from harness.steps import Arrays, ForwardStep
from harness.trace import Trace


@dataclass(frozen=True, eq=False)
class ForwardError:
    """A layer whose output, ``observed``, in the candidate's own dtype, is not what its inputs should give."""

    step: ForwardStep
    observed: np.ndarray
    error: float
    floor: float

    @property
    def layer(self) -> Layer:
        return self.step.layer


def forward_errors(case: Case, run: Trace, since: str) -> Iterator[ForwardError]:
    """The layers from ``since`` on, in forward order, that introduce an error of their own in ``run``."""
    names = [layer.name for layer in case.graph.layers]
    for layer in case.graph.layers[names.index(since) :]:
        if not layer.inputs:
            continue
        inputs = [run.layers[name].activation if name in run.layers else None for name in layer.inputs]
        output = run.layers[layer.name].activation if layer.name in run.layers else None
        if output is None or any(x is None for x in inputs):
            continue
        error = judged(case, layer, tuple(np.asarray(x, np.float64) for x in inputs), output)
        if error is not None:
            yield error


def judged(case: Case, layer: Layer, inputs: Arrays, output: np.ndarray) -> ForwardError | None:
    """What ``layer`` introduces on ``inputs``; None where rounding explains it."""
    step = ForwardStep(layer, inputs, case.graph)
    expected = case.oracle.carry_forward(step)
    error = apart((expected,), (output,))
    floor = summation_floor(forward_terms(layer), case.dtype)
    if explained(error, floor):
        return None
    floor = max(floor, noise(case, step))
    return None if explained(error, floor) else ForwardError(step, output, error, floor)


def noise(case: Case, step: ForwardStep) -> float:
    """How far the output moves when the inputs move by one unit in the last place."""

    def compute(inputs: Arrays) -> Arrays:
        return (case.oracle.carry_forward(ForwardStep(step.layer, inputs, step.graph, step.after)),)

    return movement(compute, step.inputs, case.dtype)
