"""What the rules are made of: modifiers of inputs and parameters, denominators, and how parts are joined.

A gradient mapper gets the relevance of a layer's output, the outputs of the rule's parts and their inputs;
a reducer gets the inputs and the gradients (`ported_impls.steps`). Formulas: `harness.methods.rules`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.methods import ReplaceZero, Stabilizer, Unprotected

Tensors = Sequence[Tensor]

# --- input and parameter modifiers --------------------------------------------------------------------


def keep(x: Tensor) -> Tensor:
    return x


def positive(x: Tensor) -> Tensor:
    return x.clamp(min=0)


def negative(x: Tensor) -> Tensor:
    return x.clamp(max=0)


def more_positive(gamma: float, x: Tensor) -> Tensor:
    """``x + gamma * x+``"""
    return x + gamma * positive(x)


def more_negative(gamma: float, x: Tensor) -> Tensor:
    """``x + gamma * x-``"""
    return x + gamma * negative(x)


def sign_from(threshold: float, x: Tensor) -> Tensor:
    """1 where ``x >= threshold``, else -1; 1 everywhere for a threshold of -1 or below, as in signxai 1.1.9.2."""
    ones = torch.ones_like(x)
    return ones if threshold <= -1 else torch.where(x >= threshold, ones, -ones)


# --- denominators -------------------------------------------------------------------------------------


def stabilize(stabilizer: Stabilizer, z: Tensor) -> Tensor:
    """The denominator ``S(z)``, in the dtype of ``z``."""
    if isinstance(stabilizer, ReplaceZero):
        return z.masked_fill(z == 0, stabilizer.value)
    if isinstance(stabilizer, Unprotected):
        return z
    return away_from_zero(z, stabilizer.epsilon)


def away_from_zero(z: Tensor, epsilon: float | Tensor) -> Tensor:
    """``z + epsilon * sign(z)``, ``sign(0) = +1``."""
    return torch.where(z >= 0, z + epsilon, z - epsilon)


# --- gradient mappers ---------------------------------------------------------------------------------


def divide_by_sum(
    stabilizer: Stabilizer, relevance: Tensor, outputs: Tensors, inputs: Tensors
) -> list[Tensor]:
    """``R / S(sum of all outputs)`` for every part."""
    return [relevance / stabilize(stabilizer, total(outputs))] * len(outputs)


def divide_by_pairs(
    stabilizer: Stabilizer, relevance: Tensor, outputs: Tensors, inputs: Tensors
) -> list[Tensor]:
    """``R / S(o0 + o1)`` for the first two parts, ``R / S(o2 + o3)`` for the last two."""
    first = divide_by_sum(stabilizer, relevance, outputs[:2], inputs)
    return first + divide_by_sum(stabilizer, relevance, outputs[2:], inputs)


def divide_by_own(
    stabilizer: Stabilizer, relevance: Tensor, outputs: Tensors, inputs: Tensors
) -> list[Tensor]:
    """``R / S(o)`` for every part, each with its own output."""
    return [relevance / stabilize(stabilizer, output) for output in outputs]


def divide_by_difference(
    stabilizer: Stabilizer, relevance: Tensor, outputs: Tensors, inputs: Tensors
) -> list[Tensor]:
    """``R / S(o0 - (o1 + o2))`` for every part."""
    return [relevance / stabilize(stabilizer, outputs[0] - (outputs[1] + outputs[2]))] * 3


def divide_by_sign_of_output(
    stabilizer: Stabilizer, relevance: Tensor, outputs: Tensors, inputs: Tensors
) -> list[Tensor | None]:
    """``[z > 0] R / S(o0 + o1)`` twice, ``[z < 0] R / S(o2 + o3)`` twice; the last part is ``z`` and gets nothing."""
    z = outputs[4]
    above = (z > 0) * relevance / stabilize(stabilizer, outputs[0] + outputs[1])
    below = (z < 0) * relevance / stabilize(stabilizer, outputs[2] + outputs[3])
    return [above, above, below, below, None]


def divide_with_deviation(
    factor: float, relevance: Tensor, outputs: Tensors, inputs: Tensors
) -> list[Tensor]:
    """``R / S(z)`` with ``epsilon = factor * std(x)`` of each sample; a zero that is left is replaced."""
    (x,), (z,) = inputs, outputs
    deviation = x.flatten(1).std(dim=1, correction=0)
    epsilon = factor * deviation.reshape(-1, *(1,) * (z.ndim - 1))
    return [relevance / stabilize(ReplaceZero(), away_from_zero(z, epsilon))]


def rectify(relevance: Tensor, outputs: Tensors, inputs: Tensors) -> list[Tensor]:
    """``max(R, 0)``"""
    return [positive(relevance)]


# --- reducers -----------------------------------------------------------------------------------------


def total(tensors: Tensors) -> Tensor:
    return tensors[0] if len(tensors) == 1 else tensors[0] + total(tensors[1:])


def products(inputs: Tensors, gradients: Tensors) -> list[Tensor]:
    return [x * gradient for x, gradient in zip(inputs, gradients, strict=True)]


def sum_of_products(inputs: Tensors, gradients: Tensors) -> Tensor:
    return total(products(inputs, gradients))


def sum_of_four_products(inputs: Tensors, gradients: Tensors) -> Tensor:
    """Of the first four parts; a fifth was there for its output."""
    return sum_of_products(inputs[:4], gradients[:4])


def weighted_pairs(alpha: float, beta: float, inputs: Tensors, gradients: Tensors) -> Tensor:
    """``alpha`` times the first two products minus ``beta`` times the last two."""
    parts = products(inputs, gradients)
    return alpha * total(parts[:2]) - beta * total(parts[2:])


def weighted_products(factors: Sequence[float], inputs: Tensors, gradients: Tensors) -> Tensor:
    parts = zip(factors, products(inputs, gradients), strict=True)
    return total([factor * product for factor, product in parts])


def difference_of_products(inputs: Tensors, gradients: Tensors) -> Tensor:
    return difference_of_gradients(inputs, products(inputs, gradients))


def difference_of_gradients(inputs: Tensors, gradients: Tensors) -> Tensor:
    return gradients[0] - (gradients[1] + gradients[2])


def first_gradient(inputs: Tensors, gradients: Tensors) -> Tensor:
    return gradients[0]


def signed_gradient(threshold: float, inputs: Tensors, gradients: Tensors) -> Tensor:
    return sign_from(threshold, inputs[0]) * gradients[0]
