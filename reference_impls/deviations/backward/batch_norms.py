"""Batch norm: the other readings there are, what its statistics may be mistaken for, and merging it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from harness.graph import Layer
from harness.methods import (
    AlphaBeta,
    BatchNormReverse,
    Epsilon,
    Flat,
    FusedBatchNorm,
    Gradient,
    KernelRule,
    Pass,
    Rule,
    Sign,
    WSquare,
    Z,
    ZPlusFast,
)
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import (
    Change,
    deviation,
    named,
    with_attributes,
    with_formula,
    with_rule,
    with_weights,
)
from reference_impls.deviations.backward.batch_norm_reverses import reverse_readings
from reference_impls.deviations.backward.carrying import carry_out
from reference_impls.deviations.backward.kinds import assigned, has_weights, placed, readers
from reference_impls.oracle import linear
from reference_impls.oracle.linear import Arrays, weights_of

#: (kernel, bias) of the line ``kernel * x + bias`` that a batch norm is read as.
Line = tuple[np.ndarray, np.ndarray]
EPSILONS = (1e-3, 1e-5, 1e-6, 1e-7, 0.0)


def batch_norms(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """At a batch norm: every other reading. At the layer before one: its weights with the batch norm merged in."""
    if step.layer.kind == "batch_norm":
        yield from reverse_readings(step)
        yield from _other_rules(step)
        yield from _other_statistics(step)
    elif has_weights(step):
        for reader in readers(step):
            if reader.kind == "batch_norm":
                words = f"the weights are those with {reader.name} merged in"
                yield deviation("batchnorm", words, partial(_merged, reader))


def _deviation(words: str, change: Change) -> Deviation:
    return deviation("batchnorm", words, change)


def _other_rules(step: Step) -> Iterator[Deviation]:
    own, rule_name = step.rule, named(step.rule)
    others: tuple[tuple[str, Rule], ...] = (
        ("relevance is handed on as it is (Pass)", Pass()),
        ("it has the gradient", Gradient()),
        ("it is shared by its own input and output (BatchNormReverse)", BatchNormReverse()),
    )
    for words, other in others:
        if type(other) is not type(own):
            yield _deviation(f"{words} instead of {rule_name}", with_rule(other))
    inner = _inner_rules(step)
    for rule in inner:
        if not (isinstance(own, FusedBatchNorm) and own.mode == "one_linear" and own.rule == rule):
            words = f"it is read as the line it computes, with {named(rule)}, instead of {rule_name}"
            yield _deviation(words, with_formula(partial(_on_line, rule, _computed)))
        for mode in ("one_linear", "two_linear"):
            fused = FusedBatchNorm(rule, mode)
            if fused != own:
                yield _deviation(f"it has {named(fused)} instead of {rule_name}", with_rule(fused))
    if isinstance(own, FusedBatchNorm):
        own_rule = own.rule
        for words, line in (
            ("it is read as the line it computes", _computed),
            ("the variance is not squared, the mean is subtracted without gamma", _mean_without_gamma),
            ("the variance is squared, the mean is multiplied by gamma", partial(_computed, power=2)),
        ):
            yield _deviation(
                f"{words}, instead of {rule_name}", with_formula(partial(_on_line, own_rule, line))
            )
        words = (
            f"the two lines are the ones it computes, with the variance not squared, instead of {rule_name}"
        )
        yield _deviation(words, with_formula(partial(_on_two_lines, own_rule)))


def _inner_rules(step: Step) -> list[KernelRule]:
    """The rules of the method's layers with weights, and the usual ones."""
    layer = placed(step)
    inner: list[KernelRule] = [step.rule.rule] if isinstance(step.rule, FusedBatchNorm) else []
    if layer is not None:
        rules = assigned(step.method.composite, step.graph).values()
        inner += [rule for rule in rules if isinstance(rule, KernelRule)]
    inner += [Z(), Z(bias=False), Epsilon(1e-7), Epsilon(1e-6), AlphaBeta(1, 0), AlphaBeta(2, 1), ZPlusFast()]
    inner += [Flat(), WSquare(), Sign()]
    return list(dict.fromkeys(inner))


