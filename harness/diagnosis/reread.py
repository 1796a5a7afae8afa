"""What may be done inside a run that shows nothing but its attribution: every other reading, against the attribution.

A reading is another rule at all layers that have it, another way of joining runs, or a deviation at all layers of a
kind. Alone first; then with another start or scale, or another treatment of the relevance of the input. What fits must
also fit on another input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.comparison.postprocess import Treatment, treated
from harness.diagnosis.attribution import treatments
from harness.diagnosis.case import Case
from harness.diagnosis.difference import Difference
from harness.diagnosis.everywhere import (
    WholeRuns,
    deviations_everywhere,
    inputs_otherwise,
    small_enough,
)
from harness.diagnosis.findings import Finding, Stage
from harness.diagnosis.head import SEEDS, head_words, wider_starts
from harness.diagnosis.measure import apart, explained, factor_words, factors_of, summation_floor
from harness.diagnosis.readings import readings
from harness.diagnosis.search import LEFT
from harness.diagnosis.walk import Causes, input_relevance
from harness.engine import engine
from harness.methods import Backward, Method, same_on
from harness.methods import method as method_named

#: What a function under one name may compute instead, whole.
OTHERS = (
    "gradient",
    "input_t_gradient",
    "guided_backprop",
    "deconvnet",
    "lrp.z",
    "lrp.epsilon",
    "lrp.w_square",
    "lrp.flat",
    "lrp.alpha_2_beta_1",
    "lrp.alpha_1_beta_0",
    "lrp.sequential_preset_a",
    "deep_taylor",
)
#: On another input a reading that is right leaves less than this part of the error.
ELSEWHERE = 0.01
#: So many readings that fit are tried on another input.
TRIED_ELSEWHERE = 12
#: Where a reading leaves more than this, its rounding would hide too much for a name.
CLEAR = 1e-6
#: So many readings that come near are moved by rounding themselves.
MEASURED = 4
#: From whole runs on an input to the relevance of the input (of a method of many runs: what they are joined to).
Inside = Callable[[WholeRuns], np.ndarray | None]


@dataclass(frozen=True, eq=False)
class Part:
    """One thing done differently."""

    stage: Stage
    cause: str
    words: str


@dataclass(frozen=True, eq=False)
class Answer:
    """What may have been done: ``gives`` is the attribution that comes of it.

    ``noise``: how far that moves under rounding, where it was measured.
    """

    parts: tuple[Part, ...]
    gives: Callable[[WholeRuns], np.ndarray | None]
    residual: float
    noise: float = 0.0

    @property
    def causes(self) -> tuple[str, ...]:
        return tuple(each.cause for each in self.parts)


@dataclass(frozen=True, eq=False)
class Reading:
    """A reading, and the relevance of the input on the input of the case."""

    part: Part | None
    inside: Inside
    relevance: np.ndarray


def reread(case: Case, difference: Difference) -> tuple[tuple[Finding, ...], tuple[str, float] | None]:
    """The findings of the answer that fits best; else, of those that do not fit, the nearest in words."""
    runs = WholeRuns(case)
    every: list[Reading] = []
    fits: list[Answer] = []
    alone: list[Answer] = []
    for stage in _stages(case, runs):
        some = [each for part, inside in stage if (each := _made(part, inside, runs)) is not None]
        every += some
        answers = [_alone(case, each, difference) for each in some if each.part is not None]
        alone += answers
        fits = _fitting(case, answers, difference)
        standing = _elsewhere(case, _best(case, fits))
        if standing:
            return _findings(difference, standing), None
    for more in (_scaled, _finished):
        fits = [answer for each in every for answer in more(case, each, difference)]
        standing = _elsewhere(case, _best(case, fits))
        if standing:
            return _findings(difference, standing), None
    nearest = min(alone, key=lambda each: each.residual, default=None)
    return (), None if nearest is None else (nearest.parts[0].words, nearest.residual)


def _stages(case: Case, runs: WholeRuns) -> Iterator[list[tuple[Part | None, Inside]]]:
    """The method itself, then what is likely at once; each list is tried where nothing of those before fits."""

    def of_method(method: Method) -> Inside:
        return lambda runs: _started(_run(runs.case, replace(method, postprocess="none")), runs)

    def with_causes(causes: Causes) -> Inside:
        return lambda runs: _started(input_relevance(runs.case, causes, np.asarray(runs.case.x)), runs)

    yield [(None, of_method(case.method))]
    if case.method.stepwise and isinstance(case.method.procedure, Backward):
        yield [
            (_start_part(case, words), with_causes(Causes((_start_finding(words),))))
            for words in wider_starts(np.asarray(case.reference_run.logits, np.float64), case.target)
        ]
    if case.method.stepwise and small_enough(case):
        yield [
            (Part("forward", "preprocessing", words), with_causes(causes))
            for words, causes in inputs_otherwise(case)
        ]
        for stage in deviations_everywhere(runs):
            yield [(Part(each.stage, each.cause, each.words), each.relevance) for each in stage]
    yield [
        (Part(reading.stage, reading.cause, reading.words), of_method(reading.method))
        for reading in readings(case.method)
    ]
    yield [
        (
            Part("rule", "rule-mapping", f"the whole method is {other.name} instead of {case.method.name}"),
            inside,
        )
        for other, inside in _other_methods(case)
    ]


def _other_methods(case: Case) -> Iterator[tuple[Method, Inside]]:
    """Methods that people take one for the other, whole: with their own start and treatment of the input.

    For a method that treats the relevance of the input itself, those alone that do so in the same way.
    """
    own = case.method.postprocess

    def whole(other: Method) -> Inside:
        named = other if own == "none" else replace(other, postprocess="none")
        return lambda runs: _started(_run(runs.case, named), runs)

    for other in map(method_named, OTHERS):
        if own in ("none", other.postprocess) and not same_on(case.graph, other, case.method):
            yield other, whole(other)


def _started(relevance: np.ndarray | None, runs: WholeRuns) -> np.ndarray | None:
    """What becomes of ``relevance`` with the start of ``runs``, where it follows that by a factor."""
    return relevance if relevance is None or runs.factors is None else _times(relevance, runs.factors)


def _start_part(case: Case, words: str) -> Part:
    sentence = f"the backward pass starts from {words} instead of {head_words(case.method.head)}"
    return Part("head", "output-seed", sentence)


def _start_finding(words: str) -> Finding:
    return Finding("head", None, "output-seed", words, 0.0, 0.0, parameters={"start": words})


def _made(part: Part | None, inside: Inside, runs: WholeRuns) -> Reading | None:
    """The reading on the input of the case; None where it cannot be had."""
    try:
        relevance = inside(runs)
    except Exception:
        return None  # a layer in the middle of a network need not take what another hands it
    return None if relevance is None else Reading(part, inside, relevance)


def _run(case: Case, method: Method) -> np.ndarray | None:
    """The reference's attribution by ``method``, in float64; None where the network does not admit the method."""
    asked = replace(case.asked, method=method, target=case.target, layers=False)
    try:
        run = engine().run(asked, case.reference)
    except Exception:
        return None
    return np.asarray(run.attribution_array, np.float64)


