"""Zennit's own rule for a rule of the catalogue, with Zennit's own defaults.

They differ from iNNvestigate 2.1.2 and signxai 1.1.9.2 where the libraries do: the stabilizer is 1e-6 with
the sign of the denominator (there exact zeros are replaced by 1e-7), LRP-0 divides by zero unprotected,
`WSquare` squares the bias and `ZBox` keeps it (there it is dropped), `ZBox` multiplies by the input (signxai
does not), and AlphaBeta takes only the bias of the sign it sums.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.errors import UnsupportedMethodError
from harness.methods import (
    AlphaBeta,
    Bound,
    Bounded,
    Epsilon,
    Flat,
    Gamma,
    Gradient,
    Method,
    Rule,
    SignedEpsilon,
    WSquare,
    Z,
    ZPlusFast,
)
from ported_impls.torchvision_shim import zennit

#: Methods whose AlphaBeta 1, 0 without bias is meant as the z+ rule, for which Zennit has a class.
Z_PLUS_NAMES = ("lrp.z_plus", "deep_taylor", "deep_taylor.bounded")


def zennit_rule(rule: Rule, method: Method) -> zennit.core.Hook | None:
    """Zennit's rule of that name for a layer with a kernel; None for the gradient.

    Raises UnsupportedMethodError for what Zennit has no rule for.
    """
    rules = zennit.rules
    match rule:
        case Gradient():
            return None
        case Z():
            epsilon = rule.stabilizer.epsilon if isinstance(rule.stabilizer, SignedEpsilon) else 0
            return rules.Epsilon(epsilon=epsilon, zero_params=_zeroed(rule.bias))
        case Epsilon():
            return rules.Epsilon(epsilon=rule.epsilon, zero_params=_zeroed(rule.bias))
        case AlphaBeta():
            if base_name(method) in Z_PLUS_NAMES:
                return rules.ZPlus(**own_stabilizer(rule))
            return rules.AlphaBeta(
                alpha=rule.alpha, beta=rule.beta, zero_params=_zeroed(rule.bias), **own_stabilizer(rule)
            )
        case ZPlusFast():
            return rules.ZPlus(zero_params="bias", **own_stabilizer(rule))
        case Gamma():
            return rules.Gamma(gamma=rule.gamma, **own_stabilizer(rule))
        case WSquare():
            return rules.WSquare(**own_stabilizer(rule))
        case Flat():
            return rules.Flat(**own_stabilizer(rule))
        case Bounded():
            return rules.ZBox(low=box_bound(rule.low), high=box_bound(rule.high), **own_stabilizer(rule))
    raise UnsupportedMethodError(
        f"zennit has no rule for {type(rule).__name__} at a layer with a kernel; choose another backend"
    )


def box_bound(bound: Bound) -> float | torch.Tensor:
    """A bound as `ZBox` takes it: a number, or (1, channels), to which it appends the other axes.

    float64: what the rule casts to the input's dtype should not have been rounded before.
    """
    return torch.tensor([bound], dtype=torch.float64) if isinstance(bound, tuple) else bound


def base_name(method: Method) -> str:
    """The method's name without its parameters."""
    return method.name.partition(":")[0]


def own_stabilizer(
    rule: Z | AlphaBeta | ZPlusFast | Gamma | WSquare | Flat | Bounded,
) -> dict[str, Any]:
    """The argument for a rule whose stabilizer has Zennit's form; none, that is its default, for another."""
    stabilizer = rule.stabilizer
    return {"stabilizer": stabilizer.epsilon} if isinstance(stabilizer, SignedEpsilon) else {}


def _zeroed(bias: bool) -> str | None:
    return None if bias else "bias"
