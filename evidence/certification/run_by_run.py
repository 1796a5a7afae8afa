"""The reference's rules on the library's own activations in every run of a method that joins many.

In each run a pre-activation within rounding of zero may fall on one side in one library and on the other in another,
and the joined result does not show in which run. So the library explains every point of the method by one run, which
shows its activations; the reference walks back on these, and the harness joins what it gives
(`harness.comparison.joining`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from evidence.certification.cases import ModelCases
from evidence.certification.measure import ATTRIBUTION, Place, place_of
from evidence.certification.recordings import Recordings
from evidence.certification.reference_runs import ReferenceRun, ReferenceRuns
from harness.comparison.floor import MULTIPLE, derived
from harness.comparison.joining import JoinedRuns
from harness.comparison.metrics import relative_l2
from harness.comparison.rerun import walk_back
from harness.graph import Graph
from harness.methods import IntegratedGradients, Method, Smoothed, gaussian_noise, method
from harness.methods.paths import places_on_path
from harness.trace import Trace

#: By library, the name of the single run that its methods of many runs are made of.
_SINGLE = {"innvestigate": "gradient", "signxai": "gradient:dialect=signxai"}


class RunByRun:
    """Measures for the names of one model; what names share, which are one procedure, is measured once."""

    def __init__(self, cases: ModelCases, runs: ReferenceRuns, recordings: Recordings) -> None:
        self._cases = cases
        self._runs = runs
        self._recordings = recordings
        self._joined: dict[Smoothed | IntegratedGradients, list[JoinedRuns]] = {}

    def places(self, recorded: Trace) -> list[Place]:
        """Every tensor that ``recorded`` shows, beside the reference in float32 and float64 on its activations.

        Empty for a method of one run; where the library cannot be run, or its activations are not the reference's to
        within ten times what the order of summation explains, in every run; and where its runs choose their output.
        """
        procedure, name = recorded.method.procedure, _SINGLE.get(self._cases.library)
        if name is None or not isinstance(procedure, Smoothed | IntegratedGradients):
            return []
        single = method(name)
        if not _made_of(recorded.method, single):
            return []
        if procedure not in self._joined:
            self._joined[procedure] = self._measured(recorded.method, single)
        joined, graph = self._joined[procedure], self._cases.model.graph
        if not joined:
            return []
        kind = _kind(recorded.method)
        at = []
        for layer in reversed(graph.layers):
            shown = recorded.layers[layer.name].relevance if layer.name in recorded.layers else None
            there = [each for side in joined if (each := side.relevance(layer.name, kind)) is not None]
            if shown is not None and len(there) == len(joined):
                at.append(place_of(layer.name, shown, *there))
        results = [each.attribution(recorded.method, kind) for each in joined]
        return [*at, place_of(ATTRIBUTION, recorded.attribution, *results)]

    def _measured(self, wanted: Method, single: Method) -> list[JoinedRuns]:
        graph = self._cases.model.graph
        sides = (self._runs.single, self._runs.double)
        joined = [JoinedRuns(wanted, self._cases.x, graph.input.name, {_kind(wanted)}) for _ in sides]
        for number, point in enumerate(_points(self._cases.x, wanted)):
            run = self._recordings.once(self._cases.model, point, single, self._runs.target)
            if run is None or not self._is_the_references(run, point, graph):
                return []
            for side, into in zip(sides, joined, strict=True):
                steps = side.steps
                if steps is None:
                    return []
                for name, relevance in walk_back(steps, graph, run):
                    into.add(number, name, relevance)
        return joined

    def _is_the_references(self, run: Trace, point: np.ndarray, graph: Graph) -> bool:
        bound = derived("float32", graph)
        own = _at(self._runs.single, point).run(run.method, self._runs.target)
        for name, layer in own.layers.items():
            shown = run.layers[name].activation if name in run.layers else None
            if shown is None or layer.activation is None:
                return False
            if relative_l2(layer.activation, shown) > MULTIPLE * bound.of_activation(name):
                return False
        return True


def _at(run: ReferenceRun, point: np.ndarray) -> ReferenceRun:
    return replace(run, case=replace(run.case, x=point))


def _made_of(wanted: Method, single: Method) -> bool:
    return (wanted.composite, wanted.head, wanted.selection) == (
        single.composite,
        single.head,
        single.selection,
    )


def _kind(wanted: Method) -> str:
    return wanted.procedure.statistic if isinstance(wanted.procedure, Smoothed) else "sum"


def _points(x: np.ndarray, wanted: Method) -> Iterator[np.ndarray]:
    """The inputs of the runs, in the dtype of ``x``; the library is handed the noise in that dtype as well."""
    procedure = wanted.procedure
    if isinstance(procedure, Smoothed):
        for noise in gaussian_noise(procedure, x.shape):
            yield x + noise.astype(x.dtype)
    elif isinstance(procedure, IntegratedGradients):
        for place, _ in places_on_path(procedure):
            yield (procedure.baseline + place * (x - procedure.baseline)).astype(x.dtype)
