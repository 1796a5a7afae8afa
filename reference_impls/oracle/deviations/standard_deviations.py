"""Where epsilon is a multiple of the input's standard deviation: other readings of that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from harness.methods import ReplaceZero, StdEpsilon
from harness.steps import Deviation, Step
from reference_impls.oracle.deviations.altering import Change, deviation, dividing_by
from reference_impls.oracle.deviations.wholes import of_rows, samples_of, spread
from reference_impls.oracle.linear import Arrays
from reference_impls.oracle.parts import away_from_zero


def standard_deviations(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """Where epsilon is a multiple of the input's standard deviation: another reading of that."""
    if not isinstance(step.rule, StdEpsilon):
        return
    words = "the standard deviation of the input divides by n - 1 (ddof 1) instead of n"
    yield deviation("std-ddof", words, _by_spread(lambda each: spread(each, ddof=1)), {"ddof": 1})
    if samples_of(step) > 1:
        words = "the standard deviation is taken over the whole batch instead of each sample"
        yield deviation("batch-coupling", words, _by_spread(lambda each: spread(each, over="batch")))
        words = "the standard deviation is taken over the whole batch with ddof 1 instead of each sample with ddof 0"
        yield deviation("batch-coupling", words, _by_spread(lambda each: spread(each, ddof=1, over="batch")))
        words = "the standard deviation of the first sample is taken for all"
        yield deviation("batch-coupling", words, _by_spread(lambda each: spread(each)[:1]))
    if step.whole is None and step.inputs[0].shape[:-1] == step.relevance.shape[:-1]:
        words = "the standard deviation is taken over the channels of each place instead of the whole sample"
        yield deviation("stabilizer-form", words, dividing_by(partial(_std_of_places, 0)))
        words = "the standard deviation is taken over the channels of each place, with ddof 1, instead of the sample"
        yield deviation("stabilizer-form", words, dividing_by(partial(_std_of_places, 1)))
    words = f"epsilon is {step.rule.factor:g} itself instead of {step.rule.factor:g} * std(x)"
    yield deviation("stabilizer-form", words, _by_spread(lambda each: np.ones(1)))


def _factor(step: Step) -> float:
    if not isinstance(step.rule, StdEpsilon):
        raise TypeError(f"expected StdEpsilon at {step.layer.name}, found {type(step.rule).__name__}")
    return step.rule.factor


def _by_spread(size: Callable[[Step], np.ndarray]) -> Change:
    def divisor(step: Step, z: np.ndarray) -> np.ndarray:
        divided = away_from_zero(z, _factor(step) * of_rows(step, size(step), z))
        return np.where(divided == 0, ReplaceZero().value, divided)

    return dividing_by(divisor)


def _std_of_places(ddof: int, step: Step, z: np.ndarray) -> np.ndarray:
    sizes = step.inputs[0].std(axis=-1, ddof=ddof, keepdims=True)
    divided = away_from_zero(z, _factor(step) * sizes)
    return np.where(divided == 0, ReplaceZero().value, divided)
