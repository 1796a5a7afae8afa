"""One function per rule: relevance of a layer's inputs from its inputs and the relevance of its output.

Every function has the signature ``(layer, inputs, relevance, rule) -> relevance of each input``; arrays are
batch-first, channels-last, float64. ``x`` stands for an input, ``R`` for the relevance of the output; the
rest of the notation, and what the rules mean, is that of :mod:`harness.methods.rules`.

Source of all formulas: iNNvestigate 2.1.2, `analyzer/relevance_based/relevance_rule.py`, class named with
each rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from harness.errors import InvalidInputError, UnsupportedMethodError
from harness.graph import AVERAGE_POOLING_KINDS, KERNEL_KINDS, Layer
from harness.methods import (
    AlphaBeta,
    Bounded,
    Epsilon,
    Flat,
    FusedBatchNorm,
    Gradient,
    Pass,
    ReplaceZero,
    SignedEpsilon,
    Stabilizer,
    WSquare,
    Z,
)
from reference_impls.oracle import derivative, linear
from reference_impls.oracle.linear import Arrays, Weights

#: Layers whose weights a rule may replace by others.
WEIGHTED_KINDS = (*KERNEL_KINDS, "scale")
#: Linear layers without weights.
WEIGHTLESS_KINDS = ("add", *AVERAGE_POOLING_KINDS)


# Parts of the formulas -------------------------------------------------------------------------------


def stabilize(z: np.ndarray, stabilizer: Stabilizer) -> np.ndarray:
    """``S(z)``: a zero replaced, or epsilon added on the side of the sign (zero counts as positive)."""
    if isinstance(stabilizer, ReplaceZero):
        return np.where(z == 0, stabilizer.value, z)
    return z + np.where(z >= 0, stabilizer.epsilon, -stabilizer.epsilon)


def own_weights(layer: Layer, bias: bool) -> Weights:
    """The layer's weights, its bias among them if ``bias``."""
    return {name: weight for name, weight in linear.weights_of(layer).items() if bias or name != "bias"}


def positive(weights: Weights) -> Weights:
    """``W+`` and ``b+``, each array on its own."""
    return {name: np.maximum(weight, 0.0) for name, weight in weights.items()}


def negative(weights: Weights) -> Weights:
    """``W-`` and ``b-``, each array on its own."""
    return {name: np.minimum(weight, 0.0) for name, weight in weights.items()}


# The rules -------------------------------------------------------------------------------------------


def z(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: Z) -> Arrays:
    """``R_x = x * f^T(R / S(z); W)`` with ``z = f(x; W, b)``.

    Bach et al. 2015, eq. 56; `ZRule`, and for add and average pooling `AddReverseLayer` and
    `AveragePoolingReverseLayer` of `relevance_analyzer.py`.
    """
    return _by_contribution(layer, inputs, relevance, rule, rule.stabilizer)


def epsilon(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: Epsilon) -> Arrays:
    """The Z rule with ``S(z) = z + epsilon * sign(z)``, ``sign(0) = +1``.

    Bach et al. 2015, eq. 58; `EpsilonRule`.
    """
    return _by_contribution(layer, inputs, relevance, rule, SignedEpsilon(rule.epsilon))


def _by_contribution(
    layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: Z | Epsilon, stabilizer: Stabilizer
) -> Arrays:
    """``x * f^T(R / S(f(x; W, b)); W)``, the bias left out where the rule leaves it out."""
    _require(layer, rule, (*WEIGHTED_KINDS, *WEIGHTLESS_KINDS))
    weights = own_weights(layer, rule.bias)
    s = relevance / stabilize(linear.apply(layer, inputs, weights), stabilizer)
    return tuple(x * back for x, back in zip(inputs, linear.transpose(layer, s, weights), strict=True))


