"""From a layer that differs to findings: the search, its verification, and the name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from harness.diagnosis.case import Case, moved
from harness.diagnosis.excerpt import Excerpt, channels_of, excerpts, multiplications
from harness.diagnosis.facts import facts
from harness.diagnosis.findings import Finding
from harness.diagnosis.forward import ForwardError, noise
from harness.diagnosis.localise import Introduced
from harness.diagnosis.measure import MOVES, apart, explained
from harness.diagnosis.precision import stored_format
from harness.diagnosis.probes import probes
from harness.diagnosis.search import FIRSTS, LEFT, MOST, Hypothesis, Outcome, Problem, Search
from harness.graph import Layer
from harness.steps import Arrays, Deviation, ForwardStep, Step

#: Pairs of deviations are tried on the whole of a layer of up to this many multiplications.
PAIRS_UP_TO = 5_000_000
#: So many single deviations are tried with every other on a large convolution in all places, which takes long.
FIRSTS_EVERYWHERE = 8


@dataclass(frozen=True, eq=False)
class Explained:
    """The findings of one layer, and the hypothesis behind them (None: unknown)."""

    findings: tuple[Finding, ...]
    hypothesis: Hypothesis | None


# --- one layer's forward pass --------------------------------------------------------------------------


def explain_forward(case: Case, error: ForwardError) -> Explained:
    """What a layer does differently on its way forward."""
    oracle = case.oracle
    problem = Problem(
        step=error.step,
        observed=(error.observed,),
        carry_out=lambda step: (oracle.carry_forward(step),),
        deviations=lambda step: oracle.forward_deviations(step, error.observed),
        floor=error.floor,
        noise=lambda step, residual: noise(case, step),
    )
    small = multiplications(error.layer, len(error.observed)) <= PAIRS_UP_TO
    search = Search(problem, error.error)
    outcome = search.alone()
    if small and all(each.generic for each in outcome.fits):
        pairs = search.paired()
        outcome = replace(pairs, fits=(*outcome.fits, *pairs.fits))
    where = _Found("forward", error.layer.name, error.error, error.floor)
    if outcome.fits:
        return _named(where, outcome.fits[0], outcome, None)
    expected = (oracle.carry_forward(error.step),)
    if error.observed.shape != expected[0].shape:
        words = f"the output has the shape {error.observed.shape} instead of {expected[0].shape}"
        return Explained((where.finding("layout", words),), None)
    stored = _stored(case, [(expected[0], error.observed)], error.error)
    if stored is not None:
        words = f"every value of the output is a {stored} number: the layer is computed in {stored}"
        finding = replace(where.finding("precision", words), parameters={"format": stored})
        return Explained((finding,), None)
    known = facts(expected, (error.observed,), error.layer.axes)
    return _unknown(where, outcome, "the output is not what its inputs should give", known)


#: Causes that change more of a step than the layer it belongs to.
_BEYOND_A_LAYER = ("precision", "batch-coupling", "preprocessing")


def mended_layer(step: ForwardStep, hypothesis: Hypothesis | None) -> Layer | None:
    """The layer as the candidate has it; None where what it does cannot be said as another layer."""
    if hypothesis is None or any(cause in _BEYOND_A_LAYER for cause in hypothesis.causes):
        return None
    altered = hypothesis.alter(step)
    return altered.layer if not altered.after and altered.inputs is step.inputs else None


# --- one layer's step back -----------------------------------------------------------------------------


def explain_step(
    case: Case, introduced: Introduced, before: Sequence[Hypothesis] = (), pairs: bool = True
) -> Explained:
    """What a layer does differently on its way back.

    ``before``: the hypotheses of other layers, which are tried first. ``pairs``: deviations are tried in pairs where
    none fits alone, which takes longest.
    """
    where = _Found(
        "rule", introduced.layer.name, introduced.error, introduced.floor, case.candidate_steps is None
    )
    if introduced.message is not None:
        finding = replace(where.finding("unknown", introduced.message), facts={"raised": introduced.message})
        return Explained((finding,), None)
    for reference, candidate in zip(introduced.expected, introduced.observed, strict=True):
        if candidate is not None and candidate.shape != reference.shape:
            words = f"the relevance has the shape {candidate.shape} instead of {reference.shape}"
            return Explained((where.finding("layout", words),), None)
    part = _excerpt(case, introduced)
    known = _same_as_before(case, introduced, part, before)
    if known is not None:
        return _named(where, known, Outcome((known,)), _nan_words(introduced))
    search = _search(case, introduced, part)
    outcome = _singly(case, introduced, search, part)
    if not outcome.fits:
        # What shows without the search for pairs, which is long.
        plain = _shown_by_itself(case, introduced, where)
        if plain is not None:
            return Explained((replace(plain, facts=_facts(case, introduced)),), None)
        if pairs and (
            part is not None
            or multiplications(introduced.layer, len(introduced.step.relevance)) <= PAIRS_UP_TO
        ):
            firsts = FIRSTS_EVERYWHERE if part is not None and part.everywhere else FIRSTS
            outcome = _verified(case, introduced, search.paired(firsts), part)
    if outcome.fits:
        return _named(
            where, _that_fits_elsewhere(case, introduced, outcome.fits), outcome, _nan_words(introduced)
        )
    nan = _nan_words(introduced)
    if nan is not None:
        return Explained((replace(where.finding("nan", nan), facts=_facts(case, introduced)),), None)
    words = "none of the known deviations reproduces this step"
    if not pairs:
        words += " (pairs of them were not tried, because none fits other layers like it)"
    return _unknown(where, outcome, words, _facts(case, introduced))


def _shown_by_itself(case: Case, introduced: Introduced, where: _Found) -> Finding | None:
    """What the candidate's results show by themselves: a shorter format, or that samples depend on one another."""
    stored = _stored(case, zip(introduced.expected, introduced.observed, strict=True), introduced.error)
    if stored is not None:
        words = f"every value of the result is a {stored} number: the step is computed in {stored}"
        return replace(where.finding("precision", words), parameters={"format": stored})
    if _coupled(case, introduced):
        return where.finding("batch-coupling", "the result of one sample depends on the others in its batch")
    return None


