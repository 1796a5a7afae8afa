"""The composites of signxai's analyzers."""

from __future__ import annotations

from harness.graph import SUM_KINDS, WEIGHTED_KINDS
from harness.methods.composite import Assignment, Composite
from harness.methods.rules import (
    BatchNormReverse,
    Deconvolution,
    Gradient,
    GuidedReLU,
    KernelRule,
    Pass,
    Z,
)


def lrp_composite(
    rule: KernelRule, input_layer_rule: KernelRule | None = None, before: tuple[Assignment, ...] = ()
) -> Composite:
    """One rule for all kernels (`LRP._create_analysis`, `LRP._default_reverse_mapping`).

    Batch norms always get :class:`BatchNormReverse`; every other layer with one input of its output's shape
    passes relevance on unchanged, whatever it computes (activations, layer norm, a pooling with stride one,
    a square permutation). A kernel behind nothing but reshaping or zero padding is an input layer.
    """
    first = (
        (Assignment(input_layer_rule, kinds=WEIGHTED_KINDS, reads_input=True, through_padding=True),)
        if input_layer_rule is not None
        else ()
    )
    return Composite(
        (
            *first,
            *before,
            Assignment(rule, kinds=WEIGHTED_KINDS),
            Assignment(BatchNormReverse(), kinds=("batch_norm",)),
            Assignment(Z(), kinds=SUM_KINDS),
            Assignment(Pass(), same_shape=True),
            Assignment(Gradient()),
        )
    )


#: Whatever has "relu" in the name of its activation or class (`checks.contains_activation`).
_RELU_LIKE = ("relu", "relu6", "leaky_relu")
GUIDED = Composite((Assignment(GuidedReLU(per_edge=True), kinds=_RELU_LIKE), Assignment(Gradient())))
DECONVOLUTION = Composite(
    (Assignment(Deconvolution(per_edge=True), kinds=_RELU_LIKE), Assignment(Gradient()))
)
#: `build_guided_model` touches plain ReLUs only, and TensorFlow sums the shares before it rectifies.
GUIDED_CAM = Composite((Assignment(GuidedReLU(), kinds=("relu",)), Assignment(Gradient())))
