"""Torch modules for what no stock module computes on the twin's layout (batch, channel, *space).

A module with weights, or one that pools, is a subclass of the stock module it stands for, so that
composites which choose by type (Zennit's) recognise it. None works in place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ported_models.shapes import Padding


def to_canonical(x: Tensor) -> Tensor:
    """(batch, channel, ...) to (batch, ..., channel); tensors with fewer than three axes stay as they are."""
    return x.movedim(1, -1) if x.dim() >= 3 else x


def to_internal(x: Tensor) -> Tensor:
    """The inverse of :func:`to_canonical`."""
    return x.movedim(-1, 1) if x.dim() >= 3 else x


def torch_pads(padding: Padding) -> tuple[int, ...]:
    """``(before, after)`` per spatial axis as `torch.nn.functional.pad` takes them: the last axis first."""
    return tuple(side for pair in reversed(tuple(padding)) for side in pair)


class ChannelLinear(nn.Linear):
    """A dense layer over the channel axis of (batch, channel, *space)."""

    def forward(self, x: Tensor) -> Tensor:
        return to_internal(super().forward(to_canonical(x)))


def _by_rank(name: str, mixin: type, stock: str) -> dict[int, type[nn.Module]]:
    """By number of spatial axes, a module that is ``mixin`` before torch's ``stock``: ``name1d`` to ``name3d``."""
    return {
        rank: type(f"{name}{rank}d", (mixin, getattr(nn, f"{stock}{rank}d")), {"__module__": __name__})
        for rank in (1, 2, 3)
    }


class _Padded:
    """An explicit padding in front of a stock module without any."""

    pad_value = 0.0

    def __init__(self, *args: Any, explicit_padding: Padding, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.explicit_padding = torch_pads(explicit_padding)

    def pad(self, x: Tensor) -> Tensor:
        return F.pad(x, self.explicit_padding, value=self.pad_value)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.pad(x))  # type: ignore[misc]

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, explicit_padding={self.explicit_padding}"  # type: ignore[misc]


PADDED_CONV = _by_rank("PaddedConv", _Padded, "Conv")