def alpha_beta(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: AlphaBeta) -> Arrays:
    """``R_x = alpha * A - beta * B``: positive and negative contributions, each normalised on its own.

    ``A = x+ * f^T(s; W+) + x- * f^T(s; W-)``, ``s = R / S(f(x+; W+, b+) + f(x-; W-, b-))``,
    ``B = x+ * f^T(t; W-) + x- * f^T(t; W+)``, ``t = R / S(f(x+; W-, b-) + f(x-; W+, b+))``.
    Bach et al. 2015, eq. 60; `AlphaBetaRule`, which puts the whole bias into both denominators.

    With one kernel A holds the positive and B the negative contributions. With two (separable convolution)
    the negative parts multiply to something positive: terms of both signs meet and may cancel, as they do
    in `AlphaBetaRule`.
    """
    _require(layer, rule, WEIGHTED_KINDS)
    weights = own_weights(layer, rule.bias)
    upper, lower = positive(weights), negative(weights)
    (x,) = inputs
    x_upper, x_lower = np.maximum(x, 0.0), np.minimum(x, 0.0)

    def share(for_upper: Weights, for_lower: Weights) -> np.ndarray:
        denominator = linear.apply(layer, (x_upper,), for_upper) + linear.apply(layer, (x_lower,), for_lower)
        s = relevance / stabilize(denominator, rule.stabilizer)
        (back_upper,) = linear.transpose(layer, s, for_upper)
        (back_lower,) = linear.transpose(layer, s, for_lower)
        return x_upper * back_upper + x_lower * back_lower

    activating = share(upper, lower)
    if rule.beta == 0:
        # As in `AlphaBetaRule`: B may overflow where it does not count, and 0 * inf is no number.
        return (rule.alpha * activating,)
    return (rule.alpha * activating - rule.beta * share(lower, upper),)


def w_square(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: WSquare) -> Arrays:
    """``R_x = f^T(R / S(f(1; W^2)); W^2)``, without bias (Montavon et al. 2017, w^2 rule; `WSquareRule`)."""
    _require(layer, rule, WEIGHTED_KINDS)
    squares = {name: weight**2 for name, weight in own_weights(layer, bias=False).items()}
    return _by_weights_alone(layer, inputs, relevance, squares, rule.stabilizer)


def flat(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: Flat) -> Arrays:
    """``R_x = f^T(R / S(f(1; 1)); 1)``, without bias (Lapuschkin et al. 2019; `FlatRule`)."""
    _require(layer, rule, WEIGHTED_KINDS)
    ones = {name: np.ones(weight.shape) for name, weight in own_weights(layer, bias=False).items()}
    return _by_weights_alone(layer, inputs, relevance, ones, rule.stabilizer)


def _by_weights_alone(
    layer: Layer, inputs: Arrays, relevance: np.ndarray, weights: Weights, stabilizer: Stabilizer
) -> Arrays:
    """``f^T(R / S(f(1; W)); W)``: the values of the input do not count, only its shape."""
    ones = tuple(np.ones(x.shape) for x in inputs)
    s = relevance / stabilize(linear.apply(layer, ones, weights), stabilizer)
    return linear.transpose(layer, s, weights)


def bounded(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: Bounded) -> Arrays:
    """``R_x = x * f^T(s; W) - low * f^T(s; W+) - high * f^T(s; W-)``, without bias.

    ``s = R / S(f(x; W) - f(low; W+) - f(high; W-))`` with ``low`` and ``high`` at every entry of the input
    (not in the padding). Montavon et al. 2017, z^B rule; `BoundedRule`.
    """
    _require(layer, rule, WEIGHTED_KINDS)
    weights = own_weights(layer, bias=False)
    upper, lower = positive(weights), negative(weights)
    (x,) = inputs
    low, high = np.full(x.shape, rule.low), np.full(x.shape, rule.high)
    denominator = (
        linear.apply(layer, (x,), weights)
        - linear.apply(layer, (low,), upper)
        - linear.apply(layer, (high,), lower)
    )
    s = relevance / stabilize(denominator, rule.stabilizer)
    (back,) = linear.transpose(layer, s, weights)
    (back_upper,) = linear.transpose(layer, s, upper)
    (back_lower,) = linear.transpose(layer, s, lower)
    return (x * back - low * back_upper - high * back_lower,)


