"""Where a planted bug changes anything on the input of its case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from evidence.planted_bugs.collection import Collection
from evidence.planted_bugs.mutant import Expected
from evidence.planted_bugs.run import Case, Result, input_of
from harness.api import explain
from harness.backends import Backend, Steps, backend_named, defaults_of, step_on_copies, steps_of
from harness.comparison.summation import longest_sum
from harness.diagnosis.measure import apart, explained, summation_floor
from harness.engine import engine, operands_of
from harness.methods import Backward, Method
from harness.methods import method as method_named

#: Rounding hides least in it.
DTYPE = "float64"


def owed(collection: Collection, case: Case, result: Result) -> tuple[Expected, ...]:
    """What a diagnosis owes for ``case``: ``case.expected`` without the layers where the bug changes nothing.

    Looked at are layers that ``result`` does not name: the mutant's step and the healthy port's, both on the
    reference's activations and relevance. A bias of another sign changes nothing where all outputs that have
    relevance have one of the same sign. A bug that changes nothing anywhere is owed as it stands.
    """
    named = {layer for each in result.findings if each.stage == "rule" for layer in each.layers}
    missing = {
        layer
        for one in case.expected
        if one.stage == "rule" and not one.or_layers
        for layer in one.layers or ()
        if layer not in named
    }
    if not missing or not isinstance(method_named(case.method).procedure, Backward):
        return case.expected
    idle = _idle(collection, case, missing)
    return tuple(
        replace(one, layers=tuple(layer for layer in one.layers or () if layer not in idle))
        if one.stage == "rule" and not set(one.layers or ()) <= idle
        else one
        for one in case.expected
    )


def _idle(collection: Collection, case: Case, layers: set[str]) -> set[str]:
    """Those of ``layers`` at which the mutant does what the healthy port does, to within rounding."""
    model, mutant = collection.model(case.model), collection.named(case.mutant)
    method = method_named(case.method)
    x = np.asarray(input_of(mutant, model), DTYPE)
    healthy = backend_named(defaults_of(method).candidate)
    sides = [_steps(model, backend, method) for backend in (healthy, mutant.build())]
    operands = operands_of(engine(), explain(model, x, method, dtype=DTYPE))
    floor = summation_floor(longest_sum(model.graph), DTYPE)

    def same(name: str) -> bool:
        layer, relevance = model.graph[name], operands[name].relevance
        inputs = tuple(np.asarray(operands[source].activation) for source in layer.inputs)
        assert relevance is not None
        healthy, faulty = (
            None if side is None else step_on_copies(side, layer, inputs, relevance, method) for side in sides
        )
        return healthy is not None and faulty is not None and explained(apart(healthy, faulty), floor)

    return {name for name in layers if same(name)}


def _steps(model: Any, backend: Backend, method: Method) -> Steps | None:
    return steps_of(engine().prepared(model, backend, DTYPE), method)
