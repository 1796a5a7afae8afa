"""Contrast mode: two relevances of each output, for the target and against it (`harness.methods.Contrast`)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from harness.graph import Layer
from harness.methods import Contrast
from reference_impls.dlbacktrace.contributions import Contributions
from reference_impls.dlbacktrace.maps import maps_of
from reference_impls.dlbacktrace.windows import pooling_windows

Arrays = tuple[np.ndarray, ...]


class Pair(NamedTuple):
    """What speaks for the target and what against it; arrays of one shape."""

    favour: np.ndarray
    against: np.ndarray


class Quotients(NamedTuple):
    """By what the contributions at an output are multiplied: the positive and the negative, for and against."""

    positive: Pair
    negative: Pair


def quotients(
    positive: np.ndarray, negative: np.ndarray, total: np.ndarray, received: Pair, rule: Contrast
) -> Quotients:
    """``positive``, ``negative``: ``P`` and ``N``; ``total``: ``P + b - N``."""
    favour, against = received
    zero = np.zeros((), favour.dtype)
    straight = ((total > 0) & (favour > against)) | ((total < 0) & (favour < against))
    crossed = ((total > 0) & (favour < against)) | ((total < 0) & (favour > against))
    if rule.reading == "linear":
        crossed = crossed | ((total != 0) & (favour == against))
    to_positive = Pair(np.where(straight, favour, zero), np.where(crossed, against, zero))
    to_negative = Pair(np.where(crossed, favour, zero), np.where(straight, against, zero))
    if rule.reading == "linear":
        only_positive, only_negative = (negative == 0) & (positive > 0), (positive == 0) & (negative > 0)
        alone = only_positive | only_negative
        to_positive, to_negative = (
            Pair(
                *(
                    np.where(alone, np.where(only, each, zero), part)
                    for each, part in zip(received, parts, strict=True)
                )
            )
            for parts, only in ((to_positive, only_positive), (to_negative, only_negative))
        )
    one = favour.dtype.type(1)
    by_positive, by_negative = np.where(positive == 0, one, positive), np.where(negative == 0, one, negative)
    return Quotients(
        Pair(*(each / by_positive for each in to_positive)),
        Pair(*(each / by_negative for each in to_negative)),
    )


def kernel(layer: Layer, x: np.ndarray, received: Pair, rule: Contrast) -> Pair:
    """At a layer with a kernel."""
    maps = maps_of(layer, x.dtype)
    inputs = [x]
    for linear in maps[:-1]:
        inputs.append(linear.apply(inputs[-1], linear.kernel) + linear.bias)
    for linear, at in zip(reversed(maps), reversed(inputs), strict=True):
        contributions = Contributions(linear, at)
        positive, negative = contributions.positive, contributions.negative
        by = quotients(positive, negative, positive + linear.bias - negative, received, rule)
        received = Pair(
            contributions.shared(by.positive.favour, by.negative.favour),
            contributions.shared(by.positive.against, by.negative.against),
        )
    return received


def average_pool(layer: Layer, x: np.ndarray, received: Pair, rule: Contrast) -> Pair:
    """At average pooling: the values of a window are its contributions."""
    windows = pooling_windows(layer)
    counts = windows.counts(x.shape[1:-1])
    up, down = windows.pad(np.maximum(x, 0)), windows.pad(np.maximum(-x, 0))
    zero = np.zeros((), x.dtype)
    positive = sum((windows.met(up, offset, counts) for offset in windows.offsets()), zero)
    negative = sum((windows.met(down, offset, counts) for offset in windows.offsets()), zero)
    shaped = Pair(*(each.reshape(positive.shape) for each in received))
    by = quotients(positive, negative, positive - negative, shaped, rule)
    shares = Pair(np.zeros_like(up), np.zeros_like(up))
    for offset in windows.offsets():
        at_up, at_down = windows.met(up, offset, counts), windows.met(down, offset, counts)
        for share, to_positive, to_negative in zip(shares, by.positive, by.negative, strict=True):
            windows.met(share, offset, counts)[...] += at_up * to_positive + at_down * to_negative
    return Pair(*(windows.unpad(each) for each in shares))


def add(layer: Layer, inputs: Arrays, received: Pair, rule: Contrast) -> tuple[Pair, ...]:
    """At a sum: its terms are the contributions."""
    zero = np.zeros((), received.favour.dtype)
    positive = sum((np.maximum(x, 0) for x in inputs), zero)
    negative = sum((np.maximum(-x, 0) for x in inputs), zero)
    by = quotients(positive, negative, positive - negative, received, rule)
    return tuple(
        Pair(
            *(
                _as_input(np.maximum(x, 0) * to_positive + np.maximum(-x, 0) * to_negative, x)
                for to_positive, to_negative in zip(by.positive, by.negative, strict=True)
            )
        )
        for x in inputs
    )


def _as_input(share: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``share`` summed over the axes along which ``x`` was repeated."""
    repeated = tuple(
        axis for axis, (own, other) in enumerate(zip(x.shape, share.shape, strict=True)) if own == 1 < other
    )
    return share.sum(axis=repeated, keepdims=True) if repeated else share