def pass_through(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: Pass) -> Arrays:
    """``R_x = R`` (`LRP._default_reverse_mapping` of `relevance_analyzer.py`, for activations).

    Raises UnsupportedMethodError where the layer has several inputs or its output another shape.
    """
    if len(inputs) != 1 or inputs[0].shape != relevance.shape:
        shapes = ", ".join(str(x.shape) for x in inputs)
        raise UnsupportedMethodError(
            f"Pass at layer {layer.name!r} ({layer.kind}): it takes {shapes} to {relevance.shape}, "
            "expected one input of the shape of the output; assign Gradient instead"
        )
    return (relevance,)


def gradient(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: Gradient) -> Arrays:
    """``R_x = J^T R`` at ``x``, for every input (`ReverseAnalyzerBase._gradient_reverse_mapping`)."""
    return derivative.vjp(layer, inputs, relevance)


def fused_batch_norm(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: FusedBatchNorm) -> Arrays:
    """``rule.rule`` at the line ``kernel * x + bias``, per last axis.

    ``kernel = gamma / d``, ``bias = beta - mean / d``, ``d = sqrt(variance**2 + epsilon)``: the square and
    the missing gamma before the mean are those of `apply_mapping_to_fused_bn_layer` (`backend/graph.py`).
    """
    _require(layer, rule, ("batch_norm",))
    weights = linear.weights_of(layer)
    d = np.sqrt(weights["variance"] ** 2 + layer.attributes["epsilon"])
    line = {
        "kernel": weights.get("gamma", np.ones(d.shape)) / d,
        "bias": weights.get("beta", np.zeros(d.shape)) - weights["mean"] / d,
    }
    return propagate(replace(layer, kind="scale", attributes={}, weights=line), inputs, relevance, rule.rule)


# Which function a rule is ----------------------------------------------------------------------------

RULES: dict[type, Callable[[Layer, Arrays, np.ndarray, Any], Arrays]] = {
    Z: z,
    Epsilon: epsilon,
    AlphaBeta: alpha_beta,
    WSquare: w_square,
    Flat: flat,
    Bounded: bounded,
    Pass: pass_through,
    Gradient: gradient,
    FusedBatchNorm: fused_batch_norm,
}


def propagate(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: Any) -> Arrays:
    """The relevance of each input of ``layer`` under ``rule``.

    ``inputs``: one array (batch, *input shape) per input; ``relevance``: (batch, *shape). All float64.

    Raises UnsupportedMethodError for a rule the layer's kind has no reading of, InvalidInputError for
    arrays that do not fit the layer.
    """
    if type(rule) not in RULES:
        raise UnsupportedMethodError(
            f"the oracle has no rule {type(rule).__name__!r}; it has: "
            f"{', '.join(known.__name__ for known in RULES)}"
        )
    _require_shapes(layer, inputs, relevance)
    return RULES[type(rule)](layer, inputs, relevance, rule)


def _require(layer: Layer, rule: Any, kinds: tuple[str, ...]) -> None:
    if layer.kind not in kinds:
        raise UnsupportedMethodError(
            f"{type(rule).__name__} has no reading at layer {layer.name!r} ({layer.kind}), only at: "
            f"{', '.join(kinds)}; assign another rule (Gradient has a reading everywhere)"
        )


def _require_shapes(layer: Layer, inputs: Arrays, relevance: np.ndarray) -> None:
    batch = relevance.shape[:1]
    found = tuple(x.shape for x in inputs)
    expected = tuple((*batch, *shape) for shape in layer.input_shapes)
    if found != expected:
        raise InvalidInputError(
            f"layer {layer.name!r} ({layer.kind}) was given inputs of shape {found}, expected {expected}; "
            "arrays are batch first and channels last"
        )
    if relevance.shape[1:] != layer.shape:
        raise InvalidInputError(
            f"layer {layer.name!r} ({layer.kind}) was given relevance of shape {relevance.shape}, "
            f"expected (batch, {', '.join(map(str, layer.shape))}); arrays are batch first and channels last"
        )
