"""Pooling: the entries of all windows as one view, and its gradient as the way back."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.graph import Layer
from harness.methods import Contrast, LargestShare, MagnitudeShare
from ported_impls.dlbacktrace.chunks import Cost, chunks
from ported_impls.dlbacktrace.quotients import coefficients

Relevances = tuple[Tensor, ...]
Rule = LargestShare | MagnitudeShare | Contrast


def step(layer: Layer, x: Tensor, received: Relevances, rule: Rule, size: int | None) -> Relevances:
    """The relevance of ``x`` (batch, channel, *space) from that of the pooled (batch, channel[, *space])."""
    windows = _Windows(layer, x)
    shaped = tuple(each.reshape(len(x), x.shape[1], *windows.counts) for each in received)
    entries = windows.places * windows.entries
    cost = Cost(0, 4 * entries + 6 * x[0, 0].numel(), 0, x.shape[1])
    shares = tuple(torch.empty_like(x) for _ in received)
    for part in chunks(layer.name, cost, len(x), size):
        index = slice(part.first, part.last), slice(part.low, part.high)
        made = _shares(windows, x[index], tuple(each[index] for each in shaped), rule)
        for share, each in zip(shares, made, strict=True):
            share[index] = each
    return shares


class _Windows:
    """The windows of a pooling layer over the spatial axes of ``x``."""

    def __init__(self, layer: Layer, x: Tensor) -> None:
        space = tuple(x.shape[2:])
        if layer.traits.places == "pooled":
            self.size, self.strides, padding = space, space, ((0, 0),) * len(space)
        else:
            self.size, self.strides = tuple(layer.attributes["pool_size"]), tuple(layer.attributes["strides"])
            padding = tuple(layer.attributes["padding"])
        #: As `torch.nn.functional.pad` takes it: the last axis first.
        self.padding = tuple(side for pair in reversed(padding) for side in pair)
        self.counts = tuple(
            (length + before + after - size) // stride + 1
            for length, (before, after), size, stride in zip(
                space, padding, self.size, self.strides, strict=True
            )
        )
        self.inner = tuple(
            slice(before, before + length) for length, (before, _) in zip(space, padding, strict=True)
        )
        self.entries, self.places = torch.Size(self.size).numel(), torch.Size(self.counts).numel()

    def padded(self, x: Tensor, value: float = 0.0) -> Tensor:
        return F.pad(x, self.padding, value=value)

    def unpadded(self, x: Tensor) -> Tensor:
        return x[(slice(None), slice(None), *self.inner)]

    def view(self, padded: Tensor) -> Tensor:
        """(batch, channel, *windows, *inside a window)."""
        for axis, (size, stride) in enumerate(zip(self.size, self.strides, strict=True), start=2):
            padded = padded.unfold(axis, size, stride)
        return padded

    def over(self, entries: Tensor) -> tuple[int, ...]:
        """The axes inside a window."""
        return tuple(range(entries.dim() - len(self.size), entries.dim()))

    def wide(self, value: Tensor) -> Tensor:
        """A number for each window in a shape that broadcasts to the entries."""
        return value.reshape(*value.shape, *(1 for _ in self.size))


def _shares(windows: _Windows, x: Tensor, received: Relevances, rule: Rule) -> Relevances:
    if isinstance(rule, LargestShare):
        return tuple(_to_largest(windows, x, each, rule) for each in received)
    if isinstance(rule, MagnitudeShare):
        return (_by_size(windows, x, received[0]),)
    return _by_sign(windows, x, received, rule)


def _to_largest(windows: _Windows, x: Tensor, relevance: Tensor, rule: LargestShare) -> Tensor:
    padded = windows.padded(x, 0.0 if rule.padding == "zero" else -torch.inf).requires_grad_()
    with torch.enable_grad():
        entries = windows.view(padded)
    inside = windows.over(entries)
    is_largest = entries.detach() == entries.detach().amax(inside, keepdim=True)
    part = windows.wide(relevance) / is_largest.sum(inside, keepdim=True)
    (share,) = torch.autograd.grad(entries, padded, torch.where(is_largest, part, 0.0))
    return windows.unpadded(share)


def _by_size(windows: _Windows, x: Tensor, relevance: Tensor) -> Tensor:
    sizes = windows.padded(x.abs()).requires_grad_()
    with torch.enable_grad():
        entries = windows.view(sizes)
        total = entries.sum(windows.over(entries))
    quotient = relevance / torch.where(total == 0, 1.0, total).detach()
    (gradient,) = torch.autograd.grad(total, sizes, quotient)
    return windows.unpadded(sizes.detach() * gradient)


def _by_sign(windows: _Windows, x: Tensor, received: Relevances, rule: Contrast) -> Relevances:
    above, below = (windows.padded(each.clamp(min=0)).requires_grad_() for each in (x, -x))
    with torch.enable_grad():
        p, n = (windows.view(each) for each in (above, below))
        p, n = p.sum(windows.over(p)), n.sum(windows.over(n))
    by = coefficients(rule, p.detach(), n.detach(), (p - n).detach(), *received)
    shares = []
    for to_positive, to_negative in by:
        (by_above,) = torch.autograd.grad(p, above, to_positive, retain_graph=True)
        (by_below,) = torch.autograd.grad(n, below, to_negative, retain_graph=True)
        shares.append(windows.unpadded(above.detach() * by_above + below.detach() * by_below))
    return tuple(shares)
