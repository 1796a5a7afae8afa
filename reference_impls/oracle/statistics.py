"""Sum, mean and variance of arrays of one shape that come one at a time and are not kept."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Statistic(Protocol):
    """What is known after some arrays; ``add`` at least one before ``value``."""

    def add(self, array: np.ndarray) -> None: ...
    def value(self) -> np.ndarray: ...


class Sum:
    """The sum."""

    def __init__(self) -> None:
        self._sum: np.ndarray = np.zeros(())

    def add(self, array: np.ndarray) -> None:
        self._sum = self._sum + array

    def value(self) -> np.ndarray:
        return self._sum


class Mean:
    """``sum / count``."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: np.ndarray = np.zeros(())

    def add(self, array: np.ndarray) -> None:
        self._count += 1
        self._sum = self._sum + array

    def value(self) -> np.ndarray:
        return self._sum / self._count


class Variance:
    """The population variance, ``sum of (array - mean)**2 / count``, by Welford's recurrence (1962).

    With ``d = array - m``: ``m' = m + d / count``, ``q' = q + d * (array - m')``, variance ``q / count``. Nothing
    large is subtracted from anything large, as it is in ``mean of squares - square of mean``.
    """

    def __init__(self) -> None:
        self._count = 0
        self._mean: np.ndarray = np.zeros(())
        self._squares: np.ndarray = np.zeros(())

    def add(self, array: np.ndarray) -> None:
        self._count += 1
        distance = array - self._mean
        self._mean = self._mean + distance / self._count
        self._squares = self._squares + distance * (array - self._mean)

    def value(self) -> np.ndarray:
        return self._squares / self._count
