"""The faulty hooks, on Zennit's core, written from their descriptions.

Tensors are in the twin's layout: batch first, channels on axis 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ported_impls.torchvision_shim import zennit

DEFAULT_EPSILON = 1e-6


class ForgetfulEpsilon(zennit.core.Hook):
    """The epsilon rule, ``R_x = x * f^T(R / S(f(x; W, b)); W)``, ``S(z) = z + epsilon * sign(z)``.

    It takes epsilon and has no `copy`. Zennit 0.5.1 puts a copy on every module (`core.py:664`), and
    `Hook.copy` calls the class without arguments (`core.py:440-444`): every copy has the default.
    ``times_input=False`` is what signxai2 0.5.0 does: the factor ``x`` is missing.
    """

    times_input = True

    def __init__(self, epsilon: float = DEFAULT_EPSILON) -> None:
        super().__init__()
        self.stabilizer = zennit.core.Stabilizer(epsilon=epsilon)

    def forward(self, module: torch.nn.Module, input: tuple[Tensor, ...], output: Tensor) -> None:
        self.stored_tensors["input"] = input

    def backward(self, module: torch.nn.Module, grad_input: Any, grad_output: Any) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            x = self.stored_tensors["input"][0].detach().requires_grad_()
            z = module.forward(x)
            (back,) = torch.autograd.grad(z, x, grad_output[0] / self.stabilizer(z.detach()))
        return (x.detach() * back if self.times_input else back,)


class ForgetfulEpsilonWithoutInput(ForgetfulEpsilon):
    """``R_x = f^T(R / S(f(x; W, b)); W)``"""

    times_input = False


def _ones(parameter: Tensor, name: str) -> Tensor:
    return torch.ones_like(parameter)


#: A module with weights of ones and no bias, while it is open.
with_ones = zennit.core.ParamMod(_ones, zero_params=["bias"])


def flat_of_the_input() -> zennit.core.BasicHook:
    """``R_x = f^T(R / S(f(x; 1)); 1)``: weights of ones, no bias, and the real input in the denominator."""
    return zennit.core.BasicHook(
        input_modifiers=[torch.clone],
        param_modifiers=[with_ones],
        gradient_mapper=partial(_divided, zennit.core.Stabilizer(epsilon=DEFAULT_EPSILON)),
        reducer=_first_gradient,
    )


def every_head_gets_all(heads: int) -> zennit.core.BasicHook:
    """The epsilon rule once per head, each time with the whole relevance instead of its ``1 / heads``, and the sum."""
    return zennit.core.BasicHook(
        input_modifiers=[torch.clone] * heads,
        param_modifiers=[zennit.core.ParamMod(_unchanged)] * heads,
        gradient_mapper=partial(_divided, zennit.core.Stabilizer(epsilon=1e-7)),
        reducer=_sum_of_products,
    )


def _unchanged(parameter: Tensor, name: str) -> Tensor:
    return parameter


def _divided(stabilizer: Any, relevance: Tensor, outputs: Sequence[Tensor]) -> list[Tensor]:
    return [relevance / stabilizer(output) for output in outputs]


def _first_gradient(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    return gradients[0]


def _sum_of_products(inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    products = [x * gradient for x, gradient in zip(inputs, gradients, strict=True)]
    return torch.stack(products).sum(dim=0)
