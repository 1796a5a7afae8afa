"""The rules of transformers as hooks: products of two tensors, softmax, norms, residual additions.

What they compute is defined in `harness.methods.attention_rules`. Tensors are in the twin's layout: batch first,
channels on axis 1, so that the last axes of a layer are axis 1 and the last ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from harness.graph import Layer
from harness.methods import AttentionRule, HeldNorm, ShareProduct, SignSplit, SoftmaxTaylor, Stabilizer
from ported_impls import mappers
from ported_impls.mappers import Parts, stabilize
from ported_impls.steps import OutputStep, OwnStep, RuleHook

_PRODUCTS = ("product", "contraction", "sampling")


def needs(rule: AttentionRule, layer: Layer) -> str:
    """What ``rule`` needs and ``layer`` is not, as words; empty where it can be applied there."""
    match rule:
        case ShareProduct() if layer.traits.family not in _PRODUCTS:
            return "needs a product of tensors (matmul, multiply, grid_sample)"
        case ShareProduct() if layer.traits.family == "sampling" and rule.to != "first":
            return "needs to='first' at a sampling, whose places get no relevance"
        case SoftmaxTaylor() if layer.kind != "softmax":
            return "needs a softmax"
        case HeldNorm() if layer.kind not in ("layer_norm", "rms_norm"):
            return "needs a layer norm or an RMS norm"
        case SignSplit() if layer.traits.family != "sum":
            return "needs an addition"
    return ""


def hook(rule: AttentionRule, layer: Layer) -> RuleHook:
    """The hook of ``rule`` at a layer where it :func:`needs` nothing else."""
    match rule:
        case ShareProduct():
            places = {"first": (0,), "second": (1,), "both": tuple(range(len(layer.inputs)))}[rule.to]
            mapper = partial(_divide_by_multiple, len(places), rule.stabilizer)
            return OwnStep(mapper, mappers.sum_of_products, places)
        case SoftmaxTaylor():
            return OutputStep(_taylor)
        case HeldNorm():
            return OutputStep(partial(_held, rule, layer))
        case SignSplit():
            return OutputStep(partial(_split, rule.stabilizer))


def _divide_by_multiple(
    count: int, stabilizer: Stabilizer, relevance: Tensor, outputs: Parts, inputs: Parts, z: Tensor
) -> list[Tensor]:
    """``R / S(count * z)``"""
    return [relevance / stabilize(stabilizer, z if count == 1 else count * z)]


def _taylor(module: nn.Module, inputs: Sequence[Tensor], y: Tensor, relevance: Tensor) -> list[Tensor]:
    """``x * (R - y * sum of R)``, 0 where ``x`` is -inf."""
    held = inputs[0].nan_to_num(nan=torch.nan, posinf=torch.inf, neginf=0.0)
    total = relevance.sum(dim=module.dim, keepdim=True)
    return [torch.addcmul(relevance, y, total, value=-1).mul_(held)]


def _held(
    rule: HeldNorm, layer: Layer, module: nn.Module, inputs: Sequence[Tensor], y: Tensor, relevance: Tensor
) -> list[Tensor]:
    """``x * C^T(gamma / d * R / S(y))``; ``C`` is symmetric."""
    (x,) = inputs
    count = layer.attributes["axes_count"]
    dims = (1, *range(x.ndim - count + 1, x.ndim))
    along = (-1, *(1,) * (x.ndim - 1 - count), *module.weight.shape[:-1])
    slope = module.weight.detach().movedim(-1, 0).reshape(along) / _deviation(layer, module, x, dims)
    if not rule.bias:
        y = slope * _centred(layer, x, dims)
    return [x * _centred(layer, slope * (relevance / stabilize(rule.stabilizer, y)), dims)]


def _deviation(layer: Layer, module: nn.Module, x: Tensor, dims: tuple[int, ...]) -> Tensor:
    if layer.kind == "rms_norm":
        return torch.sqrt(x.square().mean(dim=dims, keepdim=True) + module.eps)
    return torch.sqrt(x.var(dim=dims, correction=0, keepdim=True) + module.eps)


def _centred(layer: Layer, x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """``C x``"""
    return x if layer.kind == "rms_norm" else x - x.mean(dim=dims, keepdim=True)


def _split(
    stabilizer: Stabilizer, module: nn.Module, inputs: Sequence[Tensor], z: Tensor, relevance: Tensor
) -> list[Tensor]:
    """``x+ * R / S(sum of x+)`` where ``z`` is above 0, else ``x- * R / S(sum of x-)``."""
    sign = z.sign().mul_(2).sub_(1).clamp_(min=-1)  # that of zero is -1
    parts = [mappers.positive(x * sign).mul_(sign) for x in inputs]
    quotient = relevance / stabilize(stabilizer, mappers.total(parts))
    return [(part * quotient).sum_to_size(x.shape) for part, x in zip(parts, inputs, strict=True)]
