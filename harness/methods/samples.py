"""The random numbers of methods: drawn once from a seeded generator and handed to every side alike."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.methods.procedures import DeepLift, InputPlusNoise, Smoothed, UniformNoise


def baselines(procedure: DeepLift, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The baselines in order, float64, each of ``shape`` (batch, *input shape), the same for every sample of the batch.

    Random ones: one draw of ``default_rng(seed).standard_normal(input shape) * scale`` after the other.
    """
    generator = np.random.default_rng(procedure.seed)
    for _ in range(procedure.samples):
        yield np.broadcast_to(generator.standard_normal(shape[1:]) * procedure.scale, shape).copy()
    if not procedure.samples:
        for value in procedure.baselines:
            yield np.full(shape, value)


def gaussian_noise(procedure: Smoothed | InputPlusNoise, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The procedure's noise samples in order, float64, each of ``shape`` (batch, *input shape).

    ``default_rng(seed).standard_normal(shape) * scale``, one draw after the other: the first samples of
    a longer sequence are those of a shorter one.
    """
    generator = np.random.default_rng(procedure.seed)
    count = procedure.samples if isinstance(procedure, Smoothed) else 1
    for _ in range(count):
        yield generator.standard_normal(shape) * procedure.scale


def uniform_noise(procedure: UniformNoise, shape: tuple[int, ...]) -> np.ndarray:
    """Float64 noise of ``shape`` (batch, height, width, channel): the same for every sample and channel.

    ``RandomState(seed).uniform(-1, 1, (height, width))``, NumPy's legacy generator, as signxai 1.1.9.2 calls it.
    """
    plane = np.random.RandomState(procedure.seed).uniform(-1, 1, shape[1:3])
    return np.broadcast_to(plane[None, :, :, None], shape).copy()
