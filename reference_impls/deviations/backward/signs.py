"""Signs: the threshold of the SIGN rule, values of one sign cut off, absolute values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from harness.methods import Sign
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import (
    Change,
    chained,
    deviation,
    then,
    with_formula,
    with_inputs,
    with_relevance,
    with_weights,
    with_z,
)
from reference_impls.deviations.backward.carrying import carry_out, counted
from reference_impls.deviations.backward.estimating import rounded_alike
from reference_impls.deviations.backward.kinds import has_bias, has_weights
from reference_impls.deviations.backward.quotients import (
    Quotient,
    carried,
    changed_quotient,
    has_quotient,
    quotient_of,
    with_quotient,
)
from reference_impls.deviations.backward.stabilizers import has_denominator
from reference_impls.oracle import linear
from reference_impls.oracle.linear import Arrays, Weights
from reference_impls.oracle.parts import back, negative, positive, sign_of, signs, without_bias

Elementwise = Callable[[np.ndarray], np.ndarray]
PartOfWeights = Callable[[Weights], Weights]
THRESHOLDS = (-1.0, -0.5, 0.0, 0.5, 1.0)


def above_zero(x: np.ndarray) -> np.ndarray:
    """``max(x, 0)``"""
    return np.maximum(x, 0.0)


def below_zero(x: np.ndarray) -> np.ndarray:
    """``min(x, 0)``"""
    return np.minimum(x, 0.0)


def but_bias(function: Elementwise, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """``function`` of every weight but the bias."""
    return {name: weight if name == "bias" else function(weight) for name, weight in weights.items()}


# The SIGN rule ---------------------------------------------------------------------------------------


def thresholds(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """The signs of the SIGN rule: ``s`` in ``R_x = s * f^T(R / S(z); W)``."""
    rule = step.rule
    if not isinstance(rule, Sign) or not has_quotient(step):
        return
    mu = rule.threshold
    if mu <= -1:
        yield from _at(mu, mu)
    for words, reading in (
        (f"a value equal to the threshold {mu:g} counts as below it (> instead of >=)", partial(_over, mu)),
        ("the sign is x / |x|, where 0/0 is replaced by 0, instead of 1 at 0", np.sign),
        ("a value equal to the threshold counts as 0", lambda x: np.sign(x - mu)),
        ("the signs are exchanged", lambda x: -_from(mu, x)),
        ("the sign is 1 everywhere", np.ones_like),
        ("the sign is 0 instead of -1 below the threshold", lambda x: np.where(x >= mu, 1.0, 0.0)),
        ("the sign is 0 instead of -1 at the threshold and below", lambda x: np.where(x > mu, 1.0, 0.0)),
        ("the sign is x / (|x| + 1e-07)", lambda x: x / (np.abs(x) + 1e-7)),
        (f"the threshold {mu:g} is applied to |x|", lambda x: _from(mu, np.abs(x))),
        (f"the threshold {mu:g} is applied to |x|, with >", lambda x: _over(mu, np.abs(x))),
        (
            f"the sign is that of x where |x| >= {mu:g} and 0 elsewhere",
            lambda x: np.where(np.abs(x) >= mu, np.sign(x), 0.0),
        ),
        (
            f"the sign is that of x where |x| > {mu:g} and 0 elsewhere",
            lambda x: np.where(np.abs(x) > mu, np.sign(x), 0.0),
        ),
    ):
        yield _signs(words, reading)
    if mu != 0:
        yield _signs("an input of 0 has the sign 0", lambda x: np.where(x == 0, 0.0, sign_of(x, mu)))
    words = "the sign is that of the relevance that comes back instead of that of x"
    yield deviation("sign-threshold", words, with_formula(partial(_sign_of_relevance, mu)))
    between = _threshold(step, observed)
    yield _signs("the sign is x / |x| with 0/0 as it is", lambda x: x / np.abs(x), cause="nan")
    written = () if between is None else (_written(*between),)
    for other in dict.fromkeys((*written, *THRESHOLDS)):
        if not rounded_alike(other, mu):
            yield from _at(other, mu)


def _at(other: float, mu: float) -> Iterator[Deviation]:
    if other == mu:
        words = f"the threshold {mu:g} is applied, where the rule takes 1 everywhere"
        yield _signs(words, partial(_from, other), threshold=other)
        return
    words = f"the threshold is {other:g} instead of {mu:g}"
    yield _signs(words, partial(_from, other), threshold=other)
    yield _signs(f"{words}, and a value equal to it counts as below", partial(_over, other), threshold=other)
    yield _signs(
        f"{words}, and a value equal to it counts as 0", lambda x: np.sign(x - other), threshold=other
    )


def _signs(
    words: str, signs_of: Elementwise, cause: str = "sign-threshold", **parameters: float
) -> Deviation:
    def change(step: Step, quotient: Quotient) -> Quotient:
        return replace(quotient, front=tuple(signs_of(x) for x in step.inputs))

    return deviation(cause, words, with_quotient(change), parameters)


def _from(threshold: float, x: np.ndarray) -> np.ndarray:
    return np.where(x >= threshold, 1.0, -1.0)


def _over(threshold: float, x: np.ndarray) -> np.ndarray:
    return np.where(x > threshold, 1.0, -1.0)


def _sign_of_relevance(threshold: float, step: Step) -> Arrays:
    """``t * f^T(R / S(z); W)``, ``t`` the sign of what it is multiplied by."""
    ones = tuple(np.ones(x.shape) for x in step.inputs)
    passed = carried(step, replace(changed_quotient(step), front=ones))
    return tuple(each * sign_of(each, threshold) for each in passed)


def _threshold(step: Step, observed: Arrays) -> tuple[float, float] | None:
    """The largest input that has another sign than 1 and the smallest that has it; None where they overlap."""
    ones = with_quotient(lambda each, quotient: replace(quotient, front=(np.ones(each.inputs[0].shape),)))
    (bare,), (x,) = carry_out(ones(step)), step.inputs
    clear = np.isfinite(observed[0]) & np.isfinite(bare) & (bare != 0) & (observed[0] != 0)
    same = (np.sign(observed[0]) == np.sign(bare))[clear]
    if same.all() or not same.any():
        return None
    highest, lowest = float(x[clear][~same].max()), float(x[clear][same].min())
    return (highest, lowest) if highest < lowest else None


def _written(highest: float, lowest: float) -> float:
    """A threshold above ``highest`` and not above ``lowest``: a usual one, or of few digits, or ``lowest`` itself."""
    middle = (highest + lowest) / 2
    for candidate in (*THRESHOLDS, *(round(middle, digits) for digits in (0, 1, 2, 3))):
        if highest < candidate <= lowest:
            return candidate + 0.0
    return lowest


# Values of one sign cut off --------------------------------------------------------------------------


def clipped(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """Negative, or positive, values set to zero somewhere on the way."""
    one_way = (("negative", above_zero), ("positive", below_zero))
    for sign, cut in one_way:
        yield _clip(f"{sign} values of the result are set to zero", then(cut))
        yield _clip(f"{sign} relevance of the output is set to zero before the step", with_relevance(cut))
        if len(step.inputs) == 1 and has_denominator(step.rule):
            yield _clip(f"{sign} inputs are set to zero", with_inputs(cut))
    both = chained(with_relevance(above_zero), then(above_zero))
    yield _clip(
        "negative relevance is set to zero before the step, and negative values of the result after it", both
    )
    if not has_denominator(step.rule):
        return
    for sign, cut in one_way:
        words = f"{sign} values of z are set to zero before it is stabilised and divided by"
        yield _clip(words, with_z(partial(_cut, cut)))
    if has_weights(step):
        yield from _clipped_weights(step)


def _clipped_weights(step: Step) -> Iterator[Deviation]:
    words = "negative weights are set to zero, the bias is not"
    yield _clip(words, with_weights(lambda _, weights: but_bias(above_zero, weights)))
    if has_bias(step):
        words = "negative weights and biases are set to zero"
        yield _clip(words, with_weights(lambda _, weights: dict(positive(weights))))
    if has_quotient(step):
        words = "negative contributions x * W are set to zero, the denominator is z as before"
        yield _clip(words, with_formula(partial(_contributions_of, positive, negative)))
        words = "positive contributions x * W are set to zero, the denominator is z as before"
        yield _clip(words, with_formula(partial(_contributions_of, negative, positive)))


def _cut(cut: Elementwise, step: Step, z: np.ndarray) -> np.ndarray:
    return cut(z)


def _clip(words: str, change: Change) -> Deviation:
    return deviation("negative-clipped", words, change)


def _contributions_of(upper_part: PartOfWeights, lower_part: PartOfWeights, step: Step) -> Arrays:
    """``x+ * f^T(s; W+) + x- * f^T(s; W-)`` with ``s = R / S(z)``, or the two exchanged."""
    quotient = quotient_of(step)
    s = step.relevance / counted(step)(linear.apply(step.layer, quotient.seen, quotient.below))
    x_upper, x_lower = signs(quotient.front[0])
    bare = without_bias(quotient.above)
    upper, lower = upper_part(bare), lower_part(bare)
    return (x_upper * back(step.layer, s, upper) + x_lower * back(step.layer, s, lower),)
