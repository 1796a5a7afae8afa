"""Which layers do something different on their own account: one step at a time, on the same operands."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from harness.diagnosis.case import Case
from harness.diagnosis.measure import apart, explained
from harness.graph import Layer, shares_by_source
from harness.steps import Arrays, Step
from harness.trace import Trace


@dataclass(frozen=True, eq=False)
class Introduced:
    """A layer's step on both sides, from the same inputs and relevance.

    ``error``: largest relative L2 distance over the edges to its inputs. ``floor``: what rounding explains.
    ``observed``: the candidate's result, None for edges that were not seen. ``expected``: the reference's. ``in_run``:
    the result is what the candidate's whole run shows; its step by itself may give another.
    """

    step: Step
    expected: Arrays
    observed: tuple[np.ndarray | None, ...]
    error: float
    floor: float
    message: str | None = None
    in_run: bool = False

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


def seen(case: Case, run: Trace, unclear: Collection[str]) -> Iterator[Introduced]:
    """Every step as far as the candidate's own run shows it: on its own activations and relevance.

    The relevance of a tensor is the sum of its readers' shares, rectified where its rule asks for it. What one
    reader passed is that sum less what the reference would pass for the others; only tensors whose readers'
    relevance is known count. A reader that reads the tensor twice shows its share alone: what differs is spread
    evenly over the two places. Shares may cancel: what differs is measured against all that was added up.
    """
    layers = run.layers
    rectified = case.method.composite.rectified_sources(case.graph)
    for name in [layer.name for layer in reversed(case.graph.layers)]:
        relevance = layers[name].relevance if name in layers else None
        readers = case.graph.consumers(name)
        if relevance is None or not readers or not all(_known(reader, run) for reader in readers):
            continue
        if any(reader.name in unclear for reader in readers):
            continue
        steps = [_own_step(case, reader, run) for reader in readers]
        expected = [case.expected(step) for step in steps]
        passed = [
            shares_by_source(step.layer, shares, rectified)[name]
            for step, shares in zip(steps, expected, strict=True)
        ]
        total = np.asarray(sum(passed))
        parts = [
            share
            for step, shares in zip(steps, expected, strict=True)
            for source, share in zip(step.layer.inputs, shares, strict=True)
            if source == name
        ]
        error = _of_the_parts(apart((total,), (relevance,)), total, relevance, parts)
        least = max(case.least(step) for step in steps)
        if explained(error, least):
            continue
        floors = (case.step_floor(step, shares, error) for step, shares in zip(steps, expected, strict=True))
        floor = max([least, *floors])
        if explained(error, floor):
            continue
        if name in rectified:
            steps = [replace(step, after=(partial(_rectified, name),)) for step in steps]
            expected = [_rectified(name, step, shares) for step, shares in zip(steps, expected, strict=True)]
        for step, shares, own in zip(steps, expected, passed, strict=True):
            rest = relevance - (total - own)
            places = step.layer.inputs.count(name)
            observed = tuple(
                rest / places + (share - own / places) if source == name else None
                for source, share in zip(step.layer.inputs, shares, strict=True)
            )
            yield Introduced(step, shares, observed, apart(shares, observed), floor, in_run=True)


def _of_the_parts(
    error: float, total: np.ndarray, observed: np.ndarray, parts: Sequence[np.ndarray]
) -> float:
    """``error``, that of ``observed`` relative to ``total``, relative to all the parts of ``total`` (L2)."""
    size = sum(float(np.linalg.norm(part)) for part in parts)
    if not error or not np.isfinite(size) or not size:
        return error
    distance = float(np.linalg.norm(np.asarray(observed, np.float64) - total))
    return distance / size if np.isfinite(distance) else error


def _rectified(name: str, step: Step, shares: Arrays) -> Arrays:
    """``shares`` with those of ``name`` made to sum to their positive part: no more can be seen of them."""
    share = shares_by_source(step.layer, shares)[name]
    kept, places = share > 0, step.layer.inputs.count(name)
    return tuple(
        np.where(kept, part, part - share / places) if source == name else part
        for source, part in zip(step.layer.inputs, shares, strict=True)
    )


def _known(layer: Layer, run: Trace) -> bool:
    return (
        layer.name in run.layers
        and run.layers[layer.name].relevance is not None
        and all(name in run.layers and run.layers[name].activation is not None for name in layer.inputs)
    )


def _own_step(case: Case, layer: Layer, run: Trace) -> Step:
    inputs = tuple(np.asarray(run.layers[name].activation) for name in layer.inputs)
    return case.step(layer, inputs, np.asarray(run.layers[layer.name].relevance))
