"""Default mode at scaled dot-product attention: tensors (batch, head, query or key, feature).

The neutral graph has no attention yet: this stands ready for its kind. A feed-forward block is two dense layers, for
which `kernels.step` is enough.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def attention(
    relevance: Tensor, query: Tensor, key: Tensor, value: Tensor, scale: float | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The relevance of query, key and value from that of the output (batch, head, query, feature).

    ``scale``: what scores are divided by; None for the square root of the number of features.
    """
    products = torch.einsum("bhqd,bhkd->bhqk", query, key)
    scores = products / (math.sqrt(query.shape[-1]) if scale is None else scale)
    powers = (scores - scores.amax(-1, keepdim=True)).exp()
    weights = powers / (powers.sum(-1, keepdim=True) + 1e-9)
    # A half each to the weights and to the values.
    half = relevance / _kept_from_zero(2 * torch.einsum("bhqk,bhkd->bhqd", weights, value))
    to_weights = weights * torch.einsum("bhqd,bhkd->bhqk", half, value)
    to_value = value * torch.einsum("bhqk,bhqd->bhkd", weights, half)
    half = to_weights / _kept_from_zero(2 * products)
    to_query = query * torch.einsum("bhqk,bhkd->bhqd", half, key)
    to_key = key * torch.einsum("bhqk,bhqd->bhkd", half, query)
    return _shared(to_query, query), _shared(to_key, key), _shared(to_value, value)


def _kept_from_zero(divisor: Tensor) -> Tensor:
    least = torch.full_like(divisor, 1e-9).copysign(torch.where(divisor == 0, 1.0, divisor))
    return torch.where(divisor.abs() < 1e-9, least, divisor)


def _shared(relevance: Tensor, values: Tensor) -> Tensor:
    """The relevance of each head by the sizes of ``values``; only its sum counts."""
    sizes = values.abs()
    return sizes * (relevance.sum((-2, -1), keepdim=True) / (sizes.sum((-2, -1), keepdim=True) + 1e-12))
