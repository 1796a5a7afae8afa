"""The two products of attention, all heads at once (`harness.methods.AttentionShare`)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.methods import AttentionShare
from ported_impls.dlbacktrace.chunks import Cost, chunks


def share(
    name: str,
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    relevance: Tensor,
    rule: AttentionShare,
    size: int | None,
) -> tuple[Tensor, ...]:
    """The relevance of both operands of ``module`` from that of its product, in the twin's layout.

    ``size``: numbers held at once, whole samples each, see `chunks`. Raises InvalidInputError where that is too small.
    """
    numbers = 4 * relevance[0].numel() + sum(4 * x[0].numel() for x in inputs)
    shares = tuple(torch.empty_like(x) for x in inputs)
    for part in chunks(name, Cost(0, numbers, 0, 1), len(relevance), size):
        samples = slice(part.first, part.last)
        made = _of_samples(module, tuple(x[samples] for x in inputs), relevance[samples], rule)
        for whole, each in zip(shares, made, strict=True):
            whole[samples] = each
    return shares


def _of_samples(
    module: nn.Module, inputs: tuple[Tensor, ...], relevance: Tensor, rule: AttentionShare
) -> tuple[Tensor, ...]:
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
