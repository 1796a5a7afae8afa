"""Sum, mean and variance of tensors that come one after the other and are not kept."""

from __future__ import annotations

from typing import Literal, Protocol

import tensorflow as tf

from reference_impls.tensorflow.layers import Tensor


class Statistic(Protocol):
    """What `Mean` and `Variance` have in common; at least one value is added before the result is asked for."""

    def add(self, value: Tensor) -> None: ...

    def result(self) -> Tensor: ...


class Sum:
    """The sum of values of one shape, in order."""

    def __init__(self) -> None:
        self._sum: Tensor = None

    def add(self, value: Tensor) -> None:
        self._sum = value if self._sum is None else self._sum + value

    def result(self) -> Tensor:
        return self._sum


class Mean:
    """The mean of values of one shape: their sum, in order, over their number (as `numpy.mean` has it)."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: Tensor = None

    def add(self, value: Tensor) -> None:
        self._count += 1
        self._sum = value if self._count == 1 else self._sum + value

    def result(self) -> Tensor:
        return self._sum / self._count


class Variance:
    """The population variance of values of one shape, by Welford's recurrence (Technometrics 4, 1962).

    ``m_k = m_(k-1) + (v_k - m_(k-1)) / k``, ``q_k = q_(k-1) + (v_k - m_(k-1)) (v_k - m_k)``, result
    ``q_n / n``: it subtracts no large sums of squares, so a variance far below the mean's square keeps its digits.
    """

    def __init__(self) -> None:
        self._count = 0
        self._mean: Tensor = None
        self._squares: Tensor = None

    def add(self, value: Tensor) -> None:
        self._count += 1
        if self._count == 1:
            self._mean, self._squares = value, tf.zeros_like(value)
            return
        deviation = value - self._mean
        self._mean += deviation / self._count
        self._squares += deviation * (value - self._mean)

    def result(self) -> Tensor:
        return self._squares / self._count


def statistic(name: Literal["mean", "variance", "sum"]) -> Statistic:
    """A new, empty one."""
    match name:
        case "mean":
            return Mean()
        case "variance":
            return Variance()
        case _:
            return Sum()
