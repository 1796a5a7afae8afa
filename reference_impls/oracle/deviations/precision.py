"""Fewer digits: operands, denominators and results rounded to a format; values that are no numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from harness.graph import Layer
from harness.steps import Deviation, Step
from reference_impls.oracle.deviations.altering import (
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
from reference_impls.oracle.deviations.estimating import as_it_stands
from reference_impls.oracle.deviations.stabilizers import has_denominator
from reference_impls.oracle.linear import Arrays

Format = Callable[[np.ndarray], np.ndarray]


def to_float32(x: np.ndarray) -> np.ndarray:
    """The nearest float32, as float64; infinite beyond its range."""
    with np.errstate(over="ignore"):
        return np.asarray(x, dtype=np.float64).astype(np.float32).astype(np.float64)


def to_float16(x: np.ndarray) -> np.ndarray:
    """The nearest float16, as float64; infinite beyond its range."""
    with np.errstate(over="ignore"):
        return np.asarray(x, dtype=np.float64).astype(np.float16).astype(np.float64)


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 (8 significant bits, the exponents of float32), ties to even, as float64."""
    return _of_bits(x, 16)


def to_tf32(x: np.ndarray) -> np.ndarray:
    """The nearest number of 11 significant bits with the exponents of float32 (TensorFloat-32), ties to even."""
    return _of_bits(x, 13)


def _of_bits(x: np.ndarray, dropped: int) -> np.ndarray:
    """float32 without its last ``dropped`` bits, rounded to the nearest, ties to even."""
    with np.errstate(over="ignore"):
        single = np.asarray(x, dtype=np.float64).astype(np.float32)
    bits = single.view(np.uint32).astype(np.uint64)
    half = np.uint64(1 << (dropped - 1))
    odd = (bits >> np.uint64(dropped)) & np.uint64(1)
    rounded = (bits + half - np.uint64(1) + odd) & ~np.uint64((1 << dropped) - 1)
    result = rounded.astype(np.uint32).view(np.float32).astype(np.float64)
    return np.where(np.isfinite(single), result, single.astype(np.float64))


FORMATS: dict[str, Format] = {
    "tf32": to_tf32,
    "bfloat16": to_bfloat16,
    "float16": to_float16,
    "float32": to_float32,
}


#: Tensor cores read their operands in this format; nothing is stored in it.
OPERANDS_ONLY = ("tf32",)


def formats(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """Each format in each place where numbers are handed on."""
    for name, rounding in FORMATS.items():
        operands = chained(with_inputs(rounding), with_weights(partial(_rounded, rounding)))
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
            ("the weights are", with_weights(partial(_rounded, rounding))),
        )
        if name not in OPERANDS_ONLY:
            everything = chained(
                operands, with_relevance(rounding), *_between(step, rounding), then(rounding)
            )
            places += (
                ("every operand and every result on the way is", everything),
                ("the result is", then(rounding)),
                ("the relevance of the output is", with_relevance(rounding)),
                ("relevance of output and inputs is", chained(with_relevance(rounding), then(rounding))),
            )
        for said, change in places:
            yield deviation("precision", f"{said} rounded to {name}", change, {"format": name})


def _between(step: Step, rounding: Format) -> tuple[Change, ...]:
    """``z``, ``S(z)`` and the quotient rounded, where the rule divides."""
    if not has_denominator(step.rule):
        return ()
    return (
        with_z(lambda _, z: rounding(z)),
        with_divisor(lambda _, divisor: rounding(divisor)),
        with_divisor(partial(_rounded_quotient, rounding)),
    )


def _rounded(rounding: Format, layer: Layer, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: rounding(weight) for name, weight in weights.items()}


def _rounded_quotient(rounding: Format, step: Step, divisor: np.ndarray) -> np.ndarray:
    """What ``R`` has to be divided by for the rounded ``R / S(z)`` to come out."""
    quotient = rounding(step.relevance / divisor)
    usable = np.isfinite(quotient) & (quotient != 0)
    return np.where(usable, step.relevance / np.where(usable, quotient, 1.0), divisor)


def missing_numbers(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """NaN and infinity, made or taken away, after the step."""
    if any(not np.isfinite(part).all() for part in as_it_stands(step)):
        kept = partial(np.nan_to_num, posinf=np.inf, neginf=-np.inf)
        yield deviation("nan", "NaN in the result is replaced by 0", then(kept))
        yield deviation("nan", "NaN and infinity in the result are replaced by 0", then(_finite))
    if not any(not np.isfinite(part).all() for part in observed):
        return
    words = "zeros of the result have become NaN (0/0)"
    yield deviation("nan", words, then(lambda part: np.where(part == 0, np.nan, part)), generic=True)
    words = "zeros of the relevance of the output become NaN before the step (0/0)"
    yield deviation(
        "nan", words, with_relevance(lambda part: np.where(part == 0, np.nan, part)), generic=True
    )
    for name, rounding in (("float16", to_float16), ("float32", to_float32)):
        words = f"values beyond the range of {name} have become infinite"
        yield deviation("nan", words, then(partial(_overflowing, rounding)))
    if all(np.isnan(part).all() for part in observed):
        yield deviation(
            "nan",
            "every value of the result is NaN",
            then(lambda part: np.full(part.shape, np.nan)),
            generic=True,
        )


def _finite(x: np.ndarray) -> np.ndarray:
    return np.nan_to_num(x, posinf=0.0, neginf=0.0)


def _overflowing(rounding: Format, x: np.ndarray) -> np.ndarray:
    return np.where(np.isinf(rounding(x)), rounding(x), x)
