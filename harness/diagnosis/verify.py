"""Whether a hypothesis that fits a layer's own data stands: other data, and samples that are not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from harness.diagnosis.case import Case
from harness.diagnosis.localise import Introduced
from harness.diagnosis.measure import apart, explained
from harness.diagnosis.probes import probes
from harness.diagnosis.search import Hypothesis
from harness.steps import Arrays, Step

#: A number taken from the layer's data that is right leaves less than this part of the error on other data.
ELSEWHERE = 0.01


def best_elsewhere(case: Case, introduced: Introduced, fits: Sequence[Hypothesis]) -> Hypothesis:
    """Of several that fit the data of the layer, the one that fits the candidate on other data too."""
    if len({each.words for each in fits}) == 1:
        return fits[0]
    left = list(fits)
    for probe, observed in _observed_elsewhere(case, introduced.step):
        residuals = [_residual(case, probe, observed, each) for each in left]
        best = min(residuals)
        if np.isfinite(best):
            bound = 10 * max(best, introduced.floor)
            left = [each for each, residual in zip(left, residuals, strict=True) if residual <= bound]
        if len({each.words for each in left}) == 1:
            break
    return left[0]


def standing(case: Case, introduced: Introduced, fits: Sequence[Hypothesis]) -> tuple[Hypothesis, ...]:
    """``fits`` without those that other runs of the candidate speak against."""
    return tuple(
        each for each in _uncoupled(case, fits) if not each.generic or _holds(case, introduced, each)
    )


def coupled(case: Case, introduced: Introduced) -> bool:
    """Whether the candidate's step of the first or the last sample changes when the others are not there."""
    step = introduced.step
    if not case.method.stepwise:
        return case.coupled  # its batch is there twice
    if case.candidate_steps is None or len(step.relevance) < 2:
        return False

    def changes(which: slice) -> bool:
        alone = replace(step, inputs=tuple(x[which] for x in step.inputs), relevance=step.relevance[which])
        try:
            one, every = case.observed(alone), case.observed(step)
        except Exception:
            return False
        return not explained(apart(one, tuple(each[which] for each in every)), introduced.floor)

    return changes(slice(0, 1)) or changes(slice(len(step.relevance) - 1, None))


def _holds(case: Case, introduced: Introduced, hypothesis: Hypothesis) -> bool:
    """Whether what describes the layer's own data describes the candidate on other data too.

    Where a layer has one output with relevance, one factor fits whatever was done.
    """
    for probe, observed in _observed_elsewhere(case, introduced.step):
        error = _residual(case, probe, observed)
        residual = _residual(case, probe, observed, hypothesis)
        if (
            np.isfinite(error)
            and not explained(error, introduced.floor)
            and residual > ELSEWHERE * min(1.0, error)
        ):
            return False
    return True


def _observed_elsewhere(case: Case, step: Step) -> Iterator[tuple[Step, Arrays]]:
    """The step on other data, with the candidate's result; none where it runs no single steps, or not on such data."""
    if case.candidate_steps is None:
        return
    for probe in probes(step):
        try:
            observed = case.observed(probe)
        except Exception:
            continue  # the candidate need not take data it was never meant for
        yield probe, observed


def _residual(case: Case, step: Step, observed: Arrays, hypothesis: Hypothesis | None = None) -> float:
    """How far the candidate is from the step, as specified or with a hypothesis."""
    with np.errstate(all="ignore"):
        altered = step if hypothesis is None else hypothesis.alter(step)
        return apart(case.oracle.carry_out(altered), observed)


def _uncoupled(case: Case, fits: Sequence[Hypothesis]) -> tuple[Hypothesis, ...]:
    """``fits`` without those that blame the batch, where the first sample gives alone what it gives among others."""
    if not any("batch-coupling" in each.causes for each in fits) or case.coupled:
        return tuple(fits)
    return tuple(each for each in fits if "batch-coupling" not in each.causes)
