"""The torch twin: a module with exactly one submodule per layer of the graph, under its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from harness.errors import HarnessError, MissingFrameworkError
from harness.graph import RECURRENT_KINDS, Graph, Layer

try:
    import torch
    from torch import Tensor, nn
except ImportError:
    raise MissingFrameworkError("torch") from None

from ported_models.shapes import Padding
from ported_models.twins import torch_layers as own
from ported_models.twins import torch_recurrent as recurrent
from ported_models.twins.several import check_names
from ported_models.twins.strides import with_plain_strides


class Twin(nn.Module):
    """Runs ``graph`` layer by layer; takes and returns the internal layout (channel axis at position 1).

    Each layer's module is called once, with the outputs of the layers that it reads, in their order. An output that no
    later layer reads is let go of.
    ``dtype`` names the type of the parameters and the input. Of a network of several inputs it takes them by name, too:
    a dict of tensors, each in the internal layout.
    """

    def __init__(self, graph: Graph, modules: dict[str, nn.Module], dtype: str) -> None:
        super().__init__()
        self.graph = graph
        self.dtype = dtype
        for name, module in modules.items():
            # Not add_module: it refuses names that an attribute of nn.Module has (a layer called "type").
            self._modules[name] = module

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        # Before any hook, so that whoever watches the twin sees one tensor.
        if isinstance(x, Mapping):
            x = _side_by_side(self.graph, x)
        return super().__call__(x, *args, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        outputs: dict[str, Tensor] = {}
        last_reader = {name: layer.name for layer in self.graph for name in layer.inputs}
        for layer in self.graph:
            inputs = [outputs[name] for name in layer.inputs] or [x]
            module = self._modules[layer.name]
            assert module is not None
            outputs[layer.name] = module(*inputs)
            shape = tuple(own.to_canonical(outputs[layer.name]).shape[1:])
            if shape != layer.shape:
                raise HarnessError(
                    f"{self.graph.name}: layer {layer.name!r} ({layer.kind}) has shape {shape} in torch, "
                    f"the graph says {layer.shape} (batch left out, channels last); "
                    "check the shape of the input and the layer's attributes"
                )
            for name in set(layer.inputs):
                if last_reader[name] == layer.name and name != self.graph.output:
                    del outputs[name]
        return outputs[self.graph.output]


def _side_by_side(graph: Graph, given: Mapping[str, Tensor]) -> Tensor:
    """(batch, number) of the inputs by name; what was computed from them goes back to them."""
    check_names(graph, given)
    parts = [own.to_canonical(given[each.name]).flatten(1) for each in graph.inputs]
    return torch.cat(parts, dim=1)


def build(graph: Graph, dtype: str = "float32") -> Twin:
    """The twin of ``graph`` in evaluation mode, parameters in ``dtype`` and frozen."""
    convert = _Converter(getattr(torch, dtype))
    modules = {layer.name: _MODULES[layer.kind](layer, convert) for layer in graph}
    return Twin(graph, modules, dtype).eval()


class _Converter:
    """Arrays as tensors of one dtype; modules are created without memory and given their tensors."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __call__(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(array, order="C")).to(self.dtype)

    def fill(self, module: nn.Module, **arrays: np.ndarray | None) -> nn.Module:
        for key, array in arrays.items():
            if array is None:
                continue
            value = self(array)
            if key in module._buffers:
                module._buffers[key] = value
            else:
                module._parameters[key] = nn.Parameter(value, requires_grad=False)
        if module._buffers.get("num_batches_tracked") is not None:
            module._buffers["num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
        return module


Build = Callable[[Layer, _Converter], nn.Module]


def _space(layer: Layer) -> int:
    """Number of spatial axes of the input."""
    return len(layer.input_shapes[0]) - 1


def _even(padding: Padding) -> tuple[int, ...] | None:
    """The padding as stock modules take it, one number per axis, where both ends are padded alike."""
    return tuple(before for before, _ in padding) if all(b == a for b, a in padding) else None


def _dense(layer: Layer, convert: _Converter) -> nn.Module:
    kernel, bias = layer.weights["kernel"], layer.weights.get("bias")
    kind = nn.Linear if len(layer.shape) == 1 else own.ChannelLinear
    module = kind(*kernel.shape, bias=bias is not None, device="meta")
    return convert.fill(module, weight=kernel.T, bias=bias)


def _convolution(
    layer: Layer, convert: _Converter, weight: np.ndarray, bias: np.ndarray | None, groups: int
) -> nn.Module:
    """``weight``: (out, in/groups, *space)."""
    a, rank = layer.attributes, _space(layer)
    even = _even(a["padding"])
    channels = (weight.shape[1] * groups, weight.shape[0], weight.shape[2:])
    options: dict[str, Any] = {
        "stride": a["strides"],
        "dilation": a["dilations"],
        "groups": groups,
        "bias": bias is not None,
        "device": "meta",
    }
    module = (
        getattr(nn, f"Conv{rank}d")(*channels, padding=even, **options)
        if even is not None
        else own.PADDED_CONV[rank](*channels, explicit_padding=a["padding"], **options)
    )
    return convert.fill(module, weight=weight, bias=bias)


def _conv(layer: Layer, convert: _Converter) -> nn.Module:
    weight = np.moveaxis(layer.weights["kernel"], (-1, -2), (0, 1))
    return _convolution(layer, convert, weight, layer.weights.get("bias"), layer.attributes["groups"])


def _separable(layer: Layer, convert: _Converter) -> nn.Module:
    kernel, bias = layer.weights["depthwise_kernel"], layer.weights.get("bias")
    *space, channels, multiplier = kernel.shape
    weight = np.moveaxis(kernel, (-2, -1), (0, 1)).reshape(channels * multiplier, 1, *space)
    depthwise = _convolution(layer, convert, weight, None, channels)
    mixing = layer.weights["pointwise_kernel"].T
    mixing = mixing.reshape(*mixing.shape, *(1,) * len(space))
    pointwise = getattr(nn, f"Conv{len(space)}d")(
        mixing.shape[1], mixing.shape[0], 1, bias=bias is not None, device="meta"
    )
    return own.SeparableConv(depthwise, convert.fill(pointwise, weight=mixing, bias=bias))


def _conv_transpose(layer: Layer, convert: _Converter) -> nn.Module:
    a, rank = layer.attributes, _space(layer)
    weight = np.moveaxis(layer.weights["kernel"], (-2, -1), (0, 1))
    bias = layer.weights.get("bias")
    channels = (weight.shape[0], layer.shape[-1], weight.shape[2:])
    options: dict[str, Any] = {
        "stride": a["strides"],
        "dilation": a["dilations"],
        "groups": a["groups"],
        "bias": bias is not None,
        "device": "meta",
    }
    # Torch crops both ends by the same number and then takes some of the last values back.
    crops = tuple(before for before, _ in a["padding"])
    taken_back = tuple(
        more + before - after for (before, after), more in zip(a["padding"], a["output_padding"], strict=True)
    )
    limits = (max(pair) for pair in zip(a["strides"], a["dilations"], strict=True))
    if all(0 <= more < limit for more, limit in zip(taken_back, limits, strict=True)):
        module = getattr(nn, f"ConvTranspose{rank}d")(
            *channels, padding=crops, output_padding=taken_back, **options
        )
    else:
        module = own.CROPPED_CONV_TRANSPOSE[rank](
            *channels, cropping=a["padding"], appended=a["output_padding"], **options
        )
    return convert.fill(module, weight=weight, bias=bias)


def _pool_padding(layer: Layer) -> tuple[int, ...] | None:
    """The padding where the stock pools can do it: alike at both ends, at most half a window."""
    even = _even(layer.attributes["padding"])
    windows = layer.attributes["pool_size"]
    fits = even is not None and all(2 * pad <= window for pad, window in zip(even, windows, strict=True))
    return even if fits else None


def _max_pool(layer: Layer, convert: _Converter) -> nn.Module:
    a, rank, even = layer.attributes, _space(layer), _pool_padding(layer)
    if even is not None:
        return getattr(nn, f"MaxPool{rank}d")(a["pool_size"], a["strides"], padding=even)
    return own.PADDED_MAX_POOL[rank](a["pool_size"], a["strides"], explicit_padding=a["padding"])


def _average_pool(layer: Layer, convert: _Converter) -> nn.Module:
    a, rank, even = layer.attributes, _space(layer), _pool_padding(layer)
    counts = a["count_include_pad"]
    if even is not None:
        return getattr(nn, f"AvgPool{rank}d")(
            a["pool_size"], a["strides"], padding=even, count_include_pad=counts
        )
    return own.PADDED_AVG_POOL[rank](
        a["pool_size"], a["strides"], explicit_padding=a["padding"], counts=counts
    )


def _global_average_pool(layer: Layer, convert: _Converter) -> nn.Module:
    if layer.attributes["keepdims"]:
        return getattr(nn, f"AdaptiveAvgPool{_space(layer)}d")(1)
    return own.GLOBAL_AVG_POOL[_space(layer)](1)


def _global_max_pool(layer: Layer, convert: _Converter) -> nn.Module:
    return own.GLOBAL_MAX_POOL[_space(layer)](layer.attributes["keepdims"])


def _scaled(layer: Layer, convert: _Converter, norm: nn.Module, **statistics: np.ndarray) -> nn.Module:
    """``norm`` with the layer's gamma and beta, 1 and 0 where it has none."""
    shape = layer.shape[-layer.attributes.get("axes_count", 1) :]
    gamma, beta = layer.weights.get("gamma", np.ones(shape)), layer.weights.get("beta", np.zeros(shape))
    return convert.fill(norm, weight=gamma, bias=beta, **statistics)


def _batch_norm(layer: Layer, convert: _Converter) -> nn.Module:
    kind = {3: nn.BatchNorm2d, 4: nn.BatchNorm3d}.get(len(layer.shape), nn.BatchNorm1d)
    norm = kind(layer.shape[-1], eps=layer.attributes["epsilon"], device="meta")
    mean, variance = layer.weights["mean"], layer.weights["variance"]
    return with_plain_strides(_scaled(layer, convert, norm, running_mean=mean, running_var=variance))


def _layer_norm(layer: Layer, convert: _Converter) -> nn.Module:
    shape = layer.shape[-layer.attributes["axes_count"] :]
    kind = nn.LayerNorm if len(layer.shape) == 1 else own.ChannelLayerNorm
    return _scaled(layer, convert, kind(shape, eps=layer.attributes["epsilon"], device="meta"))


def _rms_norm(layer: Layer, convert: _Converter) -> nn.Module:
    shape = layer.shape[-layer.attributes["axes_count"] :]
    kind = nn.RMSNorm if len(layer.shape) == 1 else own.ChannelRMSNorm
    norm = kind(shape, eps=layer.attributes["epsilon"], device="meta")
    return convert.fill(norm, weight=layer.weights.get("gamma", np.ones(shape)))


def _group_norm(layer: Layer, convert: _Converter) -> nn.Module:
    a = layer.attributes
    norm = nn.GroupNorm(a["groups"], layer.shape[-1], eps=a["epsilon"], device="meta")
    return _scaled(layer, convert, norm)


def _prelu(layer: Layer, convert: _Converter) -> nn.Module:
    return convert.fill(nn.PReLU(layer.shape[-1], device="meta"), weight=layer.weights["alpha"])


def _lrn(layer: Layer, convert: _Converter) -> nn.Module:
    a = layer.attributes
    return nn.LocalResponseNorm(a["window"], a["alpha"], a["beta"], a["bias"])


def _affine(layer: Layer, convert: _Converter) -> nn.Module:
    arrays = (layer.weights.get(key) for key in ("kernel", "bias"))
    moved = (None if array is None else convert(np.moveaxis(array, -1, 0)) for array in arrays)
    return own.Affine(*moved)


def _pad(layer: Layer, convert: _Converter) -> nn.Module:
    *space, channel = layer.attributes["padding"]
    return own.Pad((channel, *space), layer.attributes["value"])


def _scale(layer: Layer, convert: _Converter) -> nn.Module:
    bias = layer.weights.get("bias")
    return own.Scale(convert(layer.weights["kernel"]), None if bias is None else convert(bias))


def _flatten(layer: Layer, convert: _Converter) -> nn.Module:
    return nn.Flatten() if layer.attributes["order"] == "channels_first" else own.ChannelsLastFlatten()


def _reshape(layer: Layer, convert: _Converter) -> nn.Module:
    return own.Reshape(tuple(layer.attributes["target"]), layer.attributes["order"] == "channels_first")


def _zero_pad(layer: Layer, convert: _Converter) -> nn.Module:
    return getattr(nn, f"ZeroPad{_space(layer)}d")(own.torch_pads(layer.attributes["padding"]))


def _upsample(layer: Layer, convert: _Converter) -> nn.Module:
    factors = tuple(float(factor) for factor in layer.attributes["size"])
    if layer.attributes["interpolation"] == "nearest":
        return nn.Upsample(scale_factor=factors, mode="nearest")
    mode = "linear" if _space(layer) == 1 else "bilinear"
    return nn.Upsample(scale_factor=factors, mode=mode, align_corners=False)


def _axis(layer: Layer) -> int:
    """The layer's (negative, canonical) axis in the twin's layout."""
    rank = len(layer.shape) + 1
    axis = layer.attributes["axis"] + rank
    if rank < 3:
        return axis
    return 1 if axis == rank - 1 else 0 if axis == 0 else axis + 1


def _simple(module: type[nn.Module]) -> Build:
    return lambda layer, convert: module()


_MODULES: dict[str, Build] = {
    "input": _simple(nn.Identity),
    "dense": _dense,
    **{f"conv{rank}d": _conv for rank in (1, 2, 3)},
    **{f"conv_transpose{rank}d": _conv_transpose for rank in (1, 2, 3)},
    "separable_conv1d": _separable,
    "separable_conv2d": _separable,
    "relu": _simple(nn.ReLU),
    "relu6": _simple(nn.ReLU6),
    "leaky_relu": lambda layer, convert: nn.LeakyReLU(layer.attributes["alpha"]),
    "elu": lambda layer, convert: nn.ELU(layer.attributes["alpha"]),
    "selu": _simple(own.SharpSELU),
    "sigmoid": _simple(nn.Sigmoid),
    "tanh": _simple(nn.Tanh),
    "swish": _simple(nn.SiLU),
    "gelu": lambda layer, convert: nn.GELU(layer.attributes["approximate"]),
    "mish": _simple(nn.Mish),
    "hard_swish": _simple(own.ClosedHardswish),
    "hard_sigmoid": lambda layer, convert: own.ClosedHardsigmoid(**layer.attributes),
    "clip": lambda layer, convert: own.ClosedHardtanh(layer.attributes["low"], layer.attributes["high"]),
    "sqrt": _simple(own.SquareRoot),
    "prelu": _prelu,
    "softmax": lambda layer, convert: nn.Softmax(_axis(layer)),
    **{f"max_pool{rank}d": _max_pool for rank in (1, 2, 3)},
    **{f"average_pool{rank}d": _average_pool for rank in (1, 2, 3)},
    "global_average_pool": _global_average_pool,
    "global_max_pool": _global_max_pool,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "lrn": _lrn,
    "affine": _affine,
    "pad": _pad,
    "take": lambda layer, convert: own.Take(_axis(layer), layer.attributes["indices"]),
    "resample": lambda layer, convert: own.Resample(_axis(layer), convert(layer.weights["matrix"])),
    "scale": _scale,
    "flatten": _flatten,
    "reshape": _reshape,
    "permute": lambda layer, convert: own.Permute(layer.attributes["dims"]),
    "zero_pad": _zero_pad,
    "crop": lambda layer, convert: own.Crop(layer.attributes["padding"]),
    "upsample": _upsample,
    "add": _simple(own.Add),
    "multiply": _simple(own.Multiply),
    "matmul": lambda layer, convert: own.MatMul(layer.attributes["transposed"]),
    "grid_sample": lambda layer, convert: own.GridSample(layer.attributes["padding"]),
    "concat": lambda layer, convert: own.Concat(_axis(layer)),
    "dropout": lambda layer, convert: nn.Dropout(layer.attributes["rate"]),
    **dict.fromkeys(RECURRENT_KINDS, recurrent.recurrent),
    "embedding": recurrent.embedding,
    "part": lambda layer, convert: own.Part(layer.attributes["start"], layer.attributes["target"]),
}
