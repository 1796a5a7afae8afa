"""Contrast mode at one output: by what the two signs of contributions are multiplied, for the target and against."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.methods import Contrast

Both = tuple[Tensor, Tensor]


def coefficients(
    rule: Contrast, p: Tensor, n: Tensor, z: Tensor, favour: Tensor, against: Tensor
) -> tuple[Both, Both]:
    """For each of the two relevances, what positive and what negative contributions of size 1 get of it.

    ``p``, ``n``: sums of the sizes of both signs; ``z``: the output, ``p - n`` and the bias.
    """
    # 1 where the larger of the two speaks as the output does, -1 where it does not, 0 where there is no telling.
    agreement = torch.sign(z) * torch.sign(favour - against)
    if rule.reading == "linear":
        agreement = torch.where(favour == against, -torch.sign(z).abs(), agreement)
    straight, crossed = agreement > 0, agreement < 0
    one = torch.ones((), dtype=p.dtype, device=p.device)
    by_p, by_n = 1 / torch.where(p == 0, one, p), 1 / torch.where(n == 0, one, n)
    if rule.reading == "linear":
        only_p, only_n = (n == 0) & (p > 0), (p == 0) & (n > 0)
        mixed = ~(only_p | only_n)
        straight, crossed = straight & mixed, crossed & mixed
        return (
            (favour * by_p * (straight | only_p), favour * by_n * (crossed | only_n)),
            (against * by_p * (crossed | only_p), against * by_n * (straight | only_n)),
        )
    return (favour * by_p * straight, favour * by_n * crossed), (
        against * by_p * crossed,
        against * by_n * straight,
    )
