"""Which of the layers that read one tensor does something else, where a run shows the sum of what they pass to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product

import numpy as np

from harness.diagnosis.case import Case
from harness.diagnosis.explain_step import explain_step, explained_as, of_layers_alike
from harness.diagnosis.explanation import Explained, named
from harness.diagnosis.findings import Differing
from harness.diagnosis.localise import Introduced
from harness.diagnosis.measure import explained
from harness.diagnosis.readers import Readers, passed_if
from harness.diagnosis.search import LEFT, MOST, Hypothesis, Outcome
from harness.diagnosis.walk import SUMMED
from harness.methods import Deconvolution, GuidedReLU
from harness.steps import Step

#: Of what other layers do, so much is tried at each reader together with the others.
OPTIONS = 2
#: So many ways for several readers to do what other layers do are tried.
WAYS = 64
#: So many searches are made for something new at a reader beside others that do what other layers do.
SEARCHES = 9
#: A reader's step, and what it does.
Blamed = tuple[Introduced, Explained]


@dataclass(frozen=True, eq=False)
class _Option:
    """What a reader may do, as the layer ``name`` does it, and what it passes to the tensor then."""

    name: str
    hypothesis: Hypothesis
    passed: np.ndarray


def explain_readers(
    case: Case, readers: Readers, known: Mapping[str, Hypothesis], pairs: Callable[[Step], bool]
) -> list[Blamed]:
    """The readers that do something else, and what; all of them, as unknown, where nothing explains the sum.

    First one reader does what ``known`` has of other layers, or as few as may be; then one does something new, beside
    others that do as the reference does, or what ``known`` has. ``pairs``: whether pairs of deviations are tried at a
    step. Where the tensor should get the positive part of each share, the sum of the shares as they are is looked at
    first.
    """
    alone = readers.one_by_one()
    summed = _summed(case, readers)
    if summed is not None:
        return [(alone[0], summed)]
    if len(alone) == 1:
        return [(alone[0], explain_step(case, alone[0], known, pairs(alone[0].step)))]
    for each in alone:
        explanation = explained_as(case, each, known)
        if explanation is not None:
            return [(each, explanation)]
    options = [_options(case, readers, step, known) for step in readers.steps]
    others = _as_others(readers, options)
    if others is not None:
        return others
    tried: list[Blamed] = []
    for each in alone:
        explanation = explain_step(case, each, known, pairs=False)
        if explanation.hypothesis is not None:
            return [(each, explanation)]
        tried.append((each, explanation))
    worth = [place for place, each in enumerate(alone) if pairs(each.step)]
    if worth:
        beside = _beside(case, readers, options, known)
        if beside is not None:
            return beside
    for place in worth:
        explanation = explain_step(case, alone[place], known)
        if explanation.hypothesis is not None:
            return [(alone[place], explanation)]
        tried[place] = (alone[place], explanation)
    return [(each, _of_the_sum(explanation, readers)) for each, explanation in tried]


def _summed(case: Case, readers: Readers) -> Explained | None:
    """The shares summed as they are, where the positive part of each should be; None where that does not explain it."""
    rule = case.method.composite.rule_for(case.graph[readers.source], case.graph)
    if readers.source not in readers.rectified or not isinstance(rule, GuidedReLU | Deconvolution):
        return None
    as_they_are = replace(readers, rectified=())
    residual = as_they_are.left(as_they_are.passed_by_the_reference())
    if not explained(residual, readers.floor):
        return None
    error = readers.left(readers.passed_by_the_reference())
    words = (
        f"it has the rule {replace(rule, per_edge=False)} instead of {rule}: shares are summed as they are"
    )
    differing = Differing("rule", readers.source, error, readers.floor, True)
    return Explained((differing.finding("rule-mapping", words, residual, parameters={SUMMED: True}),))


def _options(case: Case, readers: Readers, step: Step, known: Mapping[str, Hypothesis]) -> list[_Option]:
    """What layers of the kind and rule of a reader do, in different words."""
    options: dict[str, _Option] = {}
    for name, hypothesis in of_layers_alike(step, known):
        passed = None if hypothesis.words in options else passed_if(case, readers, step, hypothesis)
        if passed is not None:
            options[hypothesis.words] = _Option(name, hypothesis, passed)
    return list(islice(options.values(), OPTIONS))


def _as_others(readers: Readers, options: Sequence[Sequence[_Option]]) -> list[Blamed] | None:
    """The readers that do what other layers do, as few as explain the sum; None where that does not explain it."""
    as_the_reference = readers.passed_by_the_reference()
    for chosen in islice(_ways(options), WAYS):
        places = [place for place, option in enumerate(chosen) if option is not None]
        passed = _passed(as_the_reference, chosen)
        left = readers.left(passed)
        if places and left <= min(LEFT * readers.error, MOST) and explained(left, readers.floor):
            return list(_named(readers, chosen, passed, places))
    return None


def _ways(options: Sequence[Sequence[_Option]]) -> list[tuple[_Option | None, ...]]:
    """What the readers may do together, None as the reference: as few of them as may be do something else."""
    return sorted(
        product(*((*each, None) for each in options)), key=lambda chosen: len(chosen) - chosen.count(None)
    )


def _passed(as_the_reference: Sequence[np.ndarray], chosen: Sequence[_Option | None]) -> list[np.ndarray]:
    pairs = zip(as_the_reference, chosen, strict=True)
    return [usual if option is None else option.passed for usual, option in pairs]


def _named(
    readers: Readers,
    chosen: Sequence[_Option | None],
    passed: Sequence[np.ndarray],
    places: Sequence[int],
) -> Iterator[Blamed]:
    """The readers at ``places`` with what was chosen for them."""
    for place in places:
        option = chosen[place]
        assert option is not None
        introduced = readers.beside(place, passed)
        differing = Differing("rule", introduced.layer.name, introduced.error, introduced.floor, True)
        same = replace(option.hypothesis, residual=readers.left(passed))
        yield introduced, named(differing, same, Outcome((same,)))


def _beside(
    case: Case, readers: Readers, options: Sequence[Sequence[_Option]], known: Mapping[str, Hypothesis]
) -> list[Blamed] | None:
    """One reader that does something new, beside others that do what other layers do; None where that fits nowhere."""
    as_the_reference = readers.passed_by_the_reference()
    first = [each[:1] for each in options]
    ways = (
        (place, chosen)
        for place in range(len(first))
        for chosen in _ways(_without(first, place))
        if any(chosen)
    )
    for place, chosen in islice(ways, SEARCHES):
        passed = _passed(as_the_reference, chosen)
        introduced = readers.beside(place, passed)
        explanation = explain_step(case, introduced, known, pairs=False)
        if explanation.hypothesis is not None:
            others = [at for at, option in enumerate(chosen) if option is not None]
            return [*_named(readers, chosen, passed, others), (introduced, explanation)]
    return None


def _without(options: Sequence[Sequence[_Option]], place: int) -> list[Sequence[_Option]]:
    return [() if at == place else each for at, each in enumerate(options)]


def _of_the_sum(explanation: Explained, readers: Readers) -> Explained:
    """``explanation`` with the words that it may be another reader where there is no name for what this one does."""
    names = ", ".join(step.layer.name for step in readers.steps)
    words = (
        f"; what {readers.source} receives is seen as the sum over {names}, and any of them may be the one"
    )
    findings = tuple(
        replace(each, words=each.words + words) if each.cause == "unknown" else each
        for each in explanation.findings
    )
    return replace(explanation, findings=findings)
