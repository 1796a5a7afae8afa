"""Which torch modules, functions and methods are which operation, and with which parameters."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ported_models.sources import torch_layers as layers
from ported_models.sources import torch_shapes as shapes
from ported_models.sources.torch_layers import Operation

Parameters = Callable[[Any], dict[str, Any]]


def array(tensor: torch.Tensor | None) -> np.ndarray | None:
    """A parameter or buffer as NumPy, in its own precision (bfloat16, which NumPy lacks, as float32)."""
    if tensor is None:
        return None
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _named(*names: str) -> Parameters:
    """The module's attributes of these names; tensors become arrays."""

    def parameters(module: Any) -> dict[str, Any]:
        values = {name: getattr(module, name) for name in names}
        return {
            key: array(value) if isinstance(value, torch.Tensor) else value for key, value in values.items()
        }

    return parameters


_CONVOLUTION = _named("weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = _named("weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_BATCH_NORM = _named("running_mean", "running_var", "weight", "bias", "eps")
_MAX_POOL = _named("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_AVERAGE_POOL = _named("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")


def _constant_pad(module: Any) -> dict[str, Any]:
    return {"pad": module.padding, "value": getattr(module, "value", 0.0)}


#: ``(operation, parameters of the module)`` by exact class: a user's subclass may compute something else.
MODULES: dict[type[nn.Module], tuple[Operation, Parameters]] = {
    nn.Linear: (layers.linear, _named("weight", "bias")),
    nn.Conv1d: (layers.convolution, _CONVOLUTION),
    nn.Conv2d: (layers.convolution, _CONVOLUTION),
    nn.ConvTranspose1d: (layers.transposed_convolution, _TRANSPOSED),
    nn.ConvTranspose2d: (layers.transposed_convolution, _TRANSPOSED),
    nn.BatchNorm1d: (layers.batch_norm, _BATCH_NORM),
    nn.BatchNorm2d: (layers.batch_norm, _BATCH_NORM),
    nn.LayerNorm: (layers.layer_norm, _named("normalized_shape", "weight", "bias", "eps")),
    nn.ReLU: (layers.activation("relu"), _named()),
    nn.ReLU6: (layers.activation("relu6"), _named()),
    nn.Hardtanh: (layers.hardtanh, _named("min_val", "max_val")),
    nn.LeakyReLU: (layers.leaky_relu, _named("negative_slope")),
    nn.ELU: (layers.elu, _named("alpha")),
    nn.SELU: (layers.activation("selu"), _named()),
    nn.Sigmoid: (layers.activation("sigmoid"), _named()),
    nn.Tanh: (layers.activation("tanh"), _named()),
    nn.SiLU: (layers.activation("swish"), _named()),
    nn.GELU: (layers.gelu, _named("approximate")),
    nn.Softmax: (layers.softmax, _named("dim")),
    nn.Softmax2d: (layers.softmax, lambda module: {"dim": -3}),
    nn.LogSoftmax: (layers.softmax, _named("dim")),
    nn.MaxPool1d: (layers.pool("max_pool", 1), _MAX_POOL),
    nn.MaxPool2d: (layers.pool("max_pool", 2), _MAX_POOL),
    nn.AvgPool1d: (layers.pool("average_pool", 1), _AVERAGE_POOL),
    nn.AvgPool2d: (
        layers.pool("average_pool", 2),
        lambda module: {**_AVERAGE_POOL(module), "divisor_override": module.divisor_override},
    ),
    nn.AdaptiveAvgPool1d: (layers.adaptive_pool("average_pool", 1), _named("output_size")),
    nn.AdaptiveAvgPool2d: (layers.adaptive_pool("average_pool", 2), _named("output_size")),
    nn.AdaptiveMaxPool1d: (layers.adaptive_pool("max_pool", 1), _named("output_size", "return_indices")),
    nn.AdaptiveMaxPool2d: (layers.adaptive_pool("max_pool", 2), _named("output_size", "return_indices")),
    nn.Flatten: (shapes.flatten, _named("start_dim", "end_dim")),
    nn.ZeroPad1d: (shapes.zero_pad, _constant_pad),
    nn.ZeroPad2d: (shapes.zero_pad, _constant_pad),
    nn.ConstantPad1d: (shapes.zero_pad, _constant_pad),
    nn.ConstantPad2d: (shapes.zero_pad, _constant_pad),
    nn.Upsample: (shapes.upsample, _named("size", "scale_factor", "mode", "align_corners")),
    nn.UpsamplingNearest2d: (shapes.upsample, _named("size", "scale_factor")),
    nn.Identity: (shapes.nothing, _named()),
    **{
        kind: (shapes.dropout, _named("p"))
        for kind in (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout)
    },
}

#: Operations by function.
FUNCTIONS: dict[Callable[..., Any], Operation] = {
    F.linear: layers.linear,
    F.conv1d: layers.convolution,
    F.conv2d: layers.convolution,
    F.conv_transpose1d: layers.transposed_convolution,
    F.conv_transpose2d: layers.transposed_convolution,
    F.batch_norm: layers.batch_norm,
    F.layer_norm: layers.layer_norm,
    F.relu: layers.activation("relu"),
    F.relu_: layers.activation("relu"),
    torch.relu: layers.activation("relu"),
    torch.relu_: layers.activation("relu"),
    F.relu6: layers.activation("relu6"),
    F.hardtanh: layers.hardtanh,
    torch.clamp: layers.clamp,
    F.leaky_relu: layers.leaky_relu,
    F.elu: layers.elu,
    F.selu: layers.activation("selu"),
    torch.selu: layers.activation("selu"),
    F.sigmoid: layers.activation("sigmoid"),
    torch.sigmoid: layers.activation("sigmoid"),
    F.tanh: layers.activation("tanh"),
    torch.tanh: layers.activation("tanh"),
    F.silu: layers.activation("swish"),
    F.gelu: layers.gelu,
    F.softmax: layers.softmax,
    torch.softmax: layers.softmax,
    F.log_softmax: layers.softmax,
    torch.log_softmax: layers.softmax,
    F.max_pool1d: layers.pool("max_pool", 1),
    F.max_pool2d: layers.pool("max_pool", 2),
    torch.max_pool1d: layers.pool("max_pool", 1),
    torch.max_pool2d: layers.pool("max_pool", 2),
    F.avg_pool1d: layers.pool("average_pool", 1),
    F.avg_pool2d: layers.pool("average_pool", 2),
    F.adaptive_avg_pool1d: layers.adaptive_pool("average_pool", 1),
    F.adaptive_avg_pool2d: layers.adaptive_pool("average_pool", 2),
    F.adaptive_max_pool1d: layers.adaptive_pool("max_pool", 1),
    F.adaptive_max_pool2d: layers.adaptive_pool("max_pool", 2),
    torch.mean: layers.reduction("global_average_pool"),
    torch.amax: layers.reduction("global_max_pool"),
    torch.flatten: shapes.flatten,
    torch.reshape: shapes.reshape,
    torch.squeeze: shapes.squeeze,
    torch.unsqueeze: shapes.unsqueeze,
    operator.getitem: shapes.index,
    torch.permute: shapes.permute,
    torch.transpose: shapes.transpose,
    torch.swapaxes: shapes.transpose,
    F.pad: shapes.zero_pad,
    F.interpolate: shapes.upsample,
    F.dropout: shapes.dropout,
    F.dropout1d: shapes.dropout,
    F.dropout2d: shapes.dropout,
    F.alpha_dropout: shapes.dropout,
    operator.add: shapes.add,
    operator.iadd: shapes.add,
    torch.add: shapes.add,
    operator.mul: shapes.multiply,
    operator.imul: shapes.multiply,
    torch.mul: shapes.multiply,
    torch.multiply: shapes.multiply,
    operator.sub: shapes.subtract,
    operator.isub: shapes.subtract,
    torch.sub: shapes.subtract,
    operator.truediv: shapes.divide,
    torch.div: shapes.divide,
    torch.cat: shapes.concatenate,
    torch.concat: shapes.concatenate,
}

#: Operations by the name of a tensor's method.
METHODS: dict[str, Operation] = {
    "relu": layers.activation("relu"),
    "relu_": layers.activation("relu"),
    "sigmoid": layers.activation("sigmoid"),
    "tanh": layers.activation("tanh"),
    "softmax": layers.softmax,
    "log_softmax": layers.softmax,
    "clamp": layers.clamp,
    "mean": layers.reduction("global_average_pool"),
    "amax": layers.reduction("global_max_pool"),
    "flatten": shapes.flatten,
    "view": shapes.reshape,
    "reshape": shapes.reshape,
    "squeeze": shapes.squeeze,
    "unsqueeze": shapes.unsqueeze,
    "permute": shapes.permute,
    "transpose": shapes.transpose,
    "add": shapes.add,
    "add_": shapes.add,
    "mul": shapes.multiply,
    "mul_": shapes.multiply,
    "sub": shapes.subtract,
    "div": shapes.divide,
    "contiguous": shapes.nothing,
    "clone": shapes.nothing,
    "float": shapes.nothing,
}

#: Functions and methods that overwrite their first argument; others do where they are given inplace=True.
IN_PLACE = (operator.iadd, operator.imul, operator.isub, F.relu_, torch.relu_, "relu_", "add_", "mul_")

#: What ends in log-probabilities: only the end of a network, where it is removed, may do so.
LOG_SOFTMAX = (nn.LogSoftmax, F.log_softmax, torch.log_softmax, "log_softmax")

#: What returns its input.
NOTHING = shapes.nothing
#: What may return another view of its input's memory, or the input itself.
VIEWS = (
    shapes.reshape,
    shapes.flatten,
    shapes.squeeze,
    shapes.unsqueeze,
    shapes.index,
    shapes.permute,
    shapes.transpose,
    shapes.dropout,
    shapes.nothing,
)
