"""Layers with random weights, from which the small networks are built."""

from __future__ import annotations

import numpy as np

from ported_models.build import Builder


def normal(seed: int, *shape: int) -> np.ndarray:
    """Standard normal values, float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def kernel(seed: int, *shape: int) -> np.ndarray:
    """Normal values that keep the size of what they are applied to: divided by the root of the fan-in."""
    return (normal(seed, *shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)


def dense(b: Builder, name: str, seed: int, ins: int, outs: int, inputs: str | None = None) -> None:
    weights = {"kernel": kernel(seed, ins, outs), "bias": 0.2 * normal(seed + 1, outs)}
    b.add("dense", name, inputs, weights=weights)


def conv(
    b: Builder, name: str, seed: int, ins: int, outs: int, inputs: str | None = None, **attributes: object
) -> None:
    weights = {"kernel": kernel(seed, 3, 3, ins, outs), "bias": 0.2 * normal(seed + 1, outs)}
    b.add("conv2d", name, inputs, attributes={"padding": "same", **attributes}, weights=weights)


def norm_weights(seed: int, channels: int) -> dict[str, np.ndarray]:
    return {"gamma": 1 + 0.3 * normal(seed, channels), "beta": 0.3 * normal(seed + 1, channels)}


def statistics(seed: int, channels: int) -> dict[str, np.ndarray]:
    """Batch norm with small variances, so that its epsilon matters."""
    spread = np.random.default_rng(seed + 2).uniform(0.05, 0.6, channels).astype(np.float32)
    return {**norm_weights(seed, channels), "mean": 0.2 * normal(seed + 3, channels), "variance": spread}