# --- answers ----------------------------------------------------------------------------------------------


def _own(case: Case, relevance: np.ndarray) -> np.ndarray:
    return treated(relevance, np.asarray(case.x, np.float64), case.method.postprocess)


def _alone(case: Case, reading: Reading, difference: Difference) -> Answer:
    def gives(runs: WholeRuns) -> np.ndarray | None:
        relevance = reading.inside(runs)
        return None if relevance is None else _own(runs.case, relevance)

    assert reading.part is not None
    residual = apart((_own(case, reading.relevance),), (difference.candidate,))
    return Answer((reading.part,), gives, residual)


def _scaled(case: Case, reading: Reading, difference: Difference) -> Iterator[Answer]:
    """With another start of the backward pass, or one factor."""
    if reading.part is None:
        return
    result = _own(case, reading.relevance)
    for part, factors in starts_and_factors(case, result, difference):

        def gives(runs: WholeRuns, part: Part = part, factors: Factors = factors) -> np.ndarray | None:
            values = factors(runs.case)
            if part.stage == "head":
                # The run itself begins so: a rule that clips makes another thing of a negative start.
                relevance = reading.inside(replace(runs, factors=values))
                return None if relevance is None else _own(runs.case, relevance)
            relevance = reading.inside(runs)
            return None if relevance is None else _times(_own(runs.case, relevance), values)

        residual = apart((_times(result, factors(case)),), (difference.candidate,))
        yield Answer((part, reading.part), gives, residual)


