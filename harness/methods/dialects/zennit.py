"""Zennit 0.5.1: its named composites (`composites.py`), and LRP-0 and LRP-gamma as its rules read them.

All stabilizers are ``z + 1e-6 * sign(z)``, ``sign(0) = +1`` (`core.stabilize`). Sums (`zennit.layer.Sum`,
here: add layers) and average pooling are normalised by their output, batch norms pass relevance on: they
are meant to be merged into the layer before by a canonizer (`layer_map_base`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from harness.errors import InvalidInputError
from harness.graph import CONVOLUTION_KINDS, ELEMENTWISE_KINDS, KERNEL_KINDS, SUM_KINDS
from harness.methods.composite import Assignment, Composite
from harness.methods.definition import Head, Method, NamedHead
from harness.methods.entries import Entry, Parameters, above_zero, choice, flag, number, required_bounds
from harness.methods.rules import (
    AlphaBeta,
    Bounded,
    Deconvolution,
    Epsilon,
    Flat,
    Gamma,
    Gradient,
    GuidedReLU,
    KernelRule,
    Pass,
    Z,
)
from harness.methods.stabilizers import SignedEpsilon, Unprotected

DIALECT = "Zennit 0.5.1"

#: The rule of convolutions, from the name, its parameters and the stabilizer.
Convolution = Callable[[str, Parameters, SignedEpsilon], KernelRule]


def composite(
    convolution: KernelRule, dense: KernelRule, stabilizer: SignedEpsilon, first: Assignment | None = None
) -> Composite:
    """A `SpecialFirstLayerMapComposite`: ``first`` for one layer, then `layer_map_base`, then the kernels."""
    norm = Z(stabilizer=stabilizer)
    return Composite(
        (
            *((first,) if first else ()),
            Assignment(Pass(), kinds=ELEMENTWISE_KINDS),
            Assignment(norm, kinds=SUM_KINDS),
            Assignment(Pass(), kinds=("batch_norm",)),
            Assignment(convolution, kinds=CONVOLUTION_KINDS),
            Assignment(dense, kinds=("dense",)),
            Assignment(Gradient()),
        )
    )


def _alpha_beta(alpha: float, beta: float) -> Convolution:
    return lambda name, parameters, stabilizer: AlphaBeta(alpha, beta, stabilizer=stabilizer, split_bias=True)


def _stabilizer(name: str, parameters: Parameters) -> SignedEpsilon:
    return SignedEpsilon(above_zero(name, parameters, "stabilizer", 1e-6))


def _head(name: str, parameters: Parameters, default: NamedHead) -> Head:
    return choice(name, parameters, "head", default, ("logit", "one"))  # type: ignore[return-value]


def _gamma_factor(name: str, parameters: Parameters) -> float:
    gamma = number(name, parameters, "gamma", 0.25)
    if gamma < 0:
        raise InvalidInputError(f"{name}: gamma must be 0 or above, found {gamma:g}")
    return gamma


def _gamma_rule(name: str, parameters: Parameters, stabilizer: SignedEpsilon) -> Gamma:
    return Gamma(_gamma_factor(name, parameters), stabilizer=stabilizer)


def _epsilon_with(
    convolution: Convolution, first: Literal["none", "flat", "box"]
) -> Callable[[str, Parameters], Method]:
    """`EpsilonPlus`, `EpsilonAlpha2Beta1`, and these with Flat or ZBox for the first layer; `EpsilonGammaBox`."""

    def build(name: str, parameters: Parameters) -> Method:
        stabilizer = _stabilizer(name, parameters)
        special: Assignment | None = None
        if first == "flat":
            special = Assignment(Flat(stabilizer), kinds=KERNEL_KINDS, first=True)
        elif first == "box":
            low, high = required_bounds(name, parameters)
            special = Assignment(Bounded(low, high, stabilizer), kinds=CONVOLUTION_KINDS, first=True)
        rule = convolution(name, parameters, stabilizer)
        dense = Epsilon(above_zero(name, parameters, "epsilon", 1e-6))
        made = composite(rule, dense, stabilizer, special)
        return Method(name, made, _head(name, parameters, "logit"))

    return build


def _gamma(name: str, parameters: Parameters) -> Method:
    """`Gamma` at every kernel; ``signed=false`` is the rule as first written, for inputs that are not negative."""
    stabilizer = _stabilizer(name, parameters)
    rule = Gamma(_gamma_factor(name, parameters), flag(name, parameters, "signed", True), stabilizer)
    return Method(name, composite(rule, rule, stabilizer), _head(name, parameters, "logit"))


def _zero(name: str, parameters: Parameters) -> Method:
    """`Epsilon(epsilon=0)`: a denominator that is exactly zero gives infinities and NaN."""
    stabilizer = _stabilizer(name, parameters)
    chosen = choice(name, parameters, "zeros", "replace", ("replace", "divide"))
    rule = Z(stabilizer=Unprotected()) if chosen == "divide" else Z()
    return Method(name, composite(rule, rule, stabilizer), _head(name, parameters, "logit"))


def _excitation(name: str, parameters: Parameters) -> Method:
    """`ExcitationBackprop`: ZPlus at kernels, sums and average pooling normalised, the gradient elsewhere."""
    stabilizer = _stabilizer(name, parameters)
    bias = flag(name, parameters, "bias", True)
    kernels = AlphaBeta(1, 0, bias=bias, stabilizer=stabilizer, split_bias=True)
    sums = Assignment(Z(stabilizer=stabilizer), kinds=SUM_KINDS)
    made = Composite((sums, Assignment(kernels, kinds=KERNEL_KINDS), Assignment(Gradient())))
    return Method(name, made, _head(name, parameters, "one"))


def _rectifying(rule: GuidedReLU | Deconvolution) -> Callable[[str, Parameters], Method]:
    """`GuidedBackprop`, `DeconvNet`: at `torch.nn.ReLU` only, from a one at the output."""

    def build(name: str, parameters: Parameters) -> Method:
        made = Composite((Assignment(rule, kinds=("relu",)), Assignment(Gradient())))
        return Method(name, made, _head(name, parameters, "one"))

    return build


_STABILIZER = {"stabilizer": "of all rules but Epsilon, above 0 (default 1e-6)"}
_EPSILON = {"epsilon": "of dense layers, above 0 (default 1e-6)", **_STABILIZER}
_GAMMA = {"gamma": "weight of the positive parts, 0 or above (default 0.25)"}
_BOX = {
    "low": "lower bound of the input, or one a channel: -2.1/-2/-1.8 (required)",
    "high": "upper bound of the input, or one a channel (required)",
}
_LOGIT = {"head": "logit (default) or one"}
_ONE = {"head": "one (default) or logit"}


def _line(
    name: str,
    source: str,
    build: Callable[[str, Parameters], Method],
    *parameters: dict[str, str],
    family: str = "lrp",
) -> Entry:
    return Entry(name, family, DIALECT, source, build, {key: of[key] for of in parameters for key in of})


def _epsilon_lines(name: str, words: str, convolution: Convolution) -> list[Entry]:
    """A composite as it is, and with Flat or ZBox for the first layer."""
    box = f"`{words}` with `ZBox` as first_map"
    return [
        _line(name, f"`{words}`", _epsilon_with(convolution, "none"), _EPSILON, _LOGIT),
        _line(f"{name}_flat", f"`{words}Flat`", _epsilon_with(convolution, "flat"), _EPSILON, _LOGIT),
        _line(f"{name}_box", box, _epsilon_with(convolution, "box"), _BOX, _EPSILON, _LOGIT),
    ]


_ZEROS = {
    "zeros": "what an exact zero in a denominator becomes: replace (1e-7, default) or divide (NaN, as Zennit)"
}
_SIGNED = {"signed": "true (default): also for negative inputs; false: as first written"}
_BIAS = {"bias": "true (default, as Zennit) or false (as in the paper): the positive bias counts or not"}

ENTRIES: tuple[Entry, ...] = (
    _line("lrp.0", "Bach et al. 2015, eq. 56", _zero, _ZEROS, _STABILIZER, _LOGIT),
    _line(
        "lrp.gamma", "Montavon et al. 2019; Andeol et al. 2021", _gamma, _GAMMA, _SIGNED, _STABILIZER, _LOGIT
    ),
    *_epsilon_lines("epsilon_plus", "EpsilonPlus", _alpha_beta(1, 0)),
    *_epsilon_lines("epsilon_alpha2_beta1", "EpsilonAlpha2Beta1", _alpha_beta(2, 1)),
    _line(
        "epsilon_gamma_box",
        "`EpsilonGammaBox`",
        _epsilon_with(_gamma_rule, "box"),
        *(_BOX, _EPSILON, _GAMMA, _LOGIT),
    ),
    _line(
        "excitation_backprop",
        "Zhang et al. 2016; `ExcitationBackprop`",
        _excitation,
        _BIAS,
        _STABILIZER,
        _ONE,
    ),
    _line("guided_backprop", "Springenberg et al. 2015", _rectifying(GuidedReLU()), _ONE, family="gradient"),
    _line("deconvnet", "Zeiler and Fergus 2014", _rectifying(Deconvolution()), _ONE, family="gradient"),
)
