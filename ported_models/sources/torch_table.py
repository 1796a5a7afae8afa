"""Which torch modules, functions and methods are which operation, and with which parameters."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ported_models.sources import torch_operations as op
from ported_models.sources.torch_operations import Operation

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
    nn.Linear: (op.linear, _named("weight", "bias")),
    nn.Conv1d: (op.convolution, _CONVOLUTION),
    nn.Conv2d: (op.convolution, _CONVOLUTION),
    nn.ConvTranspose1d: (op.transposed_convolution, _TRANSPOSED),
    nn.ConvTranspose2d: (op.transposed_convolution, _TRANSPOSED),
    nn.BatchNorm1d: (op.batch_norm, _BATCH_NORM),
    nn.BatchNorm2d: (op.batch_norm, _BATCH_NORM),
    nn.LayerNorm: (op.layer_norm, _named("normalized_shape", "weight", "bias", "eps")),
    nn.ReLU: (op.activation("relu"), _named()),
    nn.ReLU6: (op.activation("relu6"), _named()),
    nn.Hardtanh: (op.hardtanh, _named("min_val", "max_val")),
    nn.LeakyReLU: (op.leaky_relu, _named("negative_slope")),
    nn.ELU: (op.elu, _named("alpha")),
    nn.SELU: (op.activation("selu"), _named()),
    nn.Sigmoid: (op.activation("sigmoid"), _named()),
    nn.Tanh: (op.activation("tanh"), _named()),
    nn.SiLU: (op.activation("swish"), _named()),
    nn.GELU: (op.gelu, _named("approximate")),
    nn.Softmax: (op.softmax, _named("dim")),
    nn.Softmax2d: (op.softmax, lambda module: {"dim": -3}),
    nn.LogSoftmax: (op.softmax, _named("dim")),
    nn.MaxPool1d: (op.pool("max_pool", 1), _MAX_POOL),
    nn.MaxPool2d: (op.pool("max_pool", 2), _MAX_POOL),
    nn.AvgPool1d: (op.pool("average_pool", 1), _AVERAGE_POOL),
    nn.AvgPool2d: (
        op.pool("average_pool", 2),
        lambda module: {**_AVERAGE_POOL(module), "divisor_override": module.divisor_override},
    ),
    nn.AdaptiveAvgPool1d: (op.adaptive_pool("average_pool", 1), _named("output_size")),
    nn.AdaptiveAvgPool2d: (op.adaptive_pool("average_pool", 2), _named("output_size")),
    nn.AdaptiveMaxPool1d: (op.adaptive_pool("max_pool", 1), _named("output_size", "return_indices")),
    nn.AdaptiveMaxPool2d: (op.adaptive_pool("max_pool", 2), _named("output_size", "return_indices")),
    nn.Flatten: (op.flatten, _named("start_dim", "end_dim")),
    nn.ZeroPad1d: (op.zero_pad, _constant_pad),
    nn.ZeroPad2d: (op.zero_pad, _constant_pad),
    nn.ConstantPad1d: (op.zero_pad, _constant_pad),
    nn.ConstantPad2d: (op.zero_pad, _constant_pad),
    nn.Upsample: (op.upsample, _named("size", "scale_factor", "mode", "align_corners")),
    nn.UpsamplingNearest2d: (op.upsample, _named("size", "scale_factor")),
    nn.Identity: (op.nothing, _named()),
    **{
        kind: (op.dropout, _named("p"))
        for kind in (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout)
    },
}

#: Operations by function.
FUNCTIONS: dict[Callable[..., Any], Operation] = {
    F.linear: op.linear,
    F.conv1d: op.convolution,
    F.conv2d: op.convolution,
    F.conv_transpose1d: op.transposed_convolution,
    F.conv_transpose2d: op.transposed_convolution,
    F.batch_norm: op.batch_norm,
    F.layer_norm: op.layer_norm,
    F.relu: op.activation("relu"),
    F.relu_: op.activation("relu"),
    torch.relu: op.activation("relu"),
    torch.relu_: op.activation("relu"),
    F.relu6: op.activation("relu6"),
    F.hardtanh: op.hardtanh,
    torch.clamp: op.clamp,
    F.leaky_relu: op.leaky_relu,
    F.elu: op.elu,
    F.selu: op.activation("selu"),
    torch.selu: op.activation("selu"),
    F.sigmoid: op.activation("sigmoid"),
    torch.sigmoid: op.activation("sigmoid"),
    F.tanh: op.activation("tanh"),
    torch.tanh: op.activation("tanh"),
    F.silu: op.activation("swish"),
    F.gelu: op.gelu,
    F.softmax: op.softmax,
    torch.softmax: op.softmax,
    F.log_softmax: op.softmax,
    torch.log_softmax: op.softmax,
    F.max_pool1d: op.pool("max_pool", 1),
    F.max_pool2d: op.pool("max_pool", 2),
    torch.max_pool1d: op.pool("max_pool", 1),
    torch.max_pool2d: op.pool("max_pool", 2),
    F.avg_pool1d: op.pool("average_pool", 1),
    F.avg_pool2d: op.pool("average_pool", 2),
    F.adaptive_avg_pool1d: op.adaptive_pool("average_pool", 1),
    F.adaptive_avg_pool2d: op.adaptive_pool("average_pool", 2),
    F.adaptive_max_pool1d: op.adaptive_pool("max_pool", 1),
    F.adaptive_max_pool2d: op.adaptive_pool("max_pool", 2),
    torch.mean: op.reduction("global_average_pool"),
    torch.amax: op.reduction("global_max_pool"),
    torch.flatten: op.flatten,
    torch.reshape: op.reshape,
    torch.squeeze: op.squeeze,
    torch.unsqueeze: op.unsqueeze,
    torch.permute: op.permute,
    torch.transpose: op.transpose,
    torch.swapaxes: op.transpose,
    F.pad: op.zero_pad,
    F.interpolate: op.upsample,
    F.dropout: op.dropout,
    F.dropout1d: op.dropout,
    F.dropout2d: op.dropout,
    F.alpha_dropout: op.dropout,
    operator.add: op.add,
    operator.iadd: op.add,
    torch.add: op.add,
    operator.mul: op.multiply,
    operator.imul: op.multiply,
    torch.mul: op.multiply,
    torch.multiply: op.multiply,
    operator.sub: op.subtract,
    operator.isub: op.subtract,
    torch.sub: op.subtract,
    operator.truediv: op.divide,
    torch.div: op.divide,
    torch.cat: op.concatenate,
    torch.concat: op.concatenate,
}

#: Operations by the name of a tensor's method.
METHODS: dict[str, Operation] = {
    "relu": op.activation("relu"),
    "relu_": op.activation("relu"),
    "sigmoid": op.activation("sigmoid"),
    "tanh": op.activation("tanh"),
    "softmax": op.softmax,
    "log_softmax": op.softmax,
    "clamp": op.clamp,
    "mean": op.reduction("global_average_pool"),
    "amax": op.reduction("global_max_pool"),
    "flatten": op.flatten,
    "view": op.reshape,
    "reshape": op.reshape,
    "squeeze": op.squeeze,
    "unsqueeze": op.unsqueeze,
    "permute": op.permute,
    "transpose": op.transpose,
    "add": op.add,
    "add_": op.add,
    "mul": op.multiply,
    "mul_": op.multiply,
    "sub": op.subtract,
    "div": op.divide,
    "contiguous": op.nothing,
    "clone": op.nothing,
    "float": op.nothing,
}

#: Functions and methods that overwrite their first argument; others do where they are given inplace=True.
IN_PLACE = (operator.iadd, operator.imul, operator.isub, F.relu_, torch.relu_, "relu_", "add_", "mul_")

#: What ends in log-probabilities: only the end of a network, where it is removed, may do so.
LOG_SOFTMAX = (nn.LogSoftmax, F.log_softmax, torch.log_softmax, "log_softmax")
