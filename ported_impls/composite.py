"""From a method to the Zennit composite that puts its rules on a twin."""

from __future__ import annotations

from dataclasses import replace

from harness.errors import UnsupportedMethodError
from harness.graph import Graph, Layer
from harness.methods import (
    AlphaBetaOfMaxima,
    AttentionRule,
    BacktraceRule,
    BatchNormReverse,
    Deconvolution,
    Epsilon,
    FusedBatchNorm,
    Gradient,
    GuidedReLU,
    Linearized,
    Method,
    Pass,
    Rule,
    Z,
)
from ported_impls import attention_hooks, batch_norm, hooks, recurrent
from ported_impls.steps import FormulaStep, RuleHook
from ported_impls.torchvision_shim import zennit


def method_composite(method: Method, graph: Graph) -> zennit.core.Composite:
    """The Zennit composite that hooks each layer's module with the rule that ``method`` has for it.

    Raises UnsupportedMethodError where a rule cannot be applied to its layer.
    """
    templates = {
        name: hook
        for name, rule in method.composite.assign(graph).items()
        if (hook := hook_for(rule, graph[name])) is not None
    }
    return zennit.core.Composite(module_map=lambda context, name, module: templates.get(name))


def hook_for(rule: Rule, layer: Layer) -> RuleHook | None:
    """The hook that applies ``rule`` to the module of ``layer``; None for the gradient, which needs none."""
    if isinstance(rule, Gradient):
        return None
    if isinstance(rule, Pass) and layer.kind == "embedding":
        return FormulaStep(lambda module, x, relevance: relevance.sum(dim=1))
    if isinstance(rule, Pass):
        if layer.input_shapes != (layer.shape,):
            raise _misplaced(rule, layer, "needs one input of the shape of its output")
        return hooks.pass_through()
    if isinstance(rule, AttentionRule):
        if needs := attention_hooks.needs(rule, layer):
            raise _misplaced(rule, layer, needs)
        return attention_hooks.hook(rule, layer)
    if isinstance(rule, AlphaBetaOfMaxima):
        if not layer.traits.kernel:
            raise _misplaced(rule, layer, "needs a layer with a kernel")
        return hooks.alpha_beta_of_maxima(rule.alpha, rule.beta, rule.stabilizer)
    if isinstance(rule, Linearized):
        return hooks.proportional(rule.stabilizer, bias=True)
    if isinstance(rule, GuidedReLU | Deconvolution):
        if not layer.traits.activation:
            raise _misplaced(rule, layer, "needs an activation")
        return hooks.guided() if isinstance(rule, GuidedReLU) else hooks.deconvolution()
    if isinstance(rule, FusedBatchNorm | BatchNormReverse):
        if layer.kind != "batch_norm":
            raise _misplaced(rule, layer, "needs a batch norm")
        if isinstance(rule, BatchNormReverse):
            return batch_norm.reverse(rule.epsilon)
        lines = batch_norm.one_line if rule.mode == "one_linear" else batch_norm.two_lines
        return hooks.kernel_hook(rule.rule, lines)
    if layer.traits.sums and isinstance(rule, Z | Epsilon):
        return hooks.kernel_hook(replace(rule, bias=True), None)  # a sum has none to leave out
    if layer.traits.family == "recurrent" and isinstance(rule, Z | Epsilon):
        return recurrent.held_gates(rule, layer)
    if isinstance(rule, BacktraceRule):
        raise _misplaced(rule, layer, "needs the port of its family, backtrace-torch")
    if not layer.traits.weighted:
        raise _misplaced(rule, layer, "needs a layer with a kernel")
    return hooks.kernel_hook(rule, None)


def _misplaced(rule: Rule, layer: Layer, needs: str) -> UnsupportedMethodError:
    return UnsupportedMethodError(
        f"{type(rule).__name__} {needs}, found layer {layer.name!r} ({layer.kind}, inputs "
        f"{layer.input_shapes}, output {layer.shape}); assign it another rule"
    )
