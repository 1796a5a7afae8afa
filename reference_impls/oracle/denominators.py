"""The divisions of every rule, taken apart into what is passed down, bias and rest; float64.

Formulas: :mod:`harness.methods.rules`; what a `Division` holds: :mod:`harness.divisions`. Relevance does not enter:
the same divisions serve whatever relevance is divided, and whatever stabilizer is tried on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from harness.divisions import Division, Stage
from harness.errors import UnsupportedMethodError
from harness.graph import Layer
from harness.methods import (
    AlphaBeta,
    AlphaBetaX,
    BatchNormReverse,
    Bounded,
    Epsilon,
    Flat,
    FusedBatchNorm,
    Gamma,
    ReplaceZero,
    Rule,
    Sign,
    SignedEpsilon,
    Stabilizer,
    StdEpsilon,
    WSquare,
    Z,
    ZPlusFast,
)
from reference_impls.oracle import forward, linear
from reference_impls.oracle.input_rules import sign_of
from reference_impls.oracle.linear import Arrays, Weights
from reference_impls.oracle.parts import (
    away_from_zero,
    negative,
    own_weights,
    positive,
    signs,
    stabilize,
    without_bias,
)

NO_BIAS = np.zeros(())


def divisions(layer: Layer, inputs: Arrays, rule: Rule) -> tuple[Stage, ...]:
    """The divisions of ``layer`` under ``rule`` at ``inputs`` (batch, *input shape); empty for a rule without.

    Raises UnsupportedMethodError where a batch norm's inner rule is none of a kernel.
    """
    inputs = tuple(np.asarray(x, dtype=np.float64) for x in inputs)
    if isinstance(rule, FusedBatchNorm):
        return _of_lines(layer, inputs, rule)
    found = DIVISIONS.get(type(rule))
    return () if found is None else (found(layer, inputs, rule),)


Pair = tuple[Arrays, Weights]


def _division(
    layer: Layer,
    pairs: tuple[Pair, ...],
    bias: np.ndarray,
    stabilized: Callable[[np.ndarray], np.ndarray],
    factor: float = 1.0,
    other: np.ndarray | None = None,
    counts: np.ndarray | None = None,
) -> Division:
    """The division that passes down ``sum over (y, V) of y * f^T(s; V)``, with ``q = sum of f(y; V)``.

    ``d = q + bias + other``, ``S = stabilized``.
    """
    # What is zero everywhere (the negative part of an input after a ReLU) contributes exactly nothing.
    kept = [(y, without_bias(weights)) for y, weights in pairs if any(each.any() for each in y)]
    contributions = np.zeros((pairs[0][0][0].shape[0], *layer.shape))
    for y, weights in kept:
        contributions = contributions + linear.apply(layer, y, weights)

    def back(s: np.ndarray) -> Arrays:
        shares = [np.zeros((s.shape[0], *shape)) for shape in layer.input_shapes]
        for y, weights in kept:
            passed = linear.transpose(layer, s, weights)
            shares = [share + each * part for share, each, part in zip(shares, y, passed, strict=True)]
        return tuple(shares)

    denominator = contributions + bias
    if other is not None:
        denominator = denominator + other
    return Division(factor, denominator, stabilized(denominator), contributions, bias, back, other, counts)


def _with(stabilizer: Stabilizer) -> Callable[[np.ndarray], np.ndarray]:
    return lambda denominator: stabilize(denominator, stabilizer)


def _bias_of(weights: Weights) -> np.ndarray:
    return weights.get("bias", NO_BIAS)


def _by_contribution(layer: Layer, inputs: Arrays, rule: Z | Epsilon) -> Stage:
    stabilizer = SignedEpsilon(rule.epsilon) if isinstance(rule, Epsilon) else rule.stabilizer
    weights = own_weights(layer, rule.bias)
    return (_division(layer, ((inputs, weights),), _bias_of(weights), _with(stabilizer)),)


def _std_epsilon(layer: Layer, inputs: Arrays, rule: StdEpsilon) -> Stage:
    weights = own_weights(layer, rule.bias)
    spread = inputs[0].reshape(inputs[0].shape[0], -1).std(axis=1)
    epsilon = rule.factor * spread.reshape(-1, *(1 for _ in layer.shape))

    def stabilized(denominator: np.ndarray) -> np.ndarray:
        return stabilize(away_from_zero(denominator, epsilon), ReplaceZero())

    return (_division(layer, ((inputs, weights),), _bias_of(weights), stabilized),)


def _z_plus_fast(layer: Layer, inputs: Arrays, rule: ZPlusFast) -> Stage:
    weights = positive(own_weights(layer, bias=False))
    return (_division(layer, ((inputs, weights),), NO_BIAS, _with(rule.stabilizer)),)


def _alpha_beta(layer: Layer, inputs: Arrays, rule: AlphaBeta) -> Stage:
    """``A`` with factor alpha, ``B`` with factor -beta (not where beta is 0)."""
    weights = own_weights(layer, rule.bias)
    upper, lower = positive(weights), negative(weights)
    x_upper, x_lower = signs(inputs[0])

    def term(factor: float, for_upper: Weights, for_lower: Weights) -> Division:
        bias = _bias_of(for_upper) if rule.split_bias else _bias_of(for_upper) + _bias_of(for_lower)
        pairs = (((x_upper,), for_upper), ((x_lower,), for_lower))
        return _division(layer, pairs, bias, _with(rule.stabilizer), factor)

    activating = term(rule.alpha, upper, lower)
    return (activating,) if rule.beta == 0 else (activating, term(-rule.beta, lower, upper))


def _alpha_beta_x(layer: Layer, inputs: Arrays, rule: AlphaBetaX) -> Stage:
    """The four kinds of contribution, in the order of the formula; all of them, whatever their factor."""
    weights = own_weights(layer, bias=True)
    upper, lower = positive(weights), negative(weights)
    x_upper, x_lower = signs(inputs[0])
    terms = (
        (rule.alpha[0], x_upper, upper),
        (rule.alpha[1], x_lower, lower),
        (-rule.beta[0], x_upper, lower),
        (-rule.beta[1], x_lower, upper),
    )
    return tuple(
        _division(layer, (((y,), of),), _bias_of(of), _with(rule.stabilizer), factor)
        for factor, y, of in terms
    )


def _gamma(layer: Layer, inputs: Arrays, rule: Gamma) -> Stage:
    """One division, or with ``signed`` one where ``z > 0`` and one where ``z < 0``."""
    weights = own_weights(layer, bias=True)
    raised = {name: weight + rule.gamma * np.maximum(weight, 0.0) for name, weight in weights.items()}
    lowered = {name: weight + rule.gamma * np.minimum(weight, 0.0) for name, weight in weights.items()}
    if not rule.signed:
        return (_division(layer, ((inputs, raised),), _bias_of(raised), _with(rule.stabilizer)),)
    x_upper, x_lower = signs(inputs[0])
    z = linear.apply(layer, inputs, weights)
    return tuple(
        _division(
            layer,
            (((x_upper,), for_upper), ((x_lower,), for_lower)),
            _bias_of(for_upper),
            _with(rule.stabilizer),
            counts=counts,
        )
        for counts, for_upper, for_lower in ((z > 0, raised, lowered), (z < 0, lowered, raised))
    )


def _sign(layer: Layer, inputs: Arrays, rule: Sign) -> Stage:
    """Passes ``f^T(s; W)`` times the sign of ``x``; that ``d`` holds ``f(x; W)`` instead is ``other``."""
    weights = own_weights(layer, rule.bias)
    kernel = without_bias(weights)
    signs_of_x = (sign_of(inputs[0], rule.threshold),)
    other = linear.apply(layer, inputs, kernel) - linear.apply(layer, signs_of_x, kernel)
    return (
        _division(layer, ((signs_of_x, weights),), _bias_of(weights), _with(rule.stabilizer), other=other),
    )


def _w_square(layer: Layer, inputs: Arrays, rule: WSquare) -> Stage:
    squares = {name: weight**2 for name, weight in own_weights(layer, rule.bias).items()}
    return (_division(layer, ((_ones(inputs), squares),), _bias_of(squares), _with(rule.stabilizer)),)


def _flat(layer: Layer, inputs: Arrays, rule: Flat) -> Stage:
    ones = {name: np.ones(weight.shape) for name, weight in own_weights(layer, bias=False).items()}
    return (_division(layer, ((_ones(inputs), ones),), NO_BIAS, _with(rule.stabilizer)),)


def _ones(inputs: Arrays) -> Arrays:
    return tuple(np.ones(x.shape) for x in inputs)


def _bounded(layer: Layer, inputs: Arrays, rule: Bounded) -> Stage:
    """``times_inputs=False`` passes ones down instead of ``x``, ``low`` and ``high``; the rest is ``other``."""
    weights = own_weights(layer, bias=False)
    kernels = (weights, positive(weights), negative(weights))
    (x,) = inputs
    pairs = tuple(
        ((y,), kernel)
        for y, kernel in zip(
            (x, np.full(x.shape, -rule.low), np.full(x.shape, -rule.high)), kernels, strict=True
        )
    )
    if rule.times_inputs:
        return (_division(layer, pairs, NO_BIAS, _with(rule.stabilizer)),)
    ones = np.ones(x.shape)
    passed = tuple(((sign * ones,), kernel) for sign, kernel in zip((1, -1, -1), kernels, strict=True))
    other = sum((linear.apply(layer, y, kernel) for y, kernel in pairs), np.zeros(()))
    other = other - sum((linear.apply(layer, y, kernel) for y, kernel in passed), np.zeros(()))
    return (_division(layer, passed, NO_BIAS, _with(rule.stabilizer), other=other),)


def _batch_norm_reverse(layer: Layer, inputs: Arrays, rule: BatchNormReverse) -> Stage:
    """``d = (x - mean) * y``: the line's contribution and bias, both times ``x - mean``."""
    weights = linear.weights_of(layer)
    (x,) = inputs
    y = forward.batch_norm(layer, inputs)
    contributions = x * (y - weights.get("beta", 0.0))
    denominator = (x - weights["mean"]) * y
    return (
        Division(
            1.0,
            denominator,
            away_from_zero(denominator, rule.epsilon),
            contributions,
            denominator - contributions,
            lambda s: (s * contributions,),
        ),
    )


