"""A step carried out: the oracle's rule, with whatever deviations have put in the place of its parts.

``z`` is what a rule stabilises and divides by; a rule may have two (alpha-beta, gamma). Arrays are
batch-first, channels-last, float64; the notation is that of :mod:`harness.methods.rules`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from harness.methods import StdEpsilon
from harness.steps import Step
from reference_impls.deviations.backward.wholes import of_rows, spread
from reference_impls.oracle import rules
from reference_impls.oracle.linear import Arrays
from reference_impls.oracle.parts import Denominator, TimesDeviation, stabilize, stabilize_by

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
    own = step.denominator is None and "z" not in step.notes
    if own and step.whole is not None:
        # The rule takes the standard deviation over all of an input, of which an excerpt has but a part.
        own = not isinstance(step.rule, StdEpsilon)
    return rules.propagate(step.layer, step.inputs, step.relevance, step.rule, None if own else counted(step))


def divide_by(step: Step, z: np.ndarray) -> np.ndarray:
    """What this step divides by where the rule writes ``S(z)``."""
    return specified(step, z) if step.denominator is None else step.denominator(step, z)


def specified(step: Step, z: np.ndarray) -> np.ndarray:
    """``S(z)`` of the step's rule; ``z`` itself for a rule that has no denominator."""
    stabilizer = rules.stabilizer_of(step.rule)
    if stabilizer is None:
        return z
    if isinstance(stabilizer, TimesDeviation):
        return stabilize_by(z, stabilizer.factor * of_rows(step, spread(step), z))
    return stabilize(z, stabilizer)


def counted(step: Step) -> Denominator:
    """:func:`divide_by` for one run of the rule; ``notes["division"]`` then says which of its divisions it is.

    Where the step already has its ``z`` (``notes["z"]``, one for each division), that is taken: only some of
    the inputs are then there to compute it from, see `narrowing.narrowed`.
    """
    count = 0

    def divisor(z: np.ndarray) -> np.ndarray:
        nonlocal count
        numbered = replace(step, notes={**step.notes, "division": count})
        known = step.notes["z"][count] if "z" in step.notes else z
        count += 1
        return divide_by(numbered, known)

    return divisor
