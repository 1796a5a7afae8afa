"""torchvision's vision transformer by lxt 2.1, as its users run it. Runs in lxt's interpreter only.

``efficient``: `lxt.efficient`, its patch map for torchvision (`models.vit_torch.cp_LRP`), gradient times input.
``explicit``: `lxt.explicit`, rules in the place of modules, and `add2` for the sums that are no modules.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from evidence.lxt.transformer import SIZES, seeded
from harness.methods import Method
from ported_impls.adapters import backend_from_function
from ported_impls.libraries.adapter import bare_package

#: Of every dense layer: `LinearEpsilon`'s own.
EPSILON = 1e-6


def _of_size(x: Tensor) -> nn.Module:
    """The network for images (batch, channel, height, width) of this size, in their dtype."""
    return _network(x.shape[-1]).to(x.dtype)


@cache
def _network(side: int) -> nn.Module:
    (name,) = (name for name, (image, *_) in SIZES.items() if image == side)
    return seeded(name)


def _efficient(twin: Any, x: Tensor, target: Tensor, method: Method) -> Tensor:
    return run_efficient(x, target)


def run_efficient(x: Tensor, target: Tensor, changed: Callable[[Any], None] = lambda rules: None) -> Tensor:
    """Gradient times input at ``x``. ``changed``: what is done to `lxt.efficient.rules` before, for good."""
    for name in ("lxt", "lxt.efficient", "lxt.efficient.models"):  # their __init__ ask for transformers
        bare_package(name, "lxt")
    from lxt.efficient import rules
    from lxt.efficient.models.vit_torch import cp_LRP

    changed(rules)

    model = _of_size(x)
    with _patched(cp_LRP):
        x = x.requires_grad_()
        model(x).gather(1, target[:, None]).sum().backward()
        assert x.grad is not None
        return x.grad * x.detach()


@contextmanager
def _patched(patches: dict[type, Callable[[type], bool]]) -> Iterator[None]:
    """What `lxt.efficient.monkey_patch` does, and undone: it changes torch's classes for the whole process."""
    own = {patched: patched.forward for patched in patches}  # type: ignore[attr-defined]
    try:
        for patched, patch in patches.items():
            patch(patched)
        yield
    finally:
        for patched, forward in own.items():
            patched.forward = forward  # type: ignore[attr-defined]


def _explicit(twin: Any, x: Tensor, target: Tensor, method: Method) -> Tensor:
    model = _with_rules(copy.deepcopy(_of_size(x)))
    x = x.requires_grad_()
    output = model(x).gather(1, target[:, None])
    (relevance,) = torch.autograd.grad(output, x, output.detach())
    return relevance


def _with_rules(model: Any) -> nn.Module:
    for name in ("lxt", "lxt.explicit"):
        bare_package(name, "lxt")
    from lxt.explicit import modules, rules
    from lxt.explicit.functional import add2

    def attention(own: nn.MultiheadAttention) -> nn.Module:
        made = modules.initialize_MHA(own, modules.MultiheadAttention_CP)
        for name in ("v_proj", "out_proj"):
            setattr(made, name, rules.EpsilonRule(getattr(made, name), EPSILON))
        return made

    made_of: dict[type, Callable[[Any], nn.Module]] = {
        nn.MultiheadAttention: attention,
        nn.LayerNorm: lambda own: modules.initialize_bias(own, modules.LayerNormEpsilon),
        nn.Linear: lambda own: rules.EpsilonRule(own, EPSILON),
        nn.GELU: rules.IdentityRule,
        nn.Conv2d: rules.EpsilonRule,
    }

    def block(self: Any, x: Tensor) -> Tensor:
        read = self.ln_1(x)
        x = add2(self.self_attention(read, read, read, need_weights=False)[0], x)
        return add2(x, self.mlp(self.ln_2(x)))

    def encoder(self: Any, x: Tensor) -> Tensor:
        return self.ln(self.layers(add2(x, self.pos_embedding)))

    for module in list(model.modules()):
        if type(module).__name__ in ("EncoderBlock", "Encoder"):
            module.forward = (block if type(module).__name__ == "EncoderBlock" else encoder).__get__(module)
    _replace(model, made_of)
    return model


def _replace(module: nn.Module, made_of: dict[type, Callable[[Any], nn.Module]]) -> None:
    for name, child in module.named_children():
        make = next((make for kind, make in made_of.items() if isinstance(child, kind)), None)
        if make is None:
            _replace(child, made_of)
        else:
            setattr(module, name, make(child))


efficient = backend_from_function("lxt-efficient", _efficient, "torch")
explicit = backend_from_function("lxt-explicit", _explicit, "torch")
