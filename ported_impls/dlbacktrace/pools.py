"""Pooling: the entries of all windows as one tensor, an entry of every window behind the other."""

from __future__ import annotations

import itertools

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

    def entries_of(self, padded: Tensor) -> Tensor:
        """(inside a window, batch, channel, *windows)."""
        return self._met(padded).flatten(0, len(self.size) - 1)

    def summed(self, entries: Tensor, like: Tensor) -> Tensor:
        """What each place of ``like``, a padded input, has in all windows that it lies in."""
        whole = torch.zeros_like(like)
        parts, places = entries.unflatten(0, self.size), self._met(whole)
        if all(stride >= size for size, stride in zip(self.size, self.strides, strict=True)):
            places.copy_(parts)
            return whole
        for offset in itertools.product(*map(range, self.size)):
            places[offset].add_(parts[offset])
        return whole

    def _met(self, padded: Tensor) -> Tensor:
        """A view of ``padded``, (*inside a window, batch, channel, *windows)."""
        for axis, (size, stride) in enumerate(zip(self.size, self.strides, strict=True), start=2):
            padded = padded.unfold(axis, size, stride)
        inside = range(padded.dim() - len(self.size), padded.dim())
        return padded.movedim(tuple(inside), tuple(range(len(self.size))))


def _shares(windows: _Windows, x: Tensor, received: Relevances, rule: Rule) -> Relevances:
    if isinstance(rule, LargestShare):
        return tuple(_to_largest(windows, x, each, rule) for each in received)
    if isinstance(rule, MagnitudeShare):
        return (_by_size(windows, x, received[0]),)
    return _by_sign(windows, x, received, rule)


def _to_largest(windows: _Windows, x: Tensor, relevance: Tensor, rule: LargestShare) -> Tensor:
    padded = windows.padded(x, 0.0 if rule.padding == "zero" else -torch.inf)
    entries = windows.entries_of(padded)
    is_largest = entries == entries.amax(0)
    part = relevance / is_largest.sum(0)
    return windows.unpadded(windows.summed(torch.where(is_largest, part, 0.0), padded))


def _by_size(windows: _Windows, x: Tensor, relevance: Tensor) -> Tensor:
    padded = windows.padded(x.abs())
    entries = windows.entries_of(padded)
    total = entries.sum(0)
    quotient = relevance / torch.where(total == 0, 1.0, total)
    return windows.unpadded(windows.summed(entries * quotient, padded))


def _by_sign(windows: _Windows, x: Tensor, received: Relevances, rule: Contrast) -> Relevances:
    padded = windows.padded(x)
    entries = windows.entries_of(padded)
    above, below = entries.clamp(min=0), (-entries).clamp(min=0)
    p, n = above.sum(0), below.sum(0)
    by = coefficients(rule, p, n, p - n, *received)
    shares = (above * to_positive + below * to_negative for to_positive, to_negative in by)
    return tuple(windows.unpadded(windows.summed(each, padded)) for each in shares)
