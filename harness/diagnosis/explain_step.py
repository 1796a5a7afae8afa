"""What a layer does differently on its way back: the search on an excerpt or the whole, and the name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from harness.comparison.deviations import moved_deviations
from harness.diagnosis.case import Case, moved, with_moved_weights
from harness.diagnosis.excerpt import (
    LARGE,
    PAIRS_UP_TO,
    Excerpt,
    box_in_run,
    channels_of,
    excerpts,
    multiplications,
)
from harness.diagnosis.explanation import Explained, named, plain, unknown
from harness.diagnosis.facts import facts
from harness.diagnosis.findings import Differing
from harness.diagnosis.localise import Introduced
from harness.diagnosis.measure import MOVES, apart, explained
from harness.diagnosis.precision import common_format, rounded_to
from harness.diagnosis.search import FIRSTS, Hypothesis, Outcome, Problem, Search
from harness.diagnosis.verify import best_elsewhere, coupled, standing
from harness.graph import Graph
from harness.steps import Arrays, Deviation, Step

#: So many single deviations are tried with every other on a large convolution in all places, which takes long.
FIRSTS_EVERYWHERE = 8
#: So many groups of a layer's outputs are looked at for one in which the error shows.
GROUPS = 8
#: So many of the hypotheses that fit an excerpt are tried on the whole.
ON_THE_WHOLE = 4

#: Lists what might be done differently at a step: `Deviating.deviations`, or some of them.
Listing = Callable[[Step, Arrays], Iterable[Deviation]]


def explain_step(
    case: Case, introduced: Introduced, before: Mapping[str, Hypothesis] | None = None, pairs: bool = True
) -> Explained:
    """What a layer does differently on its way back.

    ``before``: by layer, the hypotheses of others, which are tried first. ``pairs``: deviations are tried in pairs
    where none fits alone, which takes longest.
    """
    layer = introduced.layer
    differing = Differing(
        "rule", layer.name, introduced.error, introduced.floor, case.candidate_steps is None
    )
    if introduced.message is not None:
        return plain(differing, "unknown", introduced.message, facts={"raised": introduced.message})
    for reference, candidate in introduced.seen:
        if candidate.shape != reference.shape:
            words = f"the relevance has the shape {candidate.shape} instead of {reference.shape}"
            return plain(differing, "layout", words)
    nan = _nan_words(introduced)
    part = _excerpt(case, introduced)
    search = _search(case, introduced, part)
    known = _known(case, introduced, search, part, before or {})
    if known is not None:
        return named(differing, known, Outcome((known,)), nan)
    outcome = _singly(case, introduced, search, part)
    if not outcome.fits:
        # What shows without the search for pairs, which is long.
        shown = _shown_by_itself(case, introduced, differing)
        if shown is not None:
            return shown
        outcome = _further(case, introduced, search, part, pairs) or outcome
    if outcome.fits:
        return named(differing, best_elsewhere(case, introduced, outcome.fits), outcome, nan)
    if nan is not None:
        return plain(differing, "nan", nan, facts=_facts(case, introduced))
    words = "none of the known deviations reproduces this step"
    if not pairs:
        words += " (pairs of them were not tried, because none fits other layers like it)"
    return unknown(differing, outcome, words, _facts(case, introduced))


def _further(
    case: Case, introduced: Introduced, search: Search, part: Excerpt | None, pairs: bool
) -> Outcome | None:
    """Pairs of deviations, and the whole of a layer that is small enough; None where nothing more is tried."""
    count = multiplications(introduced.layer, len(introduced.step.relevance))
    tries: list[Callable[[], Outcome]] = []
    if part is not None and not part.box and count < LARGE:
        # Outputs in another order do not show in some of them.
        tries.append(lambda: _singly(case, introduced, search_of(case, introduced), None))
    if pairs and (part is not None or count <= PAIRS_UP_TO):
        firsts = FIRSTS if part is None or not _takes_long(part) else FIRSTS_EVERYWHERE
        tries.append(lambda: _verified(case, introduced, search.paired(firsts), part))
    if pairs and part is not None and count <= PAIRS_UP_TO and explained(search.error, introduced.floor):
        # None of its excerpts shows the error.
        tries.append(lambda: _verified(case, introduced, search_of(case, introduced).paired(), None))
    outcome = None
    for each in tries:
        outcome = each()
        if outcome.fits:
            break
    return outcome


def _takes_long(part: Excerpt) -> bool:
    """Whether to carry out the step of ``part`` thousands of times takes long."""
    count = multiplications(part.step.layer, len(part.step.relevance))
    return part.everywhere or (part.box and count > PAIRS_UP_TO)


def explained_as(case: Case, introduced: Introduced, others: Mapping[str, Hypothesis]) -> Explained | None:
    """The step by what other layers do, by name in ``others``; None where none of it explains this one."""
    part = _excerpt(case, introduced)
    same = _known(case, introduced, _search(case, introduced, part), part, others)
    if same is None:
        return None
    differing = Differing(
        "rule", introduced.layer.name, introduced.error, introduced.floor, case.candidate_steps is None
    )
    return named(differing, same, Outcome((same,)), _nan_words(introduced))


def _nan_words(introduced: Introduced) -> str | None:
    """Where the candidate has NaN or infinity and the reference has none."""
    for reference, candidate in introduced.seen:
        bad = ~np.isfinite(candidate) & np.isfinite(reference)
        if bad.any():
            nan = int(np.isnan(candidate[bad]).sum())
            return f"{nan} NaN and {int(bad.sum()) - nan} infinite values where the reference has none"
    return None


def _shown_by_itself(case: Case, introduced: Introduced, differing: Differing) -> Explained | None:
    """What the candidate's results show by themselves: a shorter format, or that samples depend on one another."""
    stored = common_format(introduced.seen, introduced.error, case.dtype)
    if stored is not None:
        words = f"every value of the result is a {stored} number: the step is computed in {stored}"
        known = _facts(case, introduced)
        shown = plain(differing, "precision", words, parameters={"format": stored}, facts=known)
        return replace(shown, hypothesis=Hypothesis((_stored_in(stored, words),), 0.0))
    if coupled(case, introduced):
        words = "the result of one sample depends on the others in its batch"
        return plain(differing, "batch-coupling", words, facts=_facts(case, introduced))
    return None


