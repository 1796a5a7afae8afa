"""Captum's quadratures for integrated gradients, with the very operations of 0.9.0 (`approximation_methods.py`)."""

from __future__ import annotations

import numpy as np
import torch

from harness.methods import IntegratedGradients


def path(procedure: IntegratedGradients) -> list[tuple[float, float]]:
    """Captum's ``alphas`` and ``step_sizes``, in pairs, in its float32 or, where that is not asked for, in float64."""
    steps = procedure.steps
    dtype = torch.float32 if procedure.float32_weights else torch.float64
    if procedure.quadrature == "gausslegendre":
        roots, weights = np.polynomial.legendre.leggauss(steps)
        alphas, sizes = (0.5 * (1 + roots)).tolist(), torch.from_numpy(0.5 * weights)
    else:
        alphas = torch.linspace(*_ends(procedure), steps, dtype=dtype).tolist()
        sizes = torch.full((steps,), 1 / steps, dtype=torch.float64)
        if procedure.quadrature == "riemann_trapezoid":
            sizes[0] /= 2
            sizes[-1] /= 2
    return list(zip(alphas, sizes.to(dtype).tolist(), strict=True))


def _ends(procedure: IntegratedGradients) -> tuple[float, float]:
    """The first and the last place of a Riemann sum."""
    step = 1 / procedure.steps
    match procedure.quadrature:
        case "riemann_left":
            return 0.0, 1 - step
        case "riemann_right":
            return step, 1.0
        case "riemann_middle":
            return step / 2, 1 - step / 2
        case _:
            return 0.0, 1.0
