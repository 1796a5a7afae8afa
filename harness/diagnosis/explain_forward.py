"""What a layer does differently on its way forward."""

from __future__ import annotations

from dataclasses import replace

from harness.diagnosis.case import Case
from harness.diagnosis.excerpt import PAIRS_UP_TO, multiplications
from harness.diagnosis.explanation import Explained, named, plain, unknown
from harness.diagnosis.facts import facts
from harness.diagnosis.findings import Differing
from harness.diagnosis.forward import ForwardError, noise
from harness.diagnosis.precision import common_format, rounded_to
from harness.diagnosis.search import Hypothesis, Problem, Search
from harness.graph import Layer
from harness.steps import Deviation, ForwardStep

#: Causes that change more of a step than the layer it belongs to.
_BEYOND_A_LAYER = ("precision", "batch-coupling", "preprocessing")


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
    search = Search(problem, error.error)
    outcome = search.alone()
    small = multiplications(error.layer, len(error.observed)) <= PAIRS_UP_TO
    if small and all(each.generic for each in outcome.fits):
        pairs = search.paired()
        outcome = replace(pairs, fits=(*outcome.fits, *pairs.fits))
    differing = Differing("forward", error.layer.name, error.error, error.floor)
    if outcome.fits:
        return named(differing, outcome.fits[0], outcome)
    expected = oracle.carry_forward(error.step)
    if error.observed.shape != expected.shape:
        words = f"the output has the shape {error.observed.shape} instead of {expected.shape}"
        return plain(differing, "layout", words)
    stored = common_format([(expected, error.observed)], error.error, case.dtype)
    if stored is not None:
        words = f"every value of the output is a {stored} number: the layer is computed in {stored}"
        shown = plain(differing, "precision", words, parameters={"format": stored})
        return replace(shown, hypothesis=Hypothesis((_stored_in(stored, words),), 0.0))
    known = facts((expected,), (error.observed,), error.layer.axes)
    return unknown(differing, outcome, "the output is not what its inputs should give", known)


def _stored_in(name: str, words: str) -> Deviation:
    """A layer whose output is rounded to a shorter format."""

    def alter(step: ForwardStep) -> ForwardStep:
        return replace(step, after=(*step.after, lambda _, output: rounded_to(name, output)))

    return Deviation("precision", words, alter, {"format": name})


def mended_layer(step: ForwardStep, hypothesis: Hypothesis | None) -> Layer | None:
    """The layer as the candidate has it; None where what it does cannot be said as another layer."""
    if hypothesis is None or any(cause in _BEYOND_A_LAYER for cause in hypothesis.causes):
        return None
    altered = hypothesis.alter(step)
    return altered.layer if not altered.after and altered.inputs is step.inputs else None
