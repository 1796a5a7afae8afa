"""Output channels in any other order, found by matching each one that was observed with those of the step."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from harness.steps import Deviation, ForwardStep
from reference_impls.deviations.forward.altering import Alteration, Pointwise, then, with_weights
from reference_impls.deviations.forward.sight import Sight

#: Each is compared with each: of more channels that is a matrix of gigabytes.
MOST_CHANNELS = 4096
_ORDER_IN_WORDS = 8


def readings(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """Of a layer with a kernel, its output channels in another order, with or without the bias; else the output's."""
    layer = step.layer
    if layer.traits.family in ("input", "shape") or not 1 < layer.shape[-1] <= MOST_CHANNELS:
        return
    order = matched(sight.base, sight.seen)
    # With groups, another order of the outputs is not one of the kernel alone.
    in_weights = layer.traits.kernel and layer.attributes.get("groups", 1) == 1
    if order is not None and in_weights:
        words = f"its weights have their output channels in {order_words(order)}"
        yield _deviation("forward-weights", words, partial(_with_order, order=order), order)
    elif order is not None:
        words = f"the output has its channels in {order_words(order)}"
        moved = Pointwise(lambda step, result, order=order: result[..., order])
        yield _deviation("layout", words, then(moved), order)
    if in_weights and "bias" in layer.weights and not step.after:
        bias = np.asarray(layer.weights["bias"], dtype=np.float64)
        order = matched(sight.base - bias, sight.seen - bias)
        if order is not None:
            words = f"the kernel has its output channels in {order_words(order)}, the bias as it should"
            yield _deviation("forward-weights", words, partial(_with_order, order=order, bias=False), order)


def _deviation(cause: str, words: str, alter: Alteration, order: np.ndarray) -> Deviation:
    return Deviation(cause, words, alter, {"order": tuple(int(index) for index in order)})


def matched(z: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """The order ``p`` with channel ``c`` of ``y`` nearest to channel ``p[c]`` of ``z``; None where it is none.

    Every channel must be taken once, and the order not be the one there is. (..., channel) each.
    """
    z, y = z.reshape(-1, z.shape[-1]), y.reshape(-1, y.shape[-1])
    if not (np.isfinite(z).all() and np.isfinite(y).all()):
        return None
    distances = (y**2).sum(axis=0)[:, None] - 2 * y.T @ z + (z**2).sum(axis=0)
    nearest = distances.argmin(axis=1)
    channels = np.arange(z.shape[1])
    # Channels that are equal (dead ones) stay where they are.
    unmoved = distances[channels, channels] <= distances.min(axis=1) + _rounding(z, y)
    order = np.where(unmoved, channels, nearest)
    if np.array_equal(order, channels) or len(set(order)) != len(channels):
        return None
    return order


def _rounding(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    # What cancels in the squared distance of two equal channels.
    return 8 * np.finfo(np.float64).eps * ((y**2).sum(axis=0) + (z**2).sum(axis=0).max())


def order_words(order: np.ndarray) -> str:
    """An order of channels in words."""
    count = len(order)
    channels = np.arange(count)
    if np.array_equal(order, channels[::-1]):
        return "reverse order"
    shift = int(order[0])
    if np.array_equal(order, (channels + shift) % count):
        return f"an order rolled by {shift}"
    moved = np.flatnonzero(order != channels)
    if len(moved) == 2:
        return f"another order ({moved[0]} and {moved[1]} exchanged)"
    for groups in range(2, count // 2 + 1):
        if count % groups == 0 and np.array_equal(order, channels.reshape(groups, -1).T.ravel()):
            return f"the order of a shuffle of {groups} groups"
    some = ", ".join(str(int(index)) for index in order[:_ORDER_IN_WORDS])
    return f"another order ({some}{', ...' if count > _ORDER_IN_WORDS else ''})"


def _with_order(step: ForwardStep, order: np.ndarray, bias: bool = True) -> ForwardStep:
    # The weights whose last axis is that of the output's channels.
    names = ("kernel", "bias") if "kernel" in step.layer.weights else ("pointwise_kernel", "bias")
    moved = [name for name in names if name in step.layer.weights and (bias or name != "bias")]
    return with_weights(**{name: step.layer.weights[name][..., order] for name in moved})(step)
