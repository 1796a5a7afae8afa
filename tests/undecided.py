"""A network whose max pooling is undecided on a constant picture: which entry counts, rounding chooses."""

from __future__ import annotations

import numpy as np

from ported_models import PortedModel
from ported_models.build import Builder


def undecided() -> PortedModel:
    """A convolution, a pooling of 2 by 2, a convolution, an ELU and a dense layer, on pictures of 6 by 6 by 2."""
    rng = np.random.default_rng(0)
    b = Builder("undecided", (6, 6, 2))
    b.add("conv2d", "conv", weights={"kernel": rng.normal(size=(1, 1, 2, 3)), "bias": rng.normal(size=3)})
    b.add("max_pool2d", "pool", attributes={"pool_size": (2, 2), "strides": (2, 2)})
    b.add("conv2d", "mixed", weights={"kernel": rng.normal(size=(1, 1, 3, 3)), "bias": rng.normal(size=3)})
    b.add("elu", "elu", attributes={"alpha": 1.0})
    b.add("flatten", "flat")
    b.add("dense", "logits", weights={"kernel": rng.normal(size=(27, 4)), "bias": rng.normal(size=4)})
    return PortedModel.from_graph(b.graph())
