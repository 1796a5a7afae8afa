"""Rules that share out by one quotient: ``R_x = front * f^T(R / S(f(seen; W, b)); W)``, taken apart.

Z and its relatives, SIGN, Flat and the w-square rule differ only in what stands at these four places; so do
most of the mistakes that are made with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from harness.methods import Epsilon, Flat, Gamma, Sign, StdEpsilon, WSquare, Z, ZPlusFast
from harness.steps import Step
from reference_impls.deviations.backward.altering import Change
from reference_impls.deviations.backward.carrying import counted
from reference_impls.oracle import linear
from reference_impls.oracle.input_rules import sign_of
from reference_impls.oracle.linear import Arrays, Weights
from reference_impls.oracle.parts import own_weights, positive, without_bias


@dataclass(frozen=True, eq=False)
class Quotient:
    """``R_x = front * f^T(R / S(f(seen; below)); above)``; ``below`` may hold a bias."""

    front: Arrays
    seen: Arrays
    below: Weights
    above: Weights


def has_quotient(step: Step) -> bool:
    """Whether the step's rule is of this form, at a layer that is linear."""
    rule = step.rule
    return linear.is_linear(step.layer) and (
        isinstance(rule, Z | Epsilon | StdEpsilon | Sign | WSquare | Flat | ZPlusFast)
        or (isinstance(rule, Gamma) and not rule.signed)
    )


def quotient_of(step: Step) -> Quotient:
    """The rule of the step, taken apart; `has_quotient` says where that can be done."""
    rule, x = step.rule, step.inputs
    ones = tuple(np.ones(each.shape) for each in x)
    weights = own_weights(step.layer, bool(getattr(rule, "bias", True)))
    bare = without_bias(weights)
    match rule:
        case Sign():
            return Quotient(tuple(sign_of(each, rule.threshold) for each in x), x, weights, bare)
        case WSquare():
            squares = {name: weight**2 for name, weight in weights.items()}
            return Quotient(ones, ones, squares, without_bias(squares))
        case Flat():
            flat = {name: np.ones(weight.shape) for name, weight in bare.items()}
            return Quotient(ones, ones, flat, flat)
        case ZPlusFast():
            return Quotient(x, x, positive(bare), positive(bare))
        case Gamma():
            raised = {name: weight + rule.gamma * np.maximum(weight, 0.0) for name, weight in weights.items()}
            return Quotient(x, x, raised, without_bias(raised))
    return Quotient(x, x, weights, bare)


def carried(step: Step, quotient: Quotient) -> Arrays:
    """The relevance of each input."""
    z = linear.apply(step.layer, quotient.seen, quotient.below)
    s = step.relevance / counted(step)(z)
    passed = linear.transpose(step.layer, s, quotient.above)
    return tuple(front * each for front, each in zip(quotient.front, passed, strict=True))


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
