"""From a method to the Zennit composite that puts its rules on a twin."""

from __future__ import annotations

from harness.errors import UnsupportedMethodError
from harness.graph import AVERAGE_POOLING_KINDS, KERNEL_KINDS, Graph, Layer
from harness.methods import (
    AlphaBeta,
    Bounded,
    Epsilon,
    Flat,
    FusedBatchNorm,
    Gradient,
    Method,
    Pass,
    Rule,
    SignedEpsilon,
    Stabilizer,
    WSquare,
    Z,
)
from ported_impls import hooks
from ported_impls.steps import ReadAs
from ported_impls.torchvision_shim import zennit

_KERNEL_RULES = (Z, Epsilon, AlphaBeta, WSquare, Flat, Bounded)
_LINEAR_WITHOUT_KERNEL = ("add", *AVERAGE_POOLING_KINDS)


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
    if isinstance(rule, FusedBatchNorm):
        if layer.kind != "batch_norm":
            raise _misplaced(rule, layer, "needs a batch norm")
        return _kernel_hook(rule.rule, hooks.fused_line)
    if layer.kind in _LINEAR_WITHOUT_KERNEL and isinstance(rule, Z | Epsilon):
        return hooks.proportional(_stabilizer(rule), bias=True)
    if layer.kind not in (*KERNEL_KINDS, "scale"):
        raise _misplaced(rule, layer, "needs a layer with a kernel")
    return _kernel_hook(rule, None)


def _kernel_hook(rule: Rule, read_as: ReadAs) -> zennit.core.BasicHook:
    if isinstance(rule, Z | Epsilon):
        return hooks.proportional(_stabilizer(rule), rule.bias, read_as)
    if isinstance(rule, AlphaBeta):
        return hooks.alpha_beta(rule.alpha, rule.beta, rule.stabilizer, rule.bias, read_as)
    if isinstance(rule, WSquare):
        return hooks.w_square(rule.stabilizer, read_as)
    if isinstance(rule, Flat):
        return hooks.flat(rule.stabilizer, read_as)
    if isinstance(rule, Bounded):
        return hooks.bounded(rule.low, rule.high, rule.stabilizer, read_as)
    raise UnsupportedMethodError(
        f"the torch backend has no rule {type(rule).__name__}; it has: "
        + ", ".join(known.__name__ for known in (*_KERNEL_RULES, Pass, Gradient, FusedBatchNorm))
    )


def _stabilizer(rule: Z | Epsilon) -> Stabilizer:
    return SignedEpsilon(rule.epsilon) if isinstance(rule, Epsilon) else rule.stabilizer


def _misplaced(rule: Rule, layer: Layer, needs: str) -> UnsupportedMethodError:
    return UnsupportedMethodError(
        f"{type(rule).__name__} {needs}, found layer {layer.name!r} ({layer.kind}, inputs "
        f"{layer.input_shapes}, output {layer.shape}); assign it another rule"
    )
