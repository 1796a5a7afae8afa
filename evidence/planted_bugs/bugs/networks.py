"""Small networks with the kinds of layer that no model of the zoo has, random weights, a batch as example."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

from harness.api import load_model
from harness.graph import Graph
from ported_models.build import Builder
from ported_models.model import PortedModel

from .attention_networks import deformable, encoder, gated
from .building import conv, dense, kernel, norm_weights, normal, statistics
from .class_tokens import pair_of


def tokens() -> Graph:
    """Four tokens of five features: dense layers, layer norm, GELU, a residual add."""
    b = Builder("tokens-net", (4, 5))
    dense(b, "embed", 10, 5, 8)
    b.add("layer_norm", "norm1", attributes={"epsilon": 1e-3}, weights=norm_weights(12, 8))
    dense(b, "up", 14, 8, 12)
    b.add("gelu", "up_gelu")
    dense(b, "down", 16, 12, 8)
    b.add("add", "residual", ("down", "norm1"))
    b.add("layer_norm", "norm2", attributes={"epsilon": 1e-5}, weights=norm_weights(18, 8))
    b.add("flatten", "flatten")
    dense(b, "logits", 20, 32, 4)
    return b.graph()


def slopes() -> Graph:
    """Leaky ReLU, ELU and tanh; a strided convolution and an average pooling that are padded unevenly."""
    b = Builder("slopes-net", (8, 8, 3))
    conv(b, "conv1", 30, 3, 6, strides=(2, 2))
    b.add("leaky_relu", "conv1_leaky_relu", attributes={"alpha": 0.3})
    b.add(
        "average_pool2d",
        "pool",
        attributes={"pool_size": (3, 3), "strides": (2, 2), "padding": "same", "count_include_pad": False},
    )
    conv(b, "conv2", 32, 6, 8)
    b.add("elu", "conv2_elu", attributes={"alpha": 1.0})
    b.add("flatten", "flatten")
    dense(b, "dense1", 34, 32, 10)
    b.add("tanh", "dense1_tanh")
    dense(b, "logits", 36, 10, 4)
    return b.graph()


def groups() -> Graph:
    """A convolution in eight groups (eight heads, each with its own channels), ReLU, dropout."""
    b = Builder("groups-net", (5, 6, 4))
    conv(b, "conv1", 40, 4, 16)
    b.add("relu", "conv1_relu")
    heads = {"kernel": kernel(42, 3, 3, 2, 16), "bias": 0.2 * normal(43, 16)}
    b.add("conv2d", "heads", attributes={"padding": "same", "groups": 8}, weights=heads)
    b.add("relu", "heads_relu")
    b.add("dropout", "dropout", attributes={"rate": 0.4})
    b.add("max_pool2d", "pool", attributes={"pool_size": (2, 2), "strides": (2, 2)})
    b.add("flatten", "flatten")
    dense(b, "logits", 44, 2 * 3 * 16, 4)
    return b.graph()


def branches() -> Graph:
    """A residual add, batch norm, and a concatenation of two branches."""
    b = Builder("branches-net", (6, 6, 3))
    conv(b, "conv1", 50, 3, 8)
    b.add("relu", "conv1_relu")
    conv(b, "conv2", 52, 8, 8)
    b.add("batch_norm", "bn2", attributes={"epsilon": 1e-3}, weights=statistics(54, 8))
    b.add("add", "residual", ("bn2", "conv1_relu"))
    b.add("relu", "residual_relu")
    conv(b, "left", 58, 8, 4, "residual_relu")
    conv(b, "right", 60, 8, 4, "residual_relu")
    b.add("concat", "joined", ("left", "right"))
    b.add("relu", "joined_relu")
    b.add("global_average_pool", "pooled")
    dense(b, "logits", 62, 8, 4)
    return b.graph()


def halves() -> Graph:
    """Two separable convolutions with a multiplier of two, each behind a ReLU."""
    b = Builder("halves-net", (6, 6, 3))
    conv(b, "conv1", 80, 3, 4)
    b.add("relu", "conv1_relu")
    for place in (1, 2):
        weights = {
            "depthwise_kernel": kernel(80 + 10 * place, 3, 3, 4, 2),
            "pointwise_kernel": kernel(81 + 10 * place, 8, 4),
            "bias": 0.2 * normal(82 + 10 * place, 4),
        }
        b.add("separable_conv2d", f"separable{place}", attributes={"padding": "same"}, weights=weights)
        b.add("relu", f"separable{place}_relu")
    b.add("global_average_pool", "pooled")
    b.add("flatten", "flatten")
    dense(b, "logits", 110, 4, 3)
    return b.graph()


def _model(graph: Callable[[], Graph], batch: int) -> PortedModel:
    made = graph()
    example = normal(70, batch, *made.input.shape)
    return PortedModel.from_graph(made, examples={"seeded": lambda: example})


#: By name; the batches of ``tokens-net`` and ``encoder-net`` are as large as their number of tokens, so that the two
#: can be mistaken. Those of pairs are a network and a port of it that has lost its class token.
NETWORKS: dict[str, Callable[[], PortedModel]] = {
    "tokens-net": partial(_model, tokens, 4),
    "slopes-net": partial(_model, slopes, 3),
    "groups-net": partial(_model, groups, 2),
    "branches-net": partial(_model, branches, 3),
    "halves-net": partial(_model, halves, 2),
    "encoder-net": partial(_model, encoder, 6),
    "gated-net": partial(_model, gated, 3),
    "deformable-net": partial(_model, deformable, 2),
    "encoder-pair": lambda: pair_of(_model(encoder, 6)),
    "vit-digits-pair": lambda: pair_of(cast(PortedModel, load_model("vit-digits"))),
}

ZOO = ("digits-cnn", "ecg-cnn1d", "fer-xception", "efficientnet-lite0", "vgg16-mri")
#: Those with a dense layer.
WITH_DENSE = ("digits-cnn", "ecg-cnn1d", "efficientnet-lite0", "vgg16-mri")
#: Those in which every convolution has a bias.
BIASED = ("digits-cnn", "vgg16-mri")
