"""Every kernel rule as a sum of terms, each with one division: where operands are rounded, or another transpose used.

``R_x = sum of factor * sum over above of y * f^T(s; V)`` with ``s = R / S(sum over below of f(y; V, c))``, the pairs
``(y, V)`` and the factors those of the rule (`harness.methods.rules`). What happens to the numbers on the way is an
:class:`Arithmetic`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harness.graph import Layer
from harness.methods import AlphaBeta, AlphaBetaX, Bounded, Gamma, Gradient
from harness.steps import Step
from reference_impls.deviations.backward.carrying import counted
from reference_impls.deviations.backward.kinds import has_weights
from reference_impls.deviations.backward.quotients import changed_quotient, has_quotient
from reference_impls.deviations.backward.signed_shares import placement_of
from reference_impls.oracle import linear
from reference_impls.oracle.linear import Arrays, Weights, weights_of
from reference_impls.oracle.parts import negative, own_weights, positive, signs, without_bias

Pairs = tuple[tuple[Arrays, Weights], ...]
Elementwise = Callable[[np.ndarray], np.ndarray]
#: ``f^T(s; V)`` of a layer.
Transpose = Callable[[Layer, np.ndarray, Weights], Arrays]


def unchanged(x: np.ndarray) -> np.ndarray:
    """``x``"""
    return x


@dataclass(frozen=True, eq=False)
class Term:
    """One division. ``only``: 1 where it counts where ``f(x; W, b)`` is positive alone, -1 where negative alone."""

    factor: float
    below: Pairs
    above: Pairs
    only: int = 0


@dataclass(frozen=True)
class Arithmetic:
    """What becomes of what the two directions of the layer read, of the bias, of what they give, and of all the rest.

    ``sums``: of ``f(y; V)`` before the bias is added; None where the bias is in the same sum.
    """

    operand: Elementwise = unchanged
    bias: Elementwise = unchanged
    sums: Elementwise | None = None
    product: Elementwise = unchanged
    rest: Elementwise = unchanged
    transpose: Transpose = linear.transpose


def has_terms(step: Step) -> bool:
    """Whether the step's rule is such a sum, or the gradient, at a layer with weights."""
    rule = step.rule
    if not has_weights(step):
        return False
    if isinstance(rule, Bounded):
        return rule.times_inputs
    return has_quotient(step) or isinstance(rule, AlphaBeta | AlphaBetaX | Gamma | Gradient)


def carried(step: Step, arithmetic: Arithmetic) -> Arrays:
    """The relevance of each input; for the gradient ``f^T(R; W)``."""
    do = arithmetic
    if isinstance(step.rule, Gradient):
        passed = _transposed(step, do, step.relevance, weights_of(step.layer))
        return tuple(do.rest(each) for each in passed)
    divisor = counted(step)
    total: Arrays = tuple(np.zeros(x.shape) for x in step.inputs)
    for term in terms_of(step):
        relevance = step.relevance
        if term.only:
            own = _applied(step, do, step.inputs, weights_of(step.layer))
            relevance = np.where(term.only * own > 0, relevance, 0.0)
        z, *others = (_applied(step, do, seen, weights) for seen, weights in term.below)
        for other in others:
            z = do.rest(z + other)
        s = do.rest(relevance / do.rest(divisor(z)))
        share: Arrays | None = None
        for front, weights in term.above:
            passed = _transposed(step, do, s, weights)
            products = tuple(do.rest(y * each) for y, each in zip(front, passed, strict=True))
            share = products if share is None else _added(do, share, products)
        assert share is not None
        total = _added(do, total, tuple(do.rest(term.factor * part) for part in share))
    return total


def _added(do: Arithmetic, one: Arrays, other: Arrays) -> Arrays:
    return tuple(do.rest(a + b) for a, b in zip(one, other, strict=True))


