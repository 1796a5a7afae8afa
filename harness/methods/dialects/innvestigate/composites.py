"""The composite of iNNvestigate's LRP analyzers: one rule for all kernels, and what the other layers get."""

from __future__ import annotations

from typing import Literal

from harness.errors import InvalidInputError
from harness.graph import ACTIVATION_KINDS, SUM_KINDS, WEIGHTED_KINDS
from harness.methods.composite import Assignment, Composite
from harness.methods.rules import (
    BatchNormReverse,
    Deconvolution,
    FusedBatchNorm,
    Gradient,
    GuidedReLU,
    KernelRule,
    Pass,
    Rule,
    Z,
)

#: Activations that Keras has a layer class for, besides `Activation`.
ACTIVATION_LAYERS = ("relu", "relu6", "leaky_relu", "elu", "prelu", "softmax")


def lrp_composite(
    rule: KernelRule,
    input_layer_rule: Rule | None = None,
    batch_norm: Rule | None = None,
    activations: Literal["pass", "gradient"] = "pass",
    before: tuple[Assignment, ...] = (),
) -> Composite:
    """One rule for all kernels, as the fixed-parameter analyzers do it (`LRP._create_analysis`).

    Kernels get ``rule`` (those that see the input ``input_layer_rule``, if given, then what ``before`` says),
    batch norms ``batch_norm`` (left out: the rule on their fused line), add and average pooling
    :class:`Z`, activations :class:`Pass`, the rest (max pooling, multiply, layer norm, reshaping, padding,
    ...) the gradient.

    ``activations``: the graph does not keep how an activation was written. iNNvestigate passes relevance
    through those inside a layer and through `Activation` layers, and sends it through the gradient of
    stand-alone `ReLU`, `LeakyReLU`, `ELU` and `PReLU` layers (`LRP._default_reverse_mapping`). The two
    differ where relevance reaches a unit that is off (w_square, flat) or the slope is not one.
    """
    if isinstance(rule, Pass | Gradient | FusedBatchNorm | BatchNormReverse | GuidedReLU | Deconvolution):
        raise InvalidInputError(f"{type(rule).__name__} is no rule for a kernel")
    first = (
        (Assignment(input_layer_rule, kinds=WEIGHTED_KINDS, reads_input=True),)
        if input_layer_rule is not None
        else ()
    )
    return Composite(
        (
            *first,
            *before,
            Assignment(rule, kinds=WEIGHTED_KINDS),
            Assignment(FusedBatchNorm(rule) if batch_norm is None else batch_norm, kinds=("batch_norm",)),
            Assignment(Z(), kinds=SUM_KINDS),
            *((Assignment(Gradient(), kinds=ACTIVATION_LAYERS),) if activations == "gradient" else ()),
            Assignment(Pass(), kinds=ACTIVATION_KINDS),
            Assignment(Gradient()),
        )
    )
