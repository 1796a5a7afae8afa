"""Which deviation reproduces what a candidate did at one layer: singly, then in pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.diagnosis.measure import apart, explained
from harness.steps import Arrays, Deviation

#: As many of the best single deviations are tried with every other.
FIRST_OF_PAIR = 16
#: A deviation must leave at most this part of the error.
LEFT = 0.1


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be explained, forwards or backwards.

    ``step``: as specified. ``observed``: the candidate's result, None for inputs that were not seen.
    ``carry_out`` and ``deviations``: the oracle's. ``floor``: what rounding explains of the specified step.
    ``noise``: what it explains of another one, measured; it may stop once that explains the residual it is given.
    """

    step: Any
    observed: tuple[np.ndarray | None, ...]
    carry_out: Callable[[Any], Arrays]
    deviations: Callable[[Any], Iterable[Deviation]]
    floor: float
    noise: Callable[[Any, float], float]


@dataclass(frozen=True)
class Hypothesis:
    """One deviation, or two, and how well the step with them fits."""

    deviations: tuple[Deviation, ...]
    residual: float

    @property
    def words(self) -> str:
        """What is done differently."""
        return "; and ".join(each.words for each in self.deviations)

    @property
    def causes(self) -> tuple[str, ...]:
        """The causes, in order."""
        return tuple(each.cause for each in self.deviations)

    def alter(self, step: Any) -> Any:
        """``step`` with the deviations."""
        for each in self.deviations:
            step = each.alter(step)
        return step


@dataclass(frozen=True)
class Outcome:
    """What a search found. ``fits``: the hypotheses that reproduce the candidate, best name first; empty for none.

    ``others``: the best of those that do not, by residual.
    """

    fits: tuple[Hypothesis, ...]
    others: tuple[Hypothesis, ...] = field(default=())


def search(problem: Problem, error: float, pairs: bool = True) -> Outcome:
    """Try all deviations of ``problem``; in pairs where no single one fits. ``error``: that of the specified step."""
    singles = sorted(_measured(problem, (), problem.step), key=lambda each: each.residual)
    fits = _fitting(problem, singles, error)
    if not fits and pairs:
        doubles: list[Hypothesis] = []
        for first in _firsts(singles):
            doubles += _measured(problem, first.deviations, first.alter(problem.step))
            fits = _fitting(problem, sorted(doubles, key=lambda each: each.residual)[:8], error)
            if fits:
                break
        singles = sorted([*singles, *doubles], key=lambda each: each.residual)
    kept = {id(each) for each in fits}
    return Outcome(tuple(fits), tuple(each for each in singles if id(each) not in kept)[:8])


def _measured(problem: Problem, before: tuple[Deviation, ...], step: Any) -> Iterator[Hypothesis]:
    for deviation in problem.deviations(step):
        with np.errstate(all="ignore"):
            found = problem.carry_out(deviation.alter(step))
            residual = apart(found, problem.observed)
        yield Hypothesis((*before, deviation), residual)


def _firsts(singles: Sequence[Hypothesis]) -> list[Hypothesis]:
    """The best single deviations that are more than a description, one for each thing done differently."""
    return [each for each in singles if not each.deviations[0].generic and np.isfinite(each.residual)][
        :FIRST_OF_PAIR
    ]


def _fitting(problem: Problem, ranked: Sequence[Hypothesis], error: float) -> list[Hypothesis]:
    """Those that reproduce the candidate, those that say what was done before those that describe what is seen."""
    fits = []
    for each in ranked:
        if each.residual > LEFT * error:
            break
        floor = problem.floor
        if not explained(each.residual, floor):
            floor = max(floor, problem.noise(each.alter(problem.step), each.residual))
        if explained(each.residual, floor):
            fits.append(each)
    return sorted(fits, key=lambda each: any(deviation.generic for deviation in each.deviations))
