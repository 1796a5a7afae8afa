"""Equal ground for goldens: whether rounding alone lies between a candidate and what is stored.

Where two entries of a pooling window are equal, or a unit is on its kink, rounding decides between them, and another
processor decides otherwise (`harness.comparison.rerun`). The reference that recorded is not there to be run on the
candidate's activations; the oracle, which needs no framework, stands for it. A relevance that differs is excused where
both hold:

- On the candidate's activations the oracle gives what the candidate gives, to ten times what the order of summation
  explains. The activations are those that are stored, or the oracle's own in every one of many runs, to within
  rounding.
- What is stored is no further from the candidate than ten times what rounding of the activations moves the oracle. A
  change that the candidate and the oracle have in common moves nothing there, and stays a regression.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from harness.backends import (
    Backend,
    Steps,
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
from harness.comparison.rerun import Ground, walk_back
from harness.comparison.rows import PASSING
from harness.comparison.verdict import on_equal_ground, results
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

    Nothing fails by it. It is as it was where the forward pass differs, in another dtype than float64, for methods that
    are neither one pass backwards nor many runs, and where the oracle or the candidate offers no single runs.
    """
    rows = [row for row in comparison.relevances if row.verdict not in PASSING]
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
    method, source = runs_alone(case.method), case.model.graph.input.name
    joined, *moved = (JoinedRuns(method, case.x, source, {kind_of(case.method)}) for _ in range(1 + _MOVED))
    if isinstance(method.procedure, Backward):
        made = _one_pass(engine, case, run, joined, moved)
    else:
        made = _many_runs(engine, case, candidate, joined, moved)
    return _judged(rows, case, run, joined, moved) if made else {}


def _judged(
    rows: Sequence[Row], case: Case, run: Trace, joined: JoinedRuns, moved: Sequence[JoinedRuns]
) -> dict[str, Ground]:
    """The rows of which what is stored is as near as rounding of the activations moves the oracle."""
    bound, kind = derived(case.dtype, case.model.graph), kind_of(case.method)

    ends = results(run.inputs, run.attribution_array)

    def at(each: JoinedRuns, name: str) -> np.ndarray | None:
        if name in ends:
            return results(run.inputs, each.attribution(case.method, kind))[name]
        return each.relevance(name, kind)

    grounds = {}
    for row in rows:
        observed = ends[row.layer] if row.layer in ends else run.layers[row.layer].relevance
        there = at(joined, row.layer)
        if there is None or observed is None:
            continue
        movements = [
            relative_l2(there, values) for each in moved if (values := at(each, row.layer)) is not None
        ]
        if row.rel_l2 <= MULTIPLE * max(movements, default=0.0):
            floor = bound.of_attribution() if row.layer in ends else bound.of_relevance(row.layer)
            grounds[row.layer] = Ground(relative_l2(there, observed), floor, max(movements))
    return grounds


def _one_pass(
    engine: Engine, case: Case, run: Trace, joined: JoinedRuns, moved: Sequence[JoinedRuns]
) -> bool:
    """Walk the oracle back through ``run``, and through its activations as they are moved; whether it agrees.

    The walk ends where the candidate parts from it: a candidate that does something else costs no more than that.
    """
    graph, bound = case.model.graph, derived(case.dtype, case.model.graph)
    if any(layer.name not in run.layers or run.layers[layer.name].activation is None for layer in graph):
        return False
    steps: Steps = engine.oracle(case.model, case.method, "steps")
    for name, relevance in walk_back(steps, graph, run):
        observed = run.layers[name].relevance
        if observed is not None:
            apart = relative_l2(relevance, observed)
            if not apart <= MULTIPLE * bound.of_relevance(name):
                return False
        joined.add(0, name, relevance)
    for seed, each in enumerate(moved):
        shown = {name: np.asarray(layer.activation) for name, layer in run.layers.items()}
        there = _moved(bound, np.random.default_rng(seed), shown)
        layers = {name: replace(layer, activation=there[name]) for name, layer in run.layers.items()}
        for name, relevance in walk_back(steps, graph, replace(run, layers=layers)):
            each.add(0, name, relevance)
    return True


def _many_runs(
    engine: Engine, case: Case, candidate: Backend, joined: JoinedRuns, moved: Sequence[JoinedRuns]
) -> bool:
    """Join the oracle's walks back through the candidate's runs, and through these as they are moved.

    False where a side shows no runs, or a run of the candidate is not the oracle's.
    """
    if not (isinstance(case.method.procedure, ManyRuns) and is_installed(candidate)):
        return False
    bound = derived(case.dtype, case.model.graph)
    sides = (backend_named(defaults_of(case.method).oracle), candidate)
    runs = [capability(engine.prepared(case.model, side, case.dtype), "runs") for side in sides]
    if None in runs:
        return False
    reference, other = (runs_on_copies(each, case) for each in runs)
    changes = [partial(_moved, bound, np.random.default_rng(seed)) for seed in range(len(moved))]
    made = joined_in_step(joined, case, reference, other, list(zip(moved, changes, strict=True)))
    return made.joined is not None


def _moved(
    bound: NoiseFloor, generator: np.random.Generator, activations: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Each value of ``activations`` moved by what the order of summation may do to it; zeros stay zeros.

    By the layer's floor times the root mean square of a sample's values: a value near zero is what is left of sums
    that are not, and is rounded as they are.
    """

    def moved(name: str, values: np.ndarray) -> np.ndarray:
        each = tuple(range(1, values.ndim))  # a baseline stands in the batch beside an input of another size
        size = bound.of_activation(name) * np.sqrt(np.mean(np.square(values), axis=each, keepdims=True))
        return values + size * generator.standard_normal(values.shape) * (values != 0)

    return {name: moved(name, values) for name, values in activations.items()}
