"""Values that a deviation has, found from what was observed; its residual then judges them like any other.

Nothing here makes a deviation fit: where no value reproduces the observation, the best one still does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from harness.steps import Step
from reference_impls.deviations.backward.altering import Change
from reference_impls.deviations.backward.carrying import carry_out
from reference_impls.deviations.backward.narrowing import as_it_stands
from reference_impls.deviations.distance import where_finite
from reference_impls.oracle.linear import Arrays

#: A value that leaves more than this of the error is none: the search would only be slowed down by it.
HELPS = 0.9
_STEPS = 20
#: Denominators that cross zero make valleys: a start that does not get this much nearer is followed by the next best.
_STARTS, _CLOSE = 3, 1e-3
_ROUNDING = float(np.finfo(np.float64).eps)


def is_as_specified(step: Step, observed: Arrays) -> bool:
    """Whether there is nothing to estimate: the step as it stands is the observation, but for a few roundings."""
    return where_finite(as_it_stands(step), observed) <= 16 * _ROUNDING


def solved(
    step: Step, observed: Arrays, make: Callable[[float], Change], grid: Sequence[float]
) -> float | None:
    """The positive value with which ``make(value)`` comes nearest to ``observed``; None where it helps little.

    The best of ``grid``, then Gauss-Newton in the logarithm of the value. A round number is taken for it where
    that is no worse, see :func:`rounded`.
    """

    def carried(value: float) -> Arrays:
        return carry_out(make(value)(step))

    errors = [where_finite(carried(value), observed) for value in grid]
    if not math.isfinite(min(errors)) or max(errors) == min(errors):
        return None
    best, least = 0.0, math.inf
    for start in np.argsort(errors, kind="stable")[:_STARTS]:
        value, error = _refined(carried, observed, grid[start], errors[start])
        if error < least:
            best, least = value, error
        if error < _CLOSE * errors[start]:
            break
    if least > HELPS * where_finite(as_it_stands(step), observed):
        return None
    return rounded(best, lambda each: where_finite(carried(each), observed), observed)


def _refined(
    carried: Callable[[float], Arrays], observed: Arrays, value: float, error: float
) -> tuple[float, float]:
    """Gauss-Newton on ``log(value)``, the slope by a difference; steps that do not help are halved.

    ``error``: what ``value`` leaves; the value that was found, and what that leaves.
    """
    nudge = math.sqrt(_ROUNDING)
    result = carried(value)
    for _ in range(_STEPS):
        here, beside = _joined(result, observed), _joined(carried(value * (1 + nudge)), observed)
        seen = np.isfinite(here) & np.isfinite(beside)
        slope = (beside - here)[seen] / nudge
        steepness = float(slope @ slope)
        if steepness == 0:
            break
        # No more than a factor of ten at a time: far away the slope says little.
        move = float(np.clip(-(slope @ here[seen]) / steepness, -math.log(10), math.log(10)))
        moved = value * math.exp(move)
        result = carried(moved)
        improved = where_finite(result, observed)
        while improved > error and abs(move) > nudge:
            move /= 2
            moved = value * math.exp(move)
            result = carried(moved)
            improved = where_finite(result, observed)
        if improved >= error:
            break
        # Where there is a value that fits, the error falls faster with every step; elsewhere it creeps.
        creeps = improved > error / 2 and abs(move) < 1
        value, error = moved, improved
        if creeps or abs(move) < _ROUNDING:
            break
    return value, error


def _joined(results: Arrays, observed: Arrays) -> np.ndarray:
    return np.concatenate(
        [np.where(np.isfinite(b), a - b, 0.0).ravel() for a, b in zip(results, observed, strict=True)]
    )


def rounded_alike(one: float, other: float) -> bool:
    """Whether two values are written as the same number: a sentence that has both would say nothing."""
    return f"{one:g}" == f"{other:g}"


def is_round(value: float) -> bool:
    """Whether ``value`` is one that a person writes: up to three significant digits."""
    return float(f"{value:.2e}") == value


def rounded(value: float, error: Callable[[float], float], observed: Arrays) -> float:
    """The number of the fewest significant digits (up to three) that is no worse than ``value``, else ``value``.

    A value fitted to ``n`` numbers is nearer to them than the true one by chance: it lowers the square of the
    residual by about ``1/n`` of it, hardly ever by more than nine times that (three standard deviations).
    """
    count = sum(part.size for part in observed)
    allowed = error(value) * math.sqrt(1 + 9 / count) + 4 * _ROUNDING
    for digits in (1, 2, 3):
        candidate = float(f"{value:.{digits - 1}e}")
        if error(candidate) <= allowed:
            return candidate
    return value


def factors(parts: Iterable[Arrays], observed: Arrays) -> np.ndarray | None:
    """The factors with which the sum of ``parts`` comes nearest to ``observed`` (least squares); None without any."""
    columns = [np.concatenate([each.ravel() for each in part]) for part in parts]
    target = np.concatenate([part.ravel() for part in observed])
    if any(column.shape != target.shape for column in columns):
        return None
    seen = np.isfinite(target) & np.all([np.isfinite(column) for column in columns], axis=0)
    matrix = np.stack([column[seen] for column in columns], axis=1)
    if not seen.any() or not matrix.any():
        return None
    # Columns of very different size, as A and B of alpha-beta may be, are brought to one first.
    sizes = np.linalg.norm(matrix, axis=0)
    sizes[sizes == 0] = 1.0
    solution, *_ = np.linalg.lstsq(matrix / sizes, target[seen], rcond=None)
    return np.asarray(solution / sizes)
