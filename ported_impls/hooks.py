"""LRP rules as hooks on Zennit's core: a rule is a handful of values (`steps` says which, `mappers` has them).

What the rules compute is defined in `harness.methods.rules`. Tensors are in the twin's layout: batch
first, channels on axis 1.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from harness.errors import UnsupportedMethodError
from harness.methods import (
    AlphaBeta,
    AlphaBetaX,
    Bound,
    Bounded,
    Epsilon,
    Flat,
    Gamma,
    KernelRule,
    Sign,
    SignedEpsilon,
    Stabilizer,
    StdEpsilon,
    Unprotected,
    WSquare,
    Z,
    ZPlusFast,
)
from ported_impls import mappers
from ported_impls.kernels import KernelMod
from ported_impls.mappers import MoreNegative, MorePositive, keep, negative, positive
from ported_impls.steps import FormulaStep, ModifiedStep, OwnStep, Part, ReadAs, RuleHook


def kernel_hook(rule: KernelRule, read_as: ReadAs) -> RuleHook:
    """The hook of a rule at a layer with a kernel, and of Z and Epsilon at a sum. Raises UnsupportedMethodError."""
    match rule:
        case Z() | Epsilon():
            return proportional(_stabilizer(rule), rule.bias, read_as)
        case StdEpsilon():
            return deviation_epsilon(rule.factor, rule.bias, read_as)
        case Sign():
            return sign(rule.threshold, rule.stabilizer, rule.bias, rule.std_factor, read_as)
        case AlphaBeta():
            return alpha_beta(rule.alpha, rule.beta, rule.stabilizer, rule.bias, rule.split_bias, read_as)
        case AlphaBetaX():
            return alpha_beta_x(rule.alpha, rule.beta, rule.stabilizer, read_as)
        case ZPlusFast():
            return z_plus_fast(rule.stabilizer, rule.bias, read_as)
        case Gamma():
            if not rule.signed:
                return plain_gamma(rule.gamma, rule.bias, rule.stabilizer, read_as)
            return gamma(rule.gamma, rule.stabilizer, read_as)
        case WSquare():
            return w_square(rule.stabilizer, rule.bias, read_as)
        case Flat():
            return flat(rule.stabilizer, read_as)
        case Bounded():
            return bounded(rule.low, rule.high, rule.stabilizer, rule.times_inputs, read_as)
    raise UnsupportedMethodError(
        f"the torch backend has no rule {type(rule).__name__}; use one of harness.methods.rules"
    )


def _stabilizer(rule: Z | Epsilon) -> Stabilizer:
    return SignedEpsilon(rule.epsilon) if isinstance(rule, Epsilon) else rule.stabilizer


def proportional(stabilizer: Stabilizer, bias: bool, read_as: ReadAs = None) -> RuleHook:
    """Z and Epsilon (Bach et al. 2015, eq. 56 and 58; iNNvestigate 2.1.2 `ZRule`, `EpsilonRule`)."""
    mapper = partial(mappers.divide_by_sum, stabilizer)
    if bias and read_as is None:
        return OwnStep(mapper, mappers.sum_of_products)
    return ModifiedStep([(keep, KernelMod(keep, bias))], mapper, mappers.sum_of_products, read_as)


def deviation_epsilon(factor: float, bias: bool, read_as: ReadAs = None) -> RuleHook:
    """StdEpsilon: epsilon is a multiple of the input's deviation (signxai 1.1.9.2 `StdxEpsilonRule`)."""
    mapper = partial(mappers.divide_with_deviation, factor)
    if bias and read_as is None:
        return OwnStep(mapper, mappers.sum_of_products)
    return ModifiedStep([(keep, KernelMod(keep, bias))], mapper, mappers.sum_of_products, read_as)


