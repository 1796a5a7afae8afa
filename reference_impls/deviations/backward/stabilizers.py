"""Denominators: another epsilon, another form of the stabilizer, another standard deviation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np

from harness.methods import (
    AddedEpsilon,
    BatchNormReverse,
    Epsilon,
    FusedBatchNorm,
    ReplaceZero,
    Rule,
    SignedEpsilon,
    StdEpsilon,
    Unprotected,
    Z,
)
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import Change, deviation, dividing_by, with_divisor
from reference_impls.deviations.backward.carrying import carry_out
from reference_impls.deviations.backward.estimating import is_as_specified, is_round, rounded_alike, solved
from reference_impls.deviations.backward.narrowing import divisions, narrowed
from reference_impls.deviations.backward.wholes import of_rows, spread, spread_of_z
from reference_impls.deviations.distance import shows_nan
from reference_impls.oracle.linear import Arrays
from reference_impls.oracle.parts import TimesDeviation, away_from_zero
from reference_impls.oracle.rules import stabilizer_of

#: What implementations have: library defaults, and what people write.
COMMON = (1e-12, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.25, 1.0)
FACTORS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0)
#: Where a search starts: dense where epsilon is of the size of ``z``, since a sum that crosses zero makes a pole.
GRID = (
    *(10.0**power for power in range(-13, -3)),
    *(digit * 10.0**power for power in range(-3, 1) for digit in (1.0, 2.0, 3.0, 5.0, 7.0)),
    *(10.0, 100.0, 1000.0),
)
#: Above this, epsilon is there to absorb relevance and no longer to keep a division from failing.
STABILIZING = 1e-4


def has_denominator(rule: Rule) -> bool:
    """Whether ``rule`` divides by anything."""
    return stabilizer_of(rule) is not None


# Another epsilon -------------------------------------------------------------------------------------


def epsilons(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """The stabilizer that the rule has, with another value."""
    known = _value_of(step.rule)
    if known is None or (_own_form(step.rule) is _replaced and all(z.all() for z in divisions(step))):
        return
    value, sentence = known

    def make(other: float) -> Change:
        return lambda altered: replace(altered, rule=_with_value(altered.rule, other))

    common = FACTORS if isinstance(step.rule, StdEpsilon) else COMMON
    estimate = _solved(step, observed, make)
    offered = [each for each in common if estimate is None or not rounded_alike(each, estimate)]
    for other in ([] if estimate is None else [estimate]) + offered:
        if not rounded_alike(other, value):
            words = sentence.format(other=f"{other:g}", specified=f"{value:g}")
            parameters = {"epsilon": other, "specified": value}
            # A value with many digits may be the best fit of another form, whose own value is round.
            generic = not is_round(float(f"{other:g}"))
            yield deviation("epsilon-value", words, make(other), parameters, generic=generic)
    held = float(np.float32(value))
    if held != value:
        words = f"the constant {value:g} is held in float32, {held:.10g}"
        yield deviation("precision", words, make(held), {"constant": held, "specified": value})


def _value_of(rule: Rule) -> tuple[float, str] | None:
    match stabilizer_of(rule):
        case SignedEpsilon(epsilon) | AddedEpsilon(epsilon):
            return epsilon, "epsilon is {other} instead of {specified}"
        case TimesDeviation(factor):
            return (
                factor,
                "epsilon is {other} times the standard deviation of the input instead of {specified}",
            )
        case ReplaceZero(value):
            return value, "an exact zero in the denominator is replaced by {other} instead of {specified}"
    return None


def _with_value(rule: Rule, value: float) -> Rule:
    # Which of the rules have which of these fields is asked of the rule itself.
    of: Any = rule
    match rule:
        case Epsilon() | BatchNormReverse():
            return replace(rule, epsilon=value)
        case StdEpsilon():
            return replace(rule, factor=value)
        case FusedBatchNorm():
            return cast(Rule, replace(of, rule=_with_value(rule.rule, value)))
    match getattr(rule, "stabilizer", None):
        case SignedEpsilon():
            return cast(Rule, replace(of, stabilizer=SignedEpsilon(value)))
        case AddedEpsilon():
            return cast(Rule, replace(of, stabilizer=AddedEpsilon(value)))
        case ReplaceZero():
            return cast(Rule, replace(of, stabilizer=ReplaceZero(value)))
    return rule


def _solved(step: Step, observed: Arrays, make: Callable[[float], Change]) -> float | None:
    if is_as_specified(step, observed):
        return None
    return solved(*narrowed(step, observed), make, GRID)


# Another form ----------------------------------------------------------------------------------------

Form = Callable[[float, Step, np.ndarray], np.ndarray]


def _signed(epsilon: float, step: Step, z: np.ndarray) -> np.ndarray:
    return away_from_zero(z, epsilon)


def _added(epsilon: float, step: Step, z: np.ndarray) -> np.ndarray:
    return z + epsilon


def _replaced(epsilon: float, step: Step, z: np.ndarray) -> np.ndarray:
    return np.where(z == 0, epsilon, z)


def _rms(over: str, epsilon: float, step: Step, z: np.ndarray) -> np.ndarray:
    """``z + epsilon * rms(z) + 1e-9``: `stabilize` of rodrigobdz/lrp, after Montavon et al. 2019."""
    return z + epsilon * of_rows(step, spread_of_z(step, z, "rms", over, carry_out), z) + 1e-9


def _signed_spread(statistic: str, over: str, epsilon: float, step: Step, z: np.ndarray) -> np.ndarray:
    return away_from_zero(z, epsilon * of_rows(step, spread_of_z(step, z, statistic, over, carry_out), z))


def _of_input(statistic: str, over: str, epsilon: float, step: Step, z: np.ndarray) -> np.ndarray:
    size = of_rows(step, spread(step, statistic=statistic, over=over), z)
    return np.where((size == 0) & (z == 0), ReplaceZero().value, away_from_zero(z, epsilon * size))


def _in_single(statistic: str, epsilon: float, step: Step, z: np.ndarray) -> np.ndarray:
    size = (epsilon * spread(step, statistic=statistic)).astype(np.float32).astype(np.float64)
    return away_from_zero(z, of_rows(step, size, z))


#: Each form with what it is in words, ``e`` standing for its epsilon.
FORMS: tuple[tuple[str, Form], ...] = (
    ("z + {e} on the side of the sign of z", _signed),
    ("z + {e} * sign(z) with nothing added where z is 0", lambda e, step, z: z + e * np.sign(z)),
    ("z + {e} whatever the sign of z", _added),
    (
        "z, but at least {e} in size",
        lambda e, step, z: np.where(z >= 0, 1.0, -1.0) * np.maximum(np.abs(z), e),
    ),
    ("max(z, {e})", lambda e, step, z: np.maximum(z, e)),
    ("z with an exact zero replaced by {e}", _replaced),
    ("z + {e} * rms(z) + 1e-09, the mean over the whole tensor", partial(_rms, "batch")),
    ("z + {e} * rms(z) + 1e-09, the mean over each sample", partial(_rms, "sample")),
    (
        "z + {e} * rms(z) on the side of the sign, the mean over the whole tensor",
        partial(_signed_spread, "rms", "batch"),
    ),
    (
        "z + {e} * rms(z) on the side of the sign, the mean over each sample",
        partial(_signed_spread, "rms", "sample"),
    ),
    ("z + {e} * std(x) on the side of the sign", partial(_of_input, "std", "sample")),
    ("z + {e} * std(x) with ddof 1 on the side of the sign", partial(_of_input, "std1", "sample")),
    ("z + {e} * rms(x) on the side of the sign", partial(_of_input, "rms", "sample")),
    ("z + {e} * var(x) on the side of the sign", partial(_of_input, "variance", "sample")),
    ("z + {e} * mean|x| on the side of the sign", partial(_of_input, "mean", "sample")),
    ("z + {e} * std(z) on the side of the sign, over each sample", partial(_signed_spread, "std", "sample")),
    ("z + {e} * max|x| on the side of the sign", partial(_of_input, "largest", "sample")),
)


#: Forms whose constant is one of :data:`FACTORS`: it is not found by steps, which rounding to float32 swallows.
IN_SINGLE: tuple[tuple[str, Form], ...] = (
    ("z + {e} * std(x) as float32 holds it, on the side of the sign", partial(_in_single, "std")),
    (
        "z + {e} * std(x) with ddof 1 as float32 holds it, on the side of the sign",
        partial(_in_single, "std1"),
    ),
)


def forms(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """The denominator stabilised in another way; the epsilon of each form is the rule's own, or found."""
    if not has_denominator(step.rule):
        return
    own = _own_form(step.rule)
    known = _value_of(step.rule)
    specified = _in_words(step.rule)
    # First, because every form comes to the same with an epsilon of next to nothing.
    yield from _without(step, observed, specified)
    part = None if is_as_specified(step, observed) else narrowed(step, observed)
    for sentence, form in FORMS:
        if form is own or (isinstance(step.rule, StdEpsilon) and "std(x)" in sentence):
            continue
        values = [] if known is None else [known[0]]
        estimate = None if part is None else solved(*part, partial(_dividing_by, form), GRID)
        if estimate is not None and not any(rounded_alike(estimate, each) for each in values):
            values = [estimate, *values]
        for value in values or [1e-7, 1e-9]:
            if form is _signed and isinstance(step.rule, Z) and value > STABILIZING:
                continue  # That is the Epsilon rule, and the layer has another rule.
            words = f"the denominator is {sentence.format(e=f'{value:g}')} instead of {specified}"
            parameters = {"form": sentence.format(e="epsilon"), "epsilon": value}
            change = _dividing_by(form, value)
            yield deviation("stabilizer-form", words, change, parameters, generic=not is_round(value))
    if part is None:
        return
    for sentence, form in IN_SINGLE:
        for value in FACTORS:
            words = f"the denominator is {sentence.format(e=f'{value:g}')} instead of {specified}"
            parameters = {"form": sentence.format(e="epsilon"), "epsilon": value}
            yield deviation("stabilizer-form", words, _dividing_by(form, value), parameters)


