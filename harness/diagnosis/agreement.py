"""Whether the two sides differ at all: every tensor that both runs show, against what rounding explains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from harness.comparison.floor import NoiseFloor
from harness.comparison.verdict import HIGH_FLOOR
from harness.diagnosis.case import Case
from harness.diagnosis.measure import apart, explained
from harness.engine import compare, engine, floor_of
from harness.trace import Trace

#: In float64 no rounding brings two runs of one function further apart than this without a denominator near zero.
FAR = 1e-9


def agree(case: Case) -> bool:
    """Whether no more than rounding lies between the sides, on equal ground where the floor is high."""
    return not doubtful(case) or same_numbers(case)


def same_numbers(case: Case) -> bool:
    """Whether the comparison passes but for what a run leaves changed, which is a finding of its own."""
    return replace(compare(case.reference_run, case.candidate_run), state=None).passed


def doubtful(case: Case) -> bool:
    """Whether anything is further apart than the reference's noise floor explains, or that floor is high."""
    reference, candidate = case.reference_run, case.candidate_run
    floor = floor_of(engine(), reference)
    return any(
        not explained(distance, allowed) or allowed > HIGH_FLOOR
        for distance, allowed in _distances(reference, candidate, floor)
    )


def _distances(reference: Trace, candidate: Trace, floor: NoiseFloor) -> Iterator[tuple[float, float]]:
    """Every tensor that both runs show: how far apart, and the floor."""
    yield apart((reference.attribution_array,), (candidate.attribution_array,)), floor.of_attribution()
    for each in reference.inputs:
        part, beside = (run.attribution_array[:, each.places] for run in (reference, candidate))
        yield apart((part,), (beside,)), floor.of_attribution(each.name)
    yield (
        apart((reference.logits,), (candidate.logits,)),
        floor.of_activation(next(reversed(reference.layers), "")),
    )
    for name, layer in reference.layers.items():
        other = candidate.layers.get(name)
        if other is None:
            continue
        if layer.activation is not None and other.activation is not None:
            yield apart((layer.activation,), (other.activation,)), floor.of_activation(name)
        if layer.relevance is not None and other.relevance is not None:
            yield apart((layer.relevance,), (other.relevance,)), floor.of_relevance(name)


def far_apart(case: Case) -> bool:
    """Whether the sides are further apart than float64 rounding could be expected to bring them."""
    nothing = NoiseFloor(case.dtype, "", 0.0)
    return any(distance > FAR for distance, _ in _distances(case.reference_run, case.candidate_run, nothing))
