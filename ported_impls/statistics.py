"""Sum, mean and variance over runs, one run after the other, so that no two runs are kept side by side."""

from __future__ import annotations

from typing import Literal

import numpy as np

Kind = Literal["mean", "variance", "sum"]


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
            mean = self._sums[name]
            deviation = array - mean
            mean += deviation / count
            deviation *= array - mean
            self._squares[name] += deviation

    def result(self) -> dict[str, np.ndarray]:
        """The statistic of every name over the runs that had it; after the last run, and once."""
        if self.kind == "sum":
            return dict(self._sums)
        joined = self._sums if self.kind == "mean" else self._squares
        for name, array in joined.items():
            array /= self._counts[name]
        self._sums = {}
        return joined
