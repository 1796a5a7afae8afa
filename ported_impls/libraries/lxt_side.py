"""lxt 2.1, `lxt.explicit`: modules wrapped in rules, tensors that carry relevance. Runs in its interpreter only.

The package's own `__init__` asks for transformers; `lxt.explicit.rules` and `functional` need torch alone.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.graph import WEIGHTED_KINDS
from harness.methods import Epsilon, Method
from ported_impls.capture import capture_layers
from ported_impls.libraries.adapter import Call, LibraryBackend, bare_package, kernel_rule, says


class _Sum(torch.nn.Module):
    """``functional.add2`` of two inputs."""

    def __init__(self, add2: Any) -> None:
        super().__init__()
        self.add2 = add2

    def forward(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        summed: torch.Tensor = self.add2(one, other)
        return summed


def _explicit(twin: Any, x: Any, target: Any, method: Method) -> Any:
    """EpsilonRule at kernels (the method's epsilon), pools and batch norms (its own), the identity at activations."""
    bare_package("lxt", "lxt")
    bare_package("lxt.explicit", "lxt")
    from lxt.explicit.functional import add2
    from lxt.explicit.rules import EpsilonRule, IdentityRule

    rule = kernel_rule(method)
    own = dict(twin._modules)
    for layer in twin.graph:
        module = own[layer.name]
        if layer.kind in WEIGHTED_KINDS:
            options = {"epsilon": rule.epsilon} if isinstance(rule, Epsilon) else {}
            twin._modules[layer.name] = EpsilonRule(module, **options)
        elif layer.kind == "add":
            twin._modules[layer.name] = _Sum(add2)
        elif layer.kind.endswith("relu") or layer.kind == "relu6":
            twin._modules[layer.name] = IdentityRule(module)
        elif "pool" in layer.kind or layer.kind in ("batch_norm", "scale"):
            twin._modules[layer.name] = EpsilonRule(module)
    try:
        x = x.requires_grad_()
        with capture_layers(twin, twin.graph) as captured:
            output = twin(x).gather(1, target[:, None])
            (attribution,) = torch.autograd.grad(output, x, output.detach())
        return attribution, captured.relevances
    finally:
        twin._modules.update(own)


_CALL = "EpsilonRule(module, epsilon={}) at kernels, EpsilonRule(module) at pools and norms, IdentityRule at ReLU, add2"
CALLS = {
    "lrp.z": Call(_CALL.format("1e-8"), _explicit),
    "lrp.epsilon": Call(_CALL.format("1e-7"), _explicit),
    "lrp.epsilon:epsilon=0.1": Call(_CALL.format("0.1"), _explicit),
}
SAYS = says(CALLS)
backend = LibraryBackend("lxt", ("lxt",), "torch", CALLS)