def sign(
    threshold: float,
    stabilizer: Stabilizer,
    bias: bool,
    std_factor: float | None = None,
    read_as: ReadAs = None,
) -> RuleHook:
    """Sign: the input's sign in front of the transpose (Gumpfer et al. 2023; signxai 1.1.9.2 `SIGNmuRule`).

    With ``std_factor`` over the denominator of StdEpsilon (signxai2 0.15.10 `EpsStdXSIGNRule`).
    """
    mapper = partial(mappers.divide_by_sum, stabilizer)
    if std_factor is not None:
        mapper = partial(mappers.divide_with_deviation, std_factor)
    reducer = partial(mappers.signed_gradient, threshold)
    if bias and read_as is None:
        return OwnStep(mapper, reducer)
    return ModifiedStep([(keep, KernelMod(keep, bias))], mapper, reducer, read_as)


def alpha_beta(
    alpha: float,
    beta: float,
    stabilizer: Stabilizer,
    bias: bool,
    split_bias: bool = False,
    read_as: ReadAs = None,
) -> ModifiedStep:
    """AlphaBeta, both signs of the bias in both denominators (iNNvestigate 2.1.2 `AlphaBetaRule`).

    With ``split_bias`` the second part of each denominator has none (Zennit 0.5.1 `AlphaBeta`, `ZPlus`).
    """
    second = bias and not split_bias
    activating: list[Part] = [
        (positive, KernelMod(positive, bias)),
        (negative, KernelMod(negative, second)),
    ]
    inhibiting: list[Part] = [
        (positive, KernelMod(negative, bias)),
        (negative, KernelMod(positive, second)),
    ]
    finite = not isinstance(stabilizer, Unprotected)
    if beta == 0:  # then alpha is one
        mapper = partial(mappers.divide_by_sum, stabilizer)
        return ModifiedStep(activating, mapper, mappers.sum_of_products, read_as, skips_zero=finite)
    return ModifiedStep(
        activating + inhibiting,
        partial(mappers.divide_by_pairs, stabilizer),
        partial(mappers.weighted_pairs, alpha, beta),
        read_as,
        skips_zero=finite,
    )


def alpha_beta_of_maxima(alpha: float, beta: float, stabilizer: Stabilizer) -> ModifiedStep:
    """AlphaBetaOfMaxima: the largest class of each part (signxai 1.1.9.2 `AlphaBetaRule`, no neuron selected)."""
    up, down = KernelMod(positive, bias=True), KernelMod(negative, bias=True)
    activating: list[Part] = [(positive, up), (negative, down)]
    inhibiting: list[Part] = [(positive, down), (negative, up)]
    if beta == 0:  # then alpha is one
        return ModifiedStep(
            activating, partial(mappers.divide_by_maxima, stabilizer), mappers.sum_of_products
        )
    return ModifiedStep(
        activating + inhibiting,
        partial(mappers.divide_by_maxima, stabilizer),
        partial(mappers.weighted_pairs, alpha, beta),
    )


def alpha_beta_x(
    alpha: tuple[float, float], beta: tuple[float, float], stabilizer: Stabilizer, read_as: ReadAs = None
) -> ModifiedStep:
    """AlphaBetaX: a factor and a denominator for each kind of contribution (iNNvestigate 2.1.2 `AlphaBetaXRule`).

    Kinds with factor zero are not computed (where all are zero, one is, so that zeros come out).
    """
    up, down = KernelMod(positive, bias=True), KernelMod(negative, bias=True)
    kinds: list[tuple[float, Part]] = [
        (alpha[0], (positive, up)),
        (alpha[1], (negative, down)),
        (-beta[0], (positive, down)),
        (-beta[1], (negative, up)),
    ]
    counted = [(factor, part) for factor, part in kinds if factor != 0] or kinds[:1]
    return ModifiedStep(
        [part for _, part in counted],
        partial(mappers.divide_by_own, stabilizer),
        partial(mappers.weighted_products, [factor for factor, _ in counted]),
        read_as,
        skips_zero=not isinstance(stabilizer, Unprotected),
    )


def z_plus_fast(stabilizer: Stabilizer, bias: bool = False, read_as: ReadAs = None) -> ModifiedStep:
    """ZPlusFast: positive kernels, the input as it is, no bias (iNNvestigate 2.1.2 `ZPlusFastRule`) or all of it.

    All of it: Captum 0.9.0 `Alpha1_Beta0_Rule`.
    """
    return ModifiedStep(
        [(keep, KernelMod(positive, bias, own_bias=True))],
        partial(mappers.divide_by_sum, stabilizer),
        mappers.sum_of_products,
        read_as,
    )


