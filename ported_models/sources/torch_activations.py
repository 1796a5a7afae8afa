"""Torch's activations in the neutral graph's terms, with torch's own parameters (torch 2.13)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ported_models.sources.torch_cuts import chunk
from ported_models.sources.torch_joins import multiply
from ported_models.sources.torch_site import Operation, Site, Value


def activation(kind: str) -> Operation:
    """An elementwise function without parameters."""

    def apply(site: Site, input: Value, inplace: bool = False) -> Value:
        return site.add(kind, input)

    return apply


def leaky_relu(site: Site, input: Value, negative_slope: float = 0.01, inplace: bool = False) -> Value:
    return site.add("leaky_relu", input, {"alpha": float(negative_slope)})


def elu(site: Site, input: Value, alpha: float = 1.0, inplace: bool = False) -> Value:
    return site.add("elu", input, {"alpha": float(alpha)})


def celu(site: Site, input: Value, alpha: float = 1.0, inplace: bool = False) -> Value:
    """``alpha * elu(x / alpha)``, with the slope of the ELU below zero 1 (Barron 2017, arXiv:1704.07483)."""
    return multiply(site, elu(site, multiply(site, input, 1 / alpha)), float(alpha))


def glu(site: Site, input: Value, dim: int = -1) -> Value:
    """The first half along an axis times the sigmoid of the second (Dauphin et al. 2017, arXiv:1612.08083)."""
    values, gates = chunk(site, input, 2, dim)
    return multiply(site, values, site.part("gate").add("sigmoid", gates))


def gelu(site: Site, input: Value, approximate: str = "none") -> Value:
    return site.add("gelu", input, {"approximate": approximate})


def prelu(site: Site, input: Value, weight: np.ndarray) -> Value:
    """``x`` above 0, ``weight * x`` elsewhere; one weight, or one a channel."""
    if weight.size == 1:
        return site.add("leaky_relu", input, {"alpha": float(weight.reshape(-1)[0])})
    return site.add("prelu", site.feature_map(input), {}, {"alpha": weight})


def clamp(site: Site, input: Value, min: float | None = None, max: float | None = None) -> Value:
    if any(isinstance(limit, Value | np.ndarray) for limit in (min, max)):
        raise site.refuse("limits that are tensors", "numbers")
    low = -math.inf if min is None else float(min)
    high = math.inf if max is None else float(max)
    kinds = {(0.0, math.inf): "relu", (0.0, 6.0): "relu6"}
    if (low, high) in kinds:
        return site.add(kinds[low, high], input)
    return site.add("clip", input, {"low": low, "high": high})


def hardtanh(
    site: Site, input: Value, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Value:
    return clamp(site, input, min_val, max_val)


def softmax(
    site: Site, input: Value, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Value:
    """Without ``dim`` torch takes axis 1 of an array of two or four axes, and axis 0, the batch, of three."""
    if dim is None:
        dim = 0 if input.rank == 3 else 1
    axis = input.axis(dim)
    if axis == 0:
        raise site.refuse(f"dim={dim}", "an axis other than the batch")
    return site.add("softmax", input, {"axis": input.from_end(dim)})
