"""Saturated sides in default mode: by what relevance is multiplied for each sign of contributions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from harness.errors import InvalidInputError
from harness.methods import Backtrace, Saturation


def factors(rule: Backtrace, p: Tensor, n: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """What a contribution of size 1 hands on of a relevance of 1, for positive and for negative ones.

    ``p``, ``n``: sums of the sizes of both signs; ``b``: the bias, of a shape that broadcasts to them.
    """
    return (_in_line if rule.reading == "linear" else _in_windows)(rule.saturation, p, n, b)


def _in_line(saturation: Saturation, p: Tensor, n: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    z = p - n + b
    low, high = saturation.bounds
    gone_p, gone_n = p == 0, n == 0
    if low is not None:
        gone_p = gone_p | (z < low)
    if high is not None:
        gone_n = gone_n | (z > high)
    if saturation.form == "non_mono":
        f = _function(saturation)
        # The order in which a dense layer adds up z decides where two values of f are one.
        t = p + b.clamp(min=0) - n - (-b).clamp(min=0)
        here, alone = f(t), f(p + b.clamp(min=0))
        other = f(-(n + (-b).clamp(min=0)))
        open_ = ~gone_p & ~gone_n
        gone_n = gone_n | (open_ & (here == alone))
        gone_p = gone_p | (open_ & (here != alone) & (here == other))
    one = torch.ones((), dtype=p.dtype, device=p.device)
    quotient = 1 / (torch.where(gone_p, one, p) + torch.where(gone_n, one, n) + b.abs())
    return quotient, quotient


def _in_windows(saturation: Saturation, p: Tensor, n: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    total, low, high = p + n, *saturation.bounds
    denominator = total + b.abs()
    quotient = 1 / torch.where(denominator == 0, 1e-12, denominator)
    kept_p, kept_n = p > 0, n > 0
    if saturation.form == "mono":
        kept_p = kept_p if low is None else total > low
        kept_n = kept_n if high is None else total < high
    elif saturation.form == "non_mono":
        f = _function(saturation)
        here = f(total)
        kept_n = kept_n & ((here - f(p + b.clamp(min=0))).abs() > 1e-5)
        kept_p = kept_p & ((here - f(-(n + (-b).clamp(min=0)))).abs() > 1e-5)
        if low is not None:
            kept_p = kept_p & (total > low)
        if high is not None:
            kept_n = kept_n & (total < high)
    return quotient * kept_p, quotient * kept_n


def _function(saturation: Saturation) -> Callable[[Tensor], Tensor]:
    if saturation.function == "swish":
        return lambda x: x * torch.sigmoid(0.75 * x)
    raise InvalidInputError(
        f"the saturation has the function {saturation.function!r}, expected 'swish'; write function=swish"
    )
