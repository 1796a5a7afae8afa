"""Absolute values where a rule keeps the sign, and sums of absolute contributions in the place of its denominator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from harness.methods import (
    Epsilon,
    ReplaceZero,
    SignedEpsilon,
    Stabilizer,
    StdEpsilon,
    Unprotected,
    Z,
)
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import (
    Change,
    chained,
    deviation,
    dividing_by,
    then,
    with_formula,
    with_inputs,
    with_relevance,
    with_weights,
    with_z,
)
from reference_impls.deviations.backward.kinds import has_bias, has_weights
from reference_impls.deviations.backward.quotients import Quotient, carried, has_quotient, with_quotient
from reference_impls.deviations.backward.signs import above_zero, but_bias
from reference_impls.deviations.backward.stabilizers import has_denominator
from reference_impls.oracle.linear import Arrays
from reference_impls.oracle.parts import own_weights, stabilize, without_bias
from reference_impls.oracle.rules import stabilizer_of

Elementwise = Callable[[np.ndarray], np.ndarray]


def absolutes(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """Absolute values where the rule keeps the sign."""
    yield _absolute("the result is taken absolute", then(np.abs))
    yield _absolute("the relevance of the output is taken absolute", with_relevance(np.abs))
    if not has_denominator(step.rule):
        return
    yield _absolute("the absolute value of z is stabilised and divided by", with_z(lambda _, z: np.abs(z)))
    if len(step.inputs) == 1:
        yield _absolute("the inputs are taken absolute", with_inputs(np.abs))
    if not has_weights(step):
        return
    words = "the weights are taken absolute, the bias is not"
    yield _absolute(words, with_weights(lambda _, weights: but_bias(np.abs, weights)))
    yield from _sums(step)
    if has_quotient(step):
        if not isinstance(step.rule, Z | Epsilon | StdEpsilon):  # whose own products are x * W
            yield from _of_own_factors(step)
        words = "the contributions are |x * W|, the denominator is z as before"
        yield _absolute(words, with_quotient(_above_absolute))


def _absolute(words: str, change: Change) -> Deviation:
    return deviation("absolute-contributions", words, change)


#: What becomes of the bias in a sum of absolute contributions.
BIASES: tuple[tuple[Elementwise | None, str], ...] = (
    (None, ""),
    (np.abs, ", with |b|"),
    (lambda b: b, ", with b"),
    (above_zero, ", with the positive part of b"),
)


def _of_own_factors(step: Step) -> Iterator[Deviation]:
    """Where the rule has other factors than ``x`` and ``W`` (signs, squares, W+): the absolute values of those."""
    for words, change in (
        ("the denominator is the sum of the absolute values of the rule's own products", _below_absolute),
        ("the rule's own products are absolute, and so is what they are divided by", _both_absolute),
    ):
        for of_bias, bias_words in BIASES if has_bias(step) else BIASES[:1]:
            yield _absolute(words + bias_words, with_quotient(partial(change, of_bias)))


def _below_absolute(of_bias: Elementwise | None, step: Step, quotient: Quotient) -> Quotient:
    below = {name: np.abs(weight) for name, weight in without_bias(quotient.below).items()}
    if of_bias is not None and "bias" in step.layer.weights:
        below["bias"] = of_bias(np.asarray(step.layer.weights["bias"], dtype=np.float64))
    return replace(quotient, seen=tuple(np.abs(x) for x in quotient.seen), below=below)


def _above_absolute(step: Step, quotient: Quotient) -> Quotient:
    above = {name: np.abs(weight) for name, weight in quotient.above.items()}
    return replace(quotient, front=tuple(np.abs(x) for x in quotient.front), above=above)


def _both_absolute(of_bias: Elementwise | None, step: Step, quotient: Quotient) -> Quotient:
    return _above_absolute(step, _below_absolute(of_bias, step, quotient))


# Sums of absolute contributions --------------------------------------------------------------------------


#: What such a sum is stabilised by, beside the rule's own; few find it necessary at all.
STABILIZERS: tuple[tuple[Stabilizer, str], ...] = (
    (Unprotected(), ", not stabilised"),
    (ReplaceZero(1e-7), ", with an exact zero replaced by 1e-07"),
    (SignedEpsilon(1e-7), ", plus 1e-07"),
)


def _sums(step: Step) -> Iterator[Deviation]:
    """``R_x = |x| * f^T(R / D; |W|)`` or ``x * f^T(R / D; W)``, ``D = f(|x|; |W|)`` with or without a bias.

    ``D`` is stabilised as the rule does it, in another way or not at all: one deviation each, since a sum of
    absolute values is never zero where anything contributes.
    """
    own = stabilizer_of(step.rule)
    for absolute, words in (
        (True, "the contributions are |x * W|, and so is what they are divided by"),
        (False, "the denominator is the sum of |x * W|, the contributions x * W keep their sign"),
    ):
        for of_bias, bias_words in BIASES if has_bias(step) else BIASES[:1]:
            change = with_formula(partial(_shared, absolute, of_bias))
            yield _absolute(words + bias_words, change)
            for stabilizer, sentence in STABILIZERS:
                if stabilizer != own:
                    other = chained(dividing_by(partial(_stabilized, stabilizer)), change)
                    yield _absolute(words + bias_words + sentence, other)


def _stabilized(stabilizer: Stabilizer, step: Step, z: np.ndarray) -> np.ndarray:
    return stabilize(z, stabilizer)


def _shared(absolute: bool, of_bias: Elementwise | None, step: Step) -> Arrays:
    weights = own_weights(step.layer, bias=False)
    plain = Quotient(step.inputs, step.inputs, weights, weights)
    change = _both_absolute if absolute else _below_absolute
    return carried(step, change(of_bias, step, plain))
