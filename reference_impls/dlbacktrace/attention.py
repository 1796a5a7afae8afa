"""The two products of attention (`harness.methods.AttentionShare`), head by head."""

from __future__ import annotations

import numpy as np

from harness.graph import Layer
from harness.methods import AttentionShare

Arrays = tuple[np.ndarray, ...]
#: The least size of a divisor.
EPSILON = 1e-9
#: Added to the sum of the sizes that relevance is shared by.
SHARED_EPSILON = 1e-12


def share(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: AttentionShare) -> Arrays:
    """The relevance of both inputs of ``layer``, a matmul, from that of its output (batch, ..., row, column).

    ``inputs``: (batch, ..., row, in) and (batch, ..., in, column); (batch, ..., column, in) where it is transposed.
    """
    return back(layer, inputs, relevance / away_from_zero(doubled_product(layer, inputs)), rule)


def doubled_product(layer: Layer, inputs: Arrays) -> np.ndarray:
    """``2 a b``, (batch, ..., row, column)."""
    first, second = inputs
    return 2 * (first @ (second.swapaxes(-1, -2) if layer.attributes["transposed"] else second))


def back(layer: Layer, inputs: Arrays, quotient: np.ndarray, rule: AttentionShare) -> Arrays:
    """What both inputs get of ``quotient``, by which the relevance of the product has been divided."""
    first, second = inputs
    of_first, of_second = np.zeros_like(first), np.zeros_like(second)
    for head in np.ndindex(quotient.shape[:-2]):
        matrix = second[head].T if layer.attributes["transposed"] else second[head]
        by_second = matrix * (first[head].T @ quotient[head])
        of_first[head] = first[head] * (quotient[head] @ matrix.T)
        of_second[head] = by_second.T if layer.attributes["transposed"] else by_second
        if rule.anew in ("first", "both"):
            of_first[head] = _anew(of_first[head], first[head])
        if rule.anew in ("second", "both"):
            of_second[head] = _anew(of_second[head], second[head])
    return of_first, of_second


def _anew(relevance: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The sum of the ``relevance`` of one head by the sizes of its ``values``: what is positive, less the rest."""
    sizes = np.abs(values)
    part = sizes / (sizes.sum() + values.dtype.type(SHARED_EPSILON))
    return part * np.maximum(relevance, 0).sum() - part * np.maximum(-relevance, 0).sum()


def away_from_zero(divisor: np.ndarray) -> np.ndarray:
    """``divisor``, or 1e-9 with its sign (0 counts as positive) where it is smaller than that."""
    least = np.where(divisor < 0, -EPSILON, EPSILON).astype(divisor.dtype)
    return np.where(np.abs(divisor) < EPSILON, least, divisor)
