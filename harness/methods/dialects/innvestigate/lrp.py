"""How iNNvestigate's LRP and Deep Taylor analyzers are made of their parameters."""

from __future__ import annotations

from collections.abc import Callable

from harness.errors import InvalidInputError
from harness.graph import CONVOLUTION_KINDS, KERNEL_KINDS, KINDS, WEIGHTED_KINDS
from harness.methods.composite import Assignment, Composite
from harness.methods.definition import Method
from harness.methods.dialects.innvestigate.composites import lrp_composite
from harness.methods.dialects.innvestigate.gradients import (
    RELU_NETWORKS,
)
from harness.methods.dialects.innvestigate.parameters import (
    ALPHA_BETA_X_2M100,
    activation_layers,
    batch_norm_rule_of,
    input_layer_rule_of,
    rule_named,
    until_index,
)
from harness.methods.entries import (
    Parameters,
    above_zero,
    bounds,
)
from harness.methods.rules import (
    AlphaBeta,
    BatchNormReverse,
    Bounded,
    Epsilon,
    Flat,
    Gradient,
    KernelRule,
    WSquare,
)


def fixed(rule: Callable[[str, Parameters], KernelRule]) -> Callable[[str, Parameters], Method]:
    """An analyzer with one rule, which it also gives to batch norms."""

    def build(name: str, parameters: Parameters) -> Method:
        chosen = rule(name, parameters)
        return Method(
            name,
            lrp_composite(
                chosen,
                input_layer_rule_of(name, parameters),
                batch_norm_rule_of(name, parameters, chosen),
                activation_layers(name, parameters),
                until_index(name, parameters),
            ),
        )

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
        before = (
            *until_index(name, parameters),
            Assignment(convolution, kinds=CONVOLUTION_KINDS),
        )
        return Method(
            name,
            lrp_composite(dense, input_rule, batch_norm, activation_layers(name, parameters), before),
        )

    return build


def deep_taylor(bounded: bool) -> Callable[[str, Parameters], Method]:
    """`DeepTaylor`, `BoundedDeepTaylor` (`analyzer/deeptaylor.py`).

    The condition "no kernel, and no activation but ReLU" comes first and is met by every layer without a
    kernel, batch norm included: the rules meant for those further down are never reached.
    """

    def build(name: str, parameters: Parameters) -> Method:
        first: tuple[Assignment, ...] = ()
        if bounded:
            missing = [key for key in ("low", "high") if key not in parameters]
            if missing:
                raise InvalidInputError(f"{name}: {missing[0]} is missing; write {name}:low=0,high=1")
            low, high = bounds(name, parameters, -1.0, 1.0)
            first = (Assignment(Bounded(low=low, high=high), kinds=WEIGHTED_KINDS, reads_input=True),)
        composite = Composite(
            (
                *first,
                Assignment(AlphaBeta(1, 0, bias=False), kinds=KERNEL_KINDS),
                # All of Keras's own layers with a kernel have an activation, if only the linear one; a scale has none.
                Assignment(WSquare(), kinds=("scale",)),
                Assignment(Gradient()),
            )
        )
        return Method(name, composite, head="relu_logit", activations=RELU_NETWORKS)

    return build
