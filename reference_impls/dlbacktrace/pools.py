"""Pooling and sums in default mode: by size, to the largest, or in equal parts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.graph import Layer
from harness.methods import LargestShare
from reference_impls.dlbacktrace.windows import pooling_windows

Arrays = tuple[np.ndarray, ...]
#: From what relevance is divided to, at each output, to the share of each input.
Back = Callable[[np.ndarray], Arrays]


def by_size(layer: Layer, x: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """``|x_i| * R / sum of |x|`` over each window, summed over the windows that an input is in."""
    total = sizes_of_windows(layer, x)
    return sizes_back(layer, x, relevance.reshape(total.shape) / np.where(total == 0, x.dtype.type(1), total))


def sizes_of_windows(layer: Layer, x: np.ndarray) -> np.ndarray:
    """The sum of ``|x|`` of each window, (batch, *windows, channel)."""
    windows = pooling_windows(layer)
    counts, sizes = windows.counts(x.shape[1:-1]), windows.pad(np.abs(x))
    return sum((windows.met(sizes, offset, counts) for offset in windows.offsets()), np.zeros((), x.dtype))


def sizes_back(layer: Layer, x: np.ndarray, quotient: np.ndarray) -> np.ndarray:
    """``|x_i|`` times the ``quotient`` of each window that it is in, summed."""
    windows = pooling_windows(layer)
    counts, sizes = windows.counts(x.shape[1:-1]), windows.pad(np.abs(x))
    quotient, shares = quotient.reshape(len(x), *counts, -1), np.zeros_like(sizes)
    for offset in windows.offsets():
        windows.met(shares, offset, counts)[...] += windows.met(sizes, offset, counts) * quotient
    return windows.unpad(shares)


def to_largest(layer: Layer, x: np.ndarray, relevance: np.ndarray, rule: LargestShare) -> np.ndarray:
    """All relevance of a window to its largest value, in equal parts where several are the largest."""
    return back(layer, largest_parts(layer, x, rule), x, relevance)


def largest_parts(layer: Layer, x: np.ndarray, rule: LargestShare) -> np.ndarray:
    """What of a window's relevance its entries get, (entries, batch, *windows, channel)."""
    windows = pooling_windows(layer)
    padded = windows.pad(x, 0.0 if rule.padding == "zero" else -np.inf)
    counts = windows.counts(x.shape[1:-1])
    entries = np.stack([windows.met(padded, offset, counts) for offset in windows.offsets()])
    largest = entries == entries.max(axis=0)
    return largest / largest.sum(axis=0).astype(x.dtype)


def back(layer: Layer, parts: np.ndarray, x: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """``parts`` of the relevance of each window, added up where its entries are, (batch, *space, channel)."""
    windows = pooling_windows(layer)
    received = relevance.reshape(parts.shape[1:])
    shares = np.zeros_like(windows.pad(x))
    for part, offset in zip(parts, windows.offsets(), strict=True):
        windows.met(shares, offset, parts.shape[2:-1])[...] += part * received
    return windows.unpad(shares)


def equally(layer: Layer, inputs: Arrays, relevance: np.ndarray) -> Arrays:
    """``R`` over the number of inputs to each."""
    return tuple(_as_input(relevance / len(inputs), x) for x in inputs)


def by_size_of_terms(layer: Layer, inputs: Arrays, relevance: np.ndarray) -> Arrays:
    """To each term of a sum its part of the sizes of all; nothing where all are 0."""
    total = sizes_of_terms(inputs)
    return terms_back(inputs, relevance / np.where(total == 0, relevance.dtype.type(1), total))


def sizes_of_terms(inputs: Arrays) -> np.ndarray:
    """The sum of the sizes of the terms."""
    return sum((np.abs(x) for x in inputs), np.zeros((), inputs[0].dtype))


def terms_back(inputs: Arrays, quotient: np.ndarray) -> Arrays:
    """The size of each term times ``quotient``."""
    return tuple(_as_input(np.abs(x) * quotient, x) for x in inputs)


def _as_input(share: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``share`` summed over the axes along which ``x`` was repeated."""
    repeated = tuple(
        axis for axis, (own, other) in enumerate(zip(x.shape, share.shape, strict=True)) if own == 1 < other
    )
    return share.sum(axis=repeated, keepdims=True) if repeated else share
