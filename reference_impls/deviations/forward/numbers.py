"""Values found from data: with how much they are uncertain, and as the simplest number that they may be."""

from __future__ import annotations

import numpy as np

#: Candidates keep their constants in float32: half a unit in its last place, relative.
FLOAT32_ROUNDING = 2.0**-24
#: Standard errors within which a value is taken for the one found: beyond 4, 1 in 16000 by chance.
STANDARD_ERRORS = 4.0


def simplest(value: float, error: float) -> float:
    """The number of fewest decimal digits that is within ``error`` of ``value``, or rounds to it in float32."""
    if not np.isfinite(value) or value == 0 or abs(value) <= error:
        return 0.0 if np.isfinite(value) else value
    allowed = max(error, FLOAT32_ROUNDING * abs(value)) if np.isfinite(error) else 0.0
    for digits in range(17):
        rounded = float(f"{value:.{digits}e}")
        if abs(rounded - value) <= allowed:
            return rounded
    return value


def factor(u: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """``a`` of ``y = a * u`` by least squares, and how far off it may be (both flattened, of one shape).

    ``a = <u, y> / <u, u>``; the error is that of the estimate under errors of any variance
    (White 1980): ``4 * sqrt(sum(u**2 * (y - a u)**2)) / <u, u>``. NaN where ``u`` is zero.
    """
    u, y = u.ravel(), y.ravel()
    size = float(u @ u)
    if size == 0 or not np.isfinite(size):
        return float("nan"), float("nan")
    value = float(u @ y) / size
    spread = float(np.sqrt(np.sum((u * (y - value * u)) ** 2))) / size
    return value, STANDARD_ERRORS * spread


def solved_factor(u: np.ndarray, y: np.ndarray) -> float:
    """The simplest ``a`` of ``y = a * u``."""
    return simplest(*factor(u, y))


def weighted(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The weighted mean of single estimates, and how far off it may be by their own spread."""
    usable = np.isfinite(values) & np.isfinite(weights) & (weights > 0)
    values, weights = values[usable], weights[usable]
    if not len(values):
        return float("nan"), float("nan")
    weights = weights / weights.sum()
    mean = float(weights @ values)
    spread = float(np.sqrt(np.sum((weights * (values - mean)) ** 2)))
    return mean, STANDARD_ERRORS * spread


def line_per_channel(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``a`` and ``b`` of ``y = a * x + b`` for every channel, the last axis of both (..., channel).

    A channel whose ``x`` is constant has ``a`` NaN.
    """
    x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    centred = x - x_mean
    squares = (centred**2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        # A constant channel is constant up to the rounding of its mean.
        constant = squares <= len(x) * (np.finfo(np.float64).eps * np.abs(x_mean)) ** 2
        slope = np.where(constant, np.nan, (centred * (y - y_mean)).sum(axis=0) / squares)
    return slope, y_mean - slope * x_mean


def shown(value: float) -> str:
    """A number for people: a power of ten times one digit as such below a tenth, else up to six digits."""
    if value != 0 and abs(value) < 0.1 and float(f"{value:.0e}") == value:
        return f"{value:.0e}"
    return f"{value:.6g}"
