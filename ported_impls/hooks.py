"""LRP rules as hooks on Zennit's core: a rule is a handful of values (`steps` says which).

What the rules compute is defined in `harness.methods.rules`, after iNNvestigate 2.1.2
(`analyzer/relevance_based/relevance_rule.py`). Tensors are in the twin's layout: batch first, channels
on axis 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from harness.methods import ReplaceZero, Stabilizer
from ported_impls.steps import KernelMod, ModifiedStep, OwnStep, Part, ReadAs
from ported_impls.torchvision_shim import zennit

# --- input and parameter modifiers --------------------------------------------------------------------


def keep(x: Tensor) -> Tensor:
    return x


def positive(x: Tensor) -> Tensor:
    return x.clamp(min=0)


def negative(x: Tensor) -> Tensor:
    return x.clamp(max=0)


# --- gradient mappers and reducers --------------------------------------------------------------------


def stabilize(stabilizer: Stabilizer, z: Tensor) -> Tensor:
    """The denominator ``S(z)``, in the dtype of ``z``."""
    if isinstance(stabilizer, ReplaceZero):
        return z.masked_fill(z == 0, stabilizer.value)
    return torch.where(z >= 0, z + stabilizer.epsilon, z - stabilizer.epsilon)


def _divide_by_sum(stabilizer: Stabilizer, relevance: Tensor, outputs: Sequence[Tensor]) -> list[Tensor]:
    """``R / S(sum of all outputs)`` for every part."""
    return [relevance / stabilize(stabilizer, _total(outputs))] * len(outputs)


def _divide_by_pairs(stabilizer: Stabilizer, relevance: Tensor, outputs: Sequence[Tensor]) -> list[Tensor]:
    """``R / S(o0 + o1)`` for the first two parts, ``R / S(o2 + o3)`` for the last two."""
    first, last = outputs[:2], outputs[2:]
    return _divide_by_sum(stabilizer, relevance, first) + _divide_by_sum(stabilizer, relevance, last)


def _divide_by_difference(
    stabilizer: Stabilizer, relevance: Tensor, outputs: Sequence[Tensor]
) -> list[Tensor]:
    """``R / S(o0 - (o1 + o2))`` for every part."""
    return [relevance / stabilize(stabilizer, outputs[0] - (outputs[1] + outputs[2]))] * 3


def _products(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
    return [x * gradient for x, gradient in zip(inputs, gradients, strict=True)]


def _total(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else tensors[0] + _total(tensors[1:])


def _sum_of_products(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    return _total(_products(inputs, gradients))


def _weighted_pairs(
    alpha: float, beta: float, inputs: Sequence[Tensor], gradients: Sequence[Tensor]
) -> Tensor:
    products = _products(inputs, gradients)
    return alpha * _total(products[:2]) - beta * _total(products[2:])


def _difference_of_products(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    inside, low, high = _products(inputs, gradients)
    return inside - (low + high)


def _first_gradient(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    return gradients[0]


# --- the rules ----------------------------------------------------------------------------------------


def proportional(stabilizer: Stabilizer, bias: bool, read_as: ReadAs = None) -> zennit.core.BasicHook:
    """Z and Epsilon (Bach et al. 2015, eq. 56 and 58; iNNvestigate 2.1.2 `ZRule`, `EpsilonRule`)."""
    mapper = partial(_divide_by_sum, stabilizer)
    if bias and read_as is None:
        return OwnStep(mapper, _sum_of_products)
    return ModifiedStep([(keep, KernelMod(keep, bias))], mapper, _sum_of_products, read_as)


def alpha_beta(
    alpha: float, beta: float, stabilizer: Stabilizer, bias: bool, read_as: ReadAs = None
) -> ModifiedStep:
    """AlphaBeta, with both signs of the bias in both denominators (iNNvestigate 2.1.2 `AlphaBetaRule`)."""
    up, down = KernelMod(positive, bias), KernelMod(negative, bias)
    activating: list[Part] = [(positive, up), (negative, down)]
    inhibiting: list[Part] = [(positive, down), (negative, up)]
    if beta == 0:  # then alpha is one
        return ModifiedStep(activating, partial(_divide_by_sum, stabilizer), _sum_of_products, read_as)
    return ModifiedStep(
        activating + inhibiting,
        partial(_divide_by_pairs, stabilizer),
        partial(_weighted_pairs, alpha, beta),
        read_as,
    )


def w_square(stabilizer: Stabilizer, read_as: ReadAs = None) -> ModifiedStep:
    """WSquare: ones for the input, squared kernels, no bias (Montavon et al. 2017; `WSquareRule`)."""
    return ModifiedStep(
        [(torch.ones_like, KernelMod(torch.square, bias=False))],
        partial(_divide_by_sum, stabilizer),
        _first_gradient,
        read_as,
    )


def flat(stabilizer: Stabilizer, read_as: ReadAs = None) -> ModifiedStep:
    """Flat: ones for the input and the kernels, no bias (Lapuschkin et al. 2019; `FlatRule`)."""
    return ModifiedStep(
        [(torch.ones_like, KernelMod(torch.ones_like, bias=False))],
        partial(_divide_by_sum, stabilizer),
        _first_gradient,
        read_as,
    )


def bounded(low: float, high: float, stabilizer: Stabilizer, read_as: ReadAs = None) -> ModifiedStep:
    """The z^B rule for inputs in ``[low, high]``, without bias (Montavon et al. 2017; `BoundedRule`)."""
    return ModifiedStep(
        [
            (keep, KernelMod(keep, bias=False)),
            (partial(torch.full_like, fill_value=low), KernelMod(positive, bias=False)),
            (partial(torch.full_like, fill_value=high), KernelMod(negative, bias=False)),
        ],
        partial(_divide_by_difference, stabilizer),
        _difference_of_products,
        read_as,
    )


class _FusedLine(torch.nn.Module):
    """``weight * x + bias`` along axis 1."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight, requires_grad=False)
        self.bias = torch.nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        along_channels = (1, -1, *(1,) * (x.ndim - 2))
        return x * self.weight.reshape(along_channels) + self.bias.reshape(along_channels)


def fused_line(batch_norm: torch.nn.Module) -> _FusedLine:
    """A batch norm as iNNvestigate 2.1.2 reads it.

    ``gamma / d * x + (beta - mean / d)`` per channel, ``d = sqrt(variance**2 + epsilon)``: the squared
    variance and the mean without gamma are as they stand in `apply_mapping_to_fused_bn_layer`
    (``fuse_mode="one_linear"``).
    """
    mean, variance = batch_norm.running_mean, batch_norm.running_var
    deviation = torch.sqrt(variance**2 + batch_norm.eps)
    gamma = torch.ones_like(mean) if batch_norm.weight is None else batch_norm.weight.detach()
    beta = torch.zeros_like(mean) if batch_norm.bias is None else batch_norm.bias.detach()
    return _FusedLine(gamma / deviation, beta - mean / deviation)
