"""The bias: left out, counted too often, or shared out among the inputs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from harness.graph import Layer
from harness.methods import AlphaBeta, Epsilon, StdEpsilon, WSquare, Z
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import (
    deviation,
    with_fields,
    with_formula,
    with_weights,
    with_z,
)
from reference_impls.deviations.backward.carrying import counted
from reference_impls.deviations.backward.kinds import has_bias, has_weights, seen_by_an_output
from reference_impls.deviations.backward.quotients import has_quotient, quotient_of
from reference_impls.deviations.backward.signed_shares import Placement, with_placement
from reference_impls.deviations.backward.signs import Elementwise, above_zero, below_zero
from reference_impls.deviations.backward.stabilizers import has_denominator
from reference_impls.deviations.backward.wholes import whole_of
from reference_impls.oracle import linear
from reference_impls.oracle.linear import Arrays, weights_of
from reference_impls.oracle.parts import without_bias
from reference_impls.oracle.terms import terms_of


def biases(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """Every other place for the bias, at a layer that has one and a rule that divides."""
    if not (has_weights(step) and has_bias(step) and has_denominator(step.rule)):
        return
    if terms_of(step.rule).counts_bias:
        yield from _counted_differently(step)
    else:
        yield from _added(step)
    if isinstance(step.rule, AlphaBeta):
        yield from _placed_differently(step.rule)
    if has_quotient(step) and isinstance(step.rule, Z | Epsilon | StdEpsilon):
        yield from _shared_out(step)


def _counted_differently(step: Step) -> Iterator[Deviation]:
    inputs = seen_by_an_output(whole_of(step).layer)
    words = "the bias is left out of the denominator"
    yield deviation("bias-handling", words, with_weights(lambda _, weights: without_bias(weights)))
    yield _times("the bias is counted twice in the denominator", 2.0)
    yield _times("the bias is subtracted in the denominator instead of added", -1.0)
    if inputs > 1:
        words = f"the bias is counted once for each of the {inputs} inputs instead of once"
        yield _times(words, float(inputs))
        yield _times(f"the bias is divided by the {inputs} inputs in the denominator", 1.0 / inputs)
    for sign, part in (("positive", above_zero), ("negative", below_zero)):
        words = f"the {sign} part of the bias alone is counted in the denominator"
        yield deviation("bias-handling", words, with_weights(partial(_of_bias, part)))


def _added(step: Step) -> Iterator[Deviation]:
    """Where the rule leaves the bias out: in the denominator all the same."""
    if hasattr(step.rule, "bias"):
        words = "the bias is counted in the denominator, where the rule leaves it out"
        yield deviation("bias-handling", words, with_fields(bias=True), {"bias": True})
        if isinstance(step.rule, AlphaBeta):
            words = (
                "the bias is counted in the denominator, each sign with its own, where the rule leaves it out"
            )
            change = with_fields(bias=True, split_bias=not step.rule.split_bias)
            yield deviation("bias-handling", words, change)
        if not isinstance(step.rule, WSquare):
            return
    for words, part in (
        ("the bias", lambda b: b),
        ("the positive part of the bias", above_zero),
        ("the square of the bias", np.square),
        ("one for the bias", np.ones_like),
    ):
        sentence = f"{words} is added to the denominator, where the rule leaves it out"
        yield deviation("bias-handling", sentence, with_z(partial(_plus_bias, part)))


def _placed_differently(rule: AlphaBeta) -> Iterator[Deviation]:
    """Alpha-beta has two terms in each denominator, and the libraries differ in which bias goes with which."""
    if rule.bias:
        if rule.split_bias:
            words = "both denominators hold the whole bias instead of the part of their own sign"
        else:
            words = "each denominator holds the part of the bias of its own sign instead of the whole bias"
        yield deviation("bias-handling", words, with_fields(split_bias=not rule.split_bias))
    placements: tuple[tuple[Placement, str], ...] = (
        (
            ("same", "same"),
            "the part of the bias of a denominator's own sign is counted with x+ and again with x-",
        ),
        (("whole", "whole"), "the whole bias is counted with x+ and again with x-"),
        (("other", "none"), "each denominator holds the part of the bias of the other sign"),
        (("whole", "other"), "the part of the bias of the other sign is counted twice in each denominator"),
        (("whole", "same"), "the part of the bias of a denominator's own sign is counted twice"),
    )
    for placement, words in placements:
        yield deviation("bias-handling", words, with_placement(placement))


def _shared_out(step: Step) -> Iterator[Deviation]:
    inputs = seen_by_an_output(whole_of(step).layer)
    words = f"the bias is shared out evenly: each of the {inputs} inputs gets R_x = (x * W + b / {inputs}) * R / S(z)"
    yield deviation("bias-handling", words, with_formula(_evenly))
    words = "the relevance of the bias is shared out in proportion to x * W, so that none is absorbed"
    yield deviation("bias-handling", words, with_formula(_without_absorption))


def _evenly(step: Step) -> Arrays:
    quotient = quotient_of(step)
    s = step.relevance / counted(step)(linear.apply(step.layer, quotient.seen, quotient.below))
    bias = weights_of(step.layer).get("bias", 0.0) / seen_by_an_output(whole_of(step).layer)
    ones = {name: np.ones(weight.shape) for name, weight in quotient.above.items()}
    by_input = linear.transpose(step.layer, s, quotient.above)
    of_bias = linear.transpose(step.layer, s * bias, ones)
    return tuple(
        front * passed + part for front, passed, part in zip(quotient.front, by_input, of_bias, strict=True)
    )


def _without_absorption(step: Step) -> Arrays:
    """``R_x = x * f^T(R * z / (S(z) * (z - b)); W)``: what the bias would get goes where the rest goes."""
    quotient = quotient_of(step)
    z = linear.apply(step.layer, quotient.seen, quotient.below)
    bare = linear.apply(step.layer, quotient.seen, without_bias(quotient.below))
    s = step.relevance * (z / counted(step)(z)) / np.where(bare == 0, np.inf, bare)
    passed = linear.transpose(step.layer, s, quotient.above)
    return tuple(front * each for front, each in zip(quotient.front, passed, strict=True))


def _of_bias(part: Elementwise, layer: Layer, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**weights, "bias": part(weights["bias"])} if "bias" in weights else weights


def _times(words: str, factor: float) -> Deviation:
    change = with_weights(partial(_of_bias, partial(np.multiply, factor)))
    return deviation("bias-handling", words, change, {"times": factor})


def _plus_bias(part: Elementwise, step: Step, z: np.ndarray) -> np.ndarray:
    bias = step.layer.weights.get("bias")
    return z if bias is None else z + part(np.asarray(bias, dtype=np.float64))
