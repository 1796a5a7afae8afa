"""Sum, mean and variance over runs, one run after the other, so that no two runs are kept side by side."""

from __future__ import annotations

from typing import Literal

import numpy as np

Kind = Literal["mean", "variance", "sum"]
#: Numbers that are handled at once, so that what is made of them on the way stays in the processor's cache.
_PIECE = 2**16


class Statistic:
    """Sum, mean or population variance of arrays by name, in their own dtype.

    The mean is the sum divided once. The variance is Welford's: with the k-th array ``a``, the running mean
    ``m`` and ``d = a - m``, ``m += d / k`` and ``M += d * (a - m)``, in the end ``M / k``; no difference
    of large sums is taken.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._counts: dict[str, int] = {}
        self._sums: dict[str, np.ndarray] = {}
        self._squares: dict[str, np.ndarray] = {}

    def add(self, name: str, array: np.ndarray) -> None:
        """Count one run's ``array`` in; it is not kept."""
        count = self._counts[name] = self._counts.get(name, 0) + 1
        if count == 1:
            self._sums[name] = array.copy("K")
            if self.kind == "variance":
                self._squares[name] = np.zeros_like(array)
        elif self.kind != "variance":
            self._sums[name] += array
        else:
            _welford(array, self._sums[name], self._squares[name], count)

    def result(self) -> dict[str, np.ndarray]:
        """The statistic of every name over the runs that had it; after the last run, and once."""
        if self.kind == "sum":
            return dict(self._sums)
        joined = self._sums if self.kind == "mean" else self._squares
        for name, array in joined.items():
            array /= self._counts[name]
        self._sums = {}
        return joined


def _welford(array: np.ndarray, mean: np.ndarray, squares: np.ndarray, count: int) -> None:
    """One step of the recurrence, in place; in the order in which ``mean`` and ``squares`` lie in memory."""
    if array.strides != mean.strides:
        aligned = np.empty_like(mean)
        aligned[...] = array
        array = aligned
    values, means, sums = (each.ravel("K") for each in (array, mean, squares))
    for first in range(0, values.size, _PIECE):
        piece = slice(first, first + _PIECE)
        value, m = values[piece], means[piece]
        deviation = value - m
        m += deviation / count
        deviation *= value - m
        sums[piece] += deviation
