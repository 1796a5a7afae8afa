"""The places of integrated gradients on its path, for the harness, which joins single runs by arithmetic of its own."""

from __future__ import annotations

import numpy as np

from harness.methods import IntegratedGradients


def places_on_path(procedure: IntegratedGradients) -> list[tuple[float, float]]:
    """``(t_k, w_k)`` as `harness.methods.IntegratedGradients` says; 0 is the baseline, 1 the input."""
    n = procedure.steps
    k = np.arange(n)
    weights = np.full(n, 1 / n)
    match procedure.quadrature:
        case "mean":
            places = k / (n - 1 if procedure.endpoint else n)
        case "gausslegendre":
            roots, weights = np.polynomial.legendre.leggauss(n)
            places, weights = (1 + roots) / 2, weights / 2
        case "riemann_trapezoid":
            places = k / (n - 1)
            weights[[0, -1]] /= 2
        case other:
            places = (k + {"riemann_left": 0.0, "riemann_middle": 0.5, "riemann_right": 1.0}[other]) / n
    if procedure.float32_weights and procedure.quadrature != "mean":
        weights = weights.astype(np.float32)
        if procedure.quadrature != "gausslegendre":
            places = _in_float32(places)
    return [(float(place), float(weight)) for place, weight in zip(places, weights, strict=True)]


def _in_float32(places: np.ndarray) -> np.ndarray:
    """Evenly spaced ``places`` as `torch.linspace` has them in float32: each half counted from its own end."""
    first, last = places.astype(np.float32)[[0, -1]].astype(np.float64)
    count = len(places)
    step = np.float64(np.float32((last - first) / (count - 1)))
    k = np.arange(count)
    line = np.where(k < count // 2, first + k * step, last - (count - 1 - k) * step)
    return line.astype(np.float32)
