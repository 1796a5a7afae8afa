"""Networks that Zennit's rules and composites are tried on."""

from __future__ import annotations

import numpy as np

from harness.graph import Graph
from ported_models.build import Builder

RNG = np.random.default_rng(21)
STATISTICS = {"mean": np.array([0.5, -1]), "variance": np.array([4.0, 0.25]), "gamma": np.array([2.0, 3])}


def batch_norm_graph() -> Graph:
    """conv, batch norm, ReLU, separable conv, average pooling, scale, dense."""
    b = Builder("normed", (4, 2))
    b.add("conv1d", "conv", weights={"kernel": RNG.normal(size=(2, 2, 2)), "bias": RNG.normal(size=2)})
    b.add("batch_norm", "norm", weights=STATISTICS, attributes={"epsilon": 1e-3})
    b.add("relu", "relu")
    kernels = {"depthwise_kernel": RNG.normal(size=(1, 2, 1)), "pointwise_kernel": RNG.normal(size=(2, 2))}
    b.add("separable_conv1d", "separable", weights=kernels)
    b.add("global_average_pool", "pooled")
    b.add("scale", "scale", weights={"kernel": np.array([2.0, 3])})
    b.add("dense", "head", weights={"kernel": RNG.normal(size=(2, 3))})
    return b.graph()


def relu_graph() -> Graph:
    """conv, ReLU, dense: what every method of the catalogue but Grad-CAM's for other networks applies to."""
    b = Builder("relu", (4, 2))
    b.add("conv1d", "conv", weights={"kernel": RNG.normal(size=(2, 2, 2))})
    b.add("relu", "relu")
    b.add("flatten", "flat")
    b.add("dense", "head", weights={"kernel": RNG.normal(size=(6, 3))})
    return b.graph()
