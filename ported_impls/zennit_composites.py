"""Zennit's composite of a method: one of its named ones, or a rule for each kernel and its base layer map.

What `zennit.composites.layer_map_base` says of layers without a kernel is kept: activations and batch norms
`Pass`, average pooling `Norm`; only a type whose layers the method leaves to the gradient is taken out of it.
No rule, that is the gradient, have:

- `Add`: Zennit's `Norm` is for its own `zennit.layer.Sum`, which a user would have to write into the network.
  Each summand gets the *whole* relevance of the sum, and a residual network doubles it at every block;
- the per-channel `Scale`, of no type Zennit knows, and softmax;
- max pooling and what only moves values, as it should be.

A separable convolution is two convolutions to Zennit, each with the rule.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from harness.graph import ACTIVATION_KINDS, AVERAGE_POOLING_KINDS, Graph, Layer
from harness.methods import (
    AlphaBeta,
    Bounded,
    Deconvolution,
    Epsilon,
    Gamma,
    Gradient,
    GuidedReLU,
    Method,
    Rule,
    Z,
)
from ported_impls.torchvision_shim import zennit
from ported_impls.zennit_rules import Z_PLUS_NAMES, base_name, own_stabilizer, zennit_rule

#: The layers that the entries of `layer_map_base` are for, in its order.
_BASE_MAP_KINDS = (ACTIVATION_KINDS, ("add",), AVERAGE_POOLING_KINDS, ("batch_norm",))


def zennit_composite(graph: Graph, method: Method, merge_batch_norms: bool = False) -> zennit.core.Composite:
    """The composite a Zennit user takes for ``method``; with ``merge_batch_norms`` and the canonizer for it.

    Raises UnsupportedMethodError for a rule that Zennit does not have.
    """
    rules = method.composite.assign(graph)
    used = {type(rule) for rule in rules.values()}
    if used == {Gradient}:
        return zennit.core.Composite()
    canonizers = [_merging(graph)] if merge_batch_norms else []
    if GuidedReLU in used:
        return zennit.composites.GuidedBackprop(canonizers=canonizers)
    if Deconvolution in used:
        return zennit.composites.DeconvNet(canonizers=canonizers)
    named = _NAMED.get(base_name(method))
    if named is not None:
        return named(method, canonizers)
    name_map = [
        (_kernel_modules(layer), zennit_rule(rules[layer.name], method))
        for layer in graph
        if layer.traits.kernel
    ]
    return zennit.composites.NameLayerMapComposite(
        name_map=name_map, layer_map=_layer_map(graph, rules, method), canonizers=canonizers
    )


def deciding_name(method: Method) -> str:
    """What of a method's name the composite depends on."""
    name = base_name(method)
    return name if name in _NAMED or name in Z_PLUS_NAMES else ""


# Named composites ------------------------------------------------------------------------------------------

Canonizers = list[Any]


def _named(composite: Callable[..., Any], method: Method, canonizers: Canonizers) -> zennit.core.Composite:
    return composite(canonizers=canonizers, **_parameters(method))


def _boxed(composite: Callable[..., Any], method: Method, canonizers: Canonizers) -> zennit.core.Composite:
    """``composite`` with ZBox for the first convolution, as EpsilonGammaBox has it."""
    parameters = _parameters(method)
    box = zennit.rules.ZBox(low=parameters.pop("low"), high=parameters.pop("high"), **_stabilizer(method))
    return zennit.composites.SpecialFirstLayerMapComposite(
        layer_map=composite(**parameters).layer_map,
        first_map=[(zennit.types.Convolution, box)],
        canonizers=canonizers,
    )


def _excitation(method: Method, canonizers: Canonizers) -> zennit.core.Composite:
    kernels = next(rule for rule in _rules(method) if isinstance(rule, AlphaBeta))
    return zennit.composites.ExcitationBackprop(
        zero_params=None if kernels.bias else "bias", canonizers=canonizers, **_stabilizer(method)
    )


_NAMED: dict[str, Callable[[Method, Canonizers], Any]] = {
    **{
        name: partial(_named, zennit.composites.COMPOSITES[name])
        for name in (
            "epsilon_plus",
            "epsilon_plus_flat",
            "epsilon_alpha2_beta1",
            "epsilon_alpha2_beta1_flat",
            "epsilon_gamma_box",
        )
    },
    "epsilon_plus_box": partial(_boxed, zennit.composites.EpsilonPlus),
    "epsilon_alpha2_beta1_box": partial(_boxed, zennit.composites.EpsilonAlpha2Beta1),
    "excitation_backprop": _excitation,
}


def _rules(method: Method) -> list[Rule]:
    return [assignment.rule for assignment in method.composite.assignments]


def _parameters(method: Method) -> dict[str, Any]:
    """The arguments of a named composite, read from the rules of the method."""
    parameters = _stabilizer(method)
    for rule in _rules(method):
        if isinstance(rule, Epsilon):
            parameters["epsilon"] = rule.epsilon
        elif isinstance(rule, Gamma):
            parameters["gamma"] = rule.gamma
        elif isinstance(rule, Bounded):
            parameters.update(low=rule.low, high=rule.high)
    return parameters


def _stabilizer(method: Method) -> dict[str, Any]:
    """The stabilizer of the layers without a kernel, where it has Zennit's form."""
    for assignment in method.composite.assignments:
        if isinstance(assignment.rule, Z) and set(assignment.kinds) & set(AVERAGE_POOLING_KINDS):
            return own_stabilizer(assignment.rule)
    return {}


# Layers without a kernel -----------------------------------------------------------------------------------


def _layer_map(graph: Graph, rules: dict[str, Rule], method: Method) -> list[tuple[Any, Any]]:
    left_alone = {graph[name].kind for name, rule in rules.items() if isinstance(rule, Gradient)}
    base = zennit.composites.layer_map_base(**_stabilizer(method))
    return [entry for entry, kinds in zip(base, _BASE_MAP_KINDS, strict=True) if not left_alone & set(kinds)]


def _kernel_modules(layer: Layer) -> tuple[str, ...]:
    """Names of the modules of the twin that hold the layer's kernels, in forward order."""
    if layer.traits.kernel and not layer.traits.one_kernel:
        return f"{layer.name}.depthwise", f"{layer.name}.pointwise"
    return (layer.name,)


# Merged batch norms ----------------------------------------------------------------------------------------


def _merging(graph: Graph) -> zennit.canonizers.Canonizer:
    """The canonizer that merges every batch norm into the kernel layer that it alone reads.

    `SequentialMergeBatchNorm` pairs modules by the order in which they are registered, which in a network
    with branches is not the order of the graph, so `NamedMergeBatchNorm` gets the pairs that the graph has.
    The merged layer then computes what the batch norm computed, so its activation is another than the
    network's.
    """
    pairs = batch_norm_pairs(graph)
    return zennit.canonizers.NamedMergeBatchNorm([((kernel,), norm) for kernel, norm in pairs])


def batch_norm_pairs(graph: Graph) -> list[tuple[str, str]]:
    """(module with the kernel, batch norm) for every batch norm that is the only reader of a kernel layer."""
    pairs = []
    for layer in graph:
        source = graph[layer.inputs[0]] if layer.kind == "batch_norm" else None
        if source is not None and source.traits.kernel and graph.consumers(source.name) == (layer,):
            pairs.append((_kernel_modules(source)[-1], layer.name))
    return pairs