def _stored_in(name: str, words: str) -> Deviation:
    """A step whose results are rounded to a shorter format."""

    def alter(step: Step) -> Step:
        return replace(
            step, after=(*step.after, lambda _, shares: tuple(rounded_to(name, x) for x in shares))
        )

    return Deviation("precision", words, alter, {"format": name})


def _facts(case: Case, introduced: Introduced) -> dict[str, Any]:
    source = case.graph[introduced.layer.inputs[0]]
    return facts(introduced.expected, introduced.observed, source.axes)


# --- what is searched, and where ----------------------------------------------------------------------


def _excerpt(case: Case, introduced: Introduced) -> Excerpt | None:
    """The excerpt that a large layer is searched on; None for the whole.

    What the whole run shows, the candidate's step on an excerpt need not: of that, a part is taken as it is.
    """
    if case.candidate_steps is None or introduced.in_run:
        return box_in_run(introduced.step, introduced.expected, introduced.observed)
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


def search_of(case: Case, introduced: Introduced) -> Search:
    """The search for what was done at a step, on the whole of it."""
    return _search(case, introduced, None)


def _search(
    case: Case, introduced: Introduced, part: Excerpt | None, listing: Listing | None = None
) -> Search:
    """The search for what was done on an excerpt of a large layer, or on the whole. ``listing``: what is tried."""
    step, observed, error = introduced.step, introduced.observed, introduced.error
    if part is not None:
        step, observed = part.step, part.observed
        error = apart(case.oracle.carry_out(step), observed)
    listed = listing or case.oracle.deviations
    # An edge that was not seen says nothing of the values that are estimated.
    shown = tuple(
        np.full(x.shape, np.nan) if each is None else np.asarray(each, np.float64)
        for x, each in zip(step.inputs, observed, strict=True)
    )
    problem = Problem(
        step=step,
        observed=observed,
        carry_out=case.oracle.carry_out,
        deviations=lambda step: listed(step, shown),
        floor=introduced.floor,
        noise=lambda step, residual: _noise(case, step, residual, _rounding(introduced, observed)),
    )
    return Search(problem, error)


def _rounding(introduced: Introduced, observed: Sequence[np.ndarray | None]) -> float:
    """The rounding of ``observed``, L2: all that was seen of ``introduced``, or an excerpt of it."""
    whole, part = (
        sum(each.size for each in arrays if each is not None) for arrays in (introduced.observed, observed)
    )
    return introduced.rounding * float(np.sqrt(part / whole)) if whole else 0.0


def _noise(case: Case, step: Step, residual: float, rounding: float = 0.0) -> float:
    """How far a result moves when its operands do, by one unit in the last place, until that explains ``residual``.

    ``rounding``: that of what it is held against, L2, by which it moves as well.
    The layer's weights are moved as well where the inputs and the relevance do not explain it: a bias that is taken off
    a sum is rounded with it, and so are the products. Moved so, the sum is one that is rounded in another order.
    """
    base = case.oracle.carry_out(step)
    size = float(np.sqrt(sum(np.linalg.norm(each) ** 2 for each in base)))
    floor = rounding / size if size else 0.0
    if case.dtype == "float64":
        # A standard deviation that the rule takes, over all of an input, has a rounding of its own: `Case.step_floor`.
        whole = step if step.whole is None else step.whole
        for rule in moved_deviations(step.rule, whole.layer):
            floor = max(floor, apart(base, case.oracle.carry_out(replace(step, rule=rule))))
        if explained(residual, floor):
            return floor
    for seed in range(2 * MOVES):
        other = moved(step, case.dtype, seed)
        if seed >= MOVES:
            other = replace(other, layer=with_moved_weights(step.layer, case.dtype, seed))
        floor = max(floor, apart(base, case.oracle.carry_out(other)))
        if explained(residual, floor):
            break
    return floor