def _stored(case: Case, pairs: Iterable[tuple[np.ndarray, np.ndarray | None]], error: float) -> str | None:
    """The format that all the candidate's arrays are stored in, if it is a shorter one than was asked for."""
    formats = {
        stored_format(candidate, reference, error, case.dtype)
        for reference, candidate in pairs
        if candidate is not None
    }
    return formats.pop() if len(formats) == 1 else None


#: Lists what might be done differently at a step: `Deviating.deviations`, or some of them.
Listing = Callable[[Step, Arrays], Iterable[Deviation]]


def _problem(
    case: Case,
    introduced: Introduced,
    step: Step,
    observed: tuple[np.ndarray | None, ...],
    listing: Listing | None = None,
) -> Problem:
    listed = listing or case.oracle.deviations
    shown = tuple(
        np.zeros_like(x) if each is None else np.asarray(each, np.float64)
        for x, each in zip(step.inputs, observed, strict=True)
    )
    return Problem(
        step=step,
        observed=observed,
        carry_out=case.oracle.carry_out,
        deviations=lambda step: listed(step, shown),
        floor=introduced.floor,
        noise=lambda step, residual: _step_noise(case, step, residual),
    )


def _step_noise(case: Case, step: Step, residual: float) -> float:
    """How far a result moves when its operands do, by one unit in the last place, until that explains ``residual``."""
    base, floor = case.oracle.carry_out(step), 0.0
    for seed in range(MOVES):
        floor = max(floor, apart(base, case.oracle.carry_out(moved(step, case.dtype, seed))))
        if explained(residual, floor):
            break
    return floor


#: So many groups of a layer's outputs are looked at for one in which the error shows.
GROUPS = 8


def _excerpt(case: Case, introduced: Introduced) -> Excerpt | None:
    if case.candidate_steps is None:
        return None
    part = _showing(case, introduced, excerpts)
    # What spreads beyond the patches is looked at in all places.
    return _showing(case, introduced, channels_of) if part is not None and part.stray else part


def _showing(
    case: Case, introduced: Introduced, cut: Callable[[Step, Callable[[Step], Arrays]], Iterator[Excerpt]]
) -> Excerpt | None:
    """The first excerpt in which the candidate differs: outputs with a positive bias do not show what the others do.

    The first of all where none does; None where the layer has no excerpts.
    """
    first: Excerpt | None = None
    for part in islice(cut(introduced.step, case.observed), GROUPS):
        first = first or part
        if not explained(apart(case.oracle.carry_out(part.step), part.observed), introduced.floor):
            return part
    return first


def _search(
    case: Case, introduced: Introduced, part: Excerpt | None, listing: Listing | None = None
) -> Search:
    """What the step is searched on: an excerpt of a large layer, else the whole."""
    if part is None:
        return Search(_problem(case, introduced, introduced.step, introduced.observed), introduced.error)
    error = apart(case.oracle.carry_out(part.step), part.observed)
    return Search(_problem(case, introduced, part.step, part.observed, listing), error)


