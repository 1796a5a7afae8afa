"""Layers that draw a line per channel (batch normalisation, scale): the lines found, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from harness.graph import Layer
from harness.steps import Deviation, ForwardStep
from reference_impls.deviations.forward.altering import with_weights
from reference_impls.deviations.forward.channels import order_words
from reference_impls.deviations.forward.normalisation import complete
from reference_impls.deviations.forward.numbers import line_per_channel, shown
from reference_impls.deviations.forward.sight import Sight

CAUSE = "forward-weights"


def readings(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """The weights in another order of channels; other lines altogether."""
    layer = step.layer
    if layer.kind not in ("batch_norm", "scale") or not np.isfinite(sight.seen).all():
        return
    x = sight.part(step.inputs[0]).astype(np.float64)
    slope, offset = line_per_channel(x, sight.seen)
    known_slope, known_offset = line(layer)
    if layer.shape[-1] > 1:
        yield from _other_orders(layer, slope, offset)
    usable = np.isfinite(slope)
    if not usable.any() or x.size <= 2 * x.shape[-1]:
        return  # Two numbers per channel fit any two positions.
    slope = np.where(usable, slope, known_slope)
    axes = tuple(range(x.ndim - 1))
    offset = np.where(usable, offset, sight.seen.mean(axis=axes) - slope * x.mean(axis=axes))
    most = int(np.abs(slope - known_slope).argmax())
    words = (
        f"has other weights: at channel {most} {shown(float(slope[most]))} * x + {shown(float(offset[most]))} "
        f"instead of {shown(float(known_slope[most]))} * x + {shown(float(known_offset[most]))}"
    )
    parameters = {"channel": most, "slope": float(slope[most]), "expected": float(known_slope[most])}
    yield Deviation(CAUSE, words, partial(_with_line, slope=slope, offset=offset), parameters, generic=True)


def line(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """``a`` and ``b`` of ``a * x + b``, (channel,) each."""
    if layer.kind == "scale":
        slope = np.asarray(layer.weights["kernel"], dtype=np.float64)
        return slope, np.asarray(layer.weights.get("bias", 0 * slope), dtype=np.float64)
    weights = complete(layer)
    slope = weights["gamma"] / np.sqrt(weights["variance"] + layer.attributes["epsilon"])
    return slope, weights["beta"] - slope * weights["mean"]


def _with_line(step: ForwardStep, slope: np.ndarray, offset: np.ndarray) -> ForwardStep:
    if step.layer.kind == "scale":
        return with_weights(kernel=slope, bias=offset)(step)
    ones = np.ones(len(slope))
    variance = ones - step.layer.attributes["epsilon"]
    return with_weights(gamma=slope, beta=offset, mean=0 * ones, variance=variance)(step)


def _other_orders(layer: Layer, slope: np.ndarray, offset: np.ndarray) -> Iterator[Deviation]:
    """All weights, and each of them alone, with their channels in the order that the lines have."""
    known = np.stack(line(layer))
    scale = np.abs(known).max(axis=1, keepdims=True)
    scale = np.where(scale > 0, scale, 1.0)
    estimate = np.where(np.isfinite(slope), np.stack([slope, offset]), known)
    distances = np.abs(estimate[:, :, None] / scale[:, :, None] - known[:, None, :] / scale[:, :, None])
    channels = np.arange(layer.shape[-1])
    orders = [channels[::-1], np.roll(channels, 1), np.roll(channels, -1)]
    for weighed in (distances.sum(axis=0), distances[0], distances[1]):
        nearest = weighed.argmin(axis=1)
        if len(set(nearest)) == len(channels):
            orders.append(nearest)
    unique = {tuple(int(index) for index in order): order for order in orders}
    weights = complete(layer) if layer.kind == "batch_norm" else dict(layer.weights)
    for key, order in unique.items():
        if key == tuple(channels):
            continue
        groups = [tuple(weights), *((name,) for name in weights)]
        if layer.kind == "batch_norm":
            groups += [("gamma", "beta"), ("mean", "variance")]
        for names in groups:
            if layer.kind == "batch_norm" and not any(name in layer.weights for name in names):
                continue
            moved = {name: weights[name][order] for name in names}
            what = "all weights" if len(names) == len(weights) else " and ".join(names)
            words, parameters = (
                f"{what}: the channels are in {order_words(order)}",
                {"order": key, "weights": names},
            )
            yield Deviation(CAUSE, words, with_weights(**moved), parameters)
