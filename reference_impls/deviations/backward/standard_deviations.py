"""Where epsilon is a multiple of the input's standard deviation: other readings of that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from harness.methods import ReplaceZero, StdEpsilon
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import Change, deviation, dividing_by
from reference_impls.deviations.backward.carrying import carry_out
from reference_impls.deviations.backward.estimating import is_as_specified, is_round, rounded_alike, solved
from reference_impls.deviations.backward.narrowing import narrowed
from reference_impls.deviations.backward.stabilizers import FACTORS
from reference_impls.deviations.backward.wholes import (
    of_rows,
    samples_of,
    spread,
    spread_of_z,
    statistic_of,
    whole_of,
)
from reference_impls.oracle.linear import Arrays
from reference_impls.oracle.parts import away_from_zero, stabilize

#: Where the search for a factor starts.
GRID = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)


def standard_deviations(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """Where epsilon is a multiple of the input's standard deviation: another reading of that."""
    if not isinstance(step.rule, StdEpsilon):
        return
    words = "the standard deviation of the input divides by n - 1 (ddof 1) instead of n"
    yield deviation("std-ddof", words, _by_spread(lambda each: spread(each, ddof=1)), {"ddof": 1})
    yield from _other_factor_with_ddof_1(step, observed)
    if samples_of(step) > 1:
        words = "the standard deviation is taken over the whole batch instead of each sample"
        yield deviation("batch-coupling", words, _by_spread(lambda each: spread(each, over="batch")))
        words = "the standard deviation is taken over the whole batch with ddof 1 instead of each sample with ddof 0"
        yield deviation("batch-coupling", words, _by_spread(lambda each: spread(each, ddof=1, over="batch")))
        words = "the standard deviation of the first sample is taken for all"
        yield deviation("batch-coupling", words, _by_spread(lambda each: spread(each)[:1]))
    if step.whole is None and step.inputs[0].shape[:-1] == step.relevance.shape[:-1]:
        for ddof, ending in (
            (0, " instead of the whole sample"),
            (1, ", with ddof 1, instead of the sample"),
        ):
            words = f"the standard deviation is taken over the channels of each place{ending}"
            yield deviation("stabilizer-form", words, dividing_by(partial(_std_of_places, ddof)))
    yield from _of_something_else(step, step.rule.factor)
    yield from _of_the_networks_input(step, step.rule.factor)
    words = f"epsilon is {step.rule.factor:g} itself instead of {step.rule.factor:g} * std(x)"
    yield deviation("stabilizer-form", words, _by_spread(lambda each: np.ones(1)))


def _other_factor_with_ddof_1(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """A round multiple of the standard deviation with ddof 1: as one of that with ddof 0 it is no round number."""
    if not isinstance(step.rule, StdEpsilon) or is_as_specified(step, observed):
        return
    own = step.rule.factor

    def make(factor: float) -> Change:
        return _by_spread(lambda each: factor / own * spread(each, ddof=1))

    factor = solved(*narrowed(step, observed), make, GRID)
    if factor is not None and is_round(factor) and not rounded_alike(factor, own):
        words = f"epsilon is {factor:g} * std(x) with ddof 1 instead of {own:g} * std(x) with ddof 0"
        yield deviation("std-ddof", words, make(factor), {"ddof": 1, "factor": factor})


def _of_something_else(step: Step, factor: float) -> Iterator[Deviation]:
    """The same factor times another number than the standard deviation of the input."""
    overs = ("sample", "batch") if samples_of(step) > 1 else ("sample",)
    for over in overs:
        for ddof in (0, 1):
            ending = " over the whole batch" if over == "batch" else ""
            ending += ", with ddof 1," if ddof else ""
            words = f"the standard deviation of the output{ending} instead of that of the input"
            words = f"epsilon is {factor:g} times {words}"
            yield deviation("stabilizer-form", words, dividing_by(partial(_std_of_z, over, ddof)))
    for words, statistic in (
        ("the standard deviation of the positive part of the input", "upper"),
        ("the mean of the absolute input", "mean"),
        ("the root of the mean square of the input (no mean subtracted)", "rms"),
    ):
        sentence = f"epsilon is {factor:g} times {words} instead of the standard deviation of the input"
        change = _by_spread(partial(spread, statistic=statistic))
        yield deviation("stabilizer-form", sentence, change)


def _of_the_networks_input(step: Step, own: float) -> Iterator[Deviation]:
    """One standard deviation at all layers, that of what the network is given: `flatlrp_*_std_x` of signxai2 0.13."""
    x = step.network_input
    if x is None or np.array_equal(x, whole_of(step).inputs[0]):
        return
    values = np.asarray(x, np.float64)
    overs = ("sample", "batch") if samples_of(step) > 1 else ("sample",)
    for factor in dict.fromkeys((own, *FACTORS)):
        for over in overs:
            for ddof in (0, 1):
                ending = " over the whole batch" if over == "batch" else ""
                ending += " (ddof 1)" if ddof else ""
                words = (
                    f"epsilon is {factor:g} times the standard deviation of the network's input{ending} instead of "
                    f"{own:g} times that of the layer's"
                )
                size = factor / own * statistic_of(values, "std", over, ddof)
                change = _by_spread(partial(_given, size))
                yield deviation("stabilizer-form", words, change, {"factor": factor, "ddof": ddof})


def _given(size: np.ndarray, step: Step) -> np.ndarray:
    return size


def _std_of_z(over: str, ddof: int, step: Step, z: np.ndarray) -> np.ndarray:
    return _stabilized(step, z, of_rows(step, spread_of_z(step, z, "std", over, carry_out, ddof), z))


def _stabilized(step: Step, z: np.ndarray, size: np.ndarray) -> np.ndarray:
    if not isinstance(step.rule, StdEpsilon):
        raise TypeError(f"expected StdEpsilon at {step.layer.name}, found {type(step.rule).__name__}")
    return stabilize(away_from_zero(z, step.rule.factor * size), ReplaceZero())


def _by_spread(size: Callable[[Step], np.ndarray]) -> Change:
    return dividing_by(lambda step, z: _stabilized(step, z, of_rows(step, size(step), z)))


def _std_of_places(ddof: int, step: Step, z: np.ndarray) -> np.ndarray:
    x = step.inputs[0]
    return _stabilized(step, z, x.std(axis=-1, ddof=min(ddof, x.shape[-1] - 1), keepdims=True))