def plain_gamma(
    factor: float,
    bias: Literal["raised", "kept", "none"],
    stabilizer: Stabilizer,
    read_as: ReadAs = None,
) -> ModifiedStep:
    """LRP-gamma as first written (Montavon et al. 2019); Captum 0.9.0 `GammaRule` keeps the bias, or drops it."""
    raised = KernelMod(MorePositive(factor), bias != "none", own_bias=bias == "kept")
    return ModifiedStep(
        [(keep, raised)], partial(mappers.divide_by_sum, stabilizer), mappers.sum_of_products, read_as
    )


def gamma(factor: float, stabilizer: Stabilizer, read_as: ReadAs = None) -> ModifiedStep:
    """LRP-gamma for inputs of both signs (Andeol et al. 2021; Zennit 0.5.1 `Gamma`)."""
    up, down = MorePositive(factor), MoreNegative(factor)
    return ModifiedStep(
        [
            (positive, KernelMod(up, bias=True)),
            (negative, KernelMod(down, bias=False)),
            (positive, KernelMod(down, bias=True)),
            (negative, KernelMod(up, bias=False)),
        ],
        partial(mappers.divide_by_sign_of_output, stabilizer),
        mappers.sum_of_products,
        read_as,
        skips_zero=not isinstance(stabilizer, Unprotected),
    )


def w_square(stabilizer: Stabilizer, bias: bool = False, read_as: ReadAs = None) -> ModifiedStep:
    """WSquare: ones for the input, squared kernels (Montavon et al. 2017; `WSquareRule`), and bias (Zennit)."""
    return ModifiedStep(
        [(torch.ones_like, KernelMod(torch.square, bias))],
        partial(mappers.divide_by_sum, stabilizer),
        mappers.first_gradient,
        read_as,
    )


def flat(stabilizer: Stabilizer, read_as: ReadAs = None) -> ModifiedStep:
    """Flat: ones for the input and the kernels, no bias (Lapuschkin et al. 2019; `FlatRule`)."""
    return ModifiedStep(
        [(torch.ones_like, KernelMod(torch.ones_like, bias=False))],
        partial(mappers.divide_by_sum, stabilizer),
        mappers.first_gradient,
        read_as,
    )


def bounded(
    low: Bound, high: Bound, stabilizer: Stabilizer, times_inputs: bool = True, read_as: ReadAs = None
) -> ModifiedStep:
    """The z^B rule for inputs in ``[low, high]``, without bias (Montavon et al. 2017; `BoundedRule`)."""
    return ModifiedStep(
        [
            (keep, KernelMod(keep, bias=False)),
            (partial(mappers.bound, low), KernelMod(positive, bias=False)),
            (partial(mappers.bound, high), KernelMod(negative, bias=False)),
        ],
        partial(mappers.divide_by_difference, stabilizer),
        mappers.difference_of_products if times_inputs else mappers.difference_of_gradients,
        read_as,
    )


# --- activations --------------------------------------------------------------------------------------


def guided() -> FormulaStep:
    """GuidedReLU: the activation's own backward pass of ``max(R, 0)`` (Springenberg et al. 2015)."""
    return FormulaStep(_guided)


def _guided(module: torch.nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    if type(module) is torch.nn.ReLU:  # a fraction of what autograd takes to be asked
        return torch.ops.aten.threshold_backward(positive(relevance), x, 0)
    _, pull = torch.func.vjp(module.forward, x)
    (share,) = pull(positive(relevance))
    return share


def _rectified(module: torch.nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    return positive(relevance)


def pass_through() -> FormulaStep:
    """Pass: the relevance as it is."""
    return FormulaStep(_unchanged)


def _unchanged(module: torch.nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    return relevance


def deconvolution() -> FormulaStep:
    """Deconvolution: ``max(R, 0)``, whatever the activation did (Zeiler and Fergus 2014)."""
    return FormulaStep(_rectified)
