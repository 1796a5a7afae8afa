"""The composites of signxai's analyzers."""

from __future__ import annotations

from dataclasses import replace

from harness.errors import UnknownNameError
from harness.graph import SUM_KINDS, WEIGHTED_KINDS
from harness.methods.composite import Assignment, Composite
from harness.methods.definition import Method
from harness.methods.rules import (
    AlphaBeta,
    AlphaBetaOfMaxima,
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
#: It leaves out ``model.layers[0]``, which is the input. A `Sequential` model does not list that, so that the ReLU
#: inside its first layer stays as it is; in forward order those are the input, the first layer and its ReLU.
GUIDED_CAM_SEQUENTIAL = Composite(
    (Assignment(Gradient(), kinds=("relu",), until_index=2), *GUIDED_CAM.assignments)
)


def selecting(method: Method, selection: str) -> Method:
    """``method`` with a `neuron_selection`: "index", a class that is handed over, or "max_activation", the default.

    Then every run explains its own largest output, and alpha-beta at the output layer takes its sums' own maxima.
    """
    if selection == "all":
        raise UnknownNameError(f"{method.name}: neuron_selection", selection, ("index", "max_activation"))
    if selection != "max_activation":
        return method
    assignments: list[Assignment] = []
    for each in method.composite.assignments:
        if isinstance(each.rule, AlphaBeta):
            rule = AlphaBetaOfMaxima(each.rule.alpha, each.rule.beta, each.rule.stabilizer)
            assignments.append(replace(each, rule=rule, output=True))
        assignments.append(each)
    return replace(method, composite=Composite(tuple(assignments)), selection="run_maximum")


def unselected(method: Method) -> Method:
    """The method that :func:`selecting` made ``method`` of."""
    kept = tuple(each for each in method.composite.assignments if not each.output)
    return replace(method, composite=Composite(kept), selection="target")
