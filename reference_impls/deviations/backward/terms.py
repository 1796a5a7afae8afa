"""The terms of a rule (`reference_impls.oracle.terms`) where operands are rounded, or another transpose is used.

What happens to the numbers on the way is an :class:`Arithmetic`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harness.graph import Layer
from harness.methods import AlphaBeta, Gradient
from harness.steps import Step
from reference_impls.deviations.backward.carrying import counted
from reference_impls.deviations.backward.kinds import has_weights
from reference_impls.deviations.backward.quotients import changed_quotient, has_quotient, term_of
from reference_impls.deviations.backward.signed_shares import weighted_terms
from reference_impls.oracle import linear, terms
from reference_impls.oracle.linear import Arrays, Weights, weights_of
from reference_impls.oracle.parts import without_bias
from reference_impls.oracle.terms import TermAt

Elementwise = Callable[[np.ndarray], np.ndarray]
#: ``f^T(s; V)`` of a layer.
Transpose = Callable[[Layer, np.ndarray, Weights], Arrays]


def unchanged(x: np.ndarray) -> np.ndarray:
    """``x``"""
    return x


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
    if not has_weights(step):
        return False
    if isinstance(step.rule, Gradient):
        return True
    return terms.has_terms(step.rule) and not terms.terms_of(step.rule).cancels


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


def terms_of(step: Step) -> tuple[TermAt, ...]:
    """The terms of the step's rule, with what has been put in their places before, in the order of its divisions."""
    if isinstance(step.rule, AlphaBeta):
        return weighted_terms(step)
    if has_quotient(step):
        return (term_of(changed_quotient(step)),)
    return terms.terms_at(step.layer, step.inputs, terms.terms_of(step.rule))