def _dividing_by(form: Form, epsilon: float) -> Change:
    return dividing_by(partial(form, epsilon))


def _without(step: Step, observed: Arrays, specified: str) -> Iterator[Deviation]:
    """No stabilizer, the quotient taken as 0 where there would be none, and something added to the rule's own."""
    if not isinstance(getattr(step.rule, "stabilizer", None), Unprotected):
        if shows_nan(observed):
            words = f"the denominator is unprotected (0/0 gives NaN, R/0 infinity) instead of {specified}"
            yield deviation("nan", words, dividing_by(_as_it_is))
        else:
            words = f"the denominator is not stabilised instead of {specified}"
            yield deviation("stabilizer-form", words, dividing_by(_as_it_is))
    words = f"where z is 0 the quotient is taken as 0, elsewhere z is not stabilised, instead of {specified}"
    yield deviation("stabilizer-form", words, dividing_by(lambda step, z: np.where(z == 0, np.inf, z)))
    for added in (1e-9, 1e-12):
        words = f"{added:g} is added to the denominator besides {specified}"
        yield deviation("stabilizer-form", words, with_divisor(partial(_plus, added)), {"added": added})


def _as_it_is(step: Step, z: np.ndarray) -> np.ndarray:
    return z


def _plus(added: float, step: Step, divisor: np.ndarray) -> np.ndarray:
    return divisor + added


def _own_form(rule: Rule) -> Form | None:
    match stabilizer_of(rule):
        case SignedEpsilon():
            return _signed
        case AddedEpsilon():
            return _added
        case ReplaceZero():
            return _replaced
    return None


def _in_words(rule: Rule) -> str:
    match stabilizer_of(rule):
        case SignedEpsilon(epsilon):
            return f"z + {epsilon:g} on the side of the sign"
        case AddedEpsilon(epsilon):
            return f"z + {epsilon:g} whatever the sign of z"
        case TimesDeviation(factor):
            return f"z + {factor:g} * std(x) on the side of the sign"
        case ReplaceZero(value):
            return f"z with an exact zero replaced by {value:g}"
    return "z as it is"
