"""The two products of attention, all heads at once (`harness.methods.AttentionShare`)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.methods import AttentionShare


def share(
    module: nn.Module, inputs: tuple[Tensor, ...], relevance: Tensor, rule: AttentionShare
) -> tuple[Tensor, ...]:
    """The relevance of both operands of ``module`` from that of its product, in the twin's layout."""
    operands = tuple(x.detach().requires_grad_() for x in inputs)
    with torch.enable_grad():
        product = module(*operands)
    # A half to each operand: itself times the slope of the product.
    half = relevance / _kept_from_zero(2 * product.detach())
    slopes = torch.autograd.grad(product, operands, half)
    shares = tuple(x * slope for x, slope in zip(inputs, slopes, strict=True))
    counted = {"none": (), "first": (0,), "second": (1,), "both": (0, 1)}[rule.anew]
    return tuple(
        _by_size(each, x) if place in counted else each
        for place, (each, x) in enumerate(zip(shares, inputs, strict=True))
    )


def _kept_from_zero(divisor: Tensor) -> Tensor:
    least = torch.full_like(divisor, 1e-9).copysign(torch.where(divisor == 0, 1.0, divisor))
    return torch.where(divisor.abs() < 1e-9, least, divisor)


def _by_size(relevance: Tensor, values: Tensor) -> Tensor:
    """All of a head's relevance by the sizes of its values; a head has axis 1 and the last."""
    sizes, head = values.abs(), (1, -1)
    return sizes * (relevance.sum(head, keepdim=True) / (sizes.sum(head, keepdim=True) + 1e-12))
