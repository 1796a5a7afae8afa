"""What the products of attention may do otherwise on their way back, each with its cause; in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from harness.methods import AttentionShare
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import (
    Change,
    deviation,
    then,
    then_all,
    with_formula,
    with_rule,
)
from reference_impls.dlbacktrace import attention

Arrays = tuple[np.ndarray, ...]


def products(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """At the two products of attention."""
    rule = step.rule
    if not isinstance(rule, AttentionShare):
        return
    words = {
        "none": "relevance is not shared anew by size: each value keeps what its contributions have",
        "first": f"of the two operands {step.layer.inputs[0]} alone is shared anew by size",
        "second": f"of the two operands {step.layer.inputs[1]} alone is shared anew by size",
        "both": "both operands are shared anew by size",
    }
    for anew, text in words.items():
        if anew != rule.anew:
            yield _product(text, with_rule(AttentionShare(anew)))  # type: ignore[arg-type]
    yield _product("each operand gets the whole relevance", then(lambda part: part * 2))
    for place, name in enumerate(step.layer.inputs):
        yield _product(f"operand {place + 1} ({name}) gets no relevance", then_all(partial(_without, place)))
        if rule.anew == "both" or rule.anew == ("first", "second")[place]:
            words_of_place = f"all values of a head of {name} get an equal part"
            yield _product(words_of_place, with_formula(partial(_equal_in_a_head, place)))
            words_of_place = f"{name} is shared anew over all heads together"
            yield _product(words_of_place, with_formula(partial(_over_all_heads, place)))
    if len(set(step.layer.input_shapes)) == 1:
        words_of_both = "the operands are exchanged: each gets the relevance of the other"
        yield _product(words_of_both, then_all(lambda _, result: result[::-1]))


def _product(words: str, change: Change) -> Deviation:
    return deviation("attention-rule", words, change)


def _equal_in_a_head(place: int, step: Step) -> Arrays:
    return _shared_otherwise(place, step, lambda x: np.ones(x.shape), (-2, -1))


def _over_all_heads(place: int, step: Step) -> Arrays:
    return _shared_otherwise(place, step, np.abs, tuple(range(1, step.inputs[place].ndim)))


def _shared_otherwise(
    place: int, step: Step, size: Callable[[np.ndarray], np.ndarray], axes: tuple[int, ...]
) -> Arrays:
    """The step with the relevance of one input shared by other sizes, over other axes."""
    assert isinstance(step.rule, AttentionShare)
    shares = list(attention.share(step.layer, step.inputs, step.relevance, step.rule))
    sizes = size(step.inputs[place])
    total = sizes.sum(axis=axes, keepdims=True) + attention.SHARED_EPSILON
    shares[place] = sizes / total * shares[place].sum(axis=axes, keepdims=True)
    return tuple(shares)


def _without(place: int, step: Step, result: Arrays) -> Arrays:
    return tuple(np.zeros(part.shape) if each == place else part for each, part in enumerate(result))
