"""A network ported by hand: a layer that the port lacks, has in addition, or has elsewhere.

What loading the pair found by its structure is judged here on the input in question, as any other layer of the
forward pass: on the candidate's own activations. A layer that it lacks is computed as the reference has it, so
that one whose absence changes nothing is no fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from harness.comparison.summation import forward_terms
from harness.diagnosis.case import Case
from harness.diagnosis.findings import Finding
from harness.diagnosis.forward import ForwardError, judged
from harness.diagnosis.measure import apart, explained, summation_floor
from harness.graph import Graph, Layer
from harness.steps import Arrays, ForwardStep
from harness.trace import Trace


class Row(Protocol):
    """What a pair says of a layer that the two sides do not have alike (`ported_models.pair.ForwardRow`)."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def torch_layer(self) -> str: ...
    @property
    def structure(self) -> str | None: ...
    @property
    def reaches(self) -> tuple[str, ...]: ...


def structural_rows(model: Any) -> tuple[Row, ...]:
    """The layers that one side of a pair lacks or has elsewhere; none for any other model."""
    return tuple(row for row in getattr(model, "forward_report", ()) if row.structural)


def pair_errors(case: Case, rows: tuple[Row, ...], run: Trace) -> Iterator[ForwardError | Finding]:
    """The layers that introduce an error of their own in ``run``, up to the first that is not where it should be.

    That one is a finding, and the last: behind it, the layers of the two sides do not correspond.
    """
    own = _Values(case, run)
    for layer in case.graph.layers:
        if not layer.inputs or layer.name not in own.seen:
            continue
        judged_error = _judged(case, layer, own)
        if judged_error is None:
            continue
        row = next((row for row in rows if layer.name in row.reaches), None)
        if row is None:
            yield judged_error
            continue
        residual = _with_the_ports_inputs(case, layer, own, judged_error)
        yield _finding(row, judged_error.error, judged_error.floor, residual)
        return
    row = next((row for row in rows if not row.reaches), None)
    if row is None:
        return
    floor = summation_floor(case.terms, case.dtype)
    try:
        error = apart((own[case.graph.output],), (run.logits,))
    except Exception:
        error = float("inf")  # what the layer in question should read has not its shape
    if not explained(error, floor):
        last = own.seen.get(_torch_graph(case).output)
        yield _finding(row, error, floor, None if last is None else apart((last,), (run.logits,)))


class _Values:
    """By layer of the reference's graph, its output on the candidate's activations; float64."""

    def __init__(self, case: Case, run: Trace) -> None:
        self._case = case
        self.seen = {
            name: np.asarray(layer.activation, np.float64)
            for name, layer in run.layers.items()
            if layer.activation is not None
        }
        self._made: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name in self.seen:
            return self.seen[name]
        if name not in self._made:
            layer = self._case.graph[name]
            step = ForwardStep(layer, tuple(self[source] for source in layer.inputs), self._case.graph)
            self._made[name] = self._case.oracle.carry_forward(step)
        return self._made[name]


def _judged(case: Case, layer: Layer, own: _Values) -> ForwardError | None:
    output = own.seen[layer.name]
    inputs: Arrays = ()
    try:
        inputs = tuple(own[name] for name in layer.inputs)
        return judged(case, layer, inputs, output)
    except Exception:
        # What it should read has another shape in the candidate: the oracle cannot compute it.
        floor = summation_floor(forward_terms(layer), case.dtype)
        return ForwardError(ForwardStep(layer, inputs, case.graph), output, float("inf"), floor)


def _with_the_ports_inputs(case: Case, layer: Layer, own: _Values, error: ForwardError) -> float | None:
    """How far the layer is from what it should be, once it reads what it reads in the port."""
    candidate = _torch_graph(case)[layer.name]
    if any(name not in own.seen for name in candidate.inputs):
        return None
    step = ForwardStep(layer, tuple(own.seen[name] for name in candidate.inputs), case.graph)
    try:
        residual = apart((case.oracle.carry_forward(step),), (error.observed,))
    except Exception:
        return None  # the layer is written for inputs of another shape
    return residual if explained(residual, error.floor) else None


def _torch_graph(case: Case) -> Graph:
    graph: Graph = case.model.torch_graph
    return graph


def _finding(row: Row, error: float, floor: float, residual: float | None) -> Finding:
    structure = row.structure or ""
    verb = "" if structure.startswith("stands") else "is "
    return Finding(
        "forward", row.name, "forward-layer", f"this {row.kind} {verb}{structure}", error, floor, residual
    )
