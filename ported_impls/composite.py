"""From a method to the Zennit composite that puts its rules on a twin."""

from __future__ import annotations

from harness.errors import UnsupportedMethodError
from harness.graph import Graph, Layer
from harness.methods import (
    AlphaBeta,
    AlphaBetaX,
    BatchNormReverse,
    Bounded,
    Deconvolution,
    Epsilon,
    Flat,
    FusedBatchNorm,
    Gamma,
    Gradient,
    GuidedReLU,
    KernelRule,
    Method,
    Pass,
    Rule,
    Sign,
    SignedEpsilon,
    Stabilizer,
    StdEpsilon,
    WSquare,
    Z,
    ZPlusFast,
)
from ported_impls import batch_norm, hooks
from ported_impls.steps import ReadAs
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


def hook_for(rule: Rule, layer: Layer) -> zennit.core.Hook | None:
    """The hook that applies ``rule`` to the module of ``layer``; None for the gradient, which needs none."""
    if isinstance(rule, Gradient):
        return None
    if isinstance(rule, Pass):
        if layer.input_shapes != (layer.shape,):
            raise _misplaced(rule, layer, "needs one input of the shape of its output")
        return zennit.rules.Pass()
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
        return _kernel_hook(rule.rule, lines)
    if layer.traits.sums and isinstance(rule, Z | Epsilon):
        return hooks.proportional(_stabilizer(rule), bias=True)
    if not layer.traits.weighted:
        raise _misplaced(rule, layer, "needs a layer with a kernel")
    return _kernel_hook(rule, None)


def _kernel_hook(rule: KernelRule, read_as: ReadAs) -> zennit.core.BasicHook:
    match rule:
        case Z() | Epsilon():
            return hooks.proportional(_stabilizer(rule), rule.bias, read_as)
        case StdEpsilon():
            return hooks.deviation_epsilon(rule.factor, rule.bias, read_as)
        case Sign():
            return hooks.sign(rule.threshold, rule.stabilizer, rule.bias, read_as)
        case AlphaBeta():
            return hooks.alpha_beta(
                rule.alpha, rule.beta, rule.stabilizer, rule.bias, rule.split_bias, read_as
            )
        case AlphaBetaX():
            return hooks.alpha_beta_x(rule.alpha, rule.beta, rule.stabilizer, read_as)
        case ZPlusFast():
            return hooks.z_plus_fast(rule.stabilizer, read_as)
        case Gamma():
            return hooks.gamma(rule.gamma, rule.signed, rule.stabilizer, read_as)
        case WSquare():
            return hooks.w_square(rule.stabilizer, rule.bias, read_as)
        case Flat():
            return hooks.flat(rule.stabilizer, read_as)
        case Bounded():
            return hooks.bounded(rule.low, rule.high, rule.stabilizer, rule.times_inputs, read_as)
    raise UnsupportedMethodError(
        f"the torch backend has no rule {type(rule).__name__}; use one of harness.methods.rules"
    )


def _stabilizer(rule: Z | Epsilon) -> Stabilizer:
    return SignedEpsilon(rule.epsilon) if isinstance(rule, Epsilon) else rule.stabilizer


def _misplaced(rule: Rule, layer: Layer, needs: str) -> UnsupportedMethodError:
    return UnsupportedMethodError(
        f"{type(rule).__name__} {needs}, found layer {layer.name!r} ({layer.kind}, inputs "
        f"{layer.input_shapes}, output {layer.shape}); assign it another rule"
    )
