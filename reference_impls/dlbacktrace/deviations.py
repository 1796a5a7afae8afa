"""What a layer may do otherwise on its way back under the rules of DLBacktrace, each with its cause; in float64.

What depends on no rule (axes in another order, samples that depend on each other) is that of the oracle's deviations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from harness.methods import (
    SATURATIONS,
    AttentionShare,
    Backtrace,
    EqualShare,
    LargestShare,
    MagnitudeShare,
    Pass,
)
from harness.methods.backtrace_rules import Reading
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import (
    Change,
    chained,
    deviation,
    then,
    then_all,
    with_formula,
    with_inputs,
    with_relevance,
    with_rule,
    with_weights,
)
from reference_impls.deviations.backward.coupling import batches
from reference_impls.deviations.backward.layout import flattenings, layouts
from reference_impls.deviations.formats import FORMATS
from reference_impls.dlbacktrace import pools
from reference_impls.dlbacktrace.attention_deviations import products
from reference_impls.dlbacktrace.contrast import Pair
from reference_impls.dlbacktrace.contrast_deviations import contrasts
from reference_impls.dlbacktrace.contributions import Contributions
from reference_impls.dlbacktrace.kernels import Sides, sides_of
from reference_impls.dlbacktrace.maps import maps_of
from reference_impls.dlbacktrace.rules import propagate, propagate_pair

Arrays = tuple[np.ndarray, ...]
Subject = Callable[[Step, Arrays], Iterator[Deviation]]
#: From the contributions of a map and its sides as the rule has them to other ones.
Otherwise = Callable[[Contributions, Sides], Sides]

#: What is added to a denominator, in the literature and in ports.
EPSILONS = (1e-12, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0)


def carry_out(step: Step) -> Arrays:
    """The relevance of each input of the layer, with whatever deviations have put in the place of its parts."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if step.formula is not None:
            result = step.formula(step)
        else:
            result = _as_specified(step)
        for change in step.after:
            result = change(step, result)
    return result


def _as_specified(step: Step) -> Arrays:
    inputs, relevance = (
        tuple(np.asarray(x, np.float64) for x in step.inputs),
        np.asarray(step.relevance, np.float64),
    )
    if step.method.stepwise:
        return propagate(step.layer, inputs, relevance, step.rule)
    # Both relevances of contrast mode, one behind the other along the batch.
    half = len(relevance) // 2
    received = Pair(relevance[:half], relevance[half:])
    shares = propagate_pair(step.layer, tuple(x[:half] for x in inputs), received, step.rule)
    return tuple(np.concatenate(pair) for pair in shares)


