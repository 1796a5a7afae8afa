"""Which function a rule is at a layer, in both modes."""

from __future__ import annotations

import numpy as np

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
from reference_impls.dlbacktrace import attention, contrast, kernels, lstm, moves, pools
from reference_impls.dlbacktrace.contrast import Pair

Arrays = tuple[np.ndarray, ...]
#: The rules that this reference has.
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


def propagate(layer: Layer, inputs: Arrays, relevance: np.ndarray, rule: Rule) -> Arrays:
    """The relevance of each input of ``layer`` from that of its output, in default mode.

    ``inputs``: (batch, *input shape) each; ``relevance``: (batch, *shape), of their dtype. Raises
    UnsupportedMethodError where the rule has no reading at a layer of this kind.
    """
    x = inputs[0]
    family = layer.traits.family
    match rule:
        case Backtrace() if family == "kernel":
            return (kernels.step(layer, x, relevance, rule),)
        case MagnitudeShare() if family == "average":
            return (pools.by_size(layer, x, relevance),)
        case MagnitudeShare() if family == "sum":
            return pools.by_size_of_terms(layer, inputs, relevance)
        case LargestShare() if family == "maximum":
            return (pools.to_largest(layer, x, relevance, rule),)
        case EqualShare() if layer.traits.joins:
            return pools.equally(layer, inputs, relevance)
        case AttentionShare() if family == "contraction":
            return attention.share(layer, inputs, relevance, rule)
        case BacktraceLstm() if layer.kind == "lstm":
            return (lstm.step(layer, x, relevance),)
        case Pass() if family == "lookup":
            return (relevance.sum(axis=-1),)
        case Pass() if layer.input_shapes == (layer.shape,):
            return (relevance,)
        case Gradient() if family in ("shape", "edge", "concat") or layer.kind in ("pad", "take"):
            return moves.moved_back(layer, inputs, relevance)
    raise _misplaced(layer, rule)


def propagate_pair(layer: Layer, inputs: Arrays, received: Pair, rule: Rule) -> tuple[Pair, ...]:
    """The same in contrast mode, for both relevances. What does not mix them is done with each on its own."""
    x, family = inputs[0], layer.traits.family
    match rule:
        case Contrast() if family == "kernel":
            return (contrast.kernel(layer, x, received, rule),)
        case Contrast() if family == "average":
            return (contrast.average_pool(layer, x, received, rule),)
        case Contrast() if family == "sum":
            return contrast.add(layer, inputs, received, rule)
        case Contrast():
            raise _misplaced(layer, rule)
    parts = [propagate(layer, inputs, each, rule) for each in received]
    return tuple(Pair(*each) for each in zip(*parts, strict=True))


def _misplaced(layer: Layer, rule: Rule) -> UnsupportedMethodError:
    return UnsupportedMethodError(
        f"layer {layer.name!r} ({layer.kind}): the rule {type(rule).__name__} has no reading at this kind; "
        "assign it another one (see harness.methods.dialects.backtrace)"
    )
