"""Candidate "zennit": Zennit's own unmodified rules, with Zennit's own defaults, under the catalogue's names.

The mapping is the one a Zennit user writes who takes the library as it is:

- kernels: the rule of the same name, :func:`zennit_rule`. Zennit's defaults differ from iNNvestigate
  2.1.2's where they do: stabilizer 1e-6 with the sign of the denominator (iNNvestigate replaces exact
  zeros by 1e-7), LRP-0 divides by zero unprotected where the denominator is zero, `WSquare` squares the
  bias and `ZBox` keeps it (iNNvestigate drops it), AlphaBeta takes only the bias of the sign it sums.
- everything else by `zennit.composites.layer_map_base`: activations and batch norm `Pass`, average
  pooling `Norm`. `Pass` at a batch norm is meant for one that a canonizer has merged into the layer
  before; Zennit's named composites have no canonizer unless the user hands one over. The default here
  is therefore none; ``merge_batch_norms=True`` is the user who does. `SequentialMergeBatchNorm` pairs
  modules by the order in which they are registered, which in a network with branches is not the order
  of the graph, so `NamedMergeBatchNorm` gets the pairs that the graph has. The merged layer then
  computes what the batch norm computed, so its activation is another than the network's.
- no rule, that is the gradient: `Add` (Zennit's `Sum` rule is for its own `zennit.layer.Sum`, which a
  user would have to write into the network), with which each summand gets the *whole* relevance of the
  sum and a residual network doubles it at every block; the per-channel `Scale`, of no type Zennit
  knows; softmax; max pooling and what only moves values, as it should be.

A separable convolution is two convolutions to Zennit, each with the rule. The gradient methods have no
hooks at all. The head is the method's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.backends.protocol import Backend
from harness.errors import UnsupportedMethodError
from harness.graph import KERNEL_KINDS, Graph, Layer
from harness.methods import (
    AlphaBeta,
    Bounded,
    Epsilon,
    Flat,
    Gradient,
    Method,
    Rule,
    SignedEpsilon,
    WSquare,
    Z,
)
from ported_impls.adapters import backend_from_composite

if TYPE_CHECKING:
    from ported_impls.torchvision_shim import zennit


def zennit_backend(merge_batch_norms: bool = False) -> Backend:
    """The backend ``zennit``; with ``merge_batch_norms`` the backend ``zennit-merged``."""
    if merge_batch_norms:
        return backend_from_composite("zennit-merged", merged_composite, head=None)
    return backend_from_composite("zennit", default_composite, head=None)


def default_composite(model: Any, method: Method) -> zennit.core.Composite:
    """Zennit's composite of ``method`` for the twin ``model``, without canonizer."""
    return _composite(model.graph, method, [])


def merged_composite(model: Any, method: Method) -> zennit.core.Composite:
    """The same with every batch norm merged into the kernel layer that it alone reads."""
    from ported_impls.torchvision_shim import zennit

    pairs = batch_norm_pairs(model.graph)
    canonizer = zennit.canonizers.NamedMergeBatchNorm([((kernel,), norm) for kernel, norm in pairs])
    return _composite(model.graph, method, [canonizer])


def batch_norm_pairs(graph: Graph) -> list[tuple[str, str]]:
    """(module with the kernel, batch norm) for every batch norm that is the only reader of a kernel layer."""
    pairs = []
    for layer in graph:
        source = graph[layer.inputs[0]] if layer.kind == "batch_norm" else None
        if source is not None and source.kind in KERNEL_KINDS and graph.consumers(source.name) == (layer,):
            pairs.append((_kernel_modules(source)[-1], layer.name))
    return pairs


def _composite(graph: Graph, method: Method, canonizers: list[Any]) -> zennit.core.Composite:
    from ported_impls.torchvision_shim import zennit

    rules = method.composite.assign(graph)
    if all(isinstance(rule, Gradient) for rule in rules.values()):
        return zennit.core.Composite()
    name_map = [
        (_kernel_modules(layer), zennit_rule(rules[layer.name], method))
        for layer in graph
        if layer.kind in KERNEL_KINDS
    ]
    return zennit.composites.NameLayerMapComposite(
        name_map=name_map, layer_map=zennit.composites.layer_map_base(), canonizers=canonizers
    )


def _kernel_modules(layer: Layer) -> tuple[str, ...]:
    """Names of the modules of the twin that hold the layer's kernels, in forward order."""
    if layer.kind.startswith("separable"):
        return f"{layer.name}.depthwise", f"{layer.name}.pointwise"
    return (layer.name,)


def zennit_rule(rule: Rule, method: Method) -> zennit.core.Hook | None:
    """Zennit's rule of that name; None for the gradient.

    ``lrp.z_plus`` is AlphaBeta 1, 0 without bias in iNNvestigate and has a class of its own in Zennit,
    so its name decides. Raises UnsupportedMethodError for what Zennit has no rule for.
    """
    from ported_impls.torchvision_shim import zennit

    rules = zennit.rules
    if isinstance(rule, Gradient):
        return None
    if isinstance(rule, Z):
        epsilon = rule.stabilizer.epsilon if isinstance(rule.stabilizer, SignedEpsilon) else 0
        return rules.Epsilon(epsilon=epsilon, zero_params=_zeroed(rule.bias))
    if isinstance(rule, Epsilon):
        return rules.Epsilon(epsilon=rule.epsilon, zero_params=_zeroed(rule.bias))
    if isinstance(rule, AlphaBeta):
        if method.name.partition(":")[0] == "lrp.z_plus":
            return rules.ZPlus()
        return rules.AlphaBeta(alpha=rule.alpha, beta=rule.beta, zero_params=_zeroed(rule.bias))
    if isinstance(rule, WSquare):
        return rules.WSquare()
    if isinstance(rule, Flat):
        return rules.Flat()
    if isinstance(rule, Bounded):
        return rules.ZBox(low=rule.low, high=rule.high)
    raise UnsupportedMethodError(
        f"zennit has no rule for {type(rule).__name__} at a layer with a kernel; choose another backend"
    )


def _zeroed(bias: bool) -> str | None:
    return None if bias else "bias"
