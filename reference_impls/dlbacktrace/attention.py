"""Default mode at scaled dot-product attention and at a feed-forward block, as functions on arrays.

The neutral graph has no attention yet: these stand ready for its kind. Source: dl-backtrace 0.1.24, `SelfAttention`;
the feed-forward block is that of two linear layers (`Linear_v2`), which the package's walk hands through one by one.
Arrays: (batch, head, query, feature) and (batch, head, key, feature), of one dtype.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from harness.graph import Layer
from harness.methods import Backtrace
from reference_impls.dlbacktrace import kernels

#: Added to the sums of a softmax, and below it the size of a divisor is raised to it.
EPSILON = 1e-9
#: Added to the sum of the sizes that relevance is shared by.
SHARED_EPSILON = 1e-12


class AttentionShares(NamedTuple):
    """The relevance of query, key and value, each of its shape."""

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray


def attention(
    relevance: np.ndarray,
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    scale: float | None = None,
) -> AttentionShares:
    """From the relevance of ``softmax(Q K^T / scale) V``, (batch, head, query, feature), to that of its inputs.

    ``scale``: None for the square root of the number of features. With ``A`` the softmax (over its sum and 1e-9) and
    ``O = A V``: ``q = R / S(2 O)`` gives the scores ``(q V^T) A`` and the values ``(A^T q) V``; with ``L = Q K^T``
    (before it is scaled), ``p = scores / S(2 L)`` gives ``(p K) Q`` and ``(p^T Q) K``. ``S`` keeps a divisor from being
    smaller than 1e-9 in size. What came out for values, queries and keys only counts by its sums: of each batch and
    head, the sum of its positive and that of its negative parts is shared anew by the sizes of the values, queries or
    keys (:func:`reshared`). A mask has no effect: the package leaves it out.
    """
    divisor = np.sqrt(query.shape[-1]) if scale is None else scale
    products = query @ key.swapaxes(-1, -2)
    weights = _softmax(products / divisor)
    outputs = weights @ value
    quotient = relevance / _away_from_zero(2 * outputs)
    of_scores = (quotient @ value.swapaxes(-1, -2)) * weights
    of_values = (weights.swapaxes(-1, -2) @ quotient) * value
    quotient = of_scores / _away_from_zero(2 * products)
    of_queries = (quotient @ key) * query
    of_keys = (quotient.swapaxes(-1, -2) @ query) * key
    return AttentionShares(reshared(of_queries, query), reshared(of_keys, key), reshared(of_values, value))


def reshared(relevance: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The sums of the positive and of the negative ``relevance`` of each head, by the sizes of ``values``.

    ``|x| / (sum of |x| + 1e-12)`` of each sum, over the last two axes; the two are subtracted at the end.
    """
    axes = (-2, -1)
    sizes = np.abs(values)
    share = sizes / (sizes.sum(axis=axes, keepdims=True) + values.dtype.type(SHARED_EPSILON))
    favour = np.maximum(relevance, 0).sum(axis=axes, keepdims=True)
    against = np.maximum(-relevance, 0).sum(axis=axes, keepdims=True)
    return share * favour - share * against


def feed_forward(
    relevance: np.ndarray, x: np.ndarray, first: Layer, second: Layer, hidden: np.ndarray
) -> np.ndarray:
    """Through ``second``, the activation between them, which hands relevance on, and ``first``; both dense.

    ``x``: (batch, ..., feature); ``hidden``: what the activation gives ``second``.
    """
    rule = Backtrace("linear")
    return kernels.step(first, x, kernels.step(second, hidden, relevance, rule), rule)


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / (powers.sum(axis=-1, keepdims=True) + powers.dtype.type(EPSILON))


def _away_from_zero(divisor: np.ndarray) -> np.ndarray:
    """``divisor``, or 1e-9 with its sign (0 counts as positive) where it is smaller than that."""
    least = np.where(divisor < 0, -EPSILON, EPSILON).astype(divisor.dtype)
    return np.where(np.abs(divisor) < EPSILON, least, divisor)
