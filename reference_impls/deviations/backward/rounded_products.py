"""Products of rounded operands, as tensor cores and autocast compute them, and whole steps in fewer digits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

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
)
from reference_impls.deviations.backward.kinds import has_bias
from reference_impls.deviations.backward.precision import OPERANDS_FIRST, rounded_weights
from reference_impls.deviations.backward.terms import Arithmetic, carried, has_terms
from reference_impls.deviations.formats import Rounding
from reference_impls.oracle.linear import Arrays


def products(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """``z = f(round(x); round(W)) + b`` and ``f^T(round(s); round(W))`` in each format; ``x`` in front is not rounded.

    The sums are full in all of them, as those of tensor cores are (in float32). Autocast rounds what they give.
    """
    if not has_terms(step):
        return
    for each in OPERANDS_FIRST:
        for words, change in _readings(each.round, has_bias(step), each.operands_only):
            yield deviation("precision", words.format(each.words), change, {"format": each.name})


def _readings(rounding: Rounding, bias: bool, nothing_stored: bool) -> Iterator[tuple[str, Change]]:
    words = "the operands of every product with the weights are rounded to {}"
    alone = Arithmetic(operand=rounding)
    with_bias = Arithmetic(operand=rounding, bias=rounding)
    cast = Arithmetic(operand=rounding, bias=rounding, product=rounding)
    yield f"{words}, sums and the rest are not", _with(alone)
    if bias:
        yield f"{words}, and so is the bias, the rest is not", _with(with_bias)
    if nothing_stored:
        return
    yield f"{words}, and so is what comes out of them, as autocast does it", _with(cast)
    yield f"{words}, and so is the result of the step", chained(_with(alone), then(rounding))
    if bias:
        yield (
            f"{words}, and so are the bias and the result of the step",
            chained(_with(with_bias), then(rounding)),
        )
    yield (
        f"{words}, what comes out of them is too, and so is the result of the step",
        chained(_with(cast), then(rounding)),
    )
    operands = chained(
        with_inputs(rounding), with_weights(partial(rounded_weights, rounding)), with_relevance(rounding)
    )
    everything = Arithmetic(rounding, rounding, None, rounding, rounding)
    yield "every operand and every result on the way is rounded to {}", chained(operands, _with(everything))
    if bias:
        before = Arithmetic(rounding, rounding, rounding, rounding, rounding)
        words = (
            "every operand and every result on the way is rounded to {}, the sum before the bias is added too"
        )
        yield words, chained(operands, _with(before))


def _with(arithmetic: Arithmetic) -> Change:
    return with_formula(partial(carried, arithmetic=arithmetic))
