"""A twin's module with a kernel as a linear map whose weight can be replaced, or taken for some output channels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ported_impls.dlbacktrace.chunks import Cost

#: Numbers of a dense layer's weight that are taken at once where no size is asked for: 4 MiB in float32.
CACHED = 2**20
#: Modules that are called most often, and the function that each is: a call by name of its weights takes longer.
_CONVOLUTIONS: dict[type[nn.Module], Callable[..., Tensor]] = {
    nn.Conv1d: F.conv1d,
    nn.Conv2d: F.conv2d,
    nn.Conv3d: F.conv3d,
}


@dataclass(frozen=True, eq=False)
class Map:
    """``module(x)`` with other weights and no bias. Channels are on axis 1 of every tensor from rank 3 on."""

    name: str
    module: nn.Module

    @property
    def weight(self) -> Tensor:
        weight: Tensor = self.module.weight
        return weight.detach()

    @property
    def bias(self) -> Tensor | None:
        bias = self.module.bias
        return None if bias is None else bias.detach()

    @property
    def groups(self) -> int:
        return int(getattr(self.module, "groups", 1))

    @property
    def output_axis(self) -> int:
        """The axis of the weight along which the output channels lie."""
        return 1 if getattr(self.module, "transposed", False) else 0

    def apply(self, x: Tensor, weight: Tensor) -> Tensor:
        """``x`` (batch, in, *space) through the module with ``weight`` in the place of its own and without its bias."""
        module = self.module
        if type(module) is nn.Linear:
            return F.linear(x, weight)
        if type(module) in _CONVOLUTIONS:
            windows = module.stride, module.padding, module.dilation, module.groups
            return _CONVOLUTIONS[type(module)](x, weight, None, *windows)
        given = {"weight": weight}
        if self.bias is not None:
            channels = weight.shape[self.output_axis] * (self.groups if self.output_axis else 1)
            given["bias"] = weight.new_zeros(channels)
        result: Tensor = functional_call(module, given, (x,))
        return result

    def transposed(self, y: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """The transpose of :meth:`apply` at ``y`` (batch, out, *space), in the shape of ``x``."""
        module = self.module
        if type(module) is nn.Linear:
            return y @ weight
        if type(module) in _CONVOLUTIONS:
            windows = module.stride, module.padding, module.dilation, False, (0,), module.groups
            wanted = True, False, False
            gradient, _, _ = torch.ops.aten.convolution_backward(y, x, weight, None, *windows, wanted)
            return gradient
        seen = x.detach().requires_grad_()
        with torch.enable_grad():
            applied = self.apply(seen, weight)
        (gradient,) = torch.autograd.grad(applied, seen, y)
        return gradient

    def cost(self, x: Tensor, y: Tensor) -> Cost:
        """What a step holds; ``x`` (batch, in, *space) and ``y`` (batch, out, *space) are its input and its output."""
        channels = self.weight.shape[0] if self.output_axis == 0 else self.weight.shape[1]
        outputs = y[0].numel()
        each = math.ceil(outputs / channels)
        if self.groups > 1:
            return Cost(6 * x[0].numel(), 6 * outputs, 4 * self.weight.numel(), 1)
        row = self.weight.numel() // channels
        # A dense layer reads each number of its weight once for a sample, so that its time is that of reading them.
        best = max(CACHED // row, 1) if type(self.module) is nn.Linear else channels
        return Cost(6 * x[0].numel(), 6 * each, 4 * row, channels, best)

    def narrowed(self, low: int, high: int) -> Tensor:
        """The weight of the output channels ``[low, high)``; the whole weight of a module with groups."""
        if self.groups > 1:
            return self.weight
        return self.weight.narrow(self.output_axis, low, high - low)


def maps_of(name: str, module: nn.Module) -> tuple[Map, ...]:
    """The maps of the module of a layer with a kernel, in forward order: two for a separable convolution, else one."""
    parts = [getattr(module, part, None) for part in ("depthwise", "pointwise")]
    if all(isinstance(part, nn.Module) for part in parts):
        return tuple(Map(name, part) for part in parts if isinstance(part, nn.Module))
    return (Map(name, module),)


def along_channels(bias: Tensor, like: Tensor) -> Tensor:
    """``bias`` (channel,) in a shape that broadcasts to ``like`` (batch, channel, *space)."""
    return bias.reshape(1, -1, *(1 for _ in like.shape[2:]))
