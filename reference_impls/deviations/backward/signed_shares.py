"""Alpha-beta taken apart: its two shares, with the bias anywhere and any two factors.

``A = x+ * f^T(s; W+) + x- * f^T(s; W-)``, ``s = R / S(f(x+; W+, c) + f(x-; W-, d))`` and the same for ``B`` with
``W+`` and ``W-`` exchanged. ``c`` and ``d`` are what a placement says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from harness.methods import AlphaBeta
from harness.steps import Step
from reference_impls.deviations.backward.altering import Change
from reference_impls.deviations.backward.carrying import counted
from reference_impls.oracle.linear import Arrays, Weights
from reference_impls.oracle.parts import own_weights, without_bias
from reference_impls.oracle.terms import TermAt, added_up, terms_at, terms_of

#: A part of the bias: that of the sign of the share, that of the other sign, all of it, or nothing.
Part = Literal["same", "other", "whole", "none"]
#: Which part goes with ``f(x+)`` and which with ``f(x-)``.
Placement = tuple[Part, Part]


def placement_of(rule: AlphaBeta) -> Placement:
    """Where the rule itself puts the bias."""
    if not rule.bias:
        return ("none", "none")
    return ("same", "none") if rule.split_bias else ("same", "other")


def with_placement(placement: Placement) -> Change:
    """The bias elsewhere, at a step under :class:`AlphaBeta`."""
    return _with_note("placement", placement)


def with_factors(alpha: float, beta: float) -> Change:
    """Any two factors, at a step under :class:`AlphaBeta`."""
    return _with_note("factors", (alpha, beta))


def is_taken_apart(step: Step) -> bool:
    """Whether the step's formula is that of this module, or may become it."""
    return isinstance(step.rule, AlphaBeta) and step.formula in (None, _weighted)


def _with_note(name: str, value: object) -> Change:
    return lambda step: replace(step, notes={**step.notes, name: value}, formula=_weighted)


def _weighted(step: Step) -> Arrays:
    return added_up(step.layer, step.inputs, step.relevance, weighted_terms(step), counted(step))


def weighted_terms(step: Step) -> tuple[TermAt, ...]:
    """``A`` and ``B`` as the notes of the step have them; a ``B`` with the factor 0 is left out, as in the rule."""
    if not isinstance(step.rule, AlphaBeta):
        raise TypeError(f"expected AlphaBeta at {step.layer.name}, found {type(step.rule).__name__}")
    placement = step.notes.get("placement", placement_of(step.rule))
    alpha, beta = step.notes.get("factors", (step.rule.alpha, step.rule.beta))
    both = terms_of(replace(step.rule, alpha=2, beta=1, bias=True, split_bias=False))
    activating, inhibiting = (
        _with_bias(step, placement, term) for term in terms_at(step.layer, step.inputs, both)
    )
    weighted = replace(activating, factor=alpha), replace(inhibiting, factor=-beta)
    return weighted if beta != 0 else weighted[:1]


def _with_bias(step: Step, placement: Placement, term: TermAt) -> TermAt:
    (x_upper, same), (x_lower, other) = term.below
    parts: dict[Part, Weights] = {
        "same": same,
        "other": other,
        "whole": own_weights(step.layer, bias=True),
        "none": {},
    }

    def beside(weights: Weights, part: Part) -> Weights:
        bias = {name: weight for name, weight in parts[part].items() if name == "bias"}
        return {**without_bias(weights), **bias}

    return replace(
        term, below=((x_upper, beside(same, placement[0])), (x_lower, beside(other, placement[1])))
    )
