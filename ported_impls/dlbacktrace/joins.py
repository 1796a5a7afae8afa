"""Layers that join several tensors by sums or products."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.methods import Contrast
from ported_impls.dlbacktrace.quotients import coefficients

Relevances = tuple[Tensor, ...]


def equally(inputs: tuple[Tensor, ...], relevance: Tensor) -> tuple[Tensor, ...]:
    """``R`` over the number of inputs to each."""
    return tuple((relevance / len(inputs)).sum_to_size(x.shape) for x in inputs)


def by_size(inputs: tuple[Tensor, ...], relevance: Tensor) -> tuple[Tensor, ...]:
    """To each input its part of the sum of the sizes of all."""
    total = sum(x.abs() for x in torch.broadcast_tensors(*inputs))
    quotient = relevance / torch.where(total == 0, 1.0, total)
    return tuple((x.abs() * quotient).sum_to_size(x.shape) for x in inputs)


def by_sign(inputs: tuple[Tensor, ...], received: Relevances, rule: Contrast) -> tuple[Relevances, ...]:
    """Contrast mode at a sum: for each input the two relevances."""
    wide = torch.broadcast_tensors(*inputs)
    p, n = sum(x.clamp(min=0) for x in wide), sum((-x).clamp(min=0) for x in wide)
    by = coefficients(rule, p, n, p - n, *received)
    return tuple(
        tuple((x.clamp(min=0) * up + (-x).clamp(min=0) * down).sum_to_size(x.shape) for up, down in by)
        for x in inputs
    )
