"""Fewer digits: operands, denominators and results rounded to a format; values that are no numbers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from harness.graph import Layer
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import (
    Change,
    chained,
    deviation,
    then,
    with_divisor,
    with_inputs,
    with_relevance,
    with_weights,
    with_z,
)
from reference_impls.deviations.backward.narrowing import as_it_stands
from reference_impls.deviations.backward.stabilizers import has_denominator
from reference_impls.deviations.backward.terms import has_terms
from reference_impls.deviations.distance import shows_nan
from reference_impls.deviations.formats import FLOAT16, FLOAT32, FORMATS, Rounding
from reference_impls.oracle.linear import Arrays

#: The formats of operands first: of two that come to the same, tensor cores are the more usual.
OPERANDS_FIRST = sorted(FORMATS, key=lambda each: not each.operands_only)


def rounded_weights(
    rounding: Rounding, layer: Layer, weights: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """All weights of a layer, the bias among them, rounded."""
    return {name: rounding(weight) for name, weight in weights.items()}


def formats(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """Each format in each place where numbers are handed on."""
    for each in OPERANDS_FIRST:
        rounding = each.round
        operands = chained(with_inputs(rounding), with_weights(partial(rounded_weights, rounding)))
        quotients: tuple[Change, ...] = (with_divisor(partial(_rounded_quotient, rounding)),)
        if not has_denominator(step.rule):
            quotients = (with_relevance(rounding),)
        places: tuple[tuple[str, Change], ...] = (
            (
                "the operands (inputs, weights, and what is multiplied by them on the way back) are",
                chained(operands, *quotients),
            ),
            ("the inputs and weights are", operands),
            ("the inputs are", with_inputs(rounding)),
            ("the weights are", with_weights(partial(rounded_weights, rounding))),
        )
        if not each.operands_only:
            everything = chained(
                operands, with_relevance(rounding), *_between(step, rounding), then(rounding)
            )
            if not has_terms(step):
                # Where there are products, `rounded_products` says what is rounded on the way.
                places += (("every operand and every result on the way is", everything),)
            places += (
                ("the result is", then(rounding)),
                ("the relevance of the output is", with_relevance(rounding)),
                ("relevance of output and inputs is", chained(with_relevance(rounding), then(rounding))),
            )
        for words, change in places:
            yield deviation("precision", f"{words} rounded to {each.words}", change, {"format": each.name})


def _between(step: Step, rounding: Rounding) -> tuple[Change, ...]:
    """``z``, ``S(z)`` and the quotient rounded, where the rule divides."""
    if not has_denominator(step.rule):
        return ()
    return (
        with_z(lambda _, z: rounding(z)),
        with_divisor(lambda _, divisor: rounding(divisor)),
        with_divisor(partial(_rounded_quotient, rounding)),
    )


def _rounded_quotient(rounding: Rounding, step: Step, divisor: np.ndarray) -> np.ndarray:
    """What ``R`` has to be divided by for the rounded ``R / S(z)`` to come out."""
    quotient = rounding(step.relevance / divisor)
    usable = np.isfinite(quotient) & (quotient != 0)
    return np.where(usable, step.relevance / np.where(usable, quotient, 1.0), divisor)


def missing_numbers(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """NaN and infinity, made or taken away, after the step."""
    if any(not np.isfinite(part).all() for part in as_it_stands(step)):
        kept = partial(np.nan_to_num, posinf=np.inf, neginf=-np.inf)
        yield deviation("nan", "NaN in the result is replaced by 0", then(kept))
        yield deviation(
            "nan",
            "NaN and infinity in the result are replaced by 0",
            then(partial(np.nan_to_num, posinf=0.0, neginf=0.0)),
        )
    if not shows_nan(observed):
        return
    words = "zeros of the result have become NaN (0/0)"
    yield deviation("nan", words, then(_nan_for_zero), generic=True)
    words = "zeros of the relevance of the output become NaN before the step (0/0)"
    yield deviation("nan", words, with_relevance(_nan_for_zero), generic=True)
    for each in (FLOAT16, FLOAT32):
        words = f"values beyond the range of {each.name} have become infinite"
        yield deviation("nan", words, then(partial(_overflowing, each.round)))
    if all(np.isnan(part).all() for part in observed):
        nothing = then(lambda part: np.full(part.shape, np.nan))
        yield deviation("nan", "every value of the result is NaN", nothing, generic=True)


def _nan_for_zero(x: np.ndarray) -> np.ndarray:
    return np.where(x == 0, np.nan, x)


def _overflowing(rounding: Rounding, x: np.ndarray) -> np.ndarray:
    return np.where(np.isinf(rounding(x)), rounding(x), x)
