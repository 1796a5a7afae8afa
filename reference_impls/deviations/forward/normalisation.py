"""Batch and layer normalisation: statistics of the batch, weights missing, exchanged or of another layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations

import numpy as np

from harness.graph import Layer
from harness.steps import Deviation, ForwardStep
from reference_impls.deviations.forward.altering import first, with_attributes, with_weights
from reference_impls.deviations.forward.sight import Sight

#: What stands for a weight of a batch normalisation that is missing.
NEUTRAL = {"gamma": 1.0, "beta": 0.0, "mean": 0.0, "variance": 1.0}


def readings(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """Everything but epsilon."""
    if step.layer.kind == "batch_norm":
        yield from _batch_statistics(step)
        yield Deviation("batchnorm", "the normalisation is left out", _identity, {"skipped": True})
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
            words = f"normalises by mean and variance of the batch instead of the stored ones (training mode){more}"
            parameters = {"statistics": "batch", "ddof": ddof, "expected": "stored"}
            change = partial(_with_batch_statistics, ddof=ddof)
            yield Deviation("batch-coupling", words, change, parameters)
    if len(step.inputs[0]) > 1:
        words = "normalises each sample by its own mean and variance (instance norm)"
        parameters = {"statistics": "sample", "expected": "stored"}
        yield Deviation("batchnorm", words, first(_per_sample), parameters)


def _with_batch_statistics(step: ForwardStep, ddof: int) -> ForwardStep:
    x = np.asarray(step.inputs[0], dtype=np.float64)
    axes = tuple(range(x.ndim - 1))
    return with_weights(mean=x.mean(axis=axes), variance=x.var(axis=axes, ddof=ddof))(step)


def _per_sample(step: ForwardStep, result: np.ndarray) -> np.ndarray:
    x = np.asarray(step.inputs[0], dtype=np.float64)
    axes = tuple(range(1, x.ndim - 1))
    weights = complete(step.layer)
    centred = x - x.mean(axis=axes, keepdims=True)
    root = np.sqrt(x.var(axis=axes, keepdims=True) + step.layer.attributes["epsilon"])
    return centred / root * weights["gamma"] + weights["beta"]


def _identity(step: ForwardStep) -> ForwardStep:
    ones, epsilon = np.ones(step.layer.shape[-1]), step.layer.attributes["epsilon"]
    return with_weights(gamma=ones, beta=0 * ones, mean=0 * ones, variance=ones - epsilon)(step)


def _missing(layer: Layer) -> Iterator[Deviation]:
    for name in layer.weights:
        if name in NEUTRAL:
            words = f"{name} is left out ({NEUTRAL[name]:g} in its place)"
            neutral = np.full(layer.weights[name].shape, NEUTRAL[name])
            yield Deviation("forward-weights", words, with_weights(**{name: neutral}), {"missing": name})


def _exchanged(layer: Layer) -> Iterator[Deviation]:
    weights = complete(layer)
    for one, other in combinations(NEUTRAL, 2):
        if one in layer.weights or other in layer.weights:
            words, parameters = f"{one} and {other} are exchanged", {"exchanged": (one, other)}
            change = with_weights(**{one: weights[other], other: weights[one]})
            yield Deviation("forward-weights", words, change, parameters)


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
        yield Deviation("forward-weights", words, with_weights(gamma=gamma), {"divisor": words})


def _of_other_layers(step: ForwardStep) -> Iterator[Deviation]:
    for other in step.graph:
        alike = other.kind == "batch_norm" and other.shape[-1] == step.layer.shape[-1]
        if alike and other.name != step.layer.name:
            words, parameters = f"has the weights of {other.name}", {"weights_of": other.name}
            yield Deviation("forward-weights", words, with_weights(**complete(other)), parameters)


def _layer_statistics(step: ForwardStep) -> Iterator[Deviation]:
    unbiased = first(partial(layer_normalised, root=lambda v, e: np.sqrt(v + e), ddof=1))
    words = "the variance divides by n - 1 instead of n"
    yield Deviation("std-ddof", words, unbiased, {"ddof": 1, "expected": 0})
    known = step.layer.attributes["axes_count"]
    for count in range(1, len(step.layer.shape) + 1):
        weights = step.layer.weights.values()
        if count != known and all(weight.ndim <= count or weight.ndim == known for weight in weights):
            words = f"normalises over the last {count} axes instead of {known}"
            parameters = {"axes_count": count, "expected": known}
            yield Deviation("layout", words, with_attributes(axes_count=count), parameters)


def layer_normalised(
    step: ForwardStep, result: np.ndarray, root: Callable[[np.ndarray, float], np.ndarray], ddof: int
) -> np.ndarray:
    """``gamma * (x - mean) / root(variance, epsilon) + beta`` over the last axes, the variance with ``ddof``."""
    layer = step.layer
    axes = tuple(range(-layer.attributes["axes_count"], 0))
    x = np.asarray(step.inputs[0], dtype=np.float64)
    divisor = root(x.var(axis=axes, keepdims=True, ddof=ddof), layer.attributes["epsilon"])
    gamma = np.asarray(layer.weights.get("gamma", 1.0), dtype=np.float64)
    beta = np.asarray(layer.weights.get("beta", 0.0), dtype=np.float64)
    return (x - x.mean(axis=axes, keepdims=True)) / divisor * gamma + beta
