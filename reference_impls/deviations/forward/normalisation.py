"""Batch and layer normalisation: statistics of the batch, weights missing, exchanged or of another layer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import combinations

import numpy as np

from harness.graph import Layer
from harness.steps import Deviation, ForwardStep
from reference_impls.deviations.forward.altering import (
    Whole,
    first,
    weighing,
    with_attributes,
    with_weights,
)
from reference_impls.deviations.forward.sight import Sight

#: What stands for a weight of a batch normalisation that is missing.
NEUTRAL = {"gamma": 1.0, "beta": 0.0, "mean": 0.0, "variance": 1.0}


def readings(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """Everything but epsilon."""
    if step.layer.kind == "batch_norm":
        yield from _batch_statistics(step)
        yield _skipped("batchnorm")
        yield from _missing(step.layer)
        yield from _exchanged(step.layer)
        yield from _roots(step.layer)
        yield from _of_other_layers(step)
    if step.layer.kind == "layer_norm":
        yield from _layer_statistics(step)
        yield from _missing(step.layer)


def complete(layer: Layer) -> dict[str, np.ndarray]:
    """All four weights of a batch normalisation in float64, (channel,) each."""
    channels = layer.shape[-1]
    return {
        name: np.asarray(layer.weights.get(name, np.full(channels, value)), dtype=np.float64)
        for name, value in NEUTRAL.items()
    }


def _batch_statistics(step: ForwardStep) -> Iterator[Deviation]:
    """Mean and variance of what comes in, as in training; ``var = sum((x - m)**2) / (n - ddof)``."""
    count = int(np.prod(step.inputs[0].shape[:-1]))
    for ddof, more in ((0, ""), (1, ", the variance divided by n - 1")):
        if count > ddof:
            yield Deviation(
                "batch-coupling",
                f"normalises by mean and variance of the batch instead of the stored ones (training mode){more}",
                partial(_with_batch_statistics, ddof=ddof),
                {"statistics": "batch", "ddof": ddof, "expected": "stored"},
            )
    if len(step.inputs[0]) > 1:
        yield Deviation(
            "batchnorm",
            "normalises each sample by its own mean and variance (instance norm)",
            _with_sample_statistics,
            {"statistics": "sample", "expected": "stored"},
        )


def _with_batch_statistics(step: ForwardStep, ddof: int) -> ForwardStep:
    x = np.asarray(step.inputs[0], dtype=np.float64)
    axes = tuple(range(x.ndim - 1))
    return with_weights(step, mean=x.mean(axis=axes), variance=x.var(axis=axes, ddof=ddof))


def _with_sample_statistics(step: ForwardStep) -> ForwardStep:
    return first(step, Whole(_per_sample))


def _per_sample(step: ForwardStep, result: np.ndarray) -> np.ndarray:
    x = np.asarray(step.inputs[0], dtype=np.float64)
    axes = tuple(range(1, x.ndim - 1))
    weights = complete(step.layer)
    centred = x - x.mean(axis=axes, keepdims=True)
    root = np.sqrt(x.var(axis=axes, keepdims=True) + step.layer.attributes["epsilon"])
    return centred / root * weights["gamma"] + weights["beta"]


def _skipped(cause: str) -> Deviation:
    return Deviation(cause, "the normalisation is left out", _identity, {"skipped": True})


def _identity(step: ForwardStep) -> ForwardStep:
    channels = np.ones(step.layer.shape[-1])
    epsilon = step.layer.attributes["epsilon"]
    return with_weights(
        step, gamma=channels, beta=0 * channels, mean=0 * channels, variance=channels - epsilon
    )


def _missing(layer: Layer) -> Iterator[Deviation]:
    for name in layer.weights:
        if name in NEUTRAL:
            yield Deviation(
                "forward-weights",
                f"{name} is left out ({NEUTRAL[name]:g} in its place)",
                partial(_without, name=name),
                {"missing": name},
            )


def _without(step: ForwardStep, name: str) -> ForwardStep:
    return with_weights(step, **{name: np.full(step.layer.weights[name].shape, NEUTRAL[name])})


def _exchanged(layer: Layer) -> Iterator[Deviation]:
    weights = complete(layer)
    for one, other in combinations(NEUTRAL, 2):
        if one in layer.weights or other in layer.weights:
            yield Deviation(
                "forward-weights",
                f"{one} and {other} are exchanged",
                weighing(**{one: weights[other], other: weights[one]}),
                {"exchanged": (one, other)},
            )


def _roots(layer: Layer) -> Iterator[Deviation]:
    """Other divisors than ``sqrt(variance + epsilon)``, as another gamma."""
    weights = complete(layer)
    within = weights["variance"] + layer.attributes["epsilon"]
    divisors = {
        "divides by the variance and not by its root": within,
        "divides by the root of the standard deviation, as if it were the variance": np.sqrt(
            np.sqrt(weights["variance"]) + layer.attributes["epsilon"]
        ),
        "multiplies by the standard deviation instead of dividing by it": 1.0 / np.sqrt(within),
    }
    for words, divisor in divisors.items():
        gamma = weights["gamma"] * np.sqrt(within) / divisor
        yield Deviation("forward-weights", words, weighing(gamma=gamma), {"divisor": words})


def _of_other_layers(step: ForwardStep) -> Iterator[Deviation]:
    for other in step.graph:
        if (
            other.kind == "batch_norm"
            and other.name != step.layer.name
            and other.shape[-1] == step.layer.shape[-1]
        ):
            yield Deviation(
                "forward-weights",
                f"has the weights of {other.name}",
                weighing(**complete(other)),
                {"weights_of": other.name},
            )


def _layer_statistics(step: ForwardStep) -> Iterator[Deviation]:
    yield Deviation(
        "std-ddof",
        "the variance divides by n - 1 instead of n",
        partial(first, change=Whole(_unbiased)),
        {"ddof": 1, "expected": 0},
    )
    known = step.layer.attributes["axes_count"]
    for count in range(1, len(step.layer.shape) + 1):
        weights = step.layer.weights.values()
        if count != known and all(weight.ndim <= count or weight.ndim == known for weight in weights):
            yield Deviation(
                "layout",
                f"normalises over the last {count} axes instead of {known}",
                partial(with_attributes, axes_count=count),
                {"axes_count": count, "expected": known},
            )


def _unbiased(step: ForwardStep, result: np.ndarray) -> np.ndarray:
    layer = step.layer
    axes = tuple(range(-layer.attributes["axes_count"], 0))
    x = np.asarray(step.inputs[0], dtype=np.float64)
    root = np.sqrt(x.var(axis=axes, keepdims=True, ddof=1) + layer.attributes["epsilon"])
    gamma = np.asarray(layer.weights.get("gamma", 1.0), dtype=np.float64)
    return (x - x.mean(axis=axes, keepdims=True)) / root * gamma + np.asarray(
        layer.weights.get("beta", 0.0), dtype=np.float64
    )