def _applied(step: Step, do: Arithmetic, seen: Arrays, weights: Weights) -> np.ndarray:
    """``f(y; V, c)``: of rounded operands, the bias on its own."""
    bare = {name: do.operand(weight) for name, weight in without_bias(weights).items()}
    z = linear.apply(step.layer, tuple(do.operand(y) for y in seen), bare)
    if "bias" in weights:
        z = (z if do.sums is None else do.sums(z)) + do.bias(weights["bias"])
    return do.product(z)


def _transposed(step: Step, do: Arithmetic, s: np.ndarray, weights: Weights) -> Arrays:
    bare = {name: do.operand(weight) for name, weight in without_bias(weights).items()}
    return tuple(do.product(each) for each in do.transpose(step.layer, do.operand(s), bare))


def terms_of(step: Step) -> tuple[Term, ...]:
    """The terms of the step's rule, in the order of its divisions."""
    match step.rule:
        case AlphaBeta():
            return _alpha_beta(step, step.rule)
        case AlphaBetaX():
            return _alpha_beta_x(step, step.rule)
        case Bounded():
            return _bounded(step, step.rule)
        case Gamma(signed=True):
            return _gamma(step, step.rule)
    quotient = changed_quotient(step)
    return (Term(1.0, ((quotient.seen, quotient.below),), ((quotient.front, quotient.above),)),)


def _alpha_beta(step: Step, rule: AlphaBeta) -> tuple[Term, ...]:
    """``A`` and ``B``; the placement of the bias and the two factors may have been changed before."""
    alpha, beta = step.notes.get("factors", (rule.alpha, rule.beta))
    beside_upper, beside_lower = step.notes.get("placement", placement_of(rule))
    weights = own_weights(step.layer, bias=True)
    upper, lower = positive(weights), negative(weights)
    x_upper, x_lower = signs(step.inputs[0])

    def term(factor: float, same: Weights, other: Weights) -> Term:
        parts = {"same": same, "other": other, "whole": weights, "none": {}}

        def with_part(of: Weights, part: str) -> Weights:
            bare = without_bias(of)
            return {**bare, "bias": parts[part]["bias"]} if "bias" in parts[part] else bare

        below = (((x_upper,), with_part(same, beside_upper)), ((x_lower,), with_part(other, beside_lower)))
        return Term(factor, below, (((x_upper,), same), ((x_lower,), other)))

    activating = term(alpha, upper, lower)
    return (activating,) if beta == 0 else (activating, term(-beta, lower, upper))


def _alpha_beta_x(step: Step, rule: AlphaBetaX) -> tuple[Term, ...]:
    weights = own_weights(step.layer, bias=True)
    upper, lower = positive(weights), negative(weights)
    x_upper, x_lower = signs(step.inputs[0])
    of = (
        (rule.alpha[0], x_upper, upper),
        (rule.alpha[1], x_lower, lower),
        (-rule.beta[0], x_upper, lower),
        (-rule.beta[1], x_lower, upper),
    )
    return tuple(Term(factor, (((y,), part),), (((y,), part),)) for factor, y, part in of)


def _bounded(step: Step, rule: Bounded) -> tuple[Term, ...]:
    weights = own_weights(step.layer, bias=False)
    (x,) = step.inputs
    pairs = (
        ((x,), weights),
        ((np.full(x.shape, -rule.low),), positive(weights)),
        ((np.full(x.shape, -rule.high),), negative(weights)),
    )
    return (Term(1.0, pairs, pairs),)


def _gamma(step: Step, rule: Gamma) -> tuple[Term, ...]:
    weights = own_weights(step.layer, bias=True)
    raised = {name: weight + rule.gamma * np.maximum(weight, 0.0) for name, weight in weights.items()}
    lowered = {name: weight + rule.gamma * np.minimum(weight, 0.0) for name, weight in weights.items()}
    x_upper, x_lower = signs(step.inputs[0])

    def term(only: int, for_upper: Weights, for_lower: Weights) -> Term:
        pairs = (((x_upper,), for_upper), ((x_lower,), without_bias(for_lower)))
        return Term(1.0, pairs, pairs, only)

    return term(1, raised, lowered), term(-1, lowered, raised)
