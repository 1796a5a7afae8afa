"""The weights of a module as a rule has them: their positive part, their squares, ones, with or without the bias.

They are made anew at every step and never kept, so that a weight that somebody changed in place is seen. Telling
whether it was changed takes longer than its positive part does: torch's counter of changes does not count what is
written through ``.data``, and comparing a kernel with a copy reads it twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class KernelMod:
    """``modifier`` on each weight of a module and of the modules inside; without ``bias`` the bias is zero.

    Modifiers that are equal are taken for the same: functions, or values that can be called.
    """

    modifier: Callable[[Tensor], Tensor]
    bias: bool


class Kernels:
    """The weights of ``module`` under `KernelMod`s; what several of them have in common is made once."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module
        self._made: dict[tuple[str, Callable[[Tensor], Tensor]], Tensor] = {}

    def weights(self, mod: KernelMod) -> dict[str, Tensor]:
        """By the name of the parameter, as `torch.nn.Module.named_parameters` has it."""
        weights = {}
        for name, parameter in self._module.named_parameters():
            modifier = mod.modifier if mod.bias or not _is_bias(name) else torch.zeros_like
            key = name, modifier
            if key not in self._made:
                self._made[key] = modifier(parameter.detach())
            weights[name] = self._made[key]
        return weights


def _is_bias(name: str) -> bool:
    return name.rpartition(".")[2] == "bias"


@contextmanager
def with_weights(module: torch.nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """While open, ``module`` and those inside have ``weights`` in the place of their parameters."""
    stores = []
    for name in weights:
        path, _, key = name.rpartition(".")
        stores.append((module.get_submodule(path)._parameters, key, weights[name]))
    before = [store[key] for store, key, _ in stores]
    try:
        for store, key, weight in stores:
            store[key] = weight
        yield
    finally:
        for (store, key, _), parameter in zip(stores, before, strict=True):
            store[key] = parameter


def output_at_zero(weights: Mapping[str, Tensor], x: Tensor) -> Tensor | None:
    """What a linear module with ``weights`` makes of zeros in the shape of ``x``.

    That is its bias along axis 1, to be broadcast; None where it has none.
    """
    for name, weight in weights.items():
        if _is_bias(name):
            return weight.reshape(1, -1, *(1,) * (x.ndim - 2))
    return None
