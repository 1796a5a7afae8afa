"""What faulty hooks are written with: a layer's map, its transpose, and the usual ways to keep off zero.

By hand, so that a fault in the port under test cannot hide in what the faults are made of. Tensors are
in the twin's layout: batch first, channels on axis 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Change = Callable[[Tensor], Tensor]


def keep(x: Tensor) -> Tensor:
    return x


def positive(x: Tensor) -> Tensor:
    return x.clamp(min=0)


def negative(x: Tensor) -> Tensor:
    return x.clamp(max=0)


def none(x: Tensor) -> Tensor:
    return torch.zeros_like(x)


@contextmanager
def changed(module: nn.Module, kernel: Change, bias: Change) -> Iterator[None]:
    """While open, every kernel and bias of ``module`` is what these make of it."""
    kept = [
        (part, key, value)
        for part in module.modules()
        for key, value in part._parameters.items()
        if value is not None
    ]
    for part, key, value in kept:
        new = (bias if key == "bias" else kernel)(value.detach())
        part._parameters[key] = nn.Parameter(new, requires_grad=False)
    try:
        yield
    finally:
        for part, key, value in kept:
            part._parameters[key] = value


def run(module: nn.Module, x: Tensor, kernel: Change = keep, bias: Change = keep) -> Tensor:
    """``f(x; kernel(W), bias(b))``"""
    with torch.no_grad(), changed(module, kernel, bias):
        return module.forward(x)


def back(module: nn.Module, x: Tensor, s: Tensor, kernel: Change = keep) -> Tensor:
    """``f^T(s; kernel(W))``, in the shape of ``x``."""
    with torch.enable_grad(), changed(module, kernel, keep):
        seen = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(module.forward(seen), seen, s)
    return gradient


def sign(z: Tensor) -> Tensor:
    """1 from zero on, else -1."""
    return torch.where(z >= 0, torch.ones_like(z), -torch.ones_like(z))


def nonzero(z: Tensor, value: float = 1e-7) -> Tensor:
    """``z`` with exact zeros replaced."""
    return torch.where(z == 0, torch.full_like(z, value), z)


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """(batch,) with as many axes as ``like``."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    """(channel,) along axis 1 of ``like``."""
    return values.reshape(1, -1, *(1,) * (like.ndim - 2))
