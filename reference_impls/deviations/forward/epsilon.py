"""Another epsilon in a normalisation of the forward pass, from a list of habits or solved from the output."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from harness.graph import Layer
from harness.steps import Deviation, ForwardStep
from reference_impls.deviations.forward.altering import first, with_attributes
from reference_impls.deviations.forward.normalisation import layer_normalised
from reference_impls.deviations.forward.numbers import line_per_channel, shown, simplest, weighted
from reference_impls.deviations.forward.sight import Sight

CAUSE = "forward-epsilon"
#: Defaults of Keras (1e-3), torch (1e-5), Hugging Face (1e-12), TF Slim, Caffe (2e-5) and others.
HABITS = (1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-12, 0.0, 2e-5, 1e-4, 1e-2, 1.001e-5)


def readings(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """Epsilons of a batch or layer normalisation; also epsilon added outside of the root."""
    layer = step.layer
    if layer.kind not in ("batch_norm", "layer_norm"):
        return
    known = float(layer.attributes["epsilon"])
    solve = _of_batch_norm if layer.kind == "batch_norm" else _of_layer_norm
    solved = simplest(*solve(layer, step, sight))
    values = dict.fromkeys((*HABITS, *([solved] if np.isfinite(solved) else [])))
    for value in values:
        if value != known:
            words = f"epsilon is {shown(value)} instead of {shown(known)}"
            parameters = {"epsilon": value, "expected": known}
            yield Deviation(CAUSE, words, with_attributes(epsilon=value), parameters)
    if layer.kind == "layer_norm":
        yield from _outside_the_root(known)


def _of_batch_norm(layer: Layer, step: ForwardStep, sight: Sight) -> tuple[float, float]:
    """From the slope ``a`` of each channel: ``epsilon = (gamma / a)**2 - variance``."""
    x = sight.part(step.inputs[0]).astype(np.float64)
    slope, _ = line_per_channel(x, sight.seen)
    variance = np.asarray(layer.weights["variance"], dtype=np.float64)
    gamma = np.asarray(layer.weights.get("gamma", 1.0), dtype=np.float64)
    return _from_slopes(slope, gamma, variance)


def _of_layer_norm(layer: Layer, step: ForwardStep, sight: Sight) -> tuple[float, float]:
    """From the factor ``a`` between each row's ``gamma * (x - mean)`` and its output less beta."""
    x = sight.part(step.inputs[0]).astype(np.float64)
    axes = tuple(range(-layer.attributes["axes_count"], 0))
    centred = x - x.mean(axis=axes, keepdims=True)
    gamma = np.asarray(layer.weights.get("gamma", 1.0), dtype=np.float64)
    beta = np.asarray(layer.weights.get("beta", 0.0), dtype=np.float64)
    u = gamma * centred
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (u * (sight.seen - beta)).sum(axis=axes) / (u**2).sum(axis=axes)
    return _from_slopes(slope.ravel(), np.ones(()), (centred**2).mean(axis=axes).ravel())


def _from_slopes(slope: np.ndarray, gamma: np.ndarray, variance: np.ndarray) -> tuple[float, float]:
    # An error of the slope counts 2 * (variance + epsilon) in epsilon: weighed by the inverse square.
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = (gamma / slope) ** 2
        value, error = weighted(whole - variance, 1.0 / whole**2)
    # Whatever is below zero by no more than its error is zero.
    return (value, error) if value >= -error else (float("nan"), error)


def _outside_the_root(known: float) -> Iterator[Deviation]:
    for ddof, more in ((0, ""), (1, ", and the deviation divides by n - 1")):
        words = f"epsilon {shown(known)} is added to the standard deviation and not to the variance{more}"
        change = first(partial(layer_normalised, root=lambda v, e: np.sqrt(v) + e, ddof=ddof))
        yield Deviation(CAUSE, words, change, {"outside": True, "ddof": ddof})
