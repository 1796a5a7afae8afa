"""From the work of a case and the figures of a machine to seconds and bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.estimate.machine import Machine
from harness.estimate.work import Work, work_of
from harness.graph import Graph
from harness.methods import Method

#: Traces that are in memory at once: of both sides, in the case's dtype, and of the reference in float64 (twice as
#: large as in float32), with copies in float64 of what is being compared.
_TRACES_ALIVE = 2
_FLOAT64_TRACES_ALIVE = 1
#: Copies of a model's weights: the graph's own in float32, the twins' of both sides in the case's dtype and one of the
#: reference in float64.
_WEIGHTS_FLOAT32, _WEIGHTS_OWN_DTYPE, _WEIGHTS_FLOAT64 = 1, 2, 1
#: Float64 copies of the largest tensor while it is measured.
_COPIES_OF_LARGEST = 6


@dataclass(frozen=True)
class Estimate:
    """``seconds``: of a case; ``load_s``: once a model; ``memory`` and ``disk``: in bytes; ``work``: counted."""

    seconds: float
    load_s: float
    memory: float
    disk: float
    work: Work


def estimate(graph: Graph, method: Method, batch: int, dtype: str, machine: Machine) -> Estimate:
    """What one case of ``method`` on ``batch`` samples takes, done alone; cases that share work take less together."""
    work = work_of(graph, method, batch)
    seconds = (
        machine.case_s
        + machine.layer_s * work.layers * work.runs
        + machine.multiply_add_s * work.multiply_adds
        + machine.number_s * work.tensors
    )
    load_s = machine.load_s + machine.load_layer_s * work.layers + machine.load_weight_s * work.weights
    size = np.dtype(dtype).itemsize
    memory = (
        machine.resident
        + work.weights * (4 * _WEIGHTS_FLOAT32 + size * _WEIGHTS_OWN_DTYPE + 8 * _WEIGHTS_FLOAT64)
        + work.trace * (size * _TRACES_ALIVE + 8 * _FLOAT64_TRACES_ALIVE)
        + work.largest * 8 * _COPIES_OF_LARGEST
    )
    # In the run's folder, and with its row in the store, as text that takes a third more.
    disk = (machine.files + machine.file_layer * work.layers) * (1 + 4 / 3)
    return Estimate(seconds, load_s, memory, disk, work)
