"""What stands for the input: ones or the input itself, and the bounds of the z^B rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from harness.methods import Bound, Bounded, WSquare, bound_text
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import deviation, with_fields, with_formula
from reference_impls.deviations.backward.carrying import counted
from reference_impls.deviations.backward.kinds import has_bias, has_weights
from reference_impls.deviations.backward.quotients import Quotient, has_quotient, with_quotient
from reference_impls.deviations.backward.wholes import whole_of
from reference_impls.oracle import linear
from reference_impls.oracle.linear import Arrays
from reference_impls.oracle.parts import back, negative, own_weights, positive, without_bias
from reference_impls.oracle.terms import ONES, by_channel, terms_of

# Flat and w-square, and what ones do elsewhere ---------------------------------------------------------


def ones_and_inputs(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """The real input where ones belong, ones where the input belongs."""
    if not (has_weights(step) and has_quotient(step)):
        return
    flat = terms_of(step.rule).terms[0].below[0].inputs == ONES
    stands, instead = ("the real input stands", "ones") if flat else ("ones stand", "the input")
    value = np.positive if flat else np.ones_like
    for places, where in (
        ((False, True), "in the denominator"),
        ((True, False), "in front, as a factor of the result"),
        ((True, True), "in the denominator and in front"),
    ):
        words = f"{stands} {where} instead of {instead}"
        yield deviation("flat-input", words, with_quotient(partial(_at, places, value)))
    if flat:
        yield from _of_flat(step)


def _at(
    places: tuple[bool, bool], value: Callable[[np.ndarray], np.ndarray], step: Step, quotient: Quotient
) -> Quotient:
    values = tuple(value(x) for x in step.inputs)
    in_front, below = places
    return replace(
        quotient,
        front=values if in_front else quotient.front,
        seen=values if below else quotient.seen,
    )


def _of_flat(step: Step) -> Iterator[Deviation]:
    words = "the absolute value of the real input stands in the denominator and in front instead of ones"
    yield deviation("flat-input", words, with_quotient(partial(_at, (True, True), np.abs)))
    if step.layer.traits.convolution and np.any(step.layer.attributes["padding"]):
        words = "ones stand in the padding too: every denominator is that of a window without padding"
        yield deviation("flat-input", words, with_quotient(_padded))
    if has_bias(step):
        words = "the layer's bias is added to the denominator, where the rule leaves it out"
        yield deviation("bias-handling", words, with_quotient(_with_bias))
    if isinstance(step.rule, WSquare):
        for words, change in (
            ("the weights are not squared", lambda weight: weight),
            ("the absolute weights stand instead of their squares", np.abs),
        ):
            yield deviation("input-layer-rule", words, with_quotient(partial(_weights, change)))


def _padded(step: Step, quotient: Quotient) -> Quotient:
    """The sum of all that a window may see, as a bias, with an input of zeros."""
    bare = without_bias(quotient.below)
    if "kernel" in bare:
        axes = tuple(range(bare["kernel"].ndim - 1))
        total = bare["kernel"].sum(axis=axes)
    else:
        depthwise = bare["depthwise_kernel"]
        total = depthwise.sum(axis=tuple(range(depthwise.ndim - 2))).reshape(-1) @ bare["pointwise_kernel"]
    zeros = tuple(np.zeros(x.shape) for x in step.inputs)
    return replace(quotient, seen=zeros, below={**bare, "bias": total + quotient.below.get("bias", 0.0)})


def _with_bias(step: Step, quotient: Quotient) -> Quotient:
    bias = np.asarray(step.layer.weights.get("bias", 0.0), dtype=np.float64)
    return replace(quotient, below={**quotient.below, "bias": bias})


def _weights(change: Callable[[np.ndarray], np.ndarray], step: Step, quotient: Quotient) -> Quotient:
    weights = {name: change(weight) for name, weight in own_weights(step.layer, bias=False).items()}
    return replace(quotient, below=weights, above=weights)


# The z^B rule -----------------------------------------------------------------------------------------

#: Low, high, whether they count in the denominator, and whether they do in front.
Reading = tuple[Bound, Bound, bool, bool]


def bounds(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """Other bounds, exchanged ones, or the factors in front left out."""
    rule = step.rule
    if not isinstance(rule, Bounded) or not has_weights(step):
        return
    x = whole_of(step).inputs[0]
    lows, highs = np.atleast_1d(rule.low), np.atleast_1d(rule.high)
    bounds_named = f"instead of {bound_text(rule.low)} and {bound_text(rule.high)}"
    pairs: list[tuple[str, Bound, Bound]] = [
        ("the bounds are those of the values of the whole batch", float(x.min()), float(x.max())),
        *(("the bounds are", low, high) for low, high in _USUAL_BOUNDS),
        ("the bounds are", _as_bound(-highs), rule.high),
    ]
    if rule.channels is None and x.ndim > 2:
        channels = x.reshape(-1, x.shape[-1])
        words = "the bounds are those of each channel in the whole batch,"
        pairs.append((words, _as_bound(channels.min(axis=0)), _as_bound(channels.max(axis=0))))
    elif rule.channels is not None:
        words = "the bounds are one pair for all channels,"
        pairs += [
            (words, float(lows.min()), float(highs.max())),
            (words, float(lows.max()), float(highs.min())),
            (
                "the bounds of the channels are in reverse order,",
                _as_bound(lows[::-1]),
                _as_bound(highs[::-1]),
            ),
        ]
    named = bound_text(rule.low), bound_text(rule.high)
    for words, low, high in pairs:
        if np.all(np.less(low, high)) and (bound_text(low), bound_text(high)) != named:
            sentence = f"{words} {bound_text(low)} and {bound_text(high)} {bounds_named}"
            change = with_fields(low=low, high=high)
            yield deviation("input-layer-rule", sentence, change, {"low": low, "high": high})
    readings: tuple[tuple[str, Reading], ...] = (
        (f"the bounds {named[0]} and {named[1]} are exchanged", (rule.high, rule.low, True, True)),
        ("the bounds are left out of the denominator", (rule.low, rule.high, False, True)),
        ("the bounds are left out of the result", (rule.low, rule.high, True, False)),
        ("the lower bound is left out", (0.0, rule.high, True, True)),
        ("the upper bound is left out", (rule.low, 0.0, True, True)),
    )
    for words, reading in readings:
        yield deviation("input-layer-rule", words, with_formula(partial(_bounded, reading)))
    if rule.times_inputs:
        words = "the factors x, low and high are left out in front of the three terms"
    else:
        words = (
            "the factors x, low and high stand in front of the three terms, where the rule leaves them out"
        )
    yield deviation("input-layer-rule", words, with_fields(times_inputs=not rule.times_inputs))


_USUAL_BOUNDS = ((-1.0, 1.0), (0.0, 1.0), (-0.5, 0.5), (0.0, 255.0), (-128.0, 128.0))


def _as_bound(values: np.ndarray) -> Bound:
    """One value as a number, several as a tuple."""
    return tuple(map(float, values)) if len(values) > 1 else float(values[0])


def _bounded(reading: Reading, step: Step) -> Arrays:
    """The z^B rule with ``low``, ``high``, and whether they count below and in front."""
    low, high, below, in_front = reading
    weights = own_weights(step.layer, bias=False)
    upper, lower = positive(weights), negative(weights)
    (x,) = step.inputs
    lows, highs = (by_channel(bound, x.shape[-1]) for bound in (low, high))
    z = linear.apply(step.layer, (x,), weights)
    if below:
        z = z - linear.apply(step.layer, (np.full(x.shape, lows),), upper)
        z = z - linear.apply(step.layer, (np.full(x.shape, highs),), lower)
    s = step.relevance / counted(step)(z)
    result = x * back(step.layer, s, weights)
    if in_front:
        result = result - lows * back(step.layer, s, upper)
        result = result - highs * back(step.layer, s, lower)
    return (result,)
