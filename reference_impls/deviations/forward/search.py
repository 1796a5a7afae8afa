"""All readings of what a layer does differently in its forward pass, tried on what is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from harness.steps import Deviation, ForwardStep
from reference_impls.deviations.formats import FLOAT32
from reference_impls.deviations.forward import (
    activation,
    attention,
    branches,
    channels,
    ends,
    epsilon,
    layout,
    lines,
    normalisation,
    padding,
    pooling,
    precision,
    preprocessing,
    solved,
    weights,
)
from reference_impls.deviations.forward.sight import Sight, look

Reader = Callable[[ForwardStep, Sight], Iterator[Deviation]]
#: Of readings that fit alike the one that is named first comes first.
READERS: tuple[Reader, ...] = (
    ends.softmax_kept,
    preprocessing.readings,
    padding.readings,
    epsilon.readings,
    normalisation.readings,
    attention.readings,
    pooling.readings,
    activation.readings,
    layout.readings,
    branches.readings,
    weights.readings,
    channels.readings,
    lines.readings,
    precision.readings,
    ends.scaled,
)
#: Long lists, and systems of equations: looked at where the others leave more than this of the difference.
LAST_READERS: tuple[Reader, ...] = (weights.misread, solved.readings)
EXPLAINED = 1e-4
#: How many are returned: the caller computes a whole step for each, and one for each pair.
MOST_SPECIFIC, MOST_GENERIC = 12, 4


@dataclass(frozen=True)
class _Tried:
    deviation: Deviation
    residual: float


def forward_deviations(step: ForwardStep, observed: np.ndarray) -> list[Deviation]:
    """What may be done differently at ``step`` so that ``observed`` (batch, *shape) comes out.

    Only what brings the step nearer to ``observed`` is returned, the nearest first (those that come as near as
    rounding tells apart, the specific before the generic, in the order of :data:`READERS`), at most a dozen
    and four generic ones. Of a large layer some positions are looked at (:mod:`.sight`); whoever carries a
    deviation out does so on the whole. Nothing is returned where the step already is
    ``observed``.
    """
    with np.errstate(all="ignore"):  # Whatever overflows or divides by zero fits nothing and is dropped.
        output_shape = (len(step.inputs[0]), *step.layer.shape)
        if observed.shape != output_shape:
            return list(_reshaped(step, observed))
        sight = look(step, observed)
        now = sight.residual(step)
        if now == 0:
            return []
        tried = list(_tried(sight, chain(ends.not_finite(step, observed), _read(READERS, sight))))
        if min((each.residual for each in tried), default=now) > EXPLAINED * now:
            tried += _tried(sight, _read(LAST_READERS, sight))
        rounding = 2.0**-24 if FLOAT32.holds(sight.seen) else 2.0**-53
    return _ordered([each for each in tried if each.residual < now], rounding)


def _read(readers: tuple[Reader, ...], sight: Sight) -> Iterator[Deviation]:
    return chain.from_iterable(reader(sight.step, sight) for reader in readers)


def _tried(sight: Sight, deviations: Iterable[Deviation]) -> Iterator[_Tried]:
    known: set[tuple[str, str]] = set()
    for deviation in deviations:
        # A value that is a habit may also have been solved for: the same in other words is the same.
        if (key := (deviation.cause, deviation.words)) not in known:
            known.add(key)
            yield _Tried(deviation, sight.residual(deviation.alter(sight.step)))


def _reshaped(step: ForwardStep, observed: np.ndarray) -> Iterator[Deviation]:
    """What gives an output of another shape."""
    shape = observed.shape[1:]
    if observed.shape[0] != len(step.inputs[0]):
        return
    yield from padding.resized(step, shape)
    yield from pooling.resized(step, shape)
    yield from layout.resized(step, shape)


def _ordered(tried: list[_Tried], rounding: float) -> list[Deviation]:
    if not tried:
        return []
    best = min(each.residual for each in tried)
    # What is right is off by the rounding of the observed values and of some operations: they tell no two apart.
    alike = max(2.0 * best, 4.0 * rounding)
    ranked = sorted(tried, key=lambda each: (max(each.residual, alike), each.deviation.generic))
    specific = [each.deviation for each in ranked if not each.deviation.generic][:MOST_SPECIFIC]
    generic = [each.deviation for each in ranked if each.deviation.generic][:MOST_GENERIC]
    return [each.deviation for each in ranked if each.deviation in specific or each.deviation in generic]
