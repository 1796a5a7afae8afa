"""A module with some of its output channels only, for as long as it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from harness.errors import HarnessError


@contextmanager
def cut_down(module: torch.nn.Module, kept: np.ndarray | None) -> Iterator[None]:
    """While open, ``module`` has only the output channels ``kept``; all of them where that is None.

    A module with a kernel keeps all inputs; of any other, each weight holds one number a channel and is
    cut, so that its inputs are to be cut too. Raises HarnessError for a module that cannot be cut.
    """
    if kept is None:
        yield
        return
    index = torch.from_numpy(np.ascontiguousarray(kept))
    stores = (module._parameters, module._buffers)
    before = [dict(store) for store in stores]
    axes = {
        name: _channel_axis(module, name, tensor)
        for store in before
        for name, tensor in store.items()
        if tensor is not None and tensor.ndim
    }
    if any(module.children()):
        raise HarnessError(f"a {type(module).__name__} with modules inside is not cut down")
    try:
        for store in stores:
            for name, axis in axes.items():
                if name in store:
                    cut = store[name].detach().index_select(axis, index)
                    frozen = torch.nn.Parameter(cut, requires_grad=False)
                    store[name] = frozen if store is module._parameters else cut
        yield
    finally:
        for store, tensors in zip(stores, before, strict=True):
            store.update(tensors)


def _channel_axis(module: torch.nn.Module, name: str, tensor: Tensor) -> int:
    transposed = isinstance(
        module, torch.nn.ConvTranspose1d | torch.nn.ConvTranspose2d | torch.nn.ConvTranspose3d
    )
    kernel = (
        isinstance(module, torch.nn.Linear | torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d)
        or transposed
    )
    if kernel and getattr(module, "groups", 1) == 1 and name in ("weight", "bias"):
        return 1 if transposed and name == "weight" else 0
    if not kernel and tensor.ndim == 1:
        return 0
    raise HarnessError(f"{name} of a {type(module).__name__} is not cut down")
