"""Which function a rule is: one layer's own step, from the relevance of its output to that of its inputs.

Rules of layers with a kernel are sums of terms (`terms`); the others have a step of their own, named here.
"""

from __future__ import annotations

import numpy as np

from harness.errors import InvalidInputError
from harness.graph import Layer
from harness.methods import (
    AlphaBetaOfMaxima,
    BatchNormReverse,
    Deconvolution,
    Epsilon,
    FusedBatchNorm,
    Gradient,
    GuidedReLU,
    HeldNorm,
    Linearized,
    Pass,
    Rule,
    ShareProduct,
    SignedEpsilon,
    SignSplit,
    SoftmaxTaylor,
    Z,
)
from reference_impls.oracle import (
    activation_rules,
    attention,
    batch_norm_rules,
    derivative,
    forward,
    maxima,
    recurrent,
)
from reference_impls.oracle.linear import Arrays
from reference_impls.oracle.parts import Denominator, Stabilizing, divisor_of, require
from reference_impls.oracle.terms import has_terms, shares, terms_of

#: Rules that divide by nothing.
UNDIVIDED = Pass | Gradient | GuidedReLU | Deconvolution | SoftmaxTaylor
#: Rules with a step of their own, one division each or two.
OWN = BatchNormReverse | Linearized | AlphaBetaOfMaxima | ShareProduct | HeldNorm | SignSplit


def has(rule: Rule) -> bool:
    """Whether the oracle has ``rule`` and, where it is made of another, that one too."""
    if isinstance(rule, FusedBatchNorm):
        return has_terms(rule.rule)
    return isinstance(rule, UNDIVIDED | OWN) or has_terms(rule)


def stabilizer_of(rule: Rule) -> Stabilizing | None:
    """What keeps the denominators of ``rule`` from zero; None where it has no denominator."""
    match rule:
        case Pass() | Gradient() | GuidedReLU() | Deconvolution() | SoftmaxTaylor():
            return None
        case FusedBatchNorm():
            return stabilizer_of(rule.rule)
        case BatchNormReverse():
            return SignedEpsilon(rule.epsilon)
        case Linearized() | AlphaBetaOfMaxima() | ShareProduct() | HeldNorm() | SignSplit():
            return rule.stabilizer
    return terms_of(rule).stabilizer


def propagate(
    layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: Rule, divisor: Denominator | None = None
) -> Arrays:
    """The relevance of each input of ``layer`` under ``rule``, in float64.

    ``inputs``: one array (batch, *input shape) per input; ``relevance``: (batch, *shape). ``divisor``: what stands
    for the rule's own ``S``, called with each ``z`` in the order of the divisions.

    Raises UnsupportedMethodError for a rule that is unknown or has no reading at the layer's kind,
    InvalidInputError for arrays that do not fit the layer.
    """
    inputs = tuple(np.asarray(x, dtype=np.float64) for x in inputs)
    relevance = np.asarray(relevance, dtype=np.float64)
    _require_shapes(layer, inputs, relevance)
    # A denominator of almost nothing may overflow. That is the rule's own result, and the comparison
    # counts it; a warning would only repeat it.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        match rule:
            case Pass():
                return activation_rules.pass_through(layer, inputs, relevance)
            case Gradient():
                return derivative.vjp(layer, inputs, relevance)
            case GuidedReLU():
                return activation_rules.guided_relu(layer, inputs, relevance, rule)
            case Deconvolution():
                return activation_rules.deconvolution(layer, relevance, rule)
            case FusedBatchNorm():
                return batch_norm_rules.fused_batch_norm(layer, inputs, relevance, rule, divisor)
            case BatchNormReverse():
                return batch_norm_rules.batch_norm_reverse(layer, inputs, relevance, rule, divisor)
            case AlphaBetaOfMaxima():
                return maxima.alpha_beta_of_maxima(layer, inputs, relevance, rule, divisor)
            case Linearized():
                divide_by = divisor_of(rule.stabilizer, inputs) if divisor is None else divisor
                quotients = relevance / divide_by(forward.apply(layer, inputs))
                passed = derivative.vjp(layer, inputs, quotients)
                return tuple(x * each for x, each in zip(inputs, passed, strict=True))
            case SoftmaxTaylor():
                require(layer, rule, ("softmax",))
                output = forward.apply(layer, inputs)
                return (attention.softmax_taylor(inputs[0], output, relevance, layer.attributes["axis"]),)
            case ShareProduct() | HeldNorm() | SignSplit():
                divide_by = divisor_of(rule.stabilizer, inputs) if divisor is None else divisor
                return _of_attention(layer, inputs, relevance, rule, divide_by)
        if layer.traits.family == "recurrent" and isinstance(rule, Z | Epsilon):
            stabilizer = terms_of(rule).stabilizer
            divide_by = divisor_of(stabilizer, inputs) if divisor is None else divisor
            return recurrent.held_gates(layer, inputs, relevance, divide_by, rule.bias)
        return shares(layer, inputs, relevance, rule, divisor)


def _of_attention(
    layer: Layer,
    inputs: Arrays,
    relevance: np.ndarray,
    rule: ShareProduct | HeldNorm | SignSplit,
    divide_by: Denominator,
) -> Arrays:
    match rule:
        case ShareProduct():
            output = forward.apply(layer, inputs)

            def pull(s: np.ndarray) -> Arrays:
                return derivative.vjp(layer, inputs, s)

            return attention.share_product(layer, inputs, relevance, rule, divide_by, output, pull)
        case HeldNorm():
            return attention.held_norm(layer, inputs, relevance, rule, divide_by)
        case SignSplit():
            return attention.sign_split(layer, inputs, relevance, rule, divide_by)


def _require_shapes(layer: Layer, inputs: Arrays, relevance: np.ndarray) -> None:
    batch = relevance.shape[:1]
    shapes = tuple(x.shape for x in inputs)
    expected = tuple((*batch, *shape) for shape in layer.input_shapes)
    if shapes != expected:
        raise InvalidInputError(
            f"layer {layer.name!r} ({layer.kind}) was given inputs of shape {shapes}, expected {expected}; "
            "arrays are batch first and channels last"
        )
    if relevance.shape[1:] != layer.shape:
        raise InvalidInputError(
            f"layer {layer.name!r} ({layer.kind}) was given relevance of shape {relevance.shape}, "
            f"expected (batch, {', '.join(map(str, layer.shape))}); arrays are batch first and channels last"
        )
