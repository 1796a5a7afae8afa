"""Alpha-beta taken apart: what each of its two shares is before they are weighted, with the bias anywhere.

``A = x+ * f^T(s; W+) + x- * f^T(s; W-)``, ``s = R / S(f(x+; W+, c) + f(x-; W-, d))`` and the same for ``B`` with
``W+`` and ``W-`` exchanged (`reference_impls.oracle.signed_rules`). ``c`` and ``d`` are what a placement says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np

from harness.methods import AlphaBeta
from harness.steps import Step
from reference_impls.deviations.backward.altering import Change
from reference_impls.deviations.backward.carrying import counted
from reference_impls.oracle import linear
from reference_impls.oracle.linear import Arrays, Weights
from reference_impls.oracle.parts import back, negative, own_weights, positive, signs, without_bias

#: A part of the bias: that of the sign of the share, that of the other sign, all of it, or nothing.
Part = Literal["same", "other", "whole", "none"]
#: Which part goes with ``f(x+)`` and which with ``f(x-)``.
Placement = tuple[Part, Part]
Share = Callable[[], np.ndarray]


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
    """``alpha * A - beta * B``; a ``B`` with the factor 0 is not computed, as in the rule."""
    if not isinstance(step.rule, AlphaBeta):
        raise TypeError(f"expected AlphaBeta at {step.layer.name}, found {type(step.rule).__name__}")
    placement = step.notes.get("placement", placement_of(step.rule))
    alpha, beta = step.notes.get("factors", (step.rule.alpha, step.rule.beta))
    activating, inhibiting = shares(step, placement)
    result = alpha * activating()
    return (result - beta * inhibiting() if beta != 0 else result,)


def shares(step: Step, placement: Placement) -> tuple[Share, Share]:
    """``A`` and ``B``, each computed when it is called; ``A`` has to be called first, as the rule does."""
    weights = own_weights(step.layer, bias=True)
    upper, lower = positive(weights), negative(weights)
    x_upper, x_lower = signs(step.inputs[0])
    divisor = counted(step)

    def with_part(of: Weights, same: Weights, other: Weights, part: Part) -> Weights:
        bare = without_bias(of)
        if part == "none" or "bias" not in weights:
            return bare
        parts = {"same": same, "other": other, "whole": weights}
        return {**bare, "bias": parts[part]["bias"]}

    def share(for_upper: Weights, for_lower: Weights) -> np.ndarray:
        beside_upper = with_part(for_upper, for_upper, for_lower, placement[0])
        beside_lower = with_part(for_lower, for_upper, for_lower, placement[1])
        z = linear.apply(step.layer, (x_upper,), beside_upper) + linear.apply(
            step.layer, (x_lower,), beside_lower
        )
        s = step.relevance / divisor(z)
        return x_upper * back(step.layer, s, for_upper) + x_lower * back(step.layer, s, for_lower)

    return (lambda: share(upper, lower)), (lambda: share(lower, upper))
