"""Which layers do something different on their own account: one step at a time, on the same operands."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from harness.diagnosis.case import Case
from harness.diagnosis.measure import apart, explained
from harness.graph import Layer
from harness.steps import Arrays, Step


@dataclass(frozen=True, eq=False)
class Introduced:
    """A layer's step on both sides, from the same inputs and relevance.

    ``error``: largest relative L2 distance over the edges to its inputs. ``floor``: what rounding explains.
    ``observed``: the candidate's result, None for edges that were not seen. ``expected``: the reference's. ``in_run``:
    the result is what the candidate's whole run shows; its step by itself may give another. ``rounding``: that of
    ``observed`` itself, L2, where it is what is left of a larger sum; 0 where it has none but the step's own.
    """

    step: Step
    expected: Arrays
    observed: tuple[np.ndarray | None, ...]
    error: float
    floor: float
    message: str | None = None
    in_run: bool = False
    rounding: float = 0.0

    @property
    def layer(self) -> Layer:
        return self.step.layer

    @property
    def seen(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The reference's array and the candidate's, of every edge that was seen."""
        edges = zip(self.expected, self.observed, strict=True)
        return [(reference, candidate) for reference, candidate in edges if candidate is not None]

    @property
    def differs(self) -> bool:
        """Whether rounding does not explain the error."""
        return not explained(self.error, self.floor)


def introduced(case: Case, unclear: Collection[str]) -> Iterator[Introduced]:
    """Every layer's step in backward order, on the activations and relevance of the reference's run.

    Those of ``unclear`` are left out: their forward pass is wrong in a way that cannot be said as another layer.

    Only the results of layers that differ are worth keeping: they are large.
    """
    for layer in reversed(case.graph.layers):
        if layer.name not in unclear:
            step = introduced_by(case, layer)
            if step is not None:
                yield step


def introduced_by(case: Case, layer: Layer) -> Introduced | None:
    """The step of ``layer``; None where it has none, or the reference's run does not show its operands."""
    if not layer.inputs or _lacks(case, layer):
        return None
    relevance = case.operands[layer.name].relevance
    inputs = [case.operands[name].activation for name in layer.inputs]
    if relevance is None or any(x is None for x in inputs):
        return None
    kept = _kept(relevance)
    step = case.step(layer, tuple(np.asarray(x) for x in inputs), kept)
    shown = case.shown(step) if kept is relevance else None
    return of_step(case, step, shown or case.expected(step))


def _lacks(case: Case, layer: Layer) -> bool:
    """Whether the candidate is a port without this layer, which changes nothing on this input."""
    return bool(case.candidate_run.layers) and layer.name not in case.candidate_run.layers


def _kept(relevance: np.ndarray) -> np.ndarray:
    """``relevance`` itself where all of it is finite; else what is left of it, in the range of 1.

    Behind an overflow, how far NaN spreads depends on how the sums are made: a step is judged by what can still be
    told. A power of two changes no digit.
    """
    finite = np.isfinite(relevance)
    if finite.all():
        return relevance
    left = np.where(finite, relevance, 0)
    _, exponent = np.frexp(np.abs(left).max(initial=0))
    return np.ldexp(left, -exponent)


def of_step(case: Case, step: Step, expected: Arrays) -> Introduced:
    """One step on both sides. ``expected``: the reference's result."""
    least = case.least(step)
    try:
        observed = case.observed(step)
    except Exception as raised:
        # Whatever the candidate's code raises is a finding about it, not a failure of the diagnosis.
        message = f"raised {type(raised).__name__}: {' '.join(str(raised).split())}"
        return Introduced(step, expected, (None,) * len(expected), float("inf"), least, message)
    error = apart(expected, observed)
    floor = least if explained(error, least) else case.step_floor(step, expected, error)
    return Introduced(step, expected, observed, error, floor)
