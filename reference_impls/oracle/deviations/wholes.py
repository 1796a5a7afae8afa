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

    ``statistic``: "std" (with ``ddof``), "variance", "rms", "largest" (of the absolute values), "mean" (of the
    absolute values).
    """
    whole = whole_of(step)
    return _kept(whole, ("spread", ddof, statistic, over), lambda: _spread(whole, ddof, statistic, over))


def _spread(whole: Step, ddof: int, statistic: str, over: str) -> np.ndarray:
    values = whole.inputs[0].reshape(1 if over == "batch" else len(whole.inputs[0]), -1)
    return STATISTICS[statistic](values, ddof)


#: From (samples, values) to (samples,).
STATISTICS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "std": lambda x, ddof: x.std(axis=1, ddof=min(ddof, x.shape[1] - 1)),
    "variance": lambda x, ddof: x.var(axis=1),
    "rms": lambda x, ddof: np.sqrt((x**2).mean(axis=1)),
    "largest": lambda x, ddof: np.abs(x).max(axis=1),
    "mean": lambda x, ddof: np.abs(x).mean(axis=1),
}


def mean_square(step: Step, z: np.ndarray, over: str, carry_out: Callable[[Step], Any]) -> np.ndarray:
    """The mean square of ``z`` over each sample, or over the whole batch.

    For an excerpt it is that of the whole step's ``z`` under the same rule, which is carried out once
    for it; ``notes["division"]`` says which ``z`` is meant where the rule has two.
    """
    if step.whole is None:
        squares = (z.reshape(len(z), -1) ** 2).mean(axis=1)
    else:
        whole = step.whole
        key = ("mean_square", step.rule)
        every = _kept(whole, key, lambda: _mean_squares(replace(whole, rule=step.rule), carry_out))
        squares = every[step.notes.get("division", 0)]
    return squares if over == "sample" else squares.mean(keepdims=True)


def _mean_squares(whole: Step, carry_out: Callable[[Step], Any]) -> tuple[np.ndarray, ...]:
    seen: list[np.ndarray] = []

    def record(step: Step, z: np.ndarray) -> np.ndarray:
        seen.append((z.reshape(len(z), -1) ** 2).mean(axis=1))
        return np.ones(z.shape)

    carry_out(replace(whole, denominator=record))
    return tuple(seen)


def _kept(whole: Step, key: Hashable, compute: Callable[[], Any]) -> Any:
    kept = _KEPT.setdefault(whole, {})
    if key not in kept:
        kept[key] = compute()
    return kept[key]