def _singly(case: Case, introduced: Introduced, search: Search, part: Excerpt | None) -> Outcome:
    """The single deviations that stand; of a large convolution, in all places where no patch shows them."""
    outcome = _verified(case, introduced, search.alone(), part)
    if outcome.fits or part is None or part.everywhere:
        return outcome
    channels = _showing(case, introduced, channels_of)
    if channels is None:
        return outcome
    # Patches that show the error have refuted all that can be tried on them.
    listing = None if explained(search.error, introduced.floor) else case.oracle.deviations_of_places
    return _verified(case, introduced, _search(case, introduced, channels, listing).alone(), channels)


def _verified(case: Case, introduced: Introduced, outcome: Outcome, part: Excerpt | None) -> Outcome:
    """``outcome`` with the fits that stand; those of an excerpt must fit the whole as well."""
    fits = outcome.fits if part is None else tuple(_on_the_whole(case, introduced, outcome.fits[:4]))
    return replace(outcome, fits=_standing(case, introduced, fits))


def _on_the_whole(case: Case, introduced: Introduced, fits: Sequence[Hypothesis]) -> Iterator[Hypothesis]:
    for each in fits:
        residual = _residual(case, introduced, each)
        if residual is not None:
            yield replace(each, residual=residual)


def _residual(case: Case, introduced: Introduced, hypothesis: Hypothesis) -> float | None:
    """How far the whole step with the hypothesis is from the candidate's; None where rounding does not explain it."""
    altered = hypothesis.alter(introduced.step)
    residual = apart(case.oracle.carry_out(altered), introduced.observed)
    if residual > min(LEFT * introduced.error, MOST):
        return None
    if explained(residual, introduced.floor) or explained(residual, _step_noise(case, altered, residual)):
        return residual
    return None


def _same_as_before(
    case: Case, introduced: Introduced, part: Excerpt | None, before: Sequence[Hypothesis]
) -> Hypothesis | None:
    """A hypothesis of another layer, if what it says explains this one too.

    Of a large layer, its excerpt: the whole was verified where the hypothesis was found.
    """
    if not before:
        return None
    if part is None:
        problem, error = _problem(case, introduced, introduced.step, introduced.observed), introduced.error
    else:
        problem = _problem(case, introduced, part.step, part.observed)
        error = apart(case.oracle.carry_out(part.step), part.observed)
    for earlier in before:
        deviations = _here(problem, earlier)
        if not deviations:
            continue
        hypothesis = Hypothesis(deviations, 0.0)
        altered = hypothesis.alter(problem.step)
        residual = apart(case.oracle.carry_out(altered), problem.observed)
        if residual > min(LEFT * error, MOST):
            continue
        if explained(residual, introduced.floor) or explained(residual, _step_noise(case, altered, residual)):
            return replace(hypothesis, residual=residual)
    return None


def _here(problem: Problem, earlier: Hypothesis) -> tuple[Deviation, ...]:
    """The deviations of another layer's hypothesis as this layer has them; empty where it has not all of them."""
    step, kept = problem.step, []
    for wanted in earlier.deviations:
        same = (
            each
            for each in problem.deviations(step)
            if (each.cause, each.words) == (wanted.cause, wanted.words)
        )
        deviation = next(same, None)
        if deviation is None:
            return ()
        kept.append(deviation)
        step = deviation.alter(step)
    return tuple(kept)


def _that_fits_elsewhere(case: Case, introduced: Introduced, fits: Sequence[Hypothesis]) -> Hypothesis:
    """Of several that fit the data of the layer, the one that fits the candidate on other data too."""
    causes = {each.causes for each in fits}
    if len(causes) == 1 or case.candidate_steps is None:
        return fits[0]
    standing = list(fits)
    for probe in probes(introduced.step):
        try:
            observed = case.observed(probe)
        except Exception:
            continue  # the candidate need not take data it was never meant for
        scored = []
        for each in standing:
            with np.errstate(all="ignore"):
                scored.append(apart(case.oracle.carry_out(each.alter(probe)), observed))
        best = min(scored)
        if not np.isfinite(best):
            continue
        bound = max(10 * best, 10 * introduced.floor)
        standing = [each for each, score in zip(standing, scored, strict=True) if score <= bound]
        if len({each.causes for each in standing}) == 1:
            break
    return standing[0]


def _standing(case: Case, introduced: Introduced, fits: Sequence[Hypothesis]) -> tuple[Hypothesis, ...]:
    """``fits`` without those that other runs of the candidate speak against."""
    return tuple(
        each for each in _uncoupled(case, fits) if not each.generic or _holds(case, introduced, each)
    )


