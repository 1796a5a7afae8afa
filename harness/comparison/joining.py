"""What a method of many runs makes of the relevance in each of them, by the harness's own arithmetic, in float64.

Neither side's statistics are used: they are what is under test.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

import numpy as np

from harness.comparison.postprocess import treated
from harness.methods import Backward, DeepLift, IntegratedGradients, Method, Smoothed, baselines
from harness.methods.paths import places_on_path

#: Numbers that are handled at once, so that they stay in the processor's cache.
_PIECE = 2**16


#: Procedures that join what several runs give.
ManyRuns = IntegratedGradients | Smoothed | DeepLift


def weights_of(procedure: ManyRuns | Backward) -> list[float]:
    """What each run counts, in order; one pass backwards is one run."""
    if isinstance(procedure, Backward):
        return [1.0]
    if isinstance(procedure, DeepLift):
        return [1 / procedure.count] * procedure.count
    if isinstance(procedure, IntegratedGradients):
        return [weight for _, weight in places_on_path(procedure)]
    return [1 / procedure.samples] * procedure.samples


class Joining:
    """The weighted sum of arrays of one shape that come one after the other; or their mean and population variance.

    The variance is Welford's (Technometrics 4, 1962): with ``d = v - m``, ``m += d / k`` and ``q += d * (v - m)``, in
    the end ``q / n``. Its mean is the sum of runs that count alike.
    """

    def __init__(self, variance: bool) -> None:
        self._count = 0
        self._variance = variance
        self._sum = self._squares = np.zeros(0)
        self._shape: tuple[int, ...] = ()

    def add(self, values: np.ndarray, weight: float) -> None:
        """Count ``values`` in; they are not kept."""
        flat = np.ascontiguousarray(values).reshape(-1)
        if not self._count:
            self._shape, self._sum = values.shape, np.zeros(flat.size)
            self._squares = np.zeros(flat.size if self._variance else 0)
        self._count += 1
        for first in range(0, flat.size, _PIECE):
            piece = slice(first, first + _PIECE)
            value = flat[piece].astype(np.float64)
            if self._variance:
                deviation = value - self._sum[piece]
                self._sum[piece] += deviation / self._count
                value -= self._sum[piece]
                value *= deviation
                self._squares[piece] += value
            else:
                value *= weight
                self._sum[piece] += value

    def result(self, variance: bool) -> np.ndarray:
        """Float64: the variance, or the sum or mean."""
        return (self._squares / self._count if variance else self._sum).reshape(self._shape)


class JoinedRuns:
    """The relevance of every layer, and of the input what the attribution is made of, over the runs of ``method``.

    ``x``: the input that is explained. ``source``: the name of its layer. ``kinds``: of SmoothGrad's runs the
    statistics that are wanted; of the others there is one.
    """

    def __init__(self, method: Method, x: np.ndarray, source: str, kinds: Collection[str]) -> None:
        assert isinstance(method.procedure, ManyRuns | Backward)
        self._procedure = method.procedure
        self._x = x
        self._source = source
        self._weights = weights_of(method.procedure)
        self.kinds = frozenset(kinds)
        self._layers: dict[str, Joining] = {}
        self._attribution = Joining("variance" in self.kinds)

    @property
    def count(self) -> int:
        """How many runs there are to be."""
        return len(self._weights)

    @property
    def passes(self) -> int:
        """How many forward passes, one behind another in the batch, a run is."""
        return 2 if isinstance(self._procedure, DeepLift) else 1

    def add(self, run: int, layer: str, relevance: np.ndarray) -> None:
        """That of ``layer`` in the run of number ``run``. Several layers may be added at once, by as many threads."""
        weight = self._weights[run]
        self._layers.setdefault(layer, Joining("variance" in self.kinds)).add(relevance, weight)
        if layer == self._source:
            self._attribution.add(self._of_input(run, relevance.astype(np.float64)), weight)

    def _of_input(self, run: int, relevance: np.ndarray) -> np.ndarray:
        """What run number ``run`` adds to the attribution, before its weight."""
        procedure = self._procedure
        if isinstance(procedure, DeepLift):
            return relevance * self._differences[run] if procedure.times_difference else relevance
        if isinstance(procedure, Backward):
            return relevance
        of_each = {"abs": np.abs, "square": np.square}.get(procedure.each)
        return relevance if of_each is None else of_each(relevance)

    @cached_property
    def _differences(self) -> list[np.ndarray]:
        """The input less each baseline of DeepLIFT, in the dtype of the input."""
        assert isinstance(self._procedure, DeepLift)
        return [self._x - each.astype(self._x.dtype) for each in baselines(self._procedure, self._x.shape)]

    def relevance(self, layer: str, kind: str) -> np.ndarray | None:
        """What the runs come to at ``layer``; None where no relevance reaches it."""
        joined = self._layers.get(layer)
        return None if joined is None else joined.result(kind == "variance")

    def attribution(self, method: Method, kind: str) -> np.ndarray:
        """What ``method``, which joins these runs, gives."""
        joined, procedure = self._attribution.result(kind == "variance"), method.procedure
        x = self._x.astype(np.float64)
        if isinstance(procedure, IntegratedGradients) and procedure.times_difference:
            joined = (x - procedure.baseline) * joined
        return treated(joined, x, method.postprocess)
