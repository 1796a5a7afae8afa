"""A Keras model and torch modules that port it: building blocks for pairs, weights copied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import torch
from torch import Tensor, nn


def randomised(model: keras.Model, seed: int = 0) -> keras.Model:
    """``model`` with normal weights; variances in (0.5, ...)."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "seed" not in variable.name:
            values = rng.normal(scale=0.5, size=variable.shape)
            variable.assign(np.abs(values) + 0.5 if "variance" in variable.name else values)
    return model


def arrays(model: keras.Model, name: str) -> list[np.ndarray]:
    return [np.asarray(variable) for variable in model.get_layer(name).weights]


def tensor(array: np.ndarray) -> nn.Parameter:
    return nn.Parameter(torch.tensor(np.ascontiguousarray(array)))


def linear(model: keras.Model, name: str, space: tuple[int, ...] = ()) -> nn.Linear:
    """The dense layer ``name``; ``space`` (height, width, channel): its rows are behind a flatten, channels last."""
    kernel, *bias = arrays(model, name)
    if space:
        places = np.arange(len(kernel)).reshape(space)
        kernel = kernel[np.moveaxis(places, -1, 0).reshape(-1)]
    module = nn.Linear(*kernel.shape, bias=bool(bias))
    module.weight = tensor(kernel.T)
    if bias:
        module.bias = tensor(bias[0])
    return module


def conv(model: keras.Model, name: str, **options: Any) -> nn.Module:
    kernel, *bias = arrays(model, name)
    space = kernel.ndim - 2
    weight = np.moveaxis(kernel, (-1, -2), (0, 1))
    kind = {1: nn.Conv1d, 2: nn.Conv2d}[space]
    module = kind(weight.shape[1], weight.shape[0], weight.shape[2:], bias=bool(bias), **options)
    module.weight = tensor(weight)
    if bias:
        module.bias = tensor(bias[0])
    return module


def norm(model: keras.Model, name: str, axes: int = 2) -> nn.Module:
    gamma, beta, mean, variance = arrays(model, name)
    module = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d}[axes](len(mean), eps=1e-3)
    module.weight, module.bias = tensor(gamma), tensor(beta)
    module.running_mean, module.running_var = torch.tensor(mean), torch.tensor(variance)
    return module


class Port(nn.Module):
    """Modules under their names, and a forward pass written down as a function of them."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self._forward = forward
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)
