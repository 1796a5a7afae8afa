"""The quadratures that Captum 0.9.0 has for integrated gradients (`attr/_utils/approximation_methods.py`)."""

from __future__ import annotations

import math

import numpy as np

from harness.methods import IntegratedGradients

#: Of Riemann sums, how far along a step of the path the gradient is taken.
_WITHIN_STEP = {"riemann_left": 0.0, "riemann_middle": 0.5, "riemann_right": 1.0}


def nodes_and_weights(procedure: IntegratedGradients) -> list[tuple[float, float]]:
    """Places on the path, 0 the baseline and 1 the input, in rising order, with what the gradient there counts."""
    n, name = procedure.steps, procedure.quadrature
    if name == "gausslegendre":
        roots, of_roots = _golub_welsch(n)
        nodes, weights = (roots + 1) / 2, of_roots / 2
    else:
        weights = np.full(n, 1 / n)
        if name == "riemann_trapezoid":
            weights[0] = weights[-1] = 0.5 / n
            nodes = np.arange(n) / (n - 1)
        else:
            nodes = (np.arange(n) + _WITHIN_STEP[name]) / n
        if procedure.float32_weights:
            nodes = np.array(_single_precision_line(nodes[0], nodes[-1], n))
    if procedure.float32_weights:
        weights = np.float32(weights).astype(float)
    return list(zip(nodes.tolist(), weights.tolist(), strict=True))


def _golub_welsch(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Roots and weights of Gauss-Legendre on [-1, 1] from the Jacobi matrix (Golub and Welsch 1969, section 2).

    Its entries beside the diagonal are ``k / sqrt(4 k**2 - 1)``; the roots are its eigenvalues, the weights twice the
    squares of the eigenvectors' first components.
    """
    beside = [k / math.sqrt(4 * k * k - 1) for k in range(1, n)]
    roots, vectors = np.linalg.eigh(np.diag(beside, 1) + np.diag(beside, -1))
    return roots, 2 * vectors[0] ** 2


def _single_precision_line(first: float, last: float, n: int) -> list[float]:
    """`torch.linspace(first, last, n)` in float32: a rounded step, and the values of each half counted from its end.

    A value is a product and a sum rounded once (a fused multiply-add): both are exact enough in float64 for that.
    """
    low, high = float(np.float32(first)), float(np.float32(last))
    step = float(np.float32(np.float32(high - low) / np.float32(n - 1)))
    line = [low + k * step if k < n // 2 else high - (n - 1 - k) * step for k in range(n)]
    return [float(np.float32(value)) for value in line]
