"""Another rule: one that the method has for another layer, or any other with a reading at this kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, get_args

import numpy as np

from harness.graph import Kind
from harness.methods import (
    AlphaBeta,
    AlphaBetaX,
    BatchNormReverse,
    Bounded,
    Deconvolution,
    Epsilon,
    FusedBatchNorm,
    Gamma,
    Gradient,
    GuidedReLU,
    KernelRule,
    Pass,
    ReplaceZero,
    Rule,
    SignedEpsilon,
    StdEpsilon,
    Z,
)
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import Change, deviation, named, with_formula, with_rule
from reference_impls.deviations.backward.estimating import is_as_specified, solved
from reference_impls.deviations.backward.kinds import cause_of_rule, has_weights, neighbours
from reference_impls.deviations.backward.narrowing import narrowed
from reference_impls.deviations.backward.stabilizers import GRID, STABILIZING
from reference_impls.oracle import derivative
from reference_impls.oracle.activations import ELEMENTWISE
from reference_impls.oracle.linear import Arrays

#: Rules that are offered with several values each, or with none but their own; the others as their defaults have them.
VALUED = (Z, Epsilon, StdEpsilon, AlphaBeta, AlphaBetaX, Gamma, Bounded)


def _elsewhere(kind: Kind) -> bool:
    """Whether another rule is said by a subject of its own: `pooling`, `branches`, `batch_norms`."""
    return kind.pooling or kind.joins or kind.name == "batch_norm"


def other_rules(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """The rules of the method's other layers, the nearest first, then the rest of the catalogue."""
    seen = [_same(step.rule)]
    for layer, rule in neighbours(step):
        if _same(rule) in seen or _elsewhere(step.layer.traits) or not _has_reading(step, rule):
            continue
        if type(rule) is type(step.rule):
            continue  # Told by the value that differs, see the subject of that value.
        seen.append(_same(rule))
        words = f"it has the rule of {layer.name}, {named(rule)}, instead of {named(step.rule)}"
        yield _mapped(step, rule, words)
    if _elsewhere(step.layer.traits):
        return
    for rule in (*_usual(step), *_with_estimated_epsilon(step, observed)):
        if type(rule) is type(step.rule):
            continue
        if _same(rule) not in seen and _has_reading(step, rule):
            seen.append(_same(rule))
            yield _mapped(step, rule, f"it has the rule {named(rule)} instead of {named(step.rule)}")
    if step.inputs[0].shape[1:] == step.layer.input_shapes[0] and not isinstance(step.rule, Pass):
        words = f"relevance is the gradient times the input instead of {named(step.rule)}"
        yield deviation(cause_of_rule(step), words, with_formula(gradient_times_input))


def _mapped(step: Step, rule: Rule, words: str) -> Deviation:
    return deviation(cause_of_rule(step), words, with_rule(rule), {"rule": named(rule)})


def _same(rule: Rule) -> Rule:
    """One rule for all that are the same formula: Z with a signed epsilon is Epsilon."""
    if isinstance(rule, Z) and isinstance(rule.stabilizer, SignedEpsilon):
        return Epsilon(rule.stabilizer.epsilon, rule.bias)
    # Whether shares are rectified before they are summed is nothing that the step itself does.
    return replace(rule, per_edge=False) if isinstance(rule, GuidedReLU | Deconvolution) else rule


def _has_reading(step: Step, rule: Rule) -> bool:
    kind = step.layer.kind
    match rule:
        case Gradient():
            return True
        case Pass():
            return step.layer.input_shapes == (step.layer.shape,)
        case GuidedReLU() | Deconvolution():
            return step.layer.traits.activation
        case FusedBatchNorm() | BatchNormReverse():
            return kind == "batch_norm"
    return has_weights(step)


def _usual(step: Step) -> Iterator[Rule]:
    """The catalogue's rules with the values its methods have, with this rule's stabilizer and with their own."""
    yield from (Gradient(), Pass(), GuidedReLU())
    if not isinstance(step.rule, Pass):
        # Beside Pass it is no rule of its own: negative relevance is set to zero.
        yield Deconvolution()
    if not has_weights(step):
        return
    own = getattr(step.rule, "stabilizer", None)
    for stabilizer in {own or ReplaceZero(): None, ReplaceZero(): None}:
        of: dict[str, Any] = {"stabilizer": stabilizer}
        yield from (each(**of) for each in get_args(KernelRule) if not issubclass(each, VALUED))
        yield from (Bounded(-1.0, 1.0, **of), Bounded(0.0, 1.0, **of))
        if not isinstance(step.rule, AlphaBeta):
            yield from (AlphaBeta(1, 0, **of), AlphaBeta(2, 1, **of))
            yield from (AlphaBeta(1, 0, bias=False, **of), AlphaBeta(2, 1, bias=False, **of))
            yield from (AlphaBeta(1, 0, split_bias=True, **of), AlphaBeta(2, 1, split_bias=True, **of))
        if not isinstance(step.rule, AlphaBetaX):
            yield from (AlphaBetaX((2, 0), (1, 0), **of), AlphaBetaX((1, 0), (0, 0), **of))
        if not isinstance(step.rule, Gamma):
            yield from (Gamma(0.25, **of), Gamma(0.25, signed=False, **of))
        if not isinstance(step.rule, Z | Epsilon | StdEpsilon):
            yield from (Z(**of), Z(bias=False, **of))
    if not isinstance(step.rule, Epsilon):
        # A small epsilon instead of none is a matter of the stabilizer.
        least = STABILIZING if isinstance(step.rule, Z) else 0.0
        yield from (Epsilon(each) for each in (1e-7, 1e-3, 1e-2, 0.1, 0.25, 0.5, 1.0) if each > least)
    if not isinstance(step.rule, StdEpsilon | Epsilon):
        yield from (StdEpsilon(each) for each in (0.1, 0.25, 0.5, 1.0))
    if isinstance(step.rule, StdEpsilon):
        yield Z()