#: A number found from the layer's data that is right leaves less than this part of the error on other data.
ELSEWHERE = 0.01


def _holds(case: Case, introduced: Introduced, hypothesis: Hypothesis) -> bool:
    """Whether what describes the layer's own data describes the candidate on other data too.

    Where a layer has one output with relevance, one factor fits whatever was done.
    """
    if case.candidate_steps is None:
        return True
    for probe in probes(introduced.step):
        try:
            observed = case.observed(probe)
        except Exception:
            continue  # the candidate need not take data it was never meant for
        with np.errstate(all="ignore"):
            error = apart(case.oracle.carry_out(probe), observed)
            residual = apart(case.oracle.carry_out(hypothesis.alter(probe)), observed)
        if np.isfinite(error) and not explained(error, introduced.floor) and residual > ELSEWHERE * error:
            return False
    return True


def _uncoupled(case: Case, fits: Sequence[Hypothesis]) -> tuple[Hypothesis, ...]:
    """``fits`` without those that blame the batch, where the first sample gives alone what it gives among others."""
    blaming = [each for each in fits if "batch-coupling" in each.causes]
    if not blaming or case.coupled:
        return tuple(fits)
    return tuple(each for each in fits if each not in blaming)


def _coupled(case: Case, introduced: Introduced) -> bool:
    """Whether the candidate's step of the first sample changes when the others are not there."""
    if case.candidate_steps is None or len(introduced.step.relevance) < 2:
        return False
    alone = replace(
        introduced.step,
        inputs=tuple(x[:1] for x in introduced.step.inputs),
        relevance=introduced.step.relevance[:1],
    )
    try:
        one, every = case.observed(alone), case.observed(introduced.step)
    except Exception:
        return False
    together = tuple(None if each is None else each[:1] for each in every)
    return not explained(apart(one, together), introduced.floor)


# --- wording -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    stage: Any
    layer: str
    error: float
    floor: float
    first_seen: bool = False

    def finding(self, cause: str, words: str, residual: float | None = None) -> Finding:
        return Finding(
            self.stage, self.layer, cause, words, self.error, self.floor, residual, first_seen=self.first_seen
        )


def _named(where: _Found, chosen: Hypothesis, outcome: Outcome, nan: str | None) -> Explained:
    """One finding for each deviation of the hypothesis."""
    runner_up = next(
        (
            (each.words, each.residual)
            for each in (*outcome.fits, *outcome.others)
            if each.causes != chosen.causes
        ),
        None,
    )
    findings = []
    for deviation in chosen.deviations:
        cause, words = deviation.cause, deviation.words
        if nan is not None:
            cause, words = "nan", f"{nan}: {words}"
        finding = where.finding(cause, words, chosen.residual)
        findings.append(replace(finding, runner_up=runner_up, parameters=dict(deviation.parameters)))
    return Explained(tuple(findings), chosen)


def _unknown(where: _Found, outcome: Outcome, words: str, known: Mapping[str, Any]) -> Explained:
    best = next(iter(outcome.others), None)
    finding = where.finding("unknown", words)
    runner_up = None if best is None else (best.words, best.residual)
    return Explained((replace(finding, runner_up=runner_up, facts=dict(known)),), None)


def _nan_words(introduced: Introduced) -> str | None:
    """Where the candidate has NaN or infinity and the reference has none."""
    for reference, candidate in zip(introduced.expected, introduced.observed, strict=True):
        if candidate is None:
            continue
        bad = ~np.isfinite(candidate) & np.isfinite(reference)
        if bad.any():
            nan = int(np.isnan(candidate[bad]).sum())
            return f"{nan} NaN and {int(bad.sum()) - nan} infinite values where the reference has none"
    return None


def _facts(case: Case, introduced: Introduced) -> dict[str, Any]:
    source = case.graph[introduced.layer.inputs[0]]
    return facts(introduced.expected, introduced.observed, source.axes)


def grouped(explained: Iterable[Explained]) -> tuple[Finding, ...]:
    """Findings in order; those of one cause in the same words are one, at the first of their layers."""
    kept: dict[tuple[str, str, str], Finding] = {}
    for each in explained:
        for finding in each.findings:
            key = (finding.stage, finding.cause, finding.words)
            if key in kept and finding.cause != "unknown":
                before = kept[key]
                kept[key] = replace(before, also=(*before.also, str(finding.layer)))
            else:
                kept[key if key not in kept else (*key[:2], f"{finding.words} {finding.layer}")] = finding
    return tuple(kept.values())
