"""How relevance is shared among the inputs of a layer that has several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from harness.methods import Epsilon, Gradient, Rule, SignedEpsilon, Z
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import (
    Change,
    deviation,
    named,
    then,
    then_all,
    with_formula,
    with_rule,
)
from reference_impls.deviations.backward.kinds import neighbours
from reference_impls.deviations.backward.mapping import gradient_times_input
from reference_impls.oracle import derivative, linear
from reference_impls.oracle.linear import Arrays


def residuals(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """At an add, a concatenation, a product: other shares for the branches."""
    kind, count = step.layer.kind, len(step.inputs)
    if step.layer.traits.family not in ("sum", "product", "concat"):
        return
    if kind == "add":
        yield from _of_add(step)
    if kind == "multiply":
        yield from _of_multiply(step)
    if kind == "concat":
        yield from _of_concat(step)
    for place in range(count):
        words = f"branch {place + 1} of {count} ({step.layer.inputs[place]}) gets no relevance"
        yield _deviation(words, then_all(partial(_without, place)))
    words = "the branches are exchanged: each gets the share of the other"
    if len(set(step.layer.input_shapes)) == 1:
        yield _deviation(words, then_all(lambda _, result: result[::-1]))
    yield _deviation("every branch gets twice its share", then(lambda part: part * 2))
    yield _deviation(f"the shares are divided by the {count} branches", then(lambda part: part / count))


def _deviation(words: str, change: Change) -> Deviation:
    return deviation("residual-split", words, change)


def _of_add(step: Step) -> Iterator[Deviation]:
    count, rule_name = len(step.inputs), named(step.rule)
    if not isinstance(step.rule, Gradient):
        words = f"every branch gets the whole relevance instead of its share under {rule_name}"
        yield _deviation(words, with_rule(Gradient()))
    yield _deviation(
        f"every branch gets an equal share, R / {count}, instead of that of {rule_name}",
        with_formula(_equally),
    )
    for place, name in enumerate(step.layer.inputs):
        words = f"branch {place + 1} ({name}) gets the whole relevance and the others nothing"
        yield _deviation(words, with_formula(partial(_to_one, place)))
    for which, weight_of in (("absolute", np.abs), ("positive", partial(np.maximum, 0.0))):
        words = f"relevance is shared in proportion to the {which} values of the branches"
        yield _deviation(words, with_formula(partial(_in_proportion, weight_of)))
    words = "relevance is shared in proportion to the sums of the absolute values of the branches"
    yield _deviation(words, with_formula(_by_size))
    for rule in _rules(step):
        words = f"it has the rule {named(rule)} instead of {rule_name}"
        yield deviation("rule-mapping", words, with_rule(rule), {"rule": named(rule)})


def _rules(step: Step) -> list[Rule]:
    """Z and Epsilon, in which the branches have their proportional shares, and what the method has for other adds."""
    if isinstance(step.rule, Z | Epsilon):
        return []
    rules: list[Rule] = [rule for _, rule in neighbours(step) if isinstance(rule, Z | Epsilon)]
    rules += [Z(), Epsilon(1e-7), Z(stabilizer=SignedEpsilon(1e-6))]
    return list(dict.fromkeys(rules))


def _equally(step: Step) -> Arrays:
    whole = derivative.vjp(step.layer, step.inputs, step.relevance)
    return tuple(part / len(whole) for part in whole)


def _to_one(place: int, step: Step) -> Arrays:
    whole = derivative.vjp(step.layer, step.inputs, step.relevance)
    return tuple(part if each == place else np.zeros(part.shape) for each, part in enumerate(whole))


def _in_proportion(weight_of: Callable[[np.ndarray], np.ndarray], step: Step) -> Arrays:
    weights = tuple(weight_of(x) for x in step.inputs)
    total = sum(weights, np.zeros(()))
    s = step.relevance / np.where(total == 0, np.inf, total)
    passed = linear.transpose(step.layer, s, {})
    return tuple(weight * part for weight, part in zip(weights, passed, strict=True))


def _by_size(step: Step) -> Arrays:
    """One factor for each branch and sample: its part of the sum of ``|x|``."""
    sizes = [np.abs(x).reshape(len(x), -1).sum(axis=1) for x in step.inputs]
    total = np.sum(sizes, axis=0)
    whole = derivative.vjp(step.layer, step.inputs, step.relevance)
    return tuple(
        part * (size / np.where(total == 0, np.inf, total)).reshape(-1, *(1 for _ in part.shape[1:]))
        for part, size in zip(whole, sizes, strict=True)
    )


def _of_multiply(step: Step) -> Iterator[Deviation]:
    count, rule_name = len(step.inputs), named(step.rule)
    if len(set(step.layer.input_shapes)) == 1:
        words = f"every factor gets the whole relevance instead of {rule_name}"
        yield _deviation(words, with_formula(lambda step: (step.relevance,) * count))
        words = f"every factor gets an equal share, R / {count}, instead of {rule_name}"
        yield _deviation(words, with_formula(lambda step: (step.relevance / count,) * count))
        for place, name in enumerate(step.layer.inputs):
            words = f"factor {place + 1} ({name}) gets the whole relevance and the others nothing"
            yield _deviation(words, with_formula(partial(_whole_to, place)))
    words = f"every factor gets gradient times input instead of {rule_name}"
    yield _deviation(words, with_formula(gradient_times_input))


def _whole_to(place: int, step: Step) -> Arrays:
    return tuple(step.relevance if each == place else np.zeros(x.shape) for each, x in enumerate(step.inputs))


def _of_concat(step: Step) -> Iterator[Deviation]:
    words = "the slices are taken in the reversed order of the branches"
    yield _deviation(words, with_formula(_reversed_slices))
    words = "every branch gets the first slice of its size"
    yield _deviation(words, with_formula(_first_slices))


def _reversed_slices(step: Step) -> Arrays:
    axis = step.layer.attributes["axis"]
    sizes = [x.shape[axis] for x in step.inputs][::-1]
    return tuple(np.split(step.relevance, np.cumsum(sizes)[:-1], axis=axis)[::-1])


def _first_slices(step: Step) -> Arrays:
    axis = step.layer.attributes["axis"]
    return tuple(np.take(step.relevance, range(x.shape[axis]), axis=axis) for x in step.inputs)


def _without(branch: int, step: Step, result: Arrays) -> Arrays:
    return tuple(np.zeros(part.shape) if place == branch else part for place, part in enumerate(result))