def deviations(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """What might be done differently, what a rule has as a parameter first, what only describes the result last."""
    subjects = (*_OF_RULES, batches, _layouts, _formats, _scales)
    if not step.method.stepwise:
        subjects = (*contrasts, *_OF_RULES, partial(batches, parts=2), _layouts, _formats, _scales)
    yield from _of(subjects, step, observed)


def of_places(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """Those that exchange places or channels."""
    yield from _of((_layouts,), step, observed)


def _of(subjects: tuple[Subject, ...], step: Step, observed: Arrays) -> Iterator[Deviation]:
    observed = tuple(np.asarray(part, np.float64) for part in observed)
    for subject in subjects:
        with np.errstate(all="ignore"):
            listed = list(subject(step, observed))
        yield from listed


# Layers with a kernel --------------------------------------------------------------------------------


def _saturations(step: Step, observed: Arrays) -> Iterator[Deviation]:
    rule = step.rule
    if not isinstance(rule, Backtrace):
        return
    for name, named in SATURATIONS.items():
        for zero in ("bound", "none"):
            other = replace(named, zero=zero)
            if (
                other in (rule.saturation, replace(rule.saturation, zero=zero))
                and zero == rule.saturation.zero
            ):
                continue
            words = f"the range of the activation is that of {name!r}"
            if named.low == 0:
                words += " with a bound of 0" if zero == "bound" else ", where a bound of 0 counts as none"
            yield _saturated(f"{words}, instead of {_range_of(rule)}", replace(rule, saturation=other))
    if rule.saturation.form == "none":
        return
    exchanged = replace(rule, reading="convolution" if rule.reading == "linear" else "linear")
    yield _saturated(f"the saturation is read as in the reading {exchanged.reading!r}", exchanged)
    if rule.saturation.form == "mono":
        words = "the range is held against the difference of the two sides"
        if rule.reading == "linear":
            words = "the range is held against the sum of the two sides"
        yield deviation("saturation", words, with_formula(partial(_with_sides, _other_total(rule))))


def _saturated(words: str, rule: Backtrace) -> Deviation:
    return deviation("saturation", words, with_rule(rule), {"rule": repr(rule.saturation)})


def _range_of(rule: Backtrace) -> str:
    saturation = rule.saturation
    if saturation.form == "none":
        return "none"
    return f"{saturation.form} from {saturation.low} to {saturation.high}"


def _other_total(rule: Backtrace) -> Otherwise:
    def otherwise(contributions: Contributions, sides: Sides) -> Sides:
        positive, negative = contributions.positive, contributions.negative
        up, down = contributions.bias_positive, contributions.bias_negative
        low, high = rule.saturation.bounds
        every = np.ones(positive.shape, bool)
        if rule.reading == "linear":
            total = positive + up + negative + down
            empty = (
                (positive == 0) | (False if low is None else total < low),
                (negative == 0) | (False if high is None else total > high),
            )
            counted = [
                np.where(gone, 1.0, side) for gone, side in zip(empty, (positive, negative), strict=True)
            ]
            return Sides(counted[0] + counted[1] + up + down, every, every)
        total = positive + up - negative - down
        return Sides(
            sides.denominator,
            positive > 0 if low is None else total > low,
            negative > 0 if high is None else total < high,
        )

    return otherwise


def _with_sides(otherwise: Otherwise, step: Step) -> Arrays:
    """The rule with other denominators and sides, at each map of the layer."""
    assert isinstance(step.rule, Backtrace)
    relevance, inputs = np.asarray(step.relevance, np.float64), [np.asarray(step.inputs[0], np.float64)]
    maps = maps_of(step.layer, np.dtype(np.float64))
    for linear in maps[:-1]:
        inputs.append(linear.apply(inputs[-1], linear.kernel) + linear.bias)
    for linear, at in zip(reversed(maps), reversed(inputs), strict=True):
        contributions = Contributions(linear, at)
        sides = otherwise(contributions, sides_of(contributions, step.rule))
        quotient = relevance / sides.denominator
        relevance = contributions.shared(quotient * sides.positive_counts, quotient * sides.negative_counts)
    return (relevance,)


def _biases(step: Step, observed: Arrays) -> Iterator[Deviation]:
    if not isinstance(step.rule, Backtrace) or "bias" not in step.layer.weights:
        return
    for words, of_bias in (
        ("the bias is left out of the denominator", np.zeros_like),
        ("the negative part of the bias is left out of the denominator", lambda b: np.maximum(b, 0)),
        ("the positive part of the bias is left out of the denominator", lambda b: np.minimum(b, 0)),
        ("the bias counts twice in the denominator", lambda b: 2 * b),
    ):
        yield deviation("bias-handling", words, with_weights(partial(_with_bias, of_bias)))
    words = "the bias enters the denominator with its sign"
    signed = partial(
        _with_sides, lambda c, sides: sides._replace(denominator=sides.denominator - 2 * c.bias_negative)
    )
    yield deviation("bias-handling", words, with_formula(signed))
    words = "the part of the bias that has the sign of a contribution is shared out with it"
    yield deviation("bias-handling", words, with_formula(partial(_with_sides, _sharing_the_bias)))


def _with_bias(
    of_bias: Callable[[np.ndarray], np.ndarray], layer: object, weights: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    return {**weights, "bias": of_bias(weights["bias"])} if "bias" in weights else weights


def _sharing_the_bias(contributions: Contributions, sides: Sides) -> Sides:
    """Each side gets its part of the relevance with its bias: ``(P + b+) / D`` for all of ``P``."""
    positive, negative = contributions.positive, contributions.negative
    return Sides(
        sides.denominator,
        sides.positive_counts * (1 + contributions.bias_positive / np.where(positive == 0, 1, positive)),
        sides.negative_counts * (1 + contributions.bias_negative / np.where(negative == 0, 1, negative)),
    )


def _denominators(step: Step, observed: Arrays) -> Iterator[Deviation]:
    if not isinstance(step.rule, Backtrace):
        return
    other: Reading = "convolution" if step.rule.reading == "linear" else "linear"
    words = {
        "linear": "an empty side counts as 1 in the denominator",
        "convolution": "an empty side counts as nothing in the denominator",
    }[other]
    if step.rule.saturation.form == "none":
        yield deviation("stabilizer-form", words, with_rule(replace(step.rule, reading=other)))
    for epsilon in EPSILONS:
        words = f"{epsilon:g} is added to the denominator"
        change = with_formula(partial(_with_sides, partial(_added, epsilon)))
        yield deviation("stabilizer-form", words, change, {"epsilon": epsilon})


def _added(epsilon: float, contributions: Contributions, sides: Sides) -> Sides:
    return sides._replace(denominator=sides.denominator + epsilon)


def _signs(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """Contributions that keep their sign, or of one sign alone."""
    if isinstance(step.rule, Backtrace):
        for words, otherwise in (
            ("negative contributions keep their sign where the rule takes their size", _signed),
            ("contributions keep their sign, and are divided by their sum with the bias", _by_sum),
            ("negative contributions get nothing, the denominator is that of both signs", _positive_alone),
            ("negative contributions get nothing and are left out of the denominator, as in z-plus", _z_plus),
            (
                "negative contributions and the negative bias are left out, as in z-plus with the positive bias",
                _z_plus_with_bias,
            ),
            ("positive contributions get nothing, the denominator is that of both signs", _negative_alone),
        ):
            yield deviation("absolute-contributions", words, with_formula(partial(_with_sides, otherwise)))
    if isinstance(step.rule, MagnitudeShare):
        words = "values keep their sign where the rule takes their size"
        signs = then_all(
            lambda each, result: tuple(np.sign(x) * r for x, r in zip(each.inputs, result, strict=True))
        )
        yield deviation("absolute-contributions", words, signs)
        yield deviation(
            "absolute-contributions", "negative values get nothing", with_inputs(lambda x: np.maximum(x, 0))
        )


def _signed(contributions: Contributions, sides: Sides) -> Sides:
    return sides._replace(negative_counts=-1.0 * sides.negative_counts)


def _by_sum(contributions: Contributions, sides: Sides) -> Sides:
    total = contributions.positive - contributions.negative + contributions.linear.bias
    return Sides(np.where(total == 0, 1e-12, total), sides.positive_counts, -1.0 * sides.negative_counts)


def _positive_alone(contributions: Contributions, sides: Sides) -> Sides:
    return sides._replace(negative_counts=np.zeros_like(sides.negative_counts))


def _negative_alone(contributions: Contributions, sides: Sides) -> Sides:
    return sides._replace(positive_counts=np.zeros_like(sides.positive_counts))


def _z_plus(contributions: Contributions, sides: Sides) -> Sides:
    positive = contributions.positive
    none = np.zeros_like(sides.negative_counts)
    return Sides(np.where(positive == 0, 1e-12, positive), sides.positive_counts, none)


def _z_plus_with_bias(contributions: Contributions, sides: Sides) -> Sides:
    total = contributions.positive + contributions.bias_positive
    none = np.zeros_like(sides.negative_counts)
    return Sides(np.where(total == 0, 1e-12, total), sides.positive_counts, none)


# Pooling and sums ------------------------------------------------------------------------------------


def _poolings(step: Step, observed: Arrays) -> Iterator[Deviation]:
    rule = step.rule
    if isinstance(rule, LargestShare):
        other = LargestShare("lowest" if rule.padding == "zero" else "zero")
        taken = {"zero": "0", "lowest": "never the largest"}
        words = f"padded places are {taken[other.padding]} instead of {taken[rule.padding]}"
        yield deviation("pooling", words, with_rule(other))
        words = "every largest value gets the whole relevance of its window instead of its part"
        yield deviation("pooling", words, with_formula(partial(_to_every_largest, rule)))
        words = "of equal largest values the first gets the relevance"
        yield deviation("pooling", words, with_formula(partial(_to_one_largest, rule, 1)))
        words = "of equal largest values the last gets the relevance"
        yield deviation("pooling", words, with_formula(partial(_to_one_largest, rule, -1)))
        yield from _cut_elsewhere(step)
    if step.layer.traits.family == "average":
        words = "every value of a window gets an equal part of its relevance"
        yield deviation("pooling", words, with_inputs(np.ones_like))
        yield from _cut_elsewhere(step)


def _cut_elsewhere(step: Step) -> Iterator[Deviation]:
    """The padding cut off the result at another place than where it was put on."""
    padding = step.layer.attributes.get("padding", ())
    if not np.any(padding):
        return
    for words, shift in (("nothing is cut off before", 0), ("everything is cut off before", 1)):
        offsets = tuple(before if shift == 0 else -after for before, after in padding)
        if any(offsets):
            change = then(partial(_shifted, offsets))
            yield deviation("pooling", f"the padding is cut off the result at the wrong end: {words}", change)
            # Of three axes the last is that of the channels, which has no padding.
            for spatial, more in (((0,) * len(offsets), ""), (offsets, f", and {words}")):
                change = then(partial(_shifted, (*spatial, offsets[-1])))
                yield deviation("pooling", f"the padding is cut off the channels as well{more}", change)


def _shifted(offsets: tuple[int, ...], x: np.ndarray) -> np.ndarray:
    """``x`` moved on by ``offsets`` places along its axes but the first, zeros behind; what falls off is lost."""
    moved = x
    for axis, offset in enumerate(offsets, start=1):
        width = [(0, 0)] * x.ndim
        width[axis] = (max(offset, 0), max(-offset, 0))
        cut = [slice(None)] * x.ndim
        cut[axis] = slice(0, x.shape[axis]) if offset >= 0 else slice(-offset, None)
        moved = np.pad(moved, width)[tuple(cut)]
    return moved


def _to_every_largest(rule: LargestShare, step: Step) -> Arrays:
    parts = pools.largest_parts(step.layer, step.inputs[0], rule)
    return (pools.back(step.layer, (parts > 0) * 1.0, step.inputs[0], step.relevance),)


def _to_one_largest(rule: LargestShare, order: int, step: Step) -> Arrays:
    parts = pools.largest_parts(step.layer, step.inputs[0], rule)[::order] > 0
    first = parts & (parts.cumsum(axis=0) == 1)
    return (pools.back(step.layer, first[::order] * 1.0, step.inputs[0], step.relevance),)


def _sums(step: Step, observed: Arrays) -> Iterator[Deviation]:
    if len(step.inputs) < 2 or isinstance(step.rule, AttentionShare):
        return
    names, count = step.layer.inputs, len(step.inputs)
    if step.layer.kind == "add":
        for rule, words in (
            (EqualShare(), "every branch gets an equal part"),
            (MagnitudeShare(), "the branches get parts by the sizes of their values"),
        ):
            if rule != step.rule:
                yield deviation("residual-split", words, with_rule(rule))
    yield deviation("residual-split", "every branch gets twice its share", then(lambda part: part * 2))
    words = "every branch gets the whole relevance"
    if isinstance(step.rule, EqualShare):
        yield deviation("residual-split", words, then(lambda part: part * count))
    for place, name in enumerate(names):
        words = f"branch {place + 1} of {count} ({name}) gets no relevance"
        yield deviation("residual-split", words, then_all(partial(_without, place)))
    if len(set(step.layer.input_shapes)) == 1:
        words = "the branches are exchanged: each gets the share of the other"
        yield deviation("residual-split", words, then_all(lambda _, result: result[::-1]))
    if step.layer.kind == "concat":
        words = (
            "negative relevance is set to zero, and the rest scaled so that the sum over the batch is kept"
        )
        yield deviation("negative-clipped", words, then_all(_clamped_together))


def _without(branch: int, step: Step, result: Arrays) -> Arrays:
    return tuple(np.zeros(part.shape) if place == branch else part for place, part in enumerate(result))


def _clamped_together(step: Step, result: Arrays) -> Arrays:
    """What 0.1.24 does to the parts of a concatenation."""
    kept = [np.maximum(part, 0) for part in result]
    total = sum(float(part.sum()) for part in kept)
    factor = float(step.relevance.sum()) / total if total > 0 else 1.0
    return tuple(part * factor for part in kept)


# Everywhere ------------------------------------------------------------------------------------------


def _clipped(step: Step, observed: Arrays) -> Iterator[Deviation]:
    for sign, cut in (("negative", lambda x: np.maximum(x, 0)), ("positive", lambda x: np.minimum(x, 0))):
        yield _clip(f"{sign} values of the result are set to zero", then(cut))
        yield _clip(f"{sign} relevance of the output is set to zero before the step", with_relevance(cut))
        if isinstance(step.rule, Backtrace):
            yield _clip(f"{sign} inputs are set to zero", with_inputs(cut))
    if isinstance(step.rule, Backtrace):
        words = "negative weights are set to zero, the bias is not"
        yield _clip(words, with_weights(lambda _, weights: _but_bias(lambda w: np.maximum(w, 0), weights)))
    yield _absolute("absolute values are taken of the result", then(np.abs))
    yield _absolute("absolute values are taken of the relevance of the output", with_relevance(np.abs))


def _but_bias(
    function: Callable[[np.ndarray], np.ndarray], weights: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    return {name: each if name == "bias" else function(each) for name, each in weights.items()}


def _clip(words: str, change: Change) -> Deviation:
    return deviation("negative-clipped", words, change)


def _absolute(words: str, change: Change) -> Deviation:
    return deviation("absolute-contributions", words, change)


def _mappings(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """Another rule: relevance handed on as it is, an activation's derivative, the gradient times the input."""
    if step.layer.input_shapes == (step.layer.shape,) and not isinstance(step.rule, Pass):
        yield deviation(
            "rule-mapping", "relevance is handed on as it is", with_formula(lambda each: (each.relevance,))
        )
    if isinstance(step.rule, Pass) and step.layer.traits.elementwise:
        words = "the activation is a gate: only where its input is above 0 is relevance handed on"
        gate = then_all(
            lambda each, result: tuple(r * (x > 0) for x, r in zip(each.inputs, result, strict=True))
        )
        yield deviation("rule-mapping", words, gate)


def _layouts(step: Step, observed: Arrays) -> Iterator[Deviation]:
    yield from flattenings(step, observed)
    yield from layouts(step, observed)


def _formats(step: Step, observed: Arrays) -> Iterator[Deviation]:
    for each in FORMATS:
        rounding = each.round
        operands = chained(with_inputs(rounding), with_weights(partial(_rounded, rounding)))
        places: tuple[tuple[str, Change], ...] = (("the inputs and weights are", operands),)
        if not each.operands_only:
            everything = chained(operands, with_relevance(rounding), then(rounding))
            places = (
                ("every operand and the result are", everything),
                ("the result is", then(rounding)),
                ("the relevance of the output is", with_relevance(rounding)),
                *places,
            )
        for words, change in places:
            yield deviation("precision", f"{words} rounded to {each.words}", change, {"format": each.name})


def _rounded(
    rounding: Callable[[np.ndarray], np.ndarray], layer: object, weights: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    return {name: rounding(each) for name, each in weights.items()}


def _scales(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """The result times one factor, by least squares."""
    specified = carry_out(step)
    size = sum(float(np.vdot(part, part)) for part in specified)
    if not size or not all(np.isfinite(part).all() for part in observed):
        return
    factor = sum(float(np.vdot(one, other)) for one, other in zip(specified, observed, strict=True)) / size
    if factor and factor != 1:
        words = f"the result is {factor:.9g} times that of the rule"
        yield deviation("scale", words, then(lambda part: part * factor), {"factor": factor}, generic=True)


_OF_RULES: tuple[Subject, ...] = (
    _saturations,
    _biases,
    _denominators,
    _poolings,
    _sums,
    products,
    _signs,
    _clipped,
    _mappings,
)
