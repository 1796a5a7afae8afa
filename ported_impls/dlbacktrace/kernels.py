"""Layers with a kernel: sums of contributions by sign, and both modes' shares of them (`harness.methods`)."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.methods import Backtrace, Contrast
from ported_impls.dlbacktrace.chunks import chunks
from ported_impls.dlbacktrace.modules import Map, along_channels, maps_of
from ported_impls.dlbacktrace.quotients import coefficients
from ported_impls.dlbacktrace.saturation import factors

#: Relevance of one tensor: one in default mode; in contrast mode that for the target, then that against it.
Relevances = tuple[Tensor, ...]


def step(
    name: str,
    module: torch.nn.Module,
    x: Tensor,
    received: Relevances,
    rule: Backtrace | Contrast,
    size: int | None,
) -> Relevances:
    """The relevance of ``x`` (batch, in, *space) from that of the module's output (batch, out, *space).

    ``size``: numbers held at once, see `chunks`. Raises InvalidInputError where that is too small.
    """
    maps = maps_of(name, module)
    inputs = [x]
    with torch.no_grad():
        for each in maps[:-1]:
            inputs.append(each.module(inputs[-1]))
    for each, at in zip(reversed(maps), reversed(inputs), strict=True):
        received = _through(each, at, received, rule, size)
    return received


def _through(
    linear: Map, x: Tensor, received: Relevances, rule: Backtrace | Contrast, size: int | None
) -> Relevances:
    shares = tuple(torch.zeros_like(x) for _ in received)
    for part in chunks(linear.name, linear.cost(x, received[0]), len(x), size):
        samples = slice(part.first, part.last)
        outputs = slice(None) if linear.groups > 1 else slice(part.low, part.high)
        bias = None if linear.bias is None else linear.bias[outputs]
        weight = linear.narrowed(part.low, part.high)
        own = tuple(each[samples, outputs] for each in received)
        if isinstance(rule, Backtrace) and rule.saturation.form == "none":
            passed = (_by_size(linear, x[samples], weight, bias, own[0], rule.reading == "linear"),)
        else:
            passed = _by_sign(linear, x[samples], weight, bias, own, rule)
        for share, given in zip(shares, passed, strict=True):
            share[samples] += given
    return shares


def _by_size(
    linear: Map, x: Tensor, weight: Tensor, bias: Tensor | None, relevance: Tensor, in_line: bool
) -> Tensor:
    """Where both signs have one quotient: ``|x|`` times the transpose of the module with sizes for weights.

    ``in_line``: an empty side counts as 1.
    """
    sizes, weights = x.abs(), weight.abs()
    denominator = linear.apply(sizes, weights)
    if in_line:
        denominator = denominator + _empty_sides(linear, x, weight, denominator)
    if bias is not None:
        denominator = denominator + along_channels(bias.abs(), denominator)
    quotient = relevance / torch.where(denominator == 0, 1e-12, denominator)
    return sizes * linear.transposed(quotient, weights, sizes)


def _empty_sides(linear: Map, x: Tensor, weight: Tensor, total: Tensor) -> Tensor:
    """At each output, how many of its two signs have no contribution. ``total``: the sum of the sizes of all.

    Where one has none, ``total`` is the size of the sum, but for rounding. Only such outputs are looked at closely.
    """
    terms = weight.numel() // weight.shape[linear.output_axis]
    rounding = 8 * terms * torch.finfo(total.dtype).eps
    doubtful = linear.apply(x, weight).abs() >= (1 - rounding) * total
    if not bool(doubtful.any()):
        return total.new_zeros(())
    empty = torch.zeros_like(total)
    every = torch.arange(total.shape[1], device=x.device)
    channels = every
    if linear.groups == 1:
        channels = every[doubtful.movedim(1, 0).flatten(1).any(1)]
        weight = weight.index_select(linear.output_axis, channels)
    above, below = x.clamp(min=0), (-x).clamp(min=0)
    rising, falling = weight.clamp(min=0), (-weight).clamp(min=0)
    for one, other in ((rising, falling), (falling, rising)):
        side = linear.apply(above, one) + linear.apply(below, other)
        empty[:, channels] += side == 0
    return empty


def _by_sign(
    linear: Map,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    received: Relevances,
    rule: Backtrace | Contrast,
) -> Relevances:
    """Each sign of contributions by a quotient of its own."""
    above, below = x.clamp(min=0).requires_grad_(), (-x).clamp(min=0).requires_grad_()
    rising, falling = weight.clamp(min=0), (-weight).clamp(min=0)
    with torch.enable_grad():
        positive = linear.apply(above, rising) + linear.apply(below, falling)
        negative = linear.apply(above, falling) + linear.apply(below, rising)
    p, n = positive.detach(), negative.detach()
    b = torch.zeros((), dtype=x.dtype, device=x.device) if bias is None else along_channels(bias, p)
    if isinstance(rule, Backtrace):
        pairs = [tuple(received[0] * factor for factor in factors(rule, p, n, b))]
    else:
        pairs = list(coefficients(rule, p, n, p - n + b, received[0], received[1]))
    passed = []
    for place, (to_positive, to_negative) in enumerate(pairs):
        by_above, by_below = torch.autograd.grad(
            (positive, negative),
            (above, below),
            (to_positive, to_negative),
            retain_graph=place + 1 < len(pairs),
        )
        passed.append(above.detach() * by_above + below.detach() * by_below)
    return tuple(passed)
