"""What is taken over a whole tensor, for a step that is an excerpt of one as well as for a step that is not.

Every function gives one value for each sample of the whole, (samples,); :func:`of_rows` brings them to the rows of
the step. They are computed once for each whole step and kept as long as it lives.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from harness.steps import Step

_KEPT: WeakKeyDictionary[Step, dict[Hashable, Any]] = WeakKeyDictionary()


def whole_of(step: Step) -> Step:
    """The step that ``step`` is an excerpt of, or itself."""
    return step if step.whole is None else step.whole


def has_whole_input(step: Step) -> bool:
    """Whether ``step`` has all of the layer's input: it is no excerpt, or one of a few outputs in all places."""
    return step.inputs[0].shape == whole_of(step).inputs[0].shape


def with_all_outputs(step: Step) -> Step:
    """The step of the whole layer, with relevance at the outputs of ``step`` alone; itself where it is no excerpt.

    For one that :func:`has_whole_input`, with the weights of its layer as they are.
    """
    if step.whole is None:
        return step
    relevance = np.zeros_like(step.whole.relevance)
    relevance[..., step.units] = step.relevance
    return replace(step, layer=step.whole.layer, relevance=relevance, whole=None, rows=None, units=None)


def samples_of(step: Step) -> int:
    """How many samples the whole batch has."""
    return int(whole_of(step).relevance.shape[0])


def of_rows(step: Step, values: np.ndarray, z: np.ndarray) -> np.ndarray:
    """``values`` (one a sample, or one for all) in a shape that broadcasts to ``z`` (rows, ...)."""
    values = np.broadcast_to(values, (samples_of(step),))
    chosen = values if step.whole is None or step.rows is None else values[step.rows]
    return chosen.reshape(-1, *(1 for _ in z.shape[1:]))


def spread(step: Step, ddof: int = 0, statistic: str = "std", over: str = "sample") -> np.ndarray:
    """A statistic of the values of each sample's layer input, or of the whole batch's (``over="batch"``).

    ``statistic``: "std" (with ``ddof``), "std1" (with ddof 1), "variance", "rms", "largest" (of the absolute values),
    "mean" (of the absolute values), "upper" (std of the positive parts).
    """
    whole = whole_of(step)
    return _kept(
        whole, ("spread", ddof, statistic, over), lambda: statistic_of(whole.inputs[0], statistic, over, ddof)
    )


def statistic_of(values: np.ndarray, statistic: str, over: str, ddof: int) -> np.ndarray:
    """One of :data:`STATISTICS` of each sample of ``values``, (samples,), or of the whole batch, (1,)."""
    return STATISTICS[statistic](values.reshape(1 if over == "batch" else len(values), -1), ddof)


#: From (samples, values) to (samples,).
STATISTICS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "std": lambda x, ddof: x.std(axis=1, ddof=min(ddof, x.shape[1] - 1)),
    "std1": lambda x, ddof: x.std(axis=1, ddof=min(1, x.shape[1] - 1)),
    "variance": lambda x, ddof: x.var(axis=1),
    "rms": lambda x, ddof: np.sqrt((x**2).mean(axis=1)),
    "largest": lambda x, ddof: np.abs(x).max(axis=1),
    "mean": lambda x, ddof: np.abs(x).mean(axis=1),
    "upper": lambda x, ddof: np.maximum(x, 0.0).std(axis=1),
}


def spread_of_z(
    step: Step, z: np.ndarray, statistic: str, over: str, carry_out: Callable[[Step], Any], ddof: int = 0
) -> np.ndarray:
    """:func:`spread` of ``z`` instead of the input.

    For an excerpt it is that of the whole step's ``z`` under the same rule, which is carried out once
    for it; ``notes["division"]`` says which ``z`` is meant where the rule has two.
    """
    if step.whole is None:
        return statistic_of(z, statistic, over, ddof)
    whole = step.whole
    key = ("spread_of_z", step.rule)
    every = _kept(whole, key, lambda: _spreads_of_z(replace(whole, rule=step.rule), carry_out))
    return np.asarray(every[step.notes.get("division", 0)][statistic, over, ddof])


#: The statistics of ``z`` that somebody divides by.
OF_Z = (
    *(("std", over, ddof) for over in ("sample", "batch") for ddof in (0, 1)),
    *(("rms", over, 0) for over in ("sample", "batch")),
)


def _spreads_of_z(
    whole: Step, carry_out: Callable[[Step], Any]
) -> tuple[dict[tuple[str, str, int], np.ndarray], ...]:
    seen: list[dict[tuple[str, str, int], np.ndarray]] = []

    def record(step: Step, z: np.ndarray) -> np.ndarray:
        seen.append({each: statistic_of(z, *each) for each in OF_Z})
        return np.ones(z.shape)

    carry_out(replace(whole, denominator=record))
    return tuple(seen)


def _kept(whole: Step, key: Hashable, compute: Callable[[], Any]) -> Any:
    kept = _KEPT.setdefault(whole, {})
    if key not in kept:
        kept[key] = compute()
    return kept[key]
