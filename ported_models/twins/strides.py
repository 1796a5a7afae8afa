"""Batch norm in two and three dimensions, kept from strides that torch takes for other ones.

Of an axis of length 1 any stride is right. Torch 2.13.0 on the CPU goes by strides to tell channels-last memory from
other memory. Where an axis of length 1 of the input or of the gradient has a stride that is none of the usual ones, the
backward pass of its batch norm gives values of other places (reports/upstream/torch-batch-norm-strides.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

#: The formats beside the plain one whose strides are usual, by rank.
_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def plainly_strided(x: Tensor) -> Tensor:
    """``x`` itself where its strides are those of a new tensor, plain or channels last; else a plain copy."""
    formats = [torch.contiguous_format, *([_LAST[x.dim()]] if x.dim() in _LAST else [])]
    usual = [torch.empty(x.shape, device="meta", memory_format=each).stride() for each in formats]
    return x if x.stride() in usual else x.clone(memory_format=torch.contiguous_format)


def with_plain_strides(norm: nn.Module) -> nn.Module:
    """``norm`` with hooks by which it, and its backward pass, get plainly strided tensors alone.

    Hooks, not a class of its own: libraries look rules up by a module's type.
    """
    norm.register_forward_pre_hook(_before)
    norm.register_forward_hook(_behind)
    return norm


def _before(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(plainly_strided(x) for x in inputs)


def _behind(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
    if output.requires_grad:
        output.register_hook(plainly_strided)