def _statistics(step: Step, power: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """``gamma``, ``beta``, the mean, and ``d = sqrt(variance**power + epsilon)``."""
    weights = weights_of(step.layer)
    mean, variance = weights["mean"], weights["variance"]
    gamma, beta = weights.get("gamma", np.ones(mean.shape)), weights.get("beta", np.zeros(mean.shape))
    return gamma, beta, mean, np.sqrt(variance**power + step.layer.attributes["epsilon"])


def _computed(step: Step, power: int = 1) -> Line:
    gamma, beta, mean, d = _statistics(step, power)
    return gamma / d, beta - gamma * mean / d


def _mean_without_gamma(step: Step) -> Line:
    gamma, beta, mean, d = _statistics(step)
    return gamma / d, beta - mean / d


def _on_line(rule: Rule, line: Callable[[Step], Line], step: Step) -> Arrays:
    return carry_out(
        replace(step, layer=_as_scale(step.layer, *line(step)), rule=rule, formula=None, after=())
    )


def _on_two_lines(rule: Rule, step: Step) -> Arrays:
    gamma, beta, mean, d = _statistics(step)
    first, second = _as_scale(step.layer, 1.0 / d, -mean / d), _as_scale(step.layer, gamma, beta)
    bare = replace(step, rule=rule, formula=None, after=())
    between = linear.apply(first, step.inputs, weights_of(first))
    relevance = carry_out(replace(bare, layer=second, inputs=(between,)))[0]
    return carry_out(replace(bare, layer=first, relevance=relevance))


def _as_scale(layer: Layer, kernel: np.ndarray, bias: np.ndarray) -> Layer:
    return replace(layer, kind="scale", attributes={}, weights={"kernel": kernel, "bias": bias})


def _other_statistics(step: Step) -> Iterator[Deviation]:
    own = step.layer.attributes["epsilon"]
    for epsilon in EPSILONS:
        if epsilon != own:
            words = f"the layer's epsilon is {epsilon:g} instead of {own:g}"
            yield deviation("batchnorm", words, with_attributes(epsilon=epsilon), {"epsilon": epsilon})
    for words, name, value in (
        ("beta is left out", "beta", 0.0),
        ("gamma is left out", "gamma", 1.0),
        ("the mean is left out", "mean", 0.0),
    ):
        if name in step.layer.weights:
            yield _deviation(words, with_weights(partial(_constant, name, value)))
    yield _deviation("the statistics are those of the batch instead of the stored ones", _of_batch)
    yield _deviation("the variance is divided by instead of its square root", _divided_by_variance)
    words = "relevance is multiplied by gamma alone, without the standard deviation"
    yield _deviation(words, with_formula(lambda step: (step.relevance * _statistics(step)[0],)))


def _constant(name: str, value: float, layer: Layer, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**weights, name: np.full(weights["mean"].shape, value)}


def _of_batch(step: Step) -> Step:
    x = step.inputs[0]
    axes = tuple(range(x.ndim - 1))
    batch = {"mean": x.mean(axis=axes), "variance": x.var(axis=axes)}
    return with_weights(lambda _, weights: {**weights, **batch})(step)


def _divided_by_variance(step: Step) -> Step:
    epsilon = step.layer.attributes["epsilon"]
    variance = (weights_of(step.layer)["variance"] + epsilon) ** 2 - epsilon
    return with_weights(lambda _, weights: {**weights, "variance": variance})(step)


def _merged(norm: Layer, step: Step) -> Step:
    """``W * g / d`` and ``(b - mean) * g / d + beta`` per output channel."""
    kernel, shift = _computed(replace(step, layer=norm))
    if step.units is not None:
        kernel, shift = kernel[step.units], shift[step.units]

    def with_norm(layer: Layer, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if layer.traits.transposed and layer.attributes["groups"] > 1:
            return weights  # Its kernel holds the outputs of one group; another number of groups takes them in turn.
        last = "pointwise_kernel" if "pointwise_kernel" in weights else "kernel"
        return {**weights, last: weights[last] * kernel, "bias": weights.get("bias", 0.0) * kernel + shift}

    return with_weights(with_norm)(step)
