"""How small the denominators of a layer are, and how much relevance passes through the small ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.divisions import Division, Stage, passed_down
from harness.stability.figures import QUANTILES, THRESHOLDS, Denominators


def stages_with_relevance(
    stages: tuple[Stage, ...], relevance: np.ndarray
) -> Iterator[tuple[Stage, np.ndarray]]:
    """Each stage with the relevance that reaches it; the next one gets what the one before passes down."""
    for place, stage in enumerate(stages):
        yield stage, relevance
        if place + 1 < len(stages):
            (relevance,) = passed_down(stage, tuple(quotient(division, relevance) for division in stage))


def quotient(division: Division, relevance: np.ndarray) -> np.ndarray:
    """``R / S(d)`` where the division counts, zero elsewhere."""
    with np.errstate(all="ignore"):
        return division.counted(relevance) / division.stabilized


def denominators_of(stages: tuple[Stage, ...], relevance: np.ndarray) -> Denominators | None:
    """Figures of all divisions of a step together; None for a step that does not divide.

    Infinite denominators, those of masked scores, are left out: nothing passes through them.
    """
    divided, stabilized, raw = [], [], []
    for stage, received in stages_with_relevance(stages, relevance):
        for division in stage:
            divided.append(np.abs(division.counted(received)).ravel())
            stabilized.append(np.abs(division.stabilized).ravel())
            raw.append(division.denominator.ravel())
    if not raw:
        return None
    everything = [np.concatenate(each) for each in (divided, stabilized, raw)]
    through, sizes, before = (each[~np.isinf(everything[-1])] for each in everything)
    if not before.size:
        return None
    rms = float(np.sqrt(np.mean(before**2)))
    total = float(through.sum())
    return Denominators(
        smallest=float(sizes.min()),
        quantiles=tuple(float(q) for q in np.quantile(sizes, QUANTILES)),
        rms=rms,
        zeros=int((before == 0).sum()),
        passing=tuple(
            float(through[sizes < threshold * rms].sum()) / total if total else 0.0
            for threshold in THRESHOLDS
        ),
    )
