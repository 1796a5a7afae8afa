"""Quadratures of Captum 0.9.0 on [0, 1] (`attr/_utils/approximation_methods.py`): places and weights.

Formulas: :class:`harness.methods.IntegratedGradients`.
"""

from __future__ import annotations

import numpy as np

#: Steps of Newton's method; each doubles the right digits of a start that has two.
_NEWTON = 8


def places(quadrature: str, steps: int, float32_weights: bool) -> list[tuple[float, float]]:
    """``(t_k, w_k)`` in rising order of ``t_k``."""
    if quadrature == "gausslegendre":
        where, weights = gauss_legendre(steps)
    else:
        n = steps
        first, last = {
            "riemann_left": (0.0, 1 - 1 / n),
            "riemann_right": (1 / n, 1.0),
            "riemann_middle": (1 / (2 * n), 1 - 1 / (2 * n)),
            "riemann_trapezoid": (0.0, 1.0),
        }[quadrature]
        where = _in_float32(first, last, n) if float32_weights else np.linspace(first, last, n)
        weights = np.full(n, 1 / n)
        if quadrature == "riemann_trapezoid":
            weights[[0, -1]] /= 2
    if float32_weights:
        weights = weights.astype(np.float32).astype(np.float64)
    return [(float(t), float(w)) for t, w in zip(where, weights, strict=True)]


def gauss_legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The roots of the Legendre polynomial ``P_n`` moved to [0, 1], and their weights.

    Newton's method from ``cos(pi (k - 1/4) / (n + 1/2))``; ``P_n`` and ``P_(n-1)`` by Bonnet's recursion, and
    ``P_n' = n (x P_n - P_(n-1)) / (x**2 - 1)`` (Abramowitz and Stegun 1964, 22.7.10, 22.8.5, 25.4.29).
    """
    n = count
    x = -np.cos(np.pi * (np.arange(1, n + 1) - 0.25) / (n + 0.5))
    for _ in range(_NEWTON):
        value, slope = _legendre(n, x)
        x = x - value / slope
    _, slope = _legendre(n, x)
    return (1 + x) / 2, 1 / ((1 - x**2) * slope**2)


def _legendre(n: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``P_n(x)`` and its derivative."""
    before, value = np.zeros(x.shape), np.ones(x.shape)
    for k in range(1, n + 1):
        before, value = value, ((2 * k - 1) * x * value - (k - 1) * before) / k
    return value, n * (x * value - before) / (x**2 - 1)


def _in_float32(first: float, last: float, count: int) -> np.ndarray:
    """What `torch.linspace` gives in float32: each half from its own end, each value rounded once."""
    start, end = np.float32(first), np.float32(last)
    step = np.float64((end - start) / np.float32(count - 1))
    k = np.arange(count)
    from_start = np.float64(start) + k * step
    from_end = np.float64(end) - (count - 1 - k) * step
    return np.where(k < count // 2, from_start, from_end).astype(np.float32).astype(np.float64)