def _singly(case: Case, introduced: Introduced, search: Search, part: Excerpt | None) -> Outcome:
    """The single deviations that stand; of a large convolution, in all places where no patch shows them."""
    outcome = _verified(case, introduced, search.alone(), part)
    if outcome.fits or part is None or part.everywhere:
        return outcome
    if part.box:
        # What concerns all of the result or of the input does not show in a box.
        return _verified(case, introduced, search_of(case, introduced).alone(), None)
    channels = _showing(case, introduced, channels_of)
    if channels is None:
        return outcome
    # Patches that show the error have refuted all that can be tried on them.
    listing = None if explained(search.error, introduced.floor) else case.oracle.deviations_of_places
    return _verified(case, introduced, _search(case, introduced, channels, listing).alone(), channels)


def _verified(case: Case, introduced: Introduced, outcome: Outcome, part: Excerpt | None) -> Outcome:
    """``outcome`` with the fits that stand; those of an excerpt must fit the whole as well."""
    fits = outcome.fits
    if part is not None and fits:
        whole = search_of(case, introduced)
        residuals = [(each, whole.left_by(each)) for each in fits[:ON_THE_WHOLE]]
        fits = tuple(replace(each, residual=left) for each, left in residuals if left is not None)
    return replace(outcome, fits=standing(case, introduced, fits))


def _known(
    case: Case, introduced: Introduced, search: Search, part: Excerpt | None, before: Mapping[str, Hypothesis]
) -> Hypothesis | None:
    """:func:`_same_as_before`; of a box, it has to explain the whole as well, which is there."""
    same = _same_as_before(search, before)
    if same is None or part is None or not part.box:
        return same
    left = search_of(case, introduced).left_by(same)
    return None if left is None else replace(same, residual=left)


def _same_as_before(search: Search, before: Mapping[str, Hypothesis]) -> Hypothesis | None:
    """A hypothesis of another layer, if what it says explains this one too.

    Of a large layer, its excerpt: the whole was verified where the hypothesis was first made. A change reads nothing
    but its step, so that of a layer like this one is tried as it is first: to list what this one may do takes long.
    """
    for _, earlier in of_layers_alike(search.problem.step, before):
        residual = _left_by(search, earlier)
        if residual is not None:
            return replace(earlier, residual=residual)
    different = {tuple((each.cause, each.words) for each in one.deviations): one for one in before.values()}
    for earlier in different.values():
        deviations = _here(search.problem, search.listed, earlier)
        if deviations:
            hypothesis = Hypothesis(deviations, 0.0)
            residual = search.left_by(hypothesis)
            if residual is not None:
                return replace(hypothesis, residual=residual)
    return None


def of_layers_alike(step: Step, before: Mapping[str, Hypothesis]) -> Iterator[tuple[str, Hypothesis]]:
    """What layers of the kind and the rule of ``step`` do, by layer; not what is about those layers alone."""
    for name, earlier in before.items():
        there = step.graph[name]
        kind_and_rule = there.kind, step.method.composite.rule_for(there, step.graph)
        if kind_and_rule == (step.layer.kind, step.rule) and not _particular(earlier, step.graph):
            yield name, earlier


def _left_by(search: Search, earlier: Hypothesis) -> float | None:
    try:
        with np.errstate(all="ignore"):
            return search.left_by(earlier)
    except Exception:
        return None  # made for a rule with other parts


def _particular(hypothesis: Hypothesis, graph: Graph) -> bool:
    """Whether its words are about the layer that it was found at: a count of its, a neighbour."""
    words = hypothesis.words
    return bool(re.search(r"\d+ (inputs|outputs|channels|samples)", words)) or any(
        re.search(rf"(?<!\w){re.escape(layer.name)}(?!\w)", words) for layer in graph
    )


def _here(problem: Problem, listed: Iterable[Deviation], earlier: Hypothesis) -> tuple[Deviation, ...]:
    """The deviations of another layer's hypothesis as this layer has them; empty where it has not all of them.

    ``listed``: the deviations of the layer's step as it stands.
    """
    step = problem.step
    kept: list[Deviation] = []
    for wanted in earlier.deviations:
        same = (
            each
            for each in (problem.deviations(step) if kept else listed)
            if (each.cause, each.words) == (wanted.cause, wanted.words)
        )
        deviation = next(same, None)
        if deviation is None:
            return ()
        kept.append(deviation)
        step = deviation.alter(step)
    return tuple(kept)
