"""The first NaN or infinity of a run, and the division or the overflow that it came from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.divisions import Division, Stage
from harness.graph import Graph, Layer
from harness.stability.arrays import place_of
from harness.stability.denominators import stages_with_relevance
from harness.stability.figures import Origin
from harness.trace import LayerTrace


def before_any_step(graph: Graph, layers: Mapping[str, LayerTrace]) -> Origin | None:
    """NaN or infinity in an activation (the first in forward order), or in the relevance of the output."""
    for layer in graph:
        activation = layers[layer.name].activation
        if activation is not None and not np.isfinite(activation).all():
            return _at(layer, "forward", ~np.isfinite(activation))
    output = graph[graph.output]
    start = np.asarray(layers[output.name].relevance)
    return None if np.isfinite(start).all() else _at(output, "head", ~np.isfinite(start))


def of_step(
    layer: Layer, stages: tuple[Stage, ...], relevance: np.ndarray, activation: np.ndarray, dtype: str
) -> Origin:
    """Why the step of ``layer`` passes NaN or infinity down although ``relevance`` (its output's) is finite.

    ``stages`` are in float64, ``activation`` is the layer's output in the run. A denominator is zero where it is
    in ``dtype``: where its float64 value rounds to zero, or, where the stabilizer adds nothing, where the run's
    own output is exactly zero though float64 has a trace of a cancelled sum left.
    """
    divisions = [
        (division, division.counted(received))
        for stage, received in stages_with_relevance(stages, relevance)
        for division in stage
    ]
    for zero_in in (_rounds_to_zero, _unprotected_zero_output):
        for division, divided in divisions:
            zero = zero_in(division, activation, dtype)
            if zero is not None and zero.any():
                # R/0 says more than 0/0: relevance is there, and nothing to divide it by.
                with_relevance = zero & (divided != 0)
                kind = "R/0" if with_relevance.any() else "0/0"
                where = with_relevance if with_relevance.any() else zero
                return _divided(layer, kind, where, divided, division)
    for division, divided in divisions:
        with np.errstate(all="ignore"):
            quotients = divided.astype(dtype) / division.stabilized.astype(dtype)
        if not np.isfinite(quotients).all():
            return _divided(layer, "overflow", ~np.isfinite(quotients), divided, division)
    return Origin(layer.name, "unknown", None, 0)


def _rounds_to_zero(division: Division, activation: np.ndarray, dtype: str) -> np.ndarray:
    zero: np.ndarray = division.stabilized.astype(dtype) == 0
    return zero if division.counts is None else zero & division.counts


def _unprotected_zero_output(division: Division, activation: np.ndarray, dtype: str) -> np.ndarray | None:
    if division.denominator.shape != activation.shape:
        return None
    unprotected = division.stabilized == division.denominator
    return unprotected & (activation == 0)


def _divided(layer: Layer, kind: str, where: np.ndarray, divided: np.ndarray, division: Division) -> Origin:
    first = int(np.argmax(where))
    shape = where.shape
    return Origin(
        layer.name,
        kind,  # type: ignore[arg-type]
        place_of(first, shape, layer.axes),
        int(where.sum()),
        float(divided.ravel()[first]),
        float(division.stabilized.ravel()[first]),
    )


def _at(layer: Layer, kind: str, where: np.ndarray) -> Origin:
    place = place_of(int(np.argmax(where)), where.shape, layer.axes)
    return Origin(layer.name, kind, place, int(where.sum()))  # type: ignore[arg-type]