def _finished(case: Case, reading: Reading, difference: Difference) -> Iterator[Answer]:
    """With another treatment of the relevance of the input; without another reading, with another start as well."""
    x = np.asarray(case.x, np.float64)
    for cause, words, treatment in treatments(reading.relevance, case):
        part = Part("postprocess", cause, words)
        with np.errstate(all="ignore"):
            result = treatment(reading.relevance, x)
        residual = apart((result,), (difference.candidate,))
        if difference.closed_by(residual):
            parts = (part,) if reading.part is None else (reading.part, part)
            yield Answer(parts, _treated(reading, treatment), residual)
        if reading.part is not None:
            continue
        for start, factors in starts(case):
            begun = _times(reading.relevance, factors(case))
            with np.errstate(all="ignore"):
                residual = apart((treatment(begun, x),), (difference.candidate,))
            if difference.closed_by(residual):
                yield Answer((start, part), _treated(reading, treatment, start=factors), residual)
        for scale, factors in one_factor(result, difference):
            residual = apart((_times(result, factors(case)),), (difference.candidate,))
            yield Answer((scale, part), _treated(reading, treatment, factors=factors), residual)


def _treated(
    reading: Reading, treatment: Treatment, factors: Factors | None = None, start: Factors | None = None
) -> Callable[[WholeRuns], np.ndarray | None]:
    """The run, begun with ``start``, then the treatment, then ``factors``."""

    def gives(runs: WholeRuns) -> np.ndarray | None:
        relevance = reading.inside(runs if start is None else replace(runs, factors=start(runs.case)))
        if relevance is None:
            return None
        with np.errstate(all="ignore"):
            result = treatment(relevance, np.asarray(runs.case.x, np.float64))
        return result if factors is None else _times(result, factors(runs.case))

    return gives


#: From the case to one factor a sample.
Factors = Callable[[Case], np.ndarray]


def starts_and_factors(
    case: Case, result: np.ndarray, difference: Difference
) -> Iterator[tuple[Part, Factors]]:
    """Known starts, or one factor for all, with which ``result`` is the candidate's."""
    factors = fitted(result, difference.candidate)
    if factors is None or not difference.closed_by(
        apart((_times(result, factors),), (difference.candidate,))
    ):
        return
    for start, of_start in starts(case):
        if difference.closed_by(apart((_times(result, of_start(case)),), (difference.candidate,))):
            yield start, of_start
            return
    yield from one_factor(result, difference)


def starts(case: Case) -> Iterator[tuple[Part, Factors]]:
    """Other starts of the backward pass than the method's own."""
    own = head_words(case.method.head)
    for words in SEEDS:
        if words != own:
            sentence = f"the backward pass starts from {words} instead of {own}"
            yield Part("head", "output-seed", sentence), _Start(words, own)


def one_factor(result: np.ndarray, difference: Difference) -> Iterator[tuple[Part, Factors]]:
    """One factor for all samples with which ``result`` is the candidate's; none where it is without."""
    if difference.closed_by(apart((result,), (difference.candidate,))):
        return
    factors = fitted(result, difference.candidate)
    if factors is None or not np.allclose(factors, factors[0], rtol=10 * difference.floor, atol=0):
        return
    factor = float(factors[0])
    if difference.closed_by(apart((result * factor,), (difference.candidate,))):
        words = f"the attribution is multiplied by {factor_words(factor, difference.floor)}"
        yield Part("postprocess", "scale", words), lambda case: np.full(len(case.x), factor)


@dataclass(frozen=True)
class _Start:
    """What another start makes of the result, sample by sample."""

    words: str
    own: str

    def __call__(self, case: Case) -> np.ndarray:
        logits = np.asarray(case.reference_run.logits, np.float64)
        with np.errstate(all="ignore"):
            return SEEDS[self.words](logits, case.target) / SEEDS[self.own](logits, case.target)


