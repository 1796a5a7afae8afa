"""Which function a rule is at a module of the twin, in both modes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.errors import UnsupportedMethodError
from harness.graph import Layer
from harness.methods import (
    AttentionShare,
    Backtrace,
    BacktraceLstm,
    Contrast,
    EqualShare,
    Gradient,
    LargestShare,
    MagnitudeShare,
    Pass,
    Rule,
)
from ported_impls.dlbacktrace import attention, joins, kernels, lstm, pools

Relevances = tuple[Tensor, ...]
#: The rules that this port has.
RULES = (
    AttentionShare,
    Backtrace,
    BacktraceLstm,
    Contrast,
    EqualShare,
    Gradient,
    LargestShare,
    MagnitudeShare,
    Pass,
)


def propagate(
    layer: Layer,
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    received: Relevances,
    rule: Rule,
    size: int | None,
) -> tuple[Relevances, ...]:
    """For each input of ``layer`` its relevances; ``received``: those of its output.

    Tensors have their channels on axis 1. Raises UnsupportedMethodError where the rule has no reading at the kind.
    """
    traits = layer.traits
    if isinstance(rule, Contrast | Backtrace) and traits.kernel:
        return (kernels.step(layer.name, module, inputs[0], received, rule, size),)
    pooled = {"maximum": LargestShare, "average": Contrast | MagnitudeShare}.get(traits.family)
    if pooled is not None and isinstance(rule, pooled):
        return (pools.step(layer, inputs[0], received, rule, size),)
    if isinstance(rule, Contrast) and traits.family == "sum":
        return joins.by_sign(inputs, received, rule)
    if isinstance(rule, Contrast):
        raise _misplaced(layer, rule)
    return tuple(zip(*(_alone(layer, module, inputs, each, rule, size) for each in received), strict=True))


def _alone(
    layer: Layer,
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    relevance: Tensor,
    rule: Rule,
    size: int | None,
) -> tuple[Tensor, ...]:
    """What does not mix the two relevances of contrast mode."""
    family = layer.traits.family
    if isinstance(rule, EqualShare) and layer.traits.joins:
        return joins.equally(inputs, relevance)
    if isinstance(rule, MagnitudeShare) and family == "sum":
        return joins.by_size(inputs, relevance)
    if isinstance(rule, AttentionShare) and family == "contraction":
        return attention.share(layer.name, module, inputs, relevance, rule, size)
    if isinstance(rule, BacktraceLstm) and layer.kind == "lstm":
        return (lstm.step(layer, inputs[0], relevance),)
    if isinstance(rule, Pass) and family == "lookup":
        return (relevance.sum(1),)
    if isinstance(rule, Pass) and layer.input_shapes == (layer.shape,):
        return (relevance,)
    if isinstance(rule, Gradient) and (
        family in ("shape", "edge", "concat") or layer.kind in ("pad", "take")
    ):
        seen = tuple(torch.zeros_like(x).requires_grad_() for x in inputs)
        with torch.enable_grad():
            output = module(*seen)
        return torch.autograd.grad(output, seen, relevance)
    raise _misplaced(layer, rule)


def _misplaced(layer: Layer, rule: Rule) -> UnsupportedMethodError:
    return UnsupportedMethodError(
        f"layer {layer.name!r} ({layer.kind}): the rule {type(rule).__name__} has no reading at this kind; "
        "assign it another one (see harness.methods.dialects.backtrace)"
    )
