"""Rules that treat contributions by their sign: alpha-beta in its readings, and gamma.

Formulas, signatures and shapes: :mod:`reference_impls.oracle.parts`. ``x+``, ``x-``, ``W+``, ``W-``, ``b+``
and ``b-`` are the positive and negative parts. With two kernels (separable convolution) the negative parts
multiply to something positive: terms of both signs then meet and may cancel, as they do in the libraries.
"""

from __future__ import annotations

import numpy as np

from harness.graph import Layer
from harness.methods import AlphaBeta, AlphaBetaX, Gamma
from reference_impls.oracle import linear
from reference_impls.oracle.linear import Arrays, Weights
from reference_impls.oracle.parts import (
    WEIGHTED_KINDS,
    RuleFunction,
    back,
    negative,
    own_weights,
    positive,
    quotient,
    require,
    signs,
    stabilize,
    without_bias,
)


def alpha_beta(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: AlphaBeta) -> Arrays:
    """``R_x = alpha * A - beta * B``: positive and negative contributions, each normalised on its own.

    ``A = x+ * f^T(s; W+) + x- * f^T(s; W-)``, ``s = R / S(f(x+; W+, b+) + f(x-; W-, b-))``,
    ``B = x+ * f^T(t; W-) + x- * f^T(t; W+)``, ``t = R / S(f(x+; W-, b-) + f(x-; W+, b+))``; with
    ``split_bias`` the second term of each denominator has no bias.
    Bach et al. 2015, eq. 60; iNNvestigate 2.1.2 `AlphaBetaRule`, Zennit 0.5.1 `AlphaBeta` (``split_bias``).
    """
    require(layer, rule, WEIGHTED_KINDS)
    weights = own_weights(layer, rule.bias)
    upper, lower = positive(weights), negative(weights)
    x_upper, x_lower = signs(inputs[0])

    def share(for_upper: Weights, for_lower: Weights) -> np.ndarray:
        counted = without_bias(for_lower) if rule.split_bias else for_lower
        denominator = linear.apply(layer, (x_upper,), for_upper) + linear.apply(layer, (x_lower,), counted)
        s = relevance / stabilize(denominator, rule.stabilizer)
        return x_upper * back(layer, s, for_upper) + x_lower * back(layer, s, for_lower)

    activating = share(upper, lower)
    if rule.beta == 0:
        # As in `AlphaBetaRule`: B may overflow where it does not count, and 0 * inf is no number.
        return (rule.alpha * activating,)
    return (rule.alpha * activating - rule.beta * share(lower, upper),)


def alpha_beta_x(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: AlphaBetaX) -> Arrays:
    """``R_x = alpha[0] C(x+, W+) + alpha[1] C(x-, W-) - beta[0] C(x+, W-) - beta[1] C(x-, W+)``.

    ``C(y, V) = y * f^T(R / S(f(y; V, c)); V)``, ``c`` the part of the bias that has the sign of ``V``.
    iNNvestigate 2.1.2 `AlphaBetaXRule`; all four terms are computed, as there.
    """
    require(layer, rule, WEIGHTED_KINDS)
    weights = own_weights(layer, bias=True)
    upper, lower = positive(weights), negative(weights)
    x_upper, x_lower = signs(inputs[0])

    def share(y: np.ndarray, of: Weights) -> np.ndarray:
        return y * back(layer, quotient(layer, (y,), relevance, of, rule.stabilizer), of)

    activating = rule.alpha[0] * share(x_upper, upper) + rule.alpha[1] * share(x_lower, lower)
    inhibiting = rule.beta[0] * share(x_upper, lower) + rule.beta[1] * share(x_lower, upper)
    return (activating - inhibiting,)


def gamma(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: Gamma) -> Arrays:
    """LRP-gamma: ``W^ = W + gamma * W+``, ``Wv = W + gamma * W-``, and the bias ``b`` likewise.

    ``signed=False``: ``R_x = x * f^T(R / S(f(x; W^, b^)); W^)`` (Montavon et al. 2019, for ``x >= 0``).
    ``signed=True``: with ``z = f(x; W, b)``,
    ``p = [z > 0] * R / S(f(x+; W^, b^) + f(x-; Wv))``, ``n = [z < 0] * R / S(f(x+; Wv, bv) + f(x-; W^))``,
    ``R_x = x+ * f^T(p; W^) + x- * f^T(p; Wv) + x+ * f^T(n; Wv) + x- * f^T(n; W^)``
    (Zennit 0.5.1 `Gamma`; Andeol et al. 2021).
    """
    require(layer, rule, WEIGHTED_KINDS)
    weights = own_weights(layer, bias=True)
    raised = {name: weight + rule.gamma * np.maximum(weight, 0.0) for name, weight in weights.items()}
    lowered = {name: weight + rule.gamma * np.minimum(weight, 0.0) for name, weight in weights.items()}
    (x,) = inputs
    if not rule.signed:
        return (x * back(layer, quotient(layer, inputs, relevance, raised, rule.stabilizer), raised),)

    x_upper, x_lower = signs(x)
    z = linear.apply(layer, inputs, weights)

    def share(counts: np.ndarray, for_upper: Weights, for_lower: Weights) -> np.ndarray:
        denominator = linear.apply(layer, (x_upper,), for_upper)
        denominator = denominator + linear.apply(layer, (x_lower,), without_bias(for_lower))
        s = np.where(counts, relevance, 0.0) / stabilize(denominator, rule.stabilizer)
        return x_upper * back(layer, s, for_upper) + x_lower * back(layer, s, for_lower)

    return (share(z > 0, raised, lowered) + share(z < 0, lowered, raised),)


SIGNED_RULES: dict[type, RuleFunction] = {AlphaBeta: alpha_beta, AlphaBetaX: alpha_beta_x, Gamma: gamma}
