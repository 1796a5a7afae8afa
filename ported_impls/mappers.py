"""What the rules are made of: modifiers of inputs and weights, denominators, and how parts are joined.

A gradient mapper gets the relevance of a layer's output, the outputs of the rule's parts, their inputs and the
layer's own output; a reducer gets the inputs and the gradients (`ported_impls.steps`). Formulas:
`harness.methods.rules`.

Comparisons and `torch.where` read one number at a time on a CPU; a sign is therefore copied or computed, which is
several times faster and gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.methods import AddedEpsilon, Bound, ReplaceZero, Stabilizer, Unprotected

InputModifier = Callable[[Tensor], Tensor]
#: A tensor for each part of a rule; None for a part that was not run because it is zero.
Parts = Sequence[Tensor | None]

# --- input and weight modifiers -----------------------------------------------------------------------


def keep(x: Tensor) -> Tensor:
    return x


def positive(x: Tensor) -> Tensor:
    return x.clamp(min=0)


def negative(x: Tensor) -> Tensor:
    return x.clamp(max=0)


def bound(value: Bound, x: Tensor) -> Tensor:
    """``value`` in the shape of ``x``; one for each channel lies along axis 1."""
    if not isinstance(value, tuple):
        return torch.full_like(x, value)
    return x.new_tensor(value).reshape(1, -1, *(1,) * (x.ndim - 2)).expand_as(x)


@dataclass(frozen=True)
class MorePositive:
    """``x + gamma * x+``"""

    gamma: float

    def __call__(self, x: Tensor) -> Tensor:
        return torch.add(x, positive(x), alpha=self.gamma)


@dataclass(frozen=True)
class MoreNegative:
    """``x + gamma * x-``"""

    gamma: float

    def __call__(self, x: Tensor) -> Tensor:
        return torch.add(x, negative(x), alpha=self.gamma)


def sign_from(threshold: float, x: Tensor) -> Tensor:
    """1 where ``x >= threshold``, else -1; 1 everywhere for a threshold of -1 or below, as in signxai 1.1.9.2."""
    if threshold <= -1:
        return torch.ones_like(x)
    return (x >= threshold).to(x.dtype) * 2 - 1


# --- denominators -------------------------------------------------------------------------------------


def stabilize(stabilizer: Stabilizer, z: Tensor) -> Tensor:
    """The denominator ``S(z)``, in the dtype of ``z``."""
    if isinstance(stabilizer, ReplaceZero):
        return torch.add(z, z.sign().abs() - 1, alpha=-stabilizer.value)  # the second is -1 at zeros, else 0
    if isinstance(stabilizer, Unprotected):
        return z
    if isinstance(stabilizer, AddedEpsilon):
        return z + stabilizer.epsilon
    return away_from_zero(z, z.new_tensor(stabilizer.epsilon))


def away_from_zero(z: Tensor, epsilon: Tensor) -> Tensor:
    """``z + epsilon * sign(z)``, ``sign(0) = +1``; ``epsilon`` is broadcast."""
    signed = z + 0.0  # -0.0 + 0.0 is 0.0, whose sign is +1
    return torch.copysign(epsilon, signed, out=signed).add_(z)


# --- gradient mappers ---------------------------------------------------------------------------------


def divide_by_sum(
    stabilizer: Stabilizer, relevance: Tensor, outputs: Parts, inputs: Parts, z: Tensor
) -> list[Tensor]:
    """``R / S(sum of all outputs)`` for every part."""
    return [relevance / stabilize(stabilizer, total(outputs))] * len(outputs)


def divide_by_pairs(
    stabilizer: Stabilizer, relevance: Tensor, outputs: Parts, inputs: Parts, z: Tensor
) -> list[Tensor]:
    """``R / S(o0 + o1)`` for the first two parts, ``R / S(o2 + o3)`` for the last two."""
    first = divide_by_sum(stabilizer, relevance, outputs[:2], inputs, z)
    return first + divide_by_sum(stabilizer, relevance, outputs[2:], inputs, z)


def divide_by_maxima(
    stabilizer: Stabilizer, relevance: Tensor, outputs: Parts, inputs: Parts, z: Tensor
) -> list[Tensor]:
    """All relevance over ``S`` of the two maxima of each pair of parts, sent back through the class of each maximum."""
    reached = relevance.sum(dim=1, keepdim=True)
    parts = []
    for first in range(0, len(outputs), 2):
        pair = [output for output in outputs[first : first + 2] if output is not None]
        tops = [output.amax(dim=1, keepdim=True) for output in pair]
        quotient = reached / stabilize(stabilizer, total(tops))
        for output, top in zip(pair, tops, strict=True):
            winners = (output == top).to(output.dtype)
            parts.append(quotient * winners / winners.sum(dim=1, keepdim=True))
    return parts


def divide_by_own(
    stabilizer: Stabilizer, relevance: Tensor, outputs: Parts, inputs: Parts, z: Tensor
) -> list[Tensor]:
    """``R / S(o)`` for every part, each with its own output; the relevance itself where that is zero."""
    return [relevance if output is None else relevance / stabilize(stabilizer, output) for output in outputs]


def divide_by_difference(
    stabilizer: Stabilizer, relevance: Tensor, outputs: Parts, inputs: Parts, z: Tensor
) -> list[Tensor]:
    """``R / S(o0 - (o1 + o2))`` for every part."""
    minuend, *subtrahends = outputs
    assert minuend is not None
    return [relevance / stabilize(stabilizer, minuend - total(subtrahends))] * 3


def divide_by_sign_of_output(
    stabilizer: Stabilizer, relevance: Tensor, outputs: Parts, inputs: Parts, z: Tensor
) -> list[Tensor]:
    """``[z > 0] R / S(o0 + o1)`` for the first two parts, ``[z < 0] R / S(o2 + o3)`` for the last two."""
    sign = z.sign()
    above = positive(sign) * relevance / stabilize(stabilizer, total(outputs[:2]))
    below = positive(-sign) * relevance / stabilize(stabilizer, total(outputs[2:]))
    return [above, above, below, below]


def divide_with_deviation(
    factor: float, relevance: Tensor, outputs: Parts, inputs: Parts, z: Tensor
) -> list[Tensor]:
    """``R / S(o)`` with ``epsilon = factor * std(x)`` of each sample; a zero that is left is replaced."""
    (x,), (output,) = inputs, outputs
    assert x is not None and output is not None
    deviation = x.flatten(1).std(dim=1, correction=0)
    epsilon = factor * deviation.reshape(-1, *(1,) * (output.ndim - 1))
    return [relevance / stabilize(ReplaceZero(), away_from_zero(output, epsilon))]


# --- reducers -----------------------------------------------------------------------------------------


def total(tensors: Parts) -> Tensor:
    """Their sum; at least one is there."""
    there = [tensor for tensor in tensors if tensor is not None]
    return there[0] if len(there) == 1 else there[0] + total(there[1:])


def products(inputs: Parts, gradients: Parts) -> list[Tensor | None]:
    return [
        None if x is None or gradient is None else x * gradient
        for x, gradient in zip(inputs, gradients, strict=True)
    ]


def sum_of_products(inputs: Parts, gradients: Parts) -> Tensor:
    return total(products(inputs, gradients))


def weighted_pairs(alpha: float, beta: float, inputs: Parts, gradients: Parts) -> Tensor:
    """``alpha`` times the first two products minus ``beta`` times the last two."""
    parts = products(inputs, gradients)
    return torch.sub(alpha * total(parts[:2]), total(parts[2:]), alpha=beta)


def weighted_products(factors: Sequence[float], inputs: Parts, gradients: Parts) -> Tensor:
    parts = zip(factors, products(inputs, gradients), strict=True)
    return total([None if product is None else factor * product for factor, product in parts])


def difference_of_products(inputs: Parts, gradients: Parts) -> Tensor:
    return difference_of_gradients(inputs, products(inputs, gradients))


def difference_of_gradients(inputs: Parts, gradients: Parts) -> Tensor:
    minuend, *subtrahends = gradients
    assert minuend is not None
    return minuend - total(subtrahends)


def first_gradient(inputs: Parts, gradients: Parts) -> Tensor:
    return total(gradients[:1])


def signed_gradient(threshold: float, inputs: Parts, gradients: Parts) -> Tensor:
    return sign_from(threshold, total(inputs[:1])) * total(gradients[:1])
