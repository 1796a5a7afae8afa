"""Rules by hand, as faults need them: right ones in the wrong place, or with one thing to be changed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from harness.methods import Rule

from .arithmetic import Change, back, keep, negative, none, nonzero, positive, run, sign
from .planting import Formula

EPSILON = 1e-7
#: (input, output) -> what relevance is divided by.
Quotient = Callable[[Tensor, Tensor], Tensor]


def dividing(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor, by: Quotient) -> Tensor:
    """``x * f^T(R / by(x, z); W)``"""
    z = run(module, x)
    return x * back(module, x, relevance / by(x, z))


def divided(by: Quotient) -> Formula:
    """``by``: (x, z) -> what is divided by."""
    return partial(dividing, by=by)


def signed(epsilon: float) -> Formula:
    return divided(lambda x, z: z + epsilon * sign(z))


def epsilon_with_bias(
    rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor, times: float, epsilon: float = EPSILON
) -> Tensor:
    """The epsilon rule with ``times`` the bias in the denominator."""
    z = run(module, x, keep, lambda bias: times * bias)
    return x * back(module, x, relevance / (z + epsilon * sign(z)))


def activating(
    rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor, first: Change, second: Change
) -> Tensor:
    """Alpha 1, beta 0; ``first`` and ``second`` make the bias of the two parts of the denominator."""
    up, down = positive(x), negative(x)
    z = nonzero(run(module, up, positive, first) + run(module, down, negative, second))
    s = relevance / z
    return up * back(module, up, s, positive) + down * back(module, down, s, negative)


def weighted(
    rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor, alpha: float, beta: float
) -> Tensor:
    """``alpha A - beta B`` with the whole bias in both denominators."""
    up, down = positive(x), negative(x)
    for_ = nonzero(run(module, up, positive, positive) + run(module, down, negative, negative))
    against = nonzero(run(module, up, negative, negative) + run(module, down, positive, positive))
    s, t = relevance / for_, relevance / against
    activated = up * back(module, up, s, positive) + down * back(module, down, s, negative)
    inhibited = up * back(module, up, t, negative) + down * back(module, down, t, positive)
    return alpha * activated - beta * inhibited


def square(x: Tensor) -> Tensor:
    return x * x


def alpha_one(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    return activating(rule, module, x, relevance, positive, negative)


def z_rule(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    return x * back(module, x, relevance / nonzero(run(module, x)))


def ones_like_kernel(kernel: Tensor) -> Tensor:
    return torch.ones_like(kernel)


def with_ones(rule: Rule, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """The Flat rule."""
    ones = torch.ones_like(x)
    s = relevance / nonzero(run(module, ones, ones_like_kernel, none))
    return back(module, ones, s, ones_like_kernel)
