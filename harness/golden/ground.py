"""Equal ground for goldens: whether rounding alone lies between a candidate and what is stored.

Where two entries of a pooling window are equal, or a unit is on its kink, rounding decides between them, and another
processor decides otherwise (`harness.comparison.rerun`). The reference that recorded is not there to be run on the
candidate's activations; the oracle, which needs no framework, stands for it. A relevance that differs is excused where
both hold:

- On the candidate's activations, which in every run are the oracle's own to within rounding, the oracle gives what the
  candidate gives, to ten times what the order of summation explains.
- What is stored is no further from the candidate than ten times what rounding of the activations moves the oracle. A
  change that the candidate and the oracle have in common moves nothing there, and stays a regression.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from harness.backends import (
    Backend,
    OneRun,
    backend_named,
    capability,
    defaults_of,
    is_installed,
    runs_on_copies,
)
from harness.case import Case
from harness.comparison import Comparison, NoiseFloor, Row
from harness.comparison.floor import MULTIPLE, derived
from harness.comparison.joining import JoinedRuns, ManyRuns
from harness.comparison.metrics import relative_l2
from harness.comparison.rerun import Ground
from harness.comparison.verdict import ATTRIBUTION, doubtful, on_equal_ground
from harness.engine import Engine
from harness.engine.many_runs import joined_in_step, kind_of, runs_alone
from harness.errors import is_interrupt
from harness.methods import Backward
from harness.trace import Trace

#: How often the activations are moved.
_MOVED = 3


def on_the_oracles_ground(
    engine: Engine, comparison: Comparison, case: Case, run: Trace, candidate: Backend
) -> Comparison:
    """``comparison`` of a golden and ``run``, with what differs judged by the oracle on the candidate's activations.

    It is as it was where the forward pass differs, in another dtype than float64, for methods that are neither one pass
    backwards nor many runs, and where the oracle or the candidate offers no single runs.
    """
    rows = [row for row in (*comparison.rows, comparison.attribution) if doubtful(row)]
    only_relevance = comparison.verdict != "error" and comparison.first_divergent_forward is None
    if comparison.passed or not (rows and only_relevance) or case.dtype != "float64":
        return comparison
    try:
        grounds = _grounds(engine, rows, case, run, candidate)
    except BaseException as error:  # the candidate gave a result, which is judged without
        if is_interrupt(error):
            raise
        return comparison
    return on_equal_ground(comparison, grounds, "the oracle")


def _grounds(
    engine: Engine, rows: Sequence[Row], case: Case, run: Trace, candidate: Backend
) -> dict[str, Ground]:
    """By the layer of a row, or "attribution"; none where there is no equal ground."""
    oracle = backend_named(defaults_of(case.method).oracle)
    reference = capability(engine.prepared(case.model, oracle, case.dtype), "runs")
    other = _runs_of(engine, case, run, candidate)
    if reference is None or other is None:
        return {}
    method, kind, source = runs_alone(case.method), kind_of(case.method), case.model.graph.input.name
    bound = derived(case.dtype, case.model.graph)
    joined, *moved = (JoinedRuns(method, case.x, source, {kind}) for _ in range(1 + _MOVED))
    changes = [partial(_moved, bound, np.random.default_rng(seed)) for seed in range(_MOVED)]
    made = joined_in_step(
        joined, case, runs_on_copies(reference, case), other, list(zip(moved, changes, strict=True))
    )
    if made.joined is None:
        return {}

    def at(each: JoinedRuns, name: str) -> np.ndarray | None:
        return each.attribution(case.method, kind) if name == ATTRIBUTION else each.relevance(name, kind)

    grounds = {}
    for row in rows:
        observed = run.attribution if row.layer == ATTRIBUTION else run.layers[row.layer].relevance
        there = at(joined, row.layer)
        if there is None or observed is None:
            continue
        movement = max(
            relative_l2(there, values) for each in moved if (values := at(each, row.layer)) is not None
        )
        if row.rel_l2 <= MULTIPLE * movement:
            floor = bound.of_attribution() if row.layer == ATTRIBUTION else bound.of_relevance(row.layer)
            grounds[row.layer] = Ground(relative_l2(there, observed), floor, movement)
    return grounds


def _runs_of(engine: Engine, case: Case, run: Trace, candidate: Backend) -> Iterator[OneRun] | None:
    """The candidate's runs of ``case``, whose result ``run`` is; None where it shows none."""
    procedure = case.method.procedure
    if isinstance(procedure, Backward):
        shown = {name: layer.activation for name, layer in run.layers.items() if layer.activation is not None}
        return iter([OneRun(shown)]) if len(shown) == len(case.model.graph.layers) else None
    if not (isinstance(procedure, ManyRuns) and is_installed(candidate)):
        return None
    runs = capability(engine.prepared(case.model, candidate, case.dtype, case.device), "runs")
    return None if runs is None else runs_on_copies(runs, case)


def _moved(
    bound: NoiseFloor, generator: np.random.Generator, activations: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Each value of ``activations`` moved by what the order of summation may do to it; zeros stay zeros.

    By the layer's floor times the root mean square of its values: a value near zero is what is left of sums that are
    not, and is rounded as they are.
    """

    def moved(name: str, values: np.ndarray) -> np.ndarray:
        size = bound.of_activation(name) * np.sqrt(np.mean(np.square(values)))
        return values + size * generator.standard_normal(values.shape) * (values != 0)

    return {name: moved(name, values) for name, values in activations.items()}
