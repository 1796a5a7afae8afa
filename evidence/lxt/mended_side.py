"""lxt 2.1 with one thing changed: the named cause of a difference taken away. Runs in its interpreter only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from evidence.lxt.torchvision_side import run_efficient
from harness.methods import Method
from ported_impls.adapters import backend_from_function
from ported_impls.libraries import lxt_side


def _rms_norm(ctx: Any, hidden: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """`rms_norm_identity_fn.forward` in the dtype of its input."""
    return weight * (hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + epsilon))


def _in_its_dtype(twin: Any, x: Tensor, target: Tensor, method: Method) -> Any:
    functional, _ = lxt_side.library()
    own = functional.rms_norm_identity_fn.forward
    functional.rms_norm_identity_fn.forward = staticmethod(_rms_norm)
    try:
        return lxt_side.CALLS[method.name].function(twin, x, target, method)
    finally:
        functional.rms_norm_identity_fn.forward = staticmethod(own)


def _without_epsilon(twin: Any, x: Tensor, target: Tensor, method: Method) -> Tensor:
    def changed(rules: Any) -> None:
        own = rules.identity_rule_implicit_fn.forward
        rules.identity_rule_implicit_fn.forward = staticmethod(lambda ctx, fn, x: own(ctx, fn, x, 0.0))

    return run_efficient(x, target, changed)


rms_norm = backend_from_function("lxt-rms-norm", _in_its_dtype, "torch")
gelu = backend_from_function("lxt-gelu", _without_epsilon, "torch")
