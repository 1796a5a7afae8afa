"""How much one step multiplies the rounding of what it is given: measured, on the data of the run.

The step's inputs and relevance are moved, value by value and at random, to the next number up or down in the
dtype of the run, and the backend's own `step` is run again. Its condition is the relative L2 movement of what
it passes down over the larger of the relative L2 movements of its inputs and of its relevance; the largest of
RUNS runs counts. About 1 is a step that keeps the digits it is given; 1e4 one that loses four of them.

The other measure, float32 against float64, needs the model twice and exists in float32 only; it says how much
was lost and not how much the step multiplies. Movement by one unit is what rounding in the layer before
does, in either dtype, and the step's own rounding is in what it measures, because both runs have it.
"""

from __future__ import annotations

import numpy as np

from harness.backends import Steps, step_on_copies
from harness.comparison.floor import RUNS, moved_by_units
from harness.comparison.metrics import relative_l2
from harness.divisions import Arrays
from harness.graph import Layer
from harness.methods import Method


def condition_of(
    steps: Steps, layer: Layer, inputs: Arrays, relevance: np.ndarray, passed: Arrays, method: Method
) -> float:
    """Noise of the output of ``layer``'s step over noise of its input.

    ``passed``: what the step gives on ``inputs`` and ``relevance`` (all in the dtype of the run). NaN where no
    relevance arrives or leaves, or where something is not finite.
    """
    largest = 0.0
    base = _joined(passed)
    if not base.any() or not np.isfinite(base).all():
        return float("nan")
    for seed in range(RUNS):
        generator = np.random.default_rng(seed)
        moved_inputs = tuple(moved_by_units(x, generator) for x in inputs)
        moved_relevance = moved_by_units(relevance, generator)
        noise = max(
            relative_l2(_joined(inputs), _joined(moved_inputs)), relative_l2(relevance, moved_relevance)
        )
        again = _joined(step_on_copies(steps, layer, moved_inputs, moved_relevance, method))
        largest = max(largest, relative_l2(base, again) / noise)
    return largest


def _joined(arrays: Arrays) -> np.ndarray:
    """All values in one row; no copy for a single array."""
    if len(arrays) == 1:
        return arrays[0].reshape(-1)
    return np.concatenate([values.reshape(-1) for values in arrays])