class _CroppedConvTranspose:
    """Transposed convolution whose full output is lengthened by ``appended`` zeros, cropped, then biased."""

    def __init__(self, *args: Any, cropping: Padding, appended: tuple[int, ...], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kept = [(-before, more - after) for (before, after), more in zip(cropping, appended, strict=True)]
        self.cropping = torch_pads(tuple(kept))

    def full(self: Any, x: Tensor) -> Tensor:
        transpose = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[
            len(self.kernel_size)
        ]
        return transpose(x, self.weight, stride=self.stride, groups=self.groups, dilation=self.dilation)

    def forward(self: Any, x: Tensor) -> Tensor:
        y = F.pad(self.full(x), self.cropping)
        return y if self.bias is None else y + self.bias.view(-1, *(1,) * len(self.kernel_size))


CROPPED_CONV_TRANSPOSE = _by_rank("CroppedConvTranspose", _CroppedConvTranspose, "ConvTranspose")


class SeparableConv(nn.Module):
    """``depthwise`` (a grouped convolution), then ``pointwise`` (a 1x1 convolution that holds the bias)."""

    def __init__(self, depthwise: nn.Module, pointwise: nn.Module) -> None:
        super().__init__()
        self.depthwise = depthwise
        self.pointwise = pointwise

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class _PaddedMaxPool(_Padded):
    """A padding that is never the maximum."""

    pad_value = -math.inf


PADDED_MAX_POOL = _by_rank("PaddedMaxPool", _PaddedMaxPool, "MaxPool")


class _PaddedAvgPool(_Padded):
    """Zero padding that counts as values of the average (``counts``) or does not."""

    def __init__(self, *args: Any, counts: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.counts = counts

    def forward(self, x: Tensor) -> Tensor:
        averages = super().forward(x)
        return averages if self.counts else averages / super().forward(torch.ones_like(x[:1, :1]))


PADDED_AVG_POOL = _by_rank("PaddedAvgPool", _PaddedAvgPool, "AvgPool")


class _Dropped:
    """Global pooling that drops the pooled axes."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).flatten(1)  # type: ignore[misc]


GLOBAL_AVG_POOL = _by_rank("GlobalAvgPool", _Dropped, "AdaptiveAvgPool")


class _SharedMaximum:
    """Global maximum whose gradient is shared by equal maxima, as TensorFlow's `reduce_max` does it.

    torch's own pooling gives all of it to the first.
    """

    def __init__(self, keepdims: bool) -> None:
        super().__init__(1)  # type: ignore[call-arg]
        self.keepdims = keepdims

    def forward(self, x: Tensor) -> Tensor:
        return x.amax(dim=tuple(range(2, x.ndim)), keepdim=self.keepdims)


GLOBAL_MAX_POOL = _by_rank("GlobalMaxPool", _SharedMaximum, "AdaptiveMaxPool")


class ClosedHardsigmoid(nn.Hardsigmoid):
    """``min(max(alpha * x + beta, 0), 1)``; at a kink the slope is ``alpha``."""

    def __init__(self, alpha: float, beta: float) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(self.alpha * x + self.beta, 0.0, 1.0)


class ClosedHardswish(nn.Hardswish):
    """``x * min(max(x / 6 + 1/2, 0), 1)``; at a kink the slope is that of the middle piece."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.clamp(x / 6.0 + 0.5, 0.0, 1.0)


class ClosedHardtanh(nn.Hardtanh):
    """``min(max(x, low), high)``; at a bound the slope is 1."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(x, self.min_val, self.max_val)


class SquareRoot(nn.Module):
    """``x ** (1/2)``: nan below 0, an infinite slope at 0."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sqrt(x)


class SharpSELU(nn.SELU):
    """SELU whose slope at exactly zero is that of the positive side, as in TensorFlow; torch takes the other."""

    _SCALE = 1.0507009873554805
    _ALPHA = 1.6732632423543772

    def forward(self, x: Tensor) -> Tensor:
        below = self._SCALE * self._ALPHA * torch.expm1(x.clamp(max=0))
        return torch.where(x >= 0, self._SCALE * x, below)


class ChannelLayerNorm(nn.LayerNorm):
    """Layer norm over the last axes of the canonical layout."""

    def forward(self, x: Tensor) -> Tensor:
        return to_internal(super().forward(to_canonical(x)))


class ChannelRMSNorm(nn.RMSNorm):
    """RMS norm over the last axes of the canonical layout."""

    def forward(self, x: Tensor) -> Tensor:
        return to_internal(super().forward(to_canonical(x)))


class Affine(nn.Module):
    """``weight * x + bias`` number by number; both (channel, *space), the twin's own layout."""

    def __init__(self, weight: Tensor | None, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = None if weight is None else nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.weight is None else x * self.weight
        return y if self.bias is None else y + self.bias


class Pad(nn.Module):
    """``value`` around all axes but the batch axis; ``padding``: pairs in the order of the twin's axes."""

    def __init__(self, padding: Padding, value: float) -> None:
        super().__init__()
        self.padding = torch_pads(padding)
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, self.padding, value=self.value)


class Take(nn.Module):
    """The values at ``indices`` along ``dim`` (of the twin's layout)."""

    def __init__(self, dim: int, indices: Sequence[int]) -> None:
        super().__init__()
        self.dim = dim
        self.indices = tuple(indices)

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(self.dim, torch.tensor(self.indices, device=x.device))


class Resample(nn.Module):
    """``weight``, (out, in), times the values along ``dim`` (of the twin's layout)."""

    def __init__(self, dim: int, weight: Tensor) -> None:
        super().__init__()
        self.dim = dim
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x.movedim(self.dim, -1) @ self.weight.T).movedim(-1, self.dim)


class Scale(nn.Module):
    """``weight * x + bias`` with one number of each per channel."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        shape = (-1, *(1,) * (x.dim() - 2))
        y = x * self.weight.view(shape)
        return y if self.bias is None else y + self.bias.view(shape)


class ChannelsLastFlatten(nn.Flatten):
    """The values in the order that a channels-last framework flattens them to."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(to_canonical(x))


class Reshape(nn.Module):
    """(batch, *target), from the channels-last order of values or (``channels_first``) from the twin's own.

    In the second case the first axis of the target is the new channel axis already.
    """

    def __init__(self, target: tuple[int, ...], channels_first: bool) -> None:
        super().__init__()
        self.target = target
        self.channels_first = channels_first

    def forward(self, x: Tensor) -> Tensor:
        if self.channels_first:
            return x.reshape(x.shape[0], *self.target)
        return to_internal(to_canonical(x).reshape(x.shape[0], *self.target))


class Part(nn.Module):
    """The values of a vector from ``start`` on, in the shape ``target``, channels last."""

    def __init__(self, start: int, target: Sequence[int]) -> None:
        super().__init__()
        self.start, self.target = int(start), tuple(target)

    def forward(self, x: Tensor) -> Tensor:
        part = x[:, self.start : self.start + math.prod(self.target)]
        return to_internal(part.reshape(x.shape[0], *self.target))


class Permute(nn.Module):
    """The non-batch axes of the canonical layout in the order ``dims`` (counted from 1)."""

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        return to_internal(to_canonical(x).permute(0, *self.dims))


class Crop(nn.Module):
    """Drops ``padding`` values from both ends of the spatial axes."""

    def __init__(self, padding: Padding) -> None:
        super().__init__()
        self.padding = tuple(padding)

    def forward(self, x: Tensor) -> Tensor:
        for axis, (before, after) in enumerate(self.padding, start=2):
            x = x.narrow(axis, before, x.shape[axis] - before - after)
        return x


class Add(nn.Module):
    """The sum of its inputs, from the first to the last."""

    def forward(self, *inputs: Tensor) -> Tensor:
        total = inputs[0]
        for x in inputs[1:]:
            total = total + x
        return total


class Multiply(nn.Module):
    """The product of its inputs, from the first to the last; sides of 1 are broadcast."""

    def forward(self, *inputs: Tensor) -> Tensor:
        product = inputs[0]
        for x in inputs[1:]:
            product = product * x
        return product


class MatMul(nn.Module):
    """The product of two tensors over the last two axes of the canonical layout.

    (..., row, in) by (..., in, out), or (``transposed``) by (..., out, in).
    """

    def __init__(self, transposed: bool) -> None:
        super().__init__()
        self.transposed = transposed

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        first, second = to_canonical(first), to_canonical(second)
        return to_internal(first @ (second.mT if self.transposed else second))


class GridSample(nn.Module):
    """Maps (batch, channel, head, height, width) at places (batch, 2, head, query, point), from -1 to 1.

    Gives (batch, channel, head, query, point); bilinear, without aligned corners. ``padding``: "zeros" or "border".
    """

    def __init__(self, padding: str) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, maps: Tensor, places: Tensor) -> Tensor:
        heads = maps.shape[2]
        sampled = F.grid_sample(
            maps.transpose(1, 2).flatten(0, 1),
            places.movedim(1, -1).flatten(0, 1),
            padding_mode=self.padding,
            align_corners=False,
        )
        # In the memory of canonical arrays, as what is computed with it: mixed layouts take several times as long.
        return to_internal(sampled.unflatten(0, (-1, heads)).movedim(2, -1).contiguous())


class Concat(nn.Module):
    """Its inputs behind each other along ``dim`` (of the twin's layout)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs, dim=self.dim)
