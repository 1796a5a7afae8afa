"""Which torch modules, functions and methods are which operation, and with which parameters."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ported_models.sources import torch_activations as activations
from ported_models.sources import torch_attention as attention
from ported_models.sources import torch_cuts as cuts
from ported_models.sources import torch_joins as joins
from ported_models.sources import torch_layers as layers
from ported_models.sources import torch_pools as pools
from ported_models.sources import torch_products as products
from ported_models.sources import torch_recurrent as sequences
from ported_models.sources import torch_shapes as shapes
from ported_models.sources import torch_windows as windows
from ported_models.sources.torch_site import Operation

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


def _instance_norm(module: Any) -> dict[str, Any]:
    parameters = _named("running_mean", "running_var", "weight", "bias", "eps")(module)
    return {**parameters, "use_input_stats": module.running_mean is None}


def _recurrent(kind: str) -> Parameters:
    def parameters(module: Any) -> dict[str, Any]:
        return {
            "kind": kind,
            "weights": {name: array(each) for name, each in module.named_parameters()},
            "layers": module.num_layers,
            "bidirectional": module.bidirectional,
            "batch_first": module.batch_first,
            "projection": module.proj_size,
            "activation": getattr(module, "nonlinearity", "tanh"),
        }

    return parameters


def _multi_head(module: Any) -> dict[str, Any]:
    shared = module.in_proj_weight
    weights = (
        (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
        if shared is None
        else shared.chunk(3)
    )
    biases = (None,) * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
    return {
        "heads": module.num_heads,
        "batch_first": module.batch_first,
        "weights": [array(weight) for weight in weights],
        "biases": [array(bias) for bias in biases],
        "out": (array(module.out_proj.weight), array(module.out_proj.bias)),
        "extra": module.bias_k is not None or module.bias_v is not None or module.add_zero_attn,
    }


_LAYER_NORM = _named("normalized_shape", "weight", "bias", "eps")
#: What reads the parts of a transformer's layer, by the part's name.
_PARTS: dict[str, Callable[[Any], Any]] = {
    "self_attn": _multi_head,
    "multihead_attn": _multi_head,
    **dict.fromkeys(("norm1", "norm2", "norm3"), _LAYER_NORM),
    **dict.fromkeys(("linear1", "linear2"), lambda module: (array(module.weight), array(module.bias))),
}


def _transformer_layer(module: Any) -> dict[str, Any]:
    """``parts``: of each submodule the arguments of its operation, the activation, and whether norms come first."""
    parts = {name: read(getattr(module, name)) for name, read in _PARTS.items() if hasattr(module, name)}
    return {"parts": {**parts, "activation": _applied(module.activation), "norm_first": module.norm_first}}


def _applied(function: Any) -> Operation:
    """The operation of an activation that is given as a function or as a module."""
    if function in FUNCTIONS:
        return FUNCTIONS[function]
    if type(function) in MODULES:
        operation, parameters = MODULES[type(function)]
        given = parameters(function)
        return lambda site, input: operation(site, input, **given)
    raise ValueError(f"its activation {getattr(function, '__name__', function)} is none that is read")


def _transformer_stack(module: Any) -> dict[str, Any]:
    for layer in module.layers:
        if type(layer) not in (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer):
            raise ValueError(f"its layers are of the class {type(layer).__name__}, which torch does not have")
    norm = module.norm
    if norm is not None and type(norm) is not nn.LayerNorm:
        raise ValueError(f"its last norm is a {type(norm).__name__}, expected a LayerNorm")
    return {
        "layers": [_transformer_layer(layer)["parts"] for layer in module.layers],
        "norm": None if norm is None else _LAYER_NORM(norm),
    }


def _transformer(module: Any) -> dict[str, Any]:
    if type(module.encoder) is not nn.TransformerEncoder or type(module.decoder) is not nn.TransformerDecoder:
        raise ValueError("its encoder or decoder is of a class that torch does not have")
    return {
        "encoder_parts": _transformer_stack(module.encoder),
        "decoder_parts": _transformer_stack(module.decoder),
    }


#: ``(operation, parameters of the module)`` by exact class: a user's subclass may compute something else.
MODULES: dict[type[nn.Module], tuple[Operation, Parameters]] = {
    nn.Linear: (layers.linear, _named("weight", "bias")),
    nn.Conv1d: (layers.convolution, _CONVOLUTION),
    nn.Conv2d: (layers.convolution, _CONVOLUTION),
    nn.Conv3d: (layers.convolution, _CONVOLUTION),
    nn.ConvTranspose1d: (layers.transposed_convolution, _TRANSPOSED),
    nn.ConvTranspose2d: (layers.transposed_convolution, _TRANSPOSED),
    nn.ConvTranspose3d: (layers.transposed_convolution, _TRANSPOSED),
    nn.BatchNorm1d: (layers.batch_norm, _BATCH_NORM),
    nn.BatchNorm2d: (layers.batch_norm, _BATCH_NORM),
    nn.BatchNorm3d: (layers.batch_norm, _BATCH_NORM),
    **dict.fromkeys(
        (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), (layers.instance_norm, _instance_norm)
    ),
    nn.GroupNorm: (layers.group_norm, _named("num_groups", "weight", "bias", "eps")),
    nn.LayerNorm: (layers.layer_norm, _LAYER_NORM),
    nn.RMSNorm: (layers.rms_norm, _named("normalized_shape", "weight", "eps")),
    nn.MultiheadAttention: (attention.multi_head_attention, _multi_head),
    nn.TransformerEncoderLayer: (attention.encoder_layer, _transformer_layer),
    nn.TransformerDecoderLayer: (attention.decoder_layer, _transformer_layer),
    nn.TransformerEncoder: (attention.encoder, _transformer_stack),
    nn.TransformerDecoder: (attention.decoder, _transformer_stack),
    nn.Transformer: (attention.transformer, _transformer),
    nn.ReLU: (activations.activation("relu"), _named()),
    nn.ReLU6: (activations.activation("relu6"), _named()),
    nn.Hardtanh: (activations.hardtanh, _named("min_val", "max_val")),
    nn.LeakyReLU: (activations.leaky_relu, _named("negative_slope")),
    nn.ELU: (activations.elu, _named("alpha")),
    nn.SELU: (activations.activation("selu"), _named()),
    nn.CELU: (activations.celu, _named("alpha")),
    nn.GLU: (activations.glu, _named("dim")),
    nn.Sigmoid: (activations.activation("sigmoid"), _named()),
    nn.Tanh: (activations.activation("tanh"), _named()),
    nn.SiLU: (activations.activation("swish"), _named()),
    nn.Hardswish: (activations.activation("hard_swish"), _named()),
    nn.Hardsigmoid: (activations.activation("hard_sigmoid"), _named()),
    nn.Mish: (activations.activation("mish"), _named()),
    nn.PReLU: (activations.prelu, _named("weight")),
    nn.GELU: (activations.gelu, _named("approximate")),
    nn.Softmax: (activations.softmax, _named("dim")),
    nn.Softmax2d: (activations.softmax, lambda module: {"dim": -3}),
    nn.LogSoftmax: (activations.softmax, _named("dim")),
    nn.MaxPool1d: (pools.pool("max_pool", 1), _MAX_POOL),
    nn.MaxPool2d: (pools.pool("max_pool", 2), _MAX_POOL),
    nn.MaxPool3d: (pools.pool("max_pool", 3), _MAX_POOL),
    nn.AvgPool1d: (pools.pool("average_pool", 1), _AVERAGE_POOL),
    **{
        kind: (
            pools.pool("average_pool", count),
            lambda module: {**_AVERAGE_POOL(module), "divisor_override": module.divisor_override},
        )
        for kind, count in ((nn.AvgPool2d, 2), (nn.AvgPool3d, 3))
    },
    nn.AdaptiveAvgPool1d: (pools.adaptive_pool("average_pool", 1), _named("output_size")),
    nn.AdaptiveAvgPool2d: (pools.adaptive_pool("average_pool", 2), _named("output_size")),
    nn.AdaptiveAvgPool3d: (pools.adaptive_pool("average_pool", 3), _named("output_size")),
    nn.AdaptiveMaxPool1d: (pools.adaptive_pool("max_pool", 1), _named("output_size", "return_indices")),
    nn.AdaptiveMaxPool2d: (pools.adaptive_pool("max_pool", 2), _named("output_size", "return_indices")),
    nn.AdaptiveMaxPool3d: (pools.adaptive_pool("max_pool", 3), _named("output_size", "return_indices")),
    nn.Flatten: (shapes.flatten, _named("start_dim", "end_dim")),
    nn.Unflatten: (shapes.unflatten, lambda module: {"dim": module.dim, "sizes": module.unflattened_size}),
    nn.ChannelShuffle: (shapes.channel_shuffle, _named("groups")),
    nn.PixelShuffle: (shapes.pixel_shuffle, _named("upscale_factor")),
    nn.PixelUnshuffle: (shapes.pixel_unshuffle, _named("downscale_factor")),
    **{
        getattr(nn, f"{name}Pad{count}d"): (cuts.pad, parameters)
        for count in (1, 2, 3)
        for name, parameters in (
            ("Zero", _constant_pad),
            ("Constant", _constant_pad),
            ("Reflection", lambda module: {"pad": module.padding, "mode": "reflect"}),
            ("Replication", lambda module: {"pad": module.padding, "mode": "replicate"}),
            ("Circular", lambda module: {"pad": module.padding, "mode": "circular"}),
        )
    },
    nn.Upsample: (cuts.upsample, _named("size", "scale_factor", "mode", "align_corners")),
    nn.UpsamplingNearest2d: (cuts.upsample, _named("size", "scale_factor")),
    nn.LSTM: (sequences.recurrent, _recurrent("lstm")),
    nn.GRU: (sequences.recurrent, _recurrent("gru")),
    nn.RNN: (sequences.recurrent, _recurrent("simple_rnn")),
    nn.Embedding: (sequences.embedding, _named("weight", "padding_idx", "max_norm")),
    nn.Identity: (shapes.nothing, _named()),
    **{
        kind: (shapes.dropout, _named("p"))
        for kind in (
            nn.Dropout,
            nn.Dropout1d,
            nn.Dropout2d,
            nn.Dropout3d,
            nn.AlphaDropout,
            nn.FeatureAlphaDropout,
        )
    },
}

#: Operations by function.
FUNCTIONS: dict[Callable[..., Any], Operation] = {
    F.linear: layers.linear,
    F.conv1d: layers.convolution,
    F.conv2d: layers.convolution,
    F.conv3d: layers.convolution,
    F.conv_transpose1d: layers.transposed_convolution,
    F.conv_transpose2d: layers.transposed_convolution,
    F.batch_norm: layers.batch_norm,
    F.layer_norm: layers.layer_norm,
    F.rms_norm: layers.rms_norm,
    F.normalize: layers.normalize,
    torch.matmul: products.matmul,
    torch.bmm: products.matmul,
    operator.matmul: products.matmul,
    torch.baddbmm: products.baddbmm,
    torch.einsum: products.einsum,
    F.grid_sample: products.grid_sample,
    torch.masked_fill: products.masked_fill,
    torch.where: products.where,
    F.scaled_dot_product_attention: attention.scaled_dot_product_attention,
    torch.zeros_like: shapes.zeros_like,
    F.group_norm: layers.group_norm,
    F.instance_norm: layers.instance_norm,
    F.relu: activations.activation("relu"),
    F.relu_: activations.activation("relu"),
    torch.relu: activations.activation("relu"),
    torch.relu_: activations.activation("relu"),
    F.relu6: activations.activation("relu6"),
    F.hardtanh: activations.hardtanh,
    torch.clamp: activations.clamp,
    torch.clip: activations.clamp,
    F.leaky_relu: activations.leaky_relu,
    F.elu: activations.elu,
    F.selu: activations.activation("selu"),
    torch.selu: activations.activation("selu"),
    F.celu: activations.celu,
    F.glu: activations.glu,
    F.sigmoid: activations.activation("sigmoid"),
    torch.sigmoid: activations.activation("sigmoid"),
    F.tanh: activations.activation("tanh"),
    torch.tanh: activations.activation("tanh"),
    F.silu: activations.activation("swish"),
    F.hardswish: activations.activation("hard_swish"),
    F.hardsigmoid: activations.activation("hard_sigmoid"),
    F.mish: activations.activation("mish"),
    F.prelu: activations.prelu,
    torch.prelu: activations.prelu,
    F.gelu: activations.gelu,
    F.softmax: activations.softmax,
    torch.softmax: activations.softmax,
    F.log_softmax: activations.softmax,
    torch.log_softmax: activations.softmax,
    F.max_pool1d: pools.pool("max_pool", 1),
    F.max_pool2d: pools.pool("max_pool", 2),
    torch.max_pool1d: pools.pool("max_pool", 1),
    torch.max_pool2d: pools.pool("max_pool", 2),
    F.avg_pool1d: pools.pool("average_pool", 1),
    F.avg_pool2d: pools.pool("average_pool", 2),
    F.adaptive_avg_pool1d: pools.adaptive_pool("average_pool", 1),
    F.adaptive_avg_pool2d: pools.adaptive_pool("average_pool", 2),
    F.adaptive_max_pool1d: pools.adaptive_pool("max_pool", 1),
    F.adaptive_max_pool2d: pools.adaptive_pool("max_pool", 2),
    F.max_pool3d: pools.pool("max_pool", 3),
    F.avg_pool3d: pools.pool("average_pool", 3),
    F.adaptive_avg_pool3d: pools.adaptive_pool("average_pool", 3),
    torch.sum: pools.total,
    torch.mean: pools.reduction("average_pool"),
    torch.amax: pools.reduction("max_pool"),
    torch.flatten: shapes.flatten,
    torch.unflatten: shapes.unflatten,
    torch.chunk: cuts.chunk,
    torch.split: cuts.split,
    torch.unbind: cuts.unbind,
    torch.select: cuts.select,
    torch.narrow: cuts.narrow,
    torch.index_select: cuts.index_select,
    torch.flip: cuts.flip,
    torch.roll: cuts.roll,
    F.channel_shuffle: shapes.channel_shuffle,
    F.pixel_shuffle: shapes.pixel_shuffle,
    F.pixel_unshuffle: shapes.pixel_unshuffle,
    torch.stack: joins.stack,
    torch.neg: joins.negative,
    operator.neg: joins.negative,
    torch.square: lambda site, input: joins.power(site, input, 2),
    torch.sqrt: activations.activation("sqrt"),
    torch.pow: joins.power,
    operator.pow: joins.power,
    torch.reshape: shapes.reshape,
    torch.squeeze: shapes.squeeze,
    torch.unsqueeze: shapes.unsqueeze,
    operator.getitem: cuts.index,
    torch.permute: shapes.permute,
    torch.transpose: shapes.transpose,
    torch.swapaxes: shapes.transpose,
    F.pad: cuts.pad,
    F.interpolate: cuts.upsample,
    F.embedding: sequences.embedding,
    F.dropout: shapes.dropout,
    F.dropout1d: shapes.dropout,
    F.dropout2d: shapes.dropout,
    F.dropout3d: shapes.dropout,
    F.alpha_dropout: shapes.dropout,
    operator.add: joins.add,
    operator.iadd: joins.add,
    torch.add: joins.add,
    operator.mul: joins.multiply,
    operator.imul: joins.multiply,
    torch.mul: joins.multiply,
    torch.multiply: joins.multiply,
    operator.sub: joins.subtract,
    operator.isub: joins.subtract,
    torch.sub: joins.subtract,
    operator.truediv: joins.divide,
    torch.div: joins.divide,
    torch.cat: joins.concatenate,
    torch.concat: joins.concatenate,
}

#: Operations by the name of a tensor's method.
METHODS: dict[str, Operation] = {
    "relu": activations.activation("relu"),
    "relu_": activations.activation("relu"),
    "sigmoid": activations.activation("sigmoid"),
    "tanh": activations.activation("tanh"),
    "softmax": activations.softmax,
    "log_softmax": activations.softmax,
    "clamp": activations.clamp,
    "clip": activations.clamp,
    "prelu": activations.prelu,
    "sum": pools.total,
    "mean": pools.reduction("average_pool"),
    "amax": pools.reduction("max_pool"),
    "flatten": shapes.flatten,
    "view": shapes.reshape,
    "reshape": shapes.reshape,
    "squeeze": shapes.squeeze,
    "unsqueeze": shapes.unsqueeze,
    "permute": shapes.permute,
    "transpose": shapes.transpose,
    "chunk": cuts.chunk,
    "split": cuts.split_method,
    "unbind": cuts.unbind,
    "select": cuts.select,
    "narrow": cuts.narrow,
    "index_select": cuts.index_select,
    "flip": cuts.flip,
    "roll": cuts.roll,
    "expand": cuts.expand,
    "expand_as": cuts.expand_as,
    "repeat": cuts.repeat,
    "unflatten": shapes.unflatten,
    "add": joins.add,
    "add_": joins.add,
    "mul": joins.multiply,
    "mul_": joins.multiply,
    "sub": joins.subtract,
    "div": joins.divide,
    "neg": joins.negative,
    "square": lambda site, input: joins.power(site, input, 2),
    "sqrt": activations.activation("sqrt"),
    "pow": joins.power,
    "matmul": products.matmul,
    "bmm": products.matmul,
    "baddbmm": products.baddbmm,
    "masked_fill": products.masked_fill,
    "swapaxes": shapes.transpose,
    "view_as": lambda site, input, other: shapes.reshape(site, input, other.shape),
    "contiguous": shapes.nothing,
    "clone": shapes.nothing,
    "float": shapes.nothing,
}

#: Functions and methods that overwrite their first argument; others do where they are given inplace=True.
IN_PLACE = (operator.iadd, operator.imul, operator.isub, F.relu_, torch.relu_, "relu_", "add_", "mul_")

#: What ends in log-probabilities: only the end of a network, where it is removed, may do so.
LOG_SOFTMAX = (nn.LogSoftmax, F.log_softmax, torch.log_softmax, "log_softmax")

#: What pads, in any mode.
PAD = cuts.pad
#: What returns its input.
NOTHING = shapes.nothing
#: Functions that a trace does not look into, by name; torchvision's stochastic depth returns its input in evaluation.
BY_NAME: dict[str, Operation] = {"stochastic_depth": NOTHING, **windows.OF_TORCHVISION}
#: What may return another view of its input's memory, or the input itself.
VIEWS = (
    shapes.reshape,
    shapes.flatten,
    shapes.squeeze,
    shapes.unsqueeze,
    shapes.unflatten,
    cuts.index,
    cuts.select,
    cuts.narrow,
    cuts.split,
    cuts.split_method,
    cuts.chunk,
    cuts.unbind,
    cuts.expand,
    cuts.expand_as,
    shapes.permute,
    shapes.transpose,
    shapes.dropout,
    shapes.nothing,
)
