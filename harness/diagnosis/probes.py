"""Other data for one layer's step, on which two readings that agree on the layer's own data may differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from harness.steps import Step


def probes(step: Step) -> Iterator[Step]:
    """``step`` on inputs of both signs, with zeros among them, and on relevance of both signs.

    Behind a ReLU no input is negative; there, alpha-beta and z-plus are one rule. Magnitudes are those of the
    layer's own data, so that an epsilon counts as much as it does there.
    """
    generator = np.random.default_rng(0)
    yield replace(step, relevance=_signed(step.relevance, generator))
    yield replace(
        step,
        inputs=tuple(_signed(x, generator) for x in step.inputs),
        relevance=_signed(step.relevance, generator),
    )
    yield replace(
        step,
        inputs=tuple(generator.standard_normal(x.shape) * _size(x) for x in step.inputs),
        relevance=generator.standard_normal(step.relevance.shape) * _size(step.relevance),
    )


def _signed(array: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return np.where(generator.random(array.shape) < 0.5, -array, array)


def _size(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(array)))) or 1.0
