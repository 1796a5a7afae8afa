"""How iNNvestigate's LRP and Deep Taylor analyzers are made of their parameters, and their composites."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from harness.errors import InvalidInputError
from harness.graph import (
    ACTIVATION_KINDS,
    CONVOLUTION_KINDS,
    KERNEL_KINDS,
    KINDS,
    RECURRENT_KINDS,
    SUM_KINDS,
    WEIGHTED_KINDS,
)
from harness.methods.composite import Assignment, Composite
from harness.methods.definition import Method
from harness.methods.dialects.innvestigate.gradients import RELU_NETWORKS
from harness.methods.dialects.innvestigate.parameters import (
    ALPHA_BETA_X_2M100,
    activation_layers,
    batch_norm_rule_of,
    input_layer_rule_of,
    rule_named,
    until_index,
)
from harness.methods.entries import Parameters, above_zero, required_bounds
from harness.methods.rules import (
    AlphaBeta,
    BatchNormReverse,
    Bounded,
    Deconvolution,
    Epsilon,
    Flat,
    FusedBatchNorm,
    Gradient,
    GuidedReLU,
    KernelRule,
    Pass,
    Rule,
    WSquare,
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
    recurrent layers ``rule`` as well, where it has a reading there (`harness.methods.rules`),
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
            Assignment(rule, kinds=RECURRENT_KINDS),
            Assignment(FusedBatchNorm(rule) if batch_norm is None else batch_norm, kinds=("batch_norm",)),
            Assignment(Z(), kinds=SUM_KINDS),
            *((Assignment(Gradient(), kinds=ACTIVATION_LAYERS),) if activations == "gradient" else ()),
            Assignment(Pass(), kinds=(*ACTIVATION_KINDS, "embedding")),
            Assignment(Gradient()),
        )
    )


def fixed(rule: Callable[[str, Parameters], KernelRule]) -> Callable[[str, Parameters], Method]:
    """An analyzer with one rule, which it also gives to batch norms."""

    def build(name: str, parameters: Parameters) -> Method:
        chosen = rule(name, parameters)
        input_rule = input_layer_rule_of(name, parameters)
        batch_norm = batch_norm_rule_of(name, parameters, chosen)
        activations, until = activation_layers(name, parameters), until_index(name, parameters)
        return Method(name, lrp_composite(chosen, input_rule, batch_norm, activations, until))

    return build


def lrp(name: str, parameters: Parameters) -> Method:
    """`LRP` itself: one rule by name, or a list of rules, one for each kernel.

    A list is used up from its end (`LRP.create_rule_mapping`), so its last rule is that of the first kernel.
    """
    if "rule" not in parameters:
        raise InvalidInputError(f"{name}: rule is missing; write {name}:rule=Z, or several: rule=Z/Flat")
    rules = [rule_named(f"{name}: rule", each) for each in parameters["rule"].split("/")]
    input_rule = input_layer_rule_of(name, parameters)
    until = until_index(name, parameters)
    listed: tuple[Assignment, ...] = ()
    if len(rules) > 1:
        if input_rule is not None or until:
            raise InvalidInputError(
                f"{name}: a list of rules takes no input_layer_rule and no until_layer_idx; put the rule into the list"
            )
        listed = tuple(
            Assignment(rule, kinds=WEIGHTED_KINDS, kernel_index=place)
            for place, rule in enumerate(reversed(rules))
        )
    batch_norm = batch_norm_rule_of(name, parameters, BatchNormReverse())
    composite = lrp_composite(
        rules[0], input_rule, batch_norm, activation_layers(name, parameters), (*until, *listed)
    )
    return Method(name, _without_rule_for_other_kernels(composite) if listed else composite)


def _without_rule_for_other_kernels(composite: Composite) -> Composite:
    """The composite of a list of rules: a kernel that the list is too short for has no rule, which is an error."""
    others = tuple(kind for kind in KINDS if kind not in WEIGHTED_KINDS)
    kept = (
        each
        for each in composite.assignments
        if each.kinds and (each.kinds != WEIGHTED_KINDS or each.kernel_index is not None)
    )
    return Composite((*kept, Assignment(Gradient(), kinds=others)))


def preset(convolution: KernelRule, flat_input: bool) -> Callable[[str, Parameters], Method]:
    """`LRPSequentialPresetA` and `B`: Epsilon for dense layers, ``convolution`` for the others."""

    def build(name: str, parameters: Parameters) -> Method:
        dense = Epsilon(above_zero(name, parameters, "epsilon", 0.1))
        input_rule = Flat() if flat_input else input_layer_rule_of(name, parameters)
        batch_norm = batch_norm_rule_of(name, parameters, ALPHA_BETA_X_2M100)
        before = (*until_index(name, parameters), Assignment(convolution, kinds=CONVOLUTION_KINDS))
        activations = activation_layers(name, parameters)
        return Method(name, lrp_composite(dense, input_rule, batch_norm, activations, before))

    return build


def deep_taylor(bounded: bool) -> Callable[[str, Parameters], Method]:
    """`DeepTaylor`, `BoundedDeepTaylor` (`analyzer/deeptaylor.py`).

    The condition "no kernel, and no activation but ReLU" comes first and is met by every layer without a
    kernel, batch norm included: the rules meant for those further down are never reached. A ReLU inside a layer with a
    kernel is no layer: it hands relevance on to units that are off as well, where a ReLU of its own sends it through
    its gradient.
    """

    def build(name: str, parameters: Parameters) -> Method:
        first: tuple[Assignment, ...] = ()
        if bounded:
            low, high = required_bounds(name, parameters)
            first = (Assignment(Bounded(low=low, high=high), kinds=WEIGHTED_KINDS, reads_input=True),)
        kernels = Assignment(AlphaBeta(1, 0, bias=False), kinds=KERNEL_KINDS)
        # All of Keras's own layers with a kernel have an activation, if only the linear one; a scale has none.
        scale = Assignment(WSquare(), kinds=("scale",))
        inside: tuple[Assignment, ...] = ()
        if activation_layers(name, parameters, "gradient") == "pass":
            inside = (Assignment(Pass(), kinds=("relu",), inside=True),)
        composite = Composite((*first, kernels, scale, *inside, Assignment(Gradient())))
        return Method(name, composite, head="relu_logit", activations=RELU_NETWORKS)

    return build
