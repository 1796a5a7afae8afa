"""Networks of one layer, and what makes a classifier of it: every kind, biased and unbiased, odd geometry.

The layer that is tested reads the network's input, so that the rules for input layers meet it too. Behind it
stand a flattening and a dense layer with three classes. Weights and inputs are standard normal, drawn from
a generator seeded with the network's name: about half of all values are negative.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from harness.graph import Graph
from ported_models.build import Builder
from ported_models.model import PortedModel

CLASSES = 3
Shape = tuple[int, ...]

_ROW: Shape = (9, 4)
_IMAGE: Shape = (7, 6, 4)

#: name -> (kind, input, kernel, attributes).
_KERNELS: dict[str, tuple[str, Shape, Shape, dict[str, Any]]] = {
    "dense": ("dense", (6,), (6, 5), {}),
    "dense-sequence": ("dense", (5, 4), (4, 3), {}),
    "conv1d": ("conv1d", _ROW, (3, 4, 3), {}),
    "conv1d-same-strided": ("conv1d", _ROW, (3, 4, 3), {"padding": "same", "strides": (2,)}),
    "conv1d-dilated": ("conv1d", _ROW, (3, 4, 3), {"dilations": (2,)}),
    "conv1d-grouped": ("conv1d", _ROW, (3, 2, 4), {"groups": 2}),
    "conv1d-depthwise": ("conv1d", _ROW, (3, 1, 4), {"groups": 4}),
    "conv2d": ("conv2d", _IMAGE, (3, 3, 4, 3), {}),
    "conv2d-same-strided": ("conv2d", _IMAGE, (3, 3, 4, 3), {"padding": "same", "strides": (2, 2)}),
    "conv2d-padded": ("conv2d", _IMAGE, (3, 2, 4, 3), {"padding": ((1, 1), (2, 0)), "strides": (2, 1)}),
    "conv2d-dilated": ("conv2d", _IMAGE, (2, 2, 4, 3), {"dilations": (2, 2)}),
    "conv2d-grouped": ("conv2d", _IMAGE, (3, 3, 2, 4), {"groups": 2}),
    "conv2d-depthwise": ("conv2d", _IMAGE, (3, 3, 1, 8), {"groups": 4, "padding": "same"}),
    "conv_transpose1d": ("conv_transpose1d", _ROW, (3, 4, 2), {"strides": (2,)}),
    "conv_transpose2d": ("conv_transpose2d", (4, 3, 4), (3, 3, 4, 2), {}),
    "conv_transpose2d-same-strided": (
        "conv_transpose2d",
        (4, 3, 4),
        (3, 3, 4, 2),
        {"padding": "same", "strides": (2, 2)},
    ),
    "separable_conv1d": ("separable_conv1d", _ROW, (3, 4, 2), {"padding": "same"}),
    "separable_conv2d": ("separable_conv2d", _IMAGE, (3, 3, 4, 2), {}),
    "separable_conv2d-same-strided": (
        "separable_conv2d",
        _IMAGE,
        (3, 3, 4, 1),
        {"padding": "same", "strides": (2, 2)},
    ),
}

#: Those of them that are run without a bias too: one of each kind.
_UNBIASED = (
    "dense",
    "conv1d",
    "conv2d",
    "conv2d-depthwise",
    "conv_transpose1d",
    "conv_transpose2d",
    "separable_conv1d",
    "separable_conv2d",
)

#: Layers without a kernel: name -> (kind, input, attributes).
_OTHERS: dict[str, tuple[str, Shape, dict[str, Any]]] = {
    **{
        kind: (kind, (5, 4), {})
        for kind in ("relu", "relu6", "leaky_relu", "elu", "selu", "sigmoid", "tanh", "swish", "softmax")
    },
    "gelu": ("gelu", (5, 4), {"approximate": "none"}),
    "gelu-tanh": ("gelu", (5, 4), {"approximate": "tanh"}),
    "max_pool1d": ("max_pool1d", _ROW, {"pool_size": (3,), "strides": (2,)}),
    "max_pool2d": ("max_pool2d", _IMAGE, {"pool_size": (2, 2)}),
    "max_pool2d-same": ("max_pool2d", _IMAGE, {"pool_size": (3, 3), "strides": (2, 2), "padding": "same"}),
    "average_pool1d": ("average_pool1d", _ROW, {"pool_size": (3,), "strides": (2,)}),
    "average_pool2d": ("average_pool2d", _IMAGE, {"pool_size": (2, 2)}),
    "average_pool2d-same": (
        "average_pool2d",
        _IMAGE,
        {"pool_size": (3, 3), "strides": (2, 2), "padding": "same"},
    ),
    "average_pool2d-same-stride-one": (
        "average_pool2d",
        _IMAGE,
        {"pool_size": (3, 3), "strides": (1, 1), "padding": "same"},
    ),
    "average_pool2d-padding-counted": (
        "average_pool2d",
        _IMAGE,
        {"pool_size": (2, 2), "padding": ((1, 1), (1, 1)), "count_include_pad": True},
    ),
    "global_average_pool": ("global_average_pool", _IMAGE, {}),
    "global_average_pool-row": ("global_average_pool", _ROW, {}),
    "global_max_pool": ("global_max_pool", _IMAGE, {}),
    "flatten": ("flatten", (3, 2, 4), {}),
    "flatten-channels-first": ("flatten", (3, 2, 4), {"order": "channels_first"}),
    "reshape": ("reshape", (3, 2, 4), {"target": (6, 4)}),
    "permute": ("permute", (3, 2, 4), {"dims": (3, 1, 2)}),
    "permute-square": ("permute", (3, 3), {"dims": (2, 1)}),
    "zero_pad": ("zero_pad", (3, 2, 4), {"padding": ((1, 1), (2, 0))}),
    "crop": ("crop", _IMAGE, {"padding": ((1, 1), (2, 0))}),
    "upsample-nearest": ("upsample", (3, 2, 4), {"size": (2, 2)}),
    "upsample-bilinear": ("upsample", (3, 2, 4), {"size": (2, 2), "interpolation": "bilinear"}),
    "dropout": ("dropout", (5, 4), {"rate": 0.5}),
}

#: Layers with weights per channel, by the weights they leave out.
_NORMS: dict[str, tuple[str, Shape, tuple[str, ...]]] = {
    "batch_norm": ("batch_norm", _IMAGE, ("gamma", "beta", "mean", "variance")),
    "batch_norm-row": ("batch_norm", _ROW, ("gamma", "beta", "mean", "variance")),
    "batch_norm-no-gamma": ("batch_norm", _IMAGE, ("beta", "mean", "variance")),
    "batch_norm-no-beta": ("batch_norm", _IMAGE, ("gamma", "mean", "variance")),
    "batch_norm-bare": ("batch_norm", _IMAGE, ("mean", "variance")),
    "scale": ("scale", _IMAGE, ("kernel", "bias")),
    "scale-unbiased": ("scale", _IMAGE, ("kernel",)),
    "layer_norm": ("layer_norm", _ROW, ("gamma", "beta")),
    "layer_norm-bare": ("layer_norm", _ROW, ()),
}

#: Kinds that the real libraries' side has no layer for (`reference_impls.peers.graph_json`): nothing to certify.
UNKNOWN_TO_PEERS = (
    *("conv3d", "conv_transpose3d", "max_pool3d", "average_pool3d"),
    *("mish", "hard_swish", "hard_sigmoid", "clip", "sqrt", "prelu"),
    *("group_norm", "lrn", "affine", "pad", "take", "resample"),
    *("lstm", "gru", "simple_rnn", "embedding"),
    *("rms_norm", "matmul", "grid_sample", "part"),
)

_JOINS = ("add", "multiply", "concat")


def single_layers() -> Iterator[tuple[PortedModel, np.ndarray]]:
    """Every network with its input, (1, *input shape) float32."""
    for graph in _graphs():
        x = _generator(f"input of {graph.name}").standard_normal((1, *graph.input.shape))
        yield PortedModel.from_graph(graph), x.astype(np.float32)


def _graphs() -> Iterator[Graph]:
    for name, (kind, shape, kernel, attributes) in _KERNELS.items():
        yield _kernel_layer(name, kind, shape, kernel, attributes, biased=True)
        if name in _UNBIASED:
            yield _kernel_layer(f"{name}-unbiased", kind, shape, kernel, attributes, biased=False)
    for name, (kind, shape, weights) in _NORMS.items():
        yield _norm(name, kind, shape, weights)
    for name, (kind, shape, attributes) in _OTHERS.items():
        yield _classifier(name, kind, shape, attributes, {})
    for kind in _JOINS:
        yield _join(kind)


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def _kernel_layer(
    name: str, kind: str, shape: Shape, kernel: Shape, attributes: Mapping[str, Any], biased: bool
) -> Graph:
    rng = _generator(name)
    outputs = kernel[-1]
    if kind.startswith("separable"):
        inner = kernel[-2] * kernel[-1]
        outputs = 3
        weights = {
            "depthwise_kernel": rng.standard_normal(kernel),
            "pointwise_kernel": rng.standard_normal((inner, outputs)),
        }
    else:
        weights = {"kernel": rng.standard_normal(kernel)}
    if biased:
        weights["bias"] = rng.standard_normal(
            outputs * (attributes.get("groups", 1) if "transpose" in kind else 1)
        )
    return _classifier(name, kind, shape, attributes, weights)


def _norm(name: str, kind: str, shape: Shape, wanted: tuple[str, ...]) -> Graph:
    rng = _generator(name)
    weights = {
        key: rng.uniform(0.5, 2.0, shape[-1]) if key == "variance" else rng.standard_normal(shape[-1])
        for key in wanted
    }
    return _classifier(name, kind, shape, {}, weights)


def _classifier(
    name: str, kind: str, shape: Shape, attributes: Mapping[str, Any], weights: Mapping[str, np.ndarray]
) -> Graph:
    builder = Builder(name, shape)
    builder.add(kind, "layer", attributes=attributes, weights=_single(weights))
    return _with_classes(builder)


def _join(kind: str) -> Graph:
    """Two branches, a convolution each, that meet in a layer of ``kind``."""
    rng = _generator(kind)
    builder = Builder(kind, _IMAGE)
    for branch in ("left", "right"):
        weights = {"kernel": rng.standard_normal((2, 2, 4, 3)), "bias": rng.standard_normal(3)}
        builder.add("conv2d", branch, "input", weights=_single(weights))
    builder.add(kind, "layer", ["left", "right"])
    return _with_classes(builder)


def _with_classes(builder: Builder) -> Graph:
    rng = _generator(f"classes of {builder.name}")
    if len(builder[builder.last].shape) > 1:
        builder.add("flatten", "features")
    kernel = rng.standard_normal((builder[builder.last].shape[-1], CLASSES))
    weights = {"kernel": kernel, "bias": rng.standard_normal(CLASSES)}
    builder.add("dense", "logits", weights=_single(weights))
    return builder.graph()


def _single(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """In float32, so that the reference's float64 runs have the very weights that the library has."""
    return {key: values.astype(np.float32) for key, values in weights.items()}


def kinds_covered() -> set[str]:
    """The kinds of layer that are tested."""
    return {graph["layer"].kind for graph in _graphs()}
