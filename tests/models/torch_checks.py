"""A torch module against the torch twin of what is read from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ported_models.sources.torch_source import read_module
from ported_models.twins import torch_twin
from ported_models.twins.forward import LAYER_BOUND, relative_difference, torch_logits
from ported_models.twins.layout import to_canonical


class Function(nn.Module):
    """A module of a function of one tensor, and of modules that it may use."""

    def __init__(self, function: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Any:
        return self.function(x, **dict(self.named_children()))


def randomised(module: nn.Module) -> nn.Module:
    """``module`` in float64 with normal weights, variances in (0.5, ...)."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in module.double().state_dict().items():
        if tensor.is_floating_point():
            values = torch.randn(tensor.shape, generator=generator, dtype=torch.float64) / 2
            tensor.copy_(values.abs() + 0.5 if "running_var" in name else values)
    return module.eval()


def check(module: nn.Module, *shape: int) -> None:
    """The torch twin of ``module`` and ``module`` agree on a batch of two normal inputs of torch's ``shape``."""
    module = randomised(module)
    x = torch.randn((2, *shape), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    reading = read_module(module, x)
    with torch.no_grad():
        expected = module(x.clone()).numpy()
    twin = torch_twin.build(reading.graph, "float64")
    found = torch_logits(twin, to_canonical(x.numpy())).transpose(reading.output_order)
    assert found.shape == expected.shape
    assert relative_difference(found, expected) <= LAYER_BOUND
