"""Results cut off at a size, or with the same value in every channel: what is done so that maps look better."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import Change, deviation, then, with_relevance
from reference_impls.deviations.backward.estimating import rounded_alike
from reference_impls.deviations.backward.narrowing import as_it_stands
from reference_impls.deviations.backward.wholes import samples_of
from reference_impls.oracle.linear import Arrays

QUANTILES = (0.9, 0.95, 0.98, 0.99, 0.995, 0.999)


def limits(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """Values beyond a bound set to it: 1, a quantile of the sizes, or what is largest in the observation."""
    largest = max(float(np.abs(part).max(initial=0.0)) for part in as_it_stands(step))
    if largest > 1:
        yield _deviation("the result is clipped to [-1, 1]", then(partial(_clipped, 1.0)))
    if np.abs(step.relevance).max(initial=0.0) > 1:
        words = "the relevance of the output is clipped to [-1, 1] before the step"
        yield _deviation(words, with_relevance(partial(_clipped, 1.0)))
    bound = max(float(np.abs(part[np.isfinite(part)]).max(initial=0.0)) for part in observed)
    if 0 < bound < largest and not rounded_alike(bound, largest) and bound != 1:
        words = f"the result is clipped to [-{bound:g}, {bound:g}]"
        yield _deviation(words, then(partial(_clipped, bound)), bound=bound)
    if step.whole is not None:
        return
    for quantile in QUANTILES:
        words = f"the result is clipped at the quantile {quantile:g} of the absolute values of each sample"
        yield _deviation(words, then(partial(_below_quantile, quantile, False)), quantile=quantile)
        if samples_of(step) > 1:
            words = f"the result is clipped at the quantile {quantile:g} of the absolute values of the batch"
            change = then(partial(_below_quantile, quantile, True))
            yield deviation("batch-coupling", words, change, {"quantile": quantile}, generic=True)
    if all(x.ndim > 2 and x.shape[-1] > 1 for x in step.inputs):
        for statistic, over in (("mean", np.mean), ("sum", np.sum)):
            change = then(partial(_over_channels, over))
            yield _deviation(f"every channel of the result has the {statistic} over the channels", change)


def _deviation(words: str, change: Change, **parameters: float) -> Deviation:
    return deviation("scale", words, change, parameters, generic=True)


def _clipped(bound: float, x: np.ndarray) -> np.ndarray:
    return np.clip(x, -bound, bound)


def _below_quantile(quantile: float, together: bool, x: np.ndarray) -> np.ndarray:
    sizes = np.abs(x).reshape(1 if together else len(x), -1)
    bounds = np.quantile(sizes, quantile, axis=1).reshape(-1, *(1 for _ in x.shape[1:]))
    return np.clip(x, -bounds, bounds)


def _over_channels(over: Callable[..., np.ndarray], x: np.ndarray) -> np.ndarray:
    return np.broadcast_to(over(x, axis=-1, keepdims=True), x.shape)
