"""How the libraries read a batch norm: as lines that a kernel rule is applied to, or by a rule of its own.

Tensors are in the twin's layout: channels on axis 1.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from harness.methods import SignedEpsilon
from ported_impls.mappers import stabilize
from ported_impls.steps import FormulaStep


class _Line(torch.nn.Module):
    """``weight * x + bias`` along axis 1."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight, requires_grad=False)
        self.bias = torch.nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * _along_channels(self.weight, x) + _along_channels(self.bias, x)


def _along_channels(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(1, -1, *(1,) * (x.ndim - 2))


def _gamma_and_beta(batch_norm: torch.nn.Module) -> tuple[Tensor, Tensor]:
    mean, gamma, beta = batch_norm.running_mean, batch_norm.weight, batch_norm.bias
    return (
        torch.ones_like(mean) if gamma is None else gamma.detach(),
        torch.zeros_like(mean) if beta is None else beta.detach(),
    )


def one_line(batch_norm: torch.nn.Module) -> list[_Line]:
    """``gamma / d * x + (beta - mean / d)`` per channel, ``d = sqrt(variance**2 + epsilon)``.

    The squared variance and the mean without gamma are as they stand in iNNvestigate 2.1.2,
    `apply_mapping_to_fused_bn_layer` (``fuse_mode="one_linear"``).
    """
    deviation = _deviation(batch_norm)
    gamma, beta = _gamma_and_beta(batch_norm)
    return [_Line(gamma / deviation, beta - batch_norm.running_mean / deviation)]


def two_lines(batch_norm: torch.nn.Module) -> list[_Line]:
    """``u = x / d - mean / d``, then ``gamma * u + beta`` (``fuse_mode="two_linear"``), ``d`` as above."""
    deviation = _deviation(batch_norm)
    return [_Line(1 / deviation, -batch_norm.running_mean / deviation), _Line(*_gamma_and_beta(batch_norm))]


def _deviation(batch_norm: torch.nn.Module) -> Tensor:
    return torch.sqrt(batch_norm.running_var**2 + batch_norm.eps)


def reverse(epsilon: float) -> FormulaStep:
    """BatchNormReverse: Z on the line it computes (signxai 1.1.9.2 `BatchNormalizationReverseRule`)."""
    return FormulaStep(partial(_reversed, epsilon))


def _reversed(epsilon: float, batch_norm: torch.nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """``x * (y - beta) * R / S((x - mean) * y)``"""
    y = batch_norm.forward(x)
    _, beta = _gamma_and_beta(batch_norm)
    denominator = (x - _along_channels(batch_norm.running_mean, x)) * y
    numerator = x * (y - _along_channels(beta, x)) * relevance
    return numerator / stabilize(SignedEpsilon(epsilon), denominator)
