"""Rules that share out by one quotient: ``R_x = front * f^T(R / S(f(seen; W, b)); W)``, taken apart.

Z and its relatives, SIGN, Flat and the w-square rule differ only in what stands at these four places; so do
most of the mistakes that are made with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from harness.steps import Step
from reference_impls.deviations.backward.altering import Change
from reference_impls.deviations.backward.carrying import counted
from reference_impls.oracle import linear
from reference_impls.oracle.linear import Arrays, Weights
from reference_impls.oracle.terms import TermAt, added_up, has_terms, terms_at, terms_of


@dataclass(frozen=True, eq=False)
class Quotient:
    """``R_x = front * f^T(R / S(f(seen; below)); above)``; ``below`` may hold a bias."""

    front: Arrays
    seen: Arrays
    below: Weights
    above: Weights


def has_quotient(step: Step) -> bool:
    """Whether the step's rule is of this form, at a layer that is linear."""
    if not (linear.is_linear(step.layer) and has_terms(step.rule)):
        return False
    first, *others = terms_of(step.rule).terms
    return not others and len(first.below) == len(first.above) == 1


def quotient_of(step: Step) -> Quotient:
    """The rule of the step, taken apart; `has_quotient` says where that can be done."""
    (term,) = terms_at(step.layer, step.inputs, terms_of(step.rule))
    ((seen, below),), ((front, above),) = term.below, term.above
    return Quotient(front, seen, below, above)


def term_of(quotient: Quotient) -> TermAt:
    """The quotient as the one term of a rule."""
    return TermAt(((quotient.seen, quotient.below),), ((quotient.front, quotient.above),))


def carried(step: Step, quotient: Quotient) -> Arrays:
    """The relevance of each input."""
    return added_up(step.layer, step.inputs, step.relevance, (term_of(quotient),), counted(step))


def with_quotient(change: Callable[[Step, Quotient], Quotient]) -> Change:
    """Something else at one of the four places; changes add up."""

    def alter(step: Step) -> Step:
        changes = (*step.notes.get("quotient", ()), change)
        return replace(step, notes={**step.notes, "quotient": changes}, formula=_changed)

    return alter


def changed_quotient(step: Step) -> Quotient:
    """:func:`quotient_of`, with what has been put at its places before."""
    quotient = quotient_of(step)
    for change in step.notes.get("quotient", ()):
        quotient = change(step, quotient)
    return quotient


def _changed(step: Step) -> Arrays:
    return carried(step, changed_quotient(step))