def _of_lines(layer: Layer, inputs: Arrays, rule: FusedBatchNorm) -> tuple[Stage, ...]:
    """The inner rule's divisions at each line that the batch norm is read as, the last line first."""
    inner = DIVISIONS.get(type(rule.rule))
    if inner is None:
        raise UnsupportedMethodError(
            f"FusedBatchNorm at layer {layer.name!r} was given the rule {type(rule.rule).__name__}, "
            "expected a rule of a layer with a kernel"
        )
    stages: list[Stage] = []
    for line in _lines(layer, rule.mode):
        stages.insert(0, inner(line, inputs, rule.rule))
        inputs = (linear.apply(line, inputs, linear.weights_of(line)),)
    return tuple(stages)


def _lines(layer: Layer, mode: str) -> tuple[Layer, ...]:
    """What `reference_impls.oracle.batch_norm_rules` makes of a batch norm: one or two lines, the first first."""
    weights = linear.weights_of(layer)
    d = np.sqrt(weights["variance"] ** 2 + layer.attributes["epsilon"])
    gamma, beta = weights.get("gamma", np.ones(d.shape)), weights.get("beta", np.zeros(d.shape))
    shift = weights["mean"] / d
    if mode == "one_linear":
        lines = [(gamma / d, beta - shift)]
    else:
        lines = [(1.0 / d, -shift), (gamma, beta)]
    return tuple(
        replace(layer, kind="scale", attributes={}, weights={"kernel": kernel, "bias": bias})
        for kernel, bias in lines
    )


DIVISIONS: dict[type, Callable[[Layer, Arrays, Any], Stage]] = {
    Z: _by_contribution,
    Epsilon: _by_contribution,
    StdEpsilon: _std_epsilon,
    ZPlusFast: _z_plus_fast,
    AlphaBeta: _alpha_beta,
    AlphaBetaX: _alpha_beta_x,
    Gamma: _gamma,
    Sign: _sign,
    WSquare: _w_square,
    Flat: _flat,
    Bounded: _bounded,
    BatchNormReverse: _batch_norm_reverse,
}
