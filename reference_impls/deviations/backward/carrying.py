"""A step carried out: the oracle's rule, with whatever deviations have put in the place of its parts.

``z`` is what a rule stabilises and divides by; a rule may have two (alpha-beta, gamma). Arrays are
batch-first, channels-last, float64; the notation is that of :mod:`harness.methods.rules`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np

from harness.methods import (
    BatchNormReverse,
    Epsilon,
    FusedBatchNorm,
    ReplaceZero,
    Rule,
    Stabilizer,
    StdEpsilon,
    Z,
)
from harness.steps import Step
from reference_impls.deviations.backward.wholes import of_rows, spread
from reference_impls.oracle import forward, rules
from reference_impls.oracle.linear import Arrays, weights_of
from reference_impls.oracle.parts import Denominator, away_from_zero, stabilize

#: What is divided by, from the step and ``z``.
Divisor = Callable[[Step, np.ndarray], np.ndarray]


def carry_out(step: Step) -> Arrays:
    """The relevance of each input of ``step.layer``, (batch, *input shape) each.

    Raises what `rules.propagate` raises: UnsupportedMethodError for a rule without a reading at the layer,
    InvalidInputError for arrays that do not fit it.
    """
    # As in `propagate`: what overflows is the step's own result.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        result = by_rule(step) if step.formula is None else step.formula(step)
        for change in step.after:
            result = change(step, result)
    return result


def by_rule(step: Step) -> Arrays:
    """The rule's own formula, divided by what the step says."""
    if isinstance(step.rule, BatchNormReverse):
        return _batch_norm_reverse(step, step.rule)
    rule: Rule = step.rule
    own = step.denominator is None and "z" not in step.notes
    if not own or (step.whole is not None and isinstance(rule, StdEpsilon)):
        rule = _dividing_by(rule, counted(step))
    return rules.propagate(step.layer, step.inputs, step.relevance, rule)


def divide_by(step: Step, z: np.ndarray) -> np.ndarray:
    """What this step divides by where the rule writes ``S(z)``."""
    return specified(step, z) if step.denominator is None else step.denominator(step, z)


def specified(step: Step, z: np.ndarray) -> np.ndarray:
    """``S(z)`` of the step's rule; ``z`` itself for a rule that has no denominator."""
    return _specified(step, step.rule, z)


def _specified(step: Step, rule: Rule, z: np.ndarray) -> np.ndarray:
    match rule:
        case Epsilon() | BatchNormReverse():
            return away_from_zero(z, rule.epsilon)
        case StdEpsilon():
            epsilon = rule.factor * of_rows(step, spread(step), z)
            return stabilize(away_from_zero(z, epsilon), ReplaceZero())
        case FusedBatchNorm():
            return _specified(step, rule.rule, z)
    stabilizer = getattr(rule, "stabilizer", None)
    return z if stabilizer is None else stabilize(z, stabilizer)


def counted(step: Step) -> Denominator:
    """:func:`divide_by` for one run of the rule; ``notes["division"]`` then says which of its divisions it is.

    Where the step already has its ``z`` (``notes["z"]``, one for each division), that is taken: only some of
    the inputs are then there to compute it from, see `estimating.narrowed`.
    """
    count = 0

    def divisor(z: np.ndarray) -> np.ndarray:
        nonlocal count
        numbered = replace(step, notes={**step.notes, "division": count})
        known = step.notes["z"][count] if "z" in step.notes else z
        count += 1
        return divide_by(numbered, known)

    return divisor


def _dividing_by(rule: Rule, denominator: Denominator) -> Rule:
    """``rule`` with another denominator; Epsilon and StdEpsilon are Z once theirs is taken away."""
    # The rules take whatever `parts.stabilize` takes.
    stabilizer = cast(Stabilizer, denominator)
    match rule:
        case Epsilon() | StdEpsilon():
            return Z(rule.bias, stabilizer)
        case FusedBatchNorm():
            return replace(rule, rule=cast(Any, _dividing_by(rule.rule, denominator)))
    return replace(cast(Any, rule), stabilizer=stabilizer) if hasattr(rule, "stabilizer") else rule


def _batch_norm_reverse(step: Step, rule: BatchNormReverse) -> Arrays:
    """``R_x = x * (y - beta) * R / S((x - mean) * y)`` (`reference_impls.oracle.batch_norm_rules`)."""
    if step.denominator is None:
        return rules.propagate(step.layer, step.inputs, step.relevance, rule)
    weights = weights_of(step.layer)
    (x,) = step.inputs
    y = forward.batch_norm(step.layer, step.inputs)
    return (x * (y - weights.get("beta", 0.0)) * step.relevance / divide_by(step, (x - weights["mean"]) * y),)