def _as_epsilon(value: float) -> Change:
    # The z that `narrowed` leaves in the notes is that of this rule too.
    return lambda step: replace(step, rule=Epsilon(value))


def _with_estimated_epsilon(step: Step, observed: Arrays) -> Iterator[Rule]:
    """Epsilon with the value that comes nearest to the observation, where the rule is no relative of it."""
    if not has_weights(step) or isinstance(step.rule, Epsilon | StdEpsilon):
        return
    if is_as_specified(step, observed):
        return
    as_z = with_rule(Z())(step)
    epsilon = solved(*narrowed(as_z, observed), _as_epsilon, GRID)
    if epsilon is not None and (epsilon > STABILIZING or not isinstance(step.rule, Z)):
        yield Epsilon(epsilon)


def gradient_times_input(step: Step) -> Arrays:
    passed = derivative.vjp(step.layer, step.inputs, step.relevance)
    return tuple(x * each for x, each in zip(step.inputs, passed, strict=True))


# Activations and normalisations ----------------------------------------------------------------------


def activations(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """Other readings of an activation's derivative, or of layer norm's."""
    kind = step.layer.kind
    if kind in ELEMENTWISE and isinstance(step.rule, Gradient | GuidedReLU):
        yield from _derivatives(step)
    if kind in ELEMENTWISE:
        for words, formula in (
            ("relevance is multiplied by the output over the input (0/0 as 0)", _slope_from_zero),
            ("relevance is multiplied by the derivative and the input, divided by the output", _taylor),
        ):
            yield deviation("rule-mapping", f"{words} instead of {named(step.rule)}", with_formula(formula))
    if kind == "layer_norm":
        for words, formula in (
            ("the standard deviation is held constant", partial(_constant_statistics, False)),
            ("mean and standard deviation are held constant", partial(_constant_statistics, True)),
        ):
            yield deviation("rule-mapping", f"{words} instead of {named(step.rule)}", with_formula(formula))


def _derivatives(step: Step) -> Iterator[Deviation]:
    if step.layer.kind in ("relu", "relu6", "leaky_relu", "elu"):
        words = "the derivative at 0 is the one from the right instead of the one from the left"
        if step.layer.kind.startswith("relu"):
            words = "the derivative at 0 is 1 instead of 0"
        yield deviation("rule-mapping", words, with_formula(partial(_at_zero, lambda right, left: right)))
        words, between = "the derivative at 0 is a half", lambda right, left: (right + left) / 2
        yield deviation("rule-mapping", words, with_formula(partial(_at_zero, between)))


def relevance_of_slope(step: Step) -> np.ndarray:
    """What an activation's derivative is multiplied by: without its negative part under :class:`GuidedReLU`."""
    return np.maximum(step.relevance, 0.0) if isinstance(step.rule, GuidedReLU) else step.relevance


def _at_zero(between: Callable[[np.ndarray, np.ndarray], np.ndarray], step: Step) -> Arrays:
    """``between`` the relevance times a slope of 1, from the right, and times the layer's own, at inputs of 0."""
    (x,), relevance = step.inputs, relevance_of_slope(step)
    (passed,) = derivative.vjp(step.layer, step.inputs, relevance)
    return (np.where(x == 0, between(relevance, passed), passed),)


def _slope_from_zero(step: Step) -> Arrays:
    function, _ = ELEMENTWISE[step.layer.kind]
    (x,) = step.inputs
    quotient = function(x, step.layer.attributes) / np.where(x == 0, 1.0, x)
    return (step.relevance * np.where(x == 0, 0.0, quotient),)


def _taylor(step: Step) -> Arrays:
    function, slope = ELEMENTWISE[step.layer.kind]
    (x,) = step.inputs
    y = function(x, step.layer.attributes)
    divisor = np.where(y == 0, np.inf, y)
    return (step.relevance * slope(x, step.layer.attributes) * x / divisor,)


def _constant_statistics(mean: bool, step: Step) -> Arrays:
    axes = tuple(range(-step.layer.attributes["axes_count"], 0))
    gamma = np.asarray(step.layer.weights.get("gamma", 1.0), dtype=np.float64)
    variance = step.inputs[0].var(axis=axes, keepdims=True)
    passed = step.relevance * gamma / np.sqrt(variance + step.layer.attributes["epsilon"])
    return (passed if mean else passed - passed.mean(axis=axes, keepdims=True),)
