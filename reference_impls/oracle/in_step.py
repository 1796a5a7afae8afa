"""The runs of a method one at a time, each with its walk back on other activations: `harness.backends.Runs`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from harness.backends.protocol import OneRun
from harness.graph import Graph
from harness.methods import DeepLift, Method
from reference_impls.oracle import deep_lift, forward
from reference_impls.oracle.backward import Activations
from reference_impls.oracle.memory import Remembered
from reference_impls.oracle.procedures import MANY_RUNS, one_run

#: See `harness.backends.protocol.OneRun`.
Walk = Callable[[Mapping[str, np.ndarray]], Iterable[tuple[str, np.ndarray]]]


def runs(
    graph: Graph, x: np.ndarray, target: np.ndarray, method: Method, remembered: Remembered
) -> Iterator[OneRun]:
    """The runs of ``method`` on ``x`` in order; in the end ``remembered`` knows what they come to.

    ``method``: one of many runs.
    """
    activations = forward.activations(graph, x)
    procedure = method.procedure
    passes = MANY_RUNS[type(procedure)](graph, activations, target, method, procedure)
    while True:
        try:
            shown = next(passes)
        except StopIteration as end:
            remembered.keep(activations[graph.input.name], target, method, end.value)
            return
        if isinstance(procedure, DeepLift):
            both = {name: np.concatenate([activations[name], beside]) for name, beside in shown.items()}
            yield OneRun(both, _walk_of_both(graph, target, method, procedure))
        else:
            yield OneRun(shown, _walk(graph, target, method))


def _walk(graph: Graph, target: np.ndarray, method: Method) -> Walk:
    return lambda given: one_run(graph, _doubles(given), target, method).items()


def _walk_of_both(graph: Graph, target: np.ndarray, method: Method, procedure: DeepLift) -> Walk:
    def walk(given: Mapping[str, np.ndarray]) -> Iterable[tuple[str, np.ndarray]]:
        halves = {name: np.split(each, 2) for name, each in _doubles(given).items()}
        first, second = ({name: both[half] for name, both in halves.items()} for half in range(2))
        return deep_lift.of_input(graph, first, second, target, method, procedure).items()

    return walk


def _doubles(given: Mapping[str, np.ndarray]) -> Activations:
    return {name: np.asarray(each, np.float64) for name, each in given.items()}
