"""lxt 2.1, `lxt.explicit`: modules wrapped in rules, tensors that carry relevance. Runs in its interpreter only.

The package's own `__init__` asks for transformers; `lxt.explicit.rules`, `functional` and `special` need torch alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.graph import AVERAGE_POOLING_KINDS, ELEMENTWISE_KINDS, WEIGHTED_KINDS, Graph, Layer
from harness.methods import Epsilon, Method, Rule, ShareProduct
from ported_impls.capture import capture_layers
from ported_impls.libraries.adapter import Call, Function, LibraryBackend, bare_package, says

#: What stands at a layer in place of its module; None: the module itself, through autograd.
Wrapped = Callable[[Layer, nn.Module, Rule | None], nn.Module | None]


class _Written(nn.Module):
    """A layer as a user of `lxt.explicit.functional` writes it; not a module of the network's."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def library() -> tuple[Any, Any]:
    """Its modules `functional` and `rules`."""
    bare_package("lxt", "lxt")
    bare_package("lxt.explicit", "lxt")
    from lxt.explicit import functional, rules

    return functional, rules


def _asked(wrapped: Wrapped) -> Function:
    """The attribution with ``wrapped`` at every layer, started at the logit, and what autograd shows at the layers.

    Of a network of tokens it is that of the embeddings, summed over their features.
    """

    def call(twin: Any, x: Any, target: Any, method: Method) -> Any:
        rules = method.composite.assign(twin.graph)
        own = dict(twin._modules)
        source: list[Tensor] = []
        for layer in twin.graph:
            module = own[layer.name]
            if layer.kind == "embedding":
                twin._modules[layer.name] = _Written(_first(module, source))
            else:
                twin._modules[layer.name] = wrapped(layer, module, rules.get(layer.name)) or module
        try:
            with capture_layers(twin, twin.graph) as captured:
                output = twin(x if _of_tokens(twin.graph) else _first(None, source)(x))
                output = output.gather(1, target[:, None])
                (relevance,) = torch.autograd.grad(output, source, output.detach())
            return relevance.sum(dim=1) if _of_tokens(twin.graph) else relevance, captured.relevances
        finally:
            twin._modules.update(own)

    return call


def _of_tokens(graph: Graph) -> bool:
    """Whether the input is numbers of rows of an embedding, which have no slope."""
    return any(layer.kind == "embedding" for layer in graph)


def _first(module: nn.Module | None, source: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """What is explained: the input itself or the rows of ``module``; it is put into ``source``."""

    def run(x: Tensor) -> Tensor:
        source[:] = [(x if module is None else module(x)).detach().requires_grad_()]
        return source[0]

    return run


# Convolutional networks ------------------------------------------------------------------------------------


def _wrapped(layer: Layer, module: nn.Module, rule: Rule | None) -> nn.Module | None:
    """EpsilonRule at kernels (the method's epsilon), pools and batch norms (its own), the identity at activations."""
    functional, rules = library()
    if layer.kind in WEIGHTED_KINDS:
        return rules.EpsilonRule(module, **({"epsilon": rule.epsilon} if isinstance(rule, Epsilon) else {}))
    if layer.kind == "add":
        return _Written(functional.add2)
    if layer.kind.endswith("relu") or layer.kind == "relu6":
        return rules.IdentityRule(module)
    return rules.EpsilonRule(module) if "pool" in layer.kind or layer.kind == "batch_norm" else None


# Transformers ----------------------------------------------------------------------------------------------


def _transformer(layer: Layer, module: Any, rule: Any) -> nn.Module | None:
    """What lxt has for a layer of a transformer: functions of the last axis; the twin has channels on axis 1."""
    functional, rules = library()
    kind = layer.kind
    if kind == "dense":
        weights = module.weight, module.bias, rule.stabilizer.epsilon
        return _last(lambda x: functional.linear_epsilon(x, *weights))
    if kind == "scale":
        return _Written(lambda x: functional.mul2(x, module.weight.view(-1, *(1,) * (x.dim() - 2))))
    if kind in WEIGHTED_KINDS or kind in AVERAGE_POOLING_KINDS or kind in ("affine", "batch_norm"):
        return rules.EpsilonRule(module)
    if kind == "add":
        return _Written(functional.add2)
    if kind == "multiply":
        return _Written(functional.mul2)
    if kind == "softmax":
        return _Written(lambda x: functional.softmax(x.movedim(module.dim, -1), -1).movedim(-1, module.dim))
    if kind == "layer_norm":
        return _last(lambda x: functional.layer_norm(x, module.weight, module.bias, module.eps))
    if kind == "rms_norm":
        return _last(lambda x: functional.rms_norm_identity(x, module.weight, module.eps))
    if kind == "matmul":
        return _last(_product(functional, rules, rule, layer.attributes["transposed"]))
    return rules.IdentityRule(module) if kind in ELEMENTWISE_KINDS else None


def _product(functional: Any, rules: Any, rule: ShareProduct, transposed: bool) -> Callable[..., Tensor]:
    """`matmul`, or with one side held, as `multi_head_attention_cp` holds the weights, `epsilon_lrp` of the other."""

    def product(first: Tensor, second: Tensor) -> Tensor:
        if transposed:
            second = second.mT
        if rule.to == "both":
            return functional.matmul(first, second)
        held = (first.detach(), second) if rule.to == "second" else (first, second.detach())
        return rules.epsilon_lrp(torch.matmul, 1e-6, *held)

    return product


def _last(function: Callable[..., Tensor]) -> _Written:
    """``function`` of tensors whose channels are on the last axis."""

    def run(*inputs: Tensor) -> Tensor:
        result = function(*(x.movedim(1, -1) if x.dim() >= 3 else x for x in inputs))
        return result.movedim(-1, 1) if result.dim() >= 3 else result

    return _Written(run)


def _refused(graph: Graph) -> str:
    """Why lxt has nothing for a network; empty where it has."""
    for layer in graph:
        if layer.kind == "scale" and np.any(layer.weights.get("bias", 0)):
            return f"layer {layer.name!r} is a factor with a bias, for which lxt has no function"
        if layer.kind in ("layer_norm", "rms_norm") and layer.attributes["axes_count"] != 1:
            return f"layer {layer.name!r} normalises several axes, lxt the last one"
    return ""


_CALL = "EpsilonRule(module, epsilon={}) at kernels, EpsilonRule(module) at pools and norms, IdentityRule at ReLU, add2"
_FUNCTIONAL = "linear_epsilon, layer_norm, rms_norm_identity, add2, mul2, IdentityRule, {}"
CALLS = {
    "lrp.z": Call(_CALL.format("1e-8"), _asked(_wrapped)),
    "lrp.epsilon": Call(_CALL.format("1e-7"), _asked(_wrapped)),
    "lrp.epsilon:epsilon=0.1": Call(_CALL.format("0.1"), _asked(_wrapped)),
    "attnlrp:dialect=lxt": Call(_FUNCTIONAL.format("softmax, matmul"), _asked(_transformer), _refused),
    "cp_lrp:dialect=lxt": Call(
        _FUNCTIONAL.format("epsilon_lrp(matmul, 1e-6, attention.detach(), value)"),
        _asked(_transformer),
        _refused,
    ),
}
SAYS = says(CALLS)
backend = LibraryBackend("lxt", ("lxt",), "torch", CALLS)
