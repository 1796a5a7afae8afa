"""Samples that depend on each other, and counts (samples, groups) multiplied or divided by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import Change, deviation, then, then_all, with_relevance
from reference_impls.deviations.backward.wholes import samples_of, whole_of
from reference_impls.oracle.linear import Arrays


def batches(step: Step, observed: Arrays, parts: int = 1) -> Iterator[Deviation]:
    """What makes the result of one sample depend on the others.

    ``parts``: how often the samples lie one behind the other, where a step takes several relevances of each.
    """
    count = samples_of(step) // parts

    def apart(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
        return lambda x: np.concatenate([function(part) for part in np.split(x, parts)])

    if count < 2:
        return
    yield _deviation(
        f"the result is multiplied by the {count} samples of the batch", then(lambda x: x * count)
    )
    yield _deviation(f"the result is divided by the {count} samples of the batch", then(lambda x: x / count))
    if step.whole is not None:
        return
    for words, function in (
        ("every sample gets the sum of the batch's results", _summed),
        ("every sample gets the mean of the batch's results", _averaged),
        ("every sample gets the result of the first", _first),
        ("the results of the samples are in reversed order", lambda x: x[::-1]),
        ("all samples but the first get nothing", _only_first),
        ("the result is divided by the largest absolute value of the whole batch", _over_largest),
        ("the result is divided by its sum over the whole batch", _over_sum),
    ):
        yield _deviation(words, then(apart(function)))
    words = "the result is scaled so that its sum over the whole batch is that of the relevance of the output"
    if parts == 1:
        yield _deviation(words, then_all(_conserving_together))
    for words, function in (
        ("the relevance of the output is summed over the batch before the step", _summed),
        ("the relevance of the output is averaged over the batch before the step", _averaged),
        ("the relevance of the first sample's output is taken for all", _first),
        ("the relevance of the output is divided by its sum over the whole batch", _over_sum),
        ("the relevance of the output is divided by its largest absolute value in the batch", _over_largest),
        (
            "the mean over the batch is subtracted from the relevance of the output",
            lambda x: x - x.mean(axis=0),
        ),
    ):
        yield _deviation(words, with_relevance(apart(function)))


def _deviation(words: str, change: Change) -> Deviation:
    return deviation("batch-coupling", words, change)


def _summed(x: np.ndarray) -> np.ndarray:
    return np.broadcast_to(x.sum(axis=0), x.shape)


def _averaged(x: np.ndarray) -> np.ndarray:
    return np.broadcast_to(x.mean(axis=0), x.shape)


def _first(x: np.ndarray) -> np.ndarray:
    return np.broadcast_to(x[0], x.shape)


def _only_first(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x[:1], np.zeros(x[1:].shape)])


def _over_largest(x: np.ndarray) -> np.ndarray:
    largest = np.abs(x).max()
    return x / largest if largest != 0 else x


def _over_sum(x: np.ndarray) -> np.ndarray:
    total = x.sum()
    return x / total if total != 0 else x


def _conserving_together(step: Step, result: Arrays) -> Arrays:
    total = sum(float(part.sum()) for part in result)
    factor = float(step.relevance.sum()) / total if total != 0 else 0.0
    return tuple(part * factor for part in result)


def heads(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """The number of groups of a convolution, or of heads, multiplied or divided by."""
    attributes = whole_of(step).layer.attributes
    for name in ("groups", "heads"):
        count = attributes.get(name, 1)
        if count > 1:
            missing = f"the result is {count} times as large: the division by the {count} {name} is missing"
            added = f"the result is divided by the {count} {name}, which the rule does not do"
            for words, factor in ((missing, float(count)), (added, 1.0 / count)):
                change = then(partial(np.multiply, factor))
                yield deviation("head-normalisation", words, change, {name: count})
