"""Which deviation reproduces what a candidate did at one layer: singly, then in pairs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from harness.diagnosis.measure import apart, explained
from harness.steps import Arrays, Deviation

#: As many of the best single deviations of each cause are tried with every other, and so many in all.
OF_A_CAUSE = 5
FIRSTS = 40
#: So many of the best pairs with one of them are looked at.
SECONDS = 8
#: Fewer digits hide whatever else is there: no part of a pair, and judged by the floor of the exact step.
_ALONE = ("precision",)
#: A deviation must leave at most this part of the error, and never more than this, whatever the floor:
#: where rounding moves a result by more, nothing can be said of it.
LEFT = 0.1
MOST = 0.01


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
    #: Where the oracle lists it.
    place: int = 0

    @property
    def words(self) -> str:
        """What is done differently."""
        return "; and ".join(each.words for each in self.deviations)

    @property
    def generic(self) -> bool:
        """Whether it describes what is seen and not what was done."""
        return any(each.generic for each in self.deviations)

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


class Listed:
    """What an iterator yields, as often as it is asked for; nothing is made twice, or before somebody wants it."""

    def __init__(self, made: Iterator[Deviation]) -> None:
        self._made = made
        self._kept: list[Deviation] = []

    def __iter__(self) -> Iterator[Deviation]:
        place = 0
        while True:
            if place == len(self._kept):
                following = next(self._made, None)
                if following is None:
                    return
                self._kept.append(following)
            yield self._kept[place]
            place += 1


@dataclass(eq=False)
class Search:
    """All deviations of ``problem``, tried singly and in pairs. ``error``: that of the specified step."""

    problem: Problem
    error: float

    @cached_property
    def singles(self) -> list[Hypothesis]:
        """Every deviation, by residual."""
        return sorted(_tried(self.problem, (), self.problem.step, self._all_listed()), key=_residual)

    @cached_property
    def listed(self) -> Listed:
        """The deviations of the step as it stands, in the order of the oracle; each is made once."""
        return Listed(iter(self.problem.deviations(self.problem.step)))

    def _all_listed(self) -> list[Deviation]:
        return _caught(self.problem, lambda: self.listed, ())

    def alone(self) -> Outcome:
        """Which deviations fit singly."""
        return _outcome(_fitting(self.problem, self.singles, self.error), self.singles)

    def left_by(self, hypothesis: Hypothesis) -> float | None:
        """How far the step with ``hypothesis`` is from the candidate's; None where rounding does not explain it."""
        problem = self.problem
        altered = hypothesis.alter(problem.step)
        residual = apart(problem.carry_out(altered), problem.observed)
        if residual > min(LEFT * self.error, MOST):
            return None
        if explained(residual, problem.floor) or explained(residual, problem.noise(altered, residual)):
            return residual
        return None

    def paired(self, firsts: int = FIRSTS) -> Outcome:
        """Which pairs fit: the likeliest deviations, so many as ``firsts``, each with every other."""
        problem = self.problem
        fits: list[Hypothesis] = []
        doubles: list[Hypothesis] = []
        met: float | None = None
        for first in _firsts(self.singles)[:firsts]:
            if met is not None and not np.isclose(first.residual, met, rtol=1e-9, atol=0):
                continue  # only what comes to the same as the one that was found is still of interest
            tried = sorted(_measured(problem, first.deviations, first.alter(problem.step)), key=_residual)
            seconds = _best(problem, tried)
            doubles += seconds
            fitting = _fitting(problem, seconds, self.error)
            fits += fitting
            if fitting and met is None:
                met = first.residual
        return _outcome(fits, sorted([*self.singles, *doubles], key=_residual))


def _outcome(fits: Sequence[Hypothesis], tried: Sequence[Hypothesis]) -> Outcome:
    kept = {id(each) for each in fits}
    return Outcome(tuple(fits), tuple(each for each in tried if id(each) not in kept)[:8])


def _residual(hypothesis: Hypothesis) -> float:
    return hypothesis.residual


def _measured(problem: Problem, before: tuple[Deviation, ...], step: Any) -> Iterator[Hypothesis]:
    listed = _caught(problem, lambda: problem.deviations(step), before)
    return _tried(problem, before, step, listed)


def _tried(
    problem: Problem, before: tuple[Deviation, ...], step: Any, listed: Iterable[Deviation]
) -> Iterator[Hypothesis]:
    for place, deviation in enumerate(listed):
        if before and deviation.cause in _ALONE:
            continue
        try:
            with np.errstate(all="ignore"):
                residual = apart(problem.carry_out(deviation.alter(step)), problem.observed)
        except MemoryError:
            raise
        except Exception as error:
            if not before:
                _skipped(problem, deviation.words, error)
            continue  # two that cannot be had together: another shape, a rule without the part in question
        yield Hypothesis((*before, deviation), residual, place)


def _caught(
    problem: Problem, listing: Callable[[], Iterable[Deviation]], before: tuple[Deviation, ...]
) -> list[Deviation]:
    """All that ``listing`` gives; none where it cannot be made."""
    try:
        return list(listing())
    except MemoryError:
        raise
    except Exception as error:
        if not before:
            _skipped(problem, "any reading", error)
        return []  # a step altered so that nothing more can be made of it


class SkippedReadingWarning(RuntimeWarning):
    """Something that a layer might do differently could not be tried: a fault of this library, not of the candidate."""


def _skipped(problem: Problem, words: str, error: Exception) -> None:
    message = f"{type(error).__name__}: {' '.join(str(error).split())}"
    warnings.warn(
        f"{problem.step.layer.name}: not tried ({words}): {message}; please report this",
        SkippedReadingWarning,
        stacklevel=2,
    )


def _firsts(singles: Sequence[Hypothesis]) -> list[Hypothesis]:
    """The best single deviations of each cause that are more than a description, the nearest first."""
    kept: list[Hypothesis] = []
    counts: dict[str, int] = {}
    for each in singles:
        (deviation,) = each.deviations
        if deviation.generic or deviation.cause in _ALONE or not np.isfinite(each.residual):
            continue
        counts[deviation.cause] = counts.get(deviation.cause, 0) + 1
        if counts[deviation.cause] <= OF_A_CAUSE:
            kept.append(each)
    return kept[:FIRSTS]


def _fitting(problem: Problem, ranked: Sequence[Hypothesis], error: float) -> list[Hypothesis]:
    """Those that reproduce the candidate, in the order in which the oracle lists them.

    What rounding cannot tell apart is decided by that order: what is particular to the rule comes before what
    is not, and what was done before what is merely seen.
    """
    fits: list[Hypothesis] = []
    for each in ranked:
        if each.residual > min(LEFT * error, MOST) or (
            fits and not _tied(problem, fits[0].residual, each.residual)
        ):
            break
        floor = problem.floor
        if not explained(each.residual, floor) and not set(each.causes) & set(_ALONE):
            floor = max(floor, problem.noise(each.alter(problem.step), each.residual))
        if explained(each.residual, floor):
            fits.append(each)
    return sorted(fits, key=lambda each: (each.generic, each.place))


def _best(problem: Problem, ranked: Sequence[Hypothesis]) -> list[Hypothesis]:
    """The first :data:`SECONDS` of ``ranked``, and whatever is as good as the first of all but for rounding."""
    return [
        each
        for place, each in enumerate(ranked)
        if place < SECONDS or _tied(problem, ranked[0].residual, each.residual)
    ]


def _tied(problem: Problem, best: float, residual: float) -> bool:
    """Whether two residuals are one, but for rounding. Where the floor is high, the best is still the best."""
    return residual <= 10 * max(best, min(problem.floor, 1e-12))
