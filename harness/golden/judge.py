"""A candidate's run held against a golden: tensor by tensor in full, by estimated distances where it is a sketch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import isnan
from typing import Any

import numpy as np

from harness.comparison import Comparison, NoiseFloor, Row, verdict_of
from harness.comparison.first_step import BothSteps
from harness.comparison.metrics import Difference, difference_of
from harness.comparison.rows import ForwardRow
from harness.comparison.verdict import ATTRIBUTION, check_comparable, judge, with_first_divergent
from harness.errors import InvalidInputError
from harness.golden.entry import Golden
from harness.golden.sketch import Sketch, between, distance_from, sketch_of
from harness.trace import LayerTrace, Trace

SKETCHED = "the golden is a sketch: distances are estimated, to about 9 % of themselves"


def against(
    golden: Golden,
    run: Trace,
    steps: Callable[[], BothSteps | None] = lambda: None,
    ground: Callable[[Comparison], Comparison] = lambda comparison: comparison,
) -> Comparison:
    """``run`` compared with what ``golden`` holds. Raises InvalidInputError for a run of another case.

    ``steps``: makes the single steps of both sides; it is called where relevances differ, and its steps are run where
    several layers read the first that does. ``ground``: judges anew what differs by its floor
    (`harness.golden.ground`).

    A floor that is NaN (the reference's own runs had values that are not finite) allows for the order of summation
    alone: less than was measured, never more.
    """
    floor = _usable(golden.floor)
    if golden.form == "full":
        comparison, stored = judge(golden.trace, run, floor), golden.trace
    else:
        comparison, stored = _by_sketch(golden, run, floor), _on_the_candidates(golden, run)
    comparison = ground(comparison)
    differs = comparison.first_different_relevance not in (None, ATTRIBUTION)
    return with_first_divergent(comparison, stored, run, steps() if differs else None)


def distances(one: Golden, other: Golden) -> dict[str, Difference]:
    """How far each tensor of ``other`` is from that of ``one``, of the same case; by "relevance conv1" and so on.

    Tensors that only one has, or that differ in shape, are infinitely far apart.
    """
    left, right = _tensors(one), _tensors(other)
    return {name: _apart(left.get(name), right.get(name)) for name in {**left, **right}}


def _apart(one: Any, other: Any) -> Difference:
    if one is None or other is None or one.shape != other.shape:
        return Difference(float("inf"), float("inf"), False, False)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return difference_of(one, other)
    left, right = (each if isinstance(each, Sketch) else sketch_of(each) for each in (one, other))
    distance = between(left, right)
    return Difference(distance.rel_l2, distance.max_abs, distance.identical, distance.same_finite)


def _tensors(golden: Golden) -> dict[str, Any]:
    tensors: dict[str, Any] = {"logits": golden.trace.logits}
    for layer in golden.trace.layers.values():
        for part in ("activation", "relevance"):
            kept: Mapping[str, Any] = getattr(golden, part)
            array = kept.get(layer.name) if golden.form == "sketch" else getattr(layer, part)
            if array is not None:
                tensors[f"{part} {layer.name}"] = array
    return tensors | {
        ATTRIBUTION: golden.trace.attribution_array if golden.attribution is None else golden.attribution
    }


def _usable(floor: NoiseFloor) -> NoiseFloor:
    def figures(known: Mapping[str, float]) -> dict[str, float]:
        return {name: 0.0 if isnan(figure) else figure for name, figure in known.items()}

    attribution = 0.0 if isnan(floor.attribution) else floor.attribution
    return replace(
        floor,
        attribution=attribution,
        relevance=figures(floor.relevance),
        activation=figures(floor.activation),
    )


def _by_sketch(golden: Golden, run: Trace, floor: NoiseFloor) -> Comparison:
    stored = golden.trace
    check_comparable(stored, run)
    # What a judgement says beside the tensors (state, an unverified pair, layers withheld) it says of these two.
    alone = judge(
        replace(stored, layers={}, attribution_array=run.attribution_array), replace(run, layers={}), floor
    )
    assert golden.attribution is not None
    axes = next(iter(stored.layers.values())).axes if stored.layers else ()
    attribution = _row(
        ATTRIBUTION, ATTRIBUTION, axes, golden.attribution, run.attribution_array, floor.of_attribution()
    )
    relevances, activations = [], []
    for layer in stored.layers.values():
        other = run.layers.get(layer.name)
        if other is None:
            continue
        if other.relevance is not None and layer.name in golden.relevance:
            there = golden.relevance[layer.name]
            of = floor.of_relevance(layer.name)
            relevances.append(_row(layer.name, layer.kind, layer.axes, there, other.relevance, of))
        if other.activation is not None and layer.name in golden.activation:
            there, of = golden.activation[layer.name], floor.of_activation(layer.name)
            row = _row(layer.name, layer.kind, layer.axes, there, other.activation, of)
            far = row.distance
            activations.append(
                ForwardRow(
                    row.layer,
                    row.kind,
                    row.axes,
                    row.shape,
                    Difference(far.rel_l2, far.max_abs, far.identical, far.same_finite),
                    row.floor,
                    row.verdict,
                )
            )
    return replace(
        alone,
        rows=tuple(reversed(relevances)) or (attribution,),
        forward=tuple(activations),
        attribution=attribution,
        notes=(*alone.notes, *_withheld(golden, run), SKETCHED),
    )


def _withheld(golden: Golden, run: Trace) -> tuple[str, ...]:
    missing = [name for name in golden.relevance if name not in run.layers]
    if not missing:
        return ()
    if len(missing) == len(golden.relevance):
        return ("the candidate gave no layers; only the attribution was compared",)
    return (f"the candidate shows {len(golden.relevance) - len(missing)} of {len(golden.relevance)} layers",)


def _on_the_candidates(golden: Golden, run: Trace) -> Trace:
    """The stored run with the candidate's tensors in place of those that a sketch does not hold.

    Up to the first relevance that differs they agree within rounding. Where the candidate shows a layer's relevance
    not, or it is stored as zero everywhere, its projection stands there: as zero as the tensor is.
    """

    def tensors(name: str, layer: LayerTrace) -> LayerTrace:
        other = run.layers.get(name)
        relevance = golden.relevance[name].projection if name in golden.relevance else None
        if other is not None and other.relevance is not None and (relevance is None or relevance.any()):
            relevance = other.relevance
        return replace(layer, relevance=relevance, activation=None if other is None else other.activation)

    layers = {name: tensors(name, layer) for name, layer in golden.trace.layers.items()}
    return replace(golden.trace, layers=layers)


def _row(name: str, kind: str, axes: tuple[str, ...], sketch: Sketch, array: np.ndarray, floor: float) -> Row:
    if sketch.shape != array.shape:
        raise InvalidInputError(
            f"{name}: the golden has shape {sketch.shape}, the candidate {array.shape}; "
            "bring the candidate to the canonical layout"
        )
    distance, of_golden, of_candidate = distance_from(sketch, array)
    verdict = verdict_of(distance, floor)
    return Row(name, kind, axes, sketch.shape, distance, of_golden, of_candidate, floor, verdict)