def fitted(result: np.ndarray, observed: np.ndarray) -> np.ndarray | None:
    """One factor a sample (least squares); None where a sample has none."""
    with np.errstate(all="ignore"):
        factors = factors_of(result, observed)
    return factors if np.isfinite(factors).all() and factors.all() else None


def _times(result: np.ndarray, factors: np.ndarray) -> np.ndarray:
    return result * factors.reshape(-1, *(1,) * (result.ndim - 1))


# --- which of them ----------------------------------------------------------------------------------------


def _fitting(case: Case, answers: Sequence[Answer], difference: Difference) -> list[Answer]:
    """Those that rounding cannot tell from the candidate.

    A reading may divide by what the method keeps away from zero, or leave little of what cancels: its own movement
    under rounding, of the weights and of the input, is measured where it leaves more than the method's floor, for the
    nearest.
    """
    fits = [each for each in answers if difference.closed_by(each.residual)]
    if fits:
        return fits
    near = [each for each in answers if each.residual <= min(LEFT * difference.error, CLEAR)]
    near = sorted(near, key=lambda each: each.residual)[:MEASURED]
    noise = dict.fromkeys(near, 0.0)
    for moved in engine().moved(case.asked, case.reference) if near else ():
        runs, runs_moved = WholeRuns(case), WholeRuns(replace(case, model=moved.model, x=moved.x))
        for each in near:
            if explained(each.residual, max(noise[each], difference.floor)):
                continue
            one, other = each.gives(runs), each.gives(runs_moved)
            if one is not None and other is not None:
                noise[each] = max(noise[each], apart((one,), (other,)))
    return [
        replace(each, noise=noise[each])
        for each in near
        if explained(each.residual, max(noise[each], difference.floor))
    ]


def _best(case: Case, fits: Sequence[Answer]) -> list[Answer]:
    """Those that rounding cannot tell from the best, in the order in which they are listed."""
    if not fits:
        return []
    bound = 10 * max(min(each.residual for each in fits), summation_floor(case.terms, case.dtype))
    return [each for each in fits if each.residual <= bound]


def _elsewhere(case: Case, fits: Sequence[Answer]) -> list[Answer]:
    """``fits`` without those that the candidate's run on another input speaks against; all where it has none."""
    other = another_input(case)
    if other is None or not fits:
        return list(fits)
    observed = np.asarray(other.candidate_run.attribution_array, np.float64)
    error = apart((other.reference_run.attribution_array,), (observed,))
    floor = other.attribution_floor
    runs = WholeRuns(other)
    left: list[tuple[float, Answer]] = []
    for each in fits[:TRIED_ELSEWHERE]:
        try:
            given = each.gives(runs)
        except Exception:
            continue
        residual = float("inf") if given is None else apart((given,), (observed,))
        if explained(residual, floor) or residual <= ELSEWHERE * min(1.0, error):
            left.append((residual, each))
    if not left:
        return []
    bound = 10 * max(min(residual for residual, _ in left), floor)
    return [each for residual, each in left if residual <= bound]


def another_input(case: Case) -> Case | None:
    """The case on values of both signs, of the size of those it has; None where the candidate does not take them."""
    x = np.asarray(case.x)
    size = float(np.sqrt(np.mean(np.square(x)))) or 1.0
    drawn = (np.random.default_rng(0).standard_normal(x.shape) * size).astype(case.dtype)
    other = replace(case, x=drawn)
    try:
        runs = other.candidate_run, other.reference_run
    except Exception:
        return None
    return other if all(np.isfinite(run.attribution_array).all() for run in runs) else None


def _findings(difference: Difference, answers: Sequence[Answer]) -> tuple[Finding, ...]:
    """The first of ``answers``; names that explain as well are said beside its own."""
    first = answers[0]
    tied = [each for each in answers if len(each.parts) == len(first.parts)]
    findings = []
    for place, part in enumerate(first.parts):
        others = {each.parts[place].cause: each.parts[place] for each in reversed(tied)}
        others.pop(part.cause, None)
        words = "; or, as well, ".join((part.words, *(each.words for each in others.values())))
        finding = difference.finding(part.stage, part.cause, words, first.residual)
        floor = max(finding.floor, first.noise)
        findings.append(replace(finding, floor=floor, or_causes=tuple(others)))
    return tuple(findings)
