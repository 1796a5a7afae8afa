"""What a run alone shows of steps: tensors that receive something else, and the layers that read them.

The relevance of a tensor is the sum of its readers' shares. The sum does not say which of them passed something else:
each is looked at beside the others as the reference has them, or as they have been explained.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from harness.diagnosis.case import Case
from harness.diagnosis.localise import Introduced
from harness.diagnosis.measure import apart, explained
from harness.diagnosis.search import Hypothesis
from harness.graph import Layer, shares_by_source
from harness.steps import Arrays, Step
from harness.trace import Trace


@dataclass(frozen=True, eq=False)
class Readers:
    """A tensor whose relevance is not the sum of what the reference passes to it, and the layers that read it.

    ``source``: the layer that makes the tensor. ``steps``: those of its readers, on the candidate's own activations and
    relevance; ``shares``: what the reference makes of them. ``relevance``: what the tensor receives. ``floor``: what
    rounding explains. ``rectified``: the tensors whose shares are rectified.
    """

    source: str
    steps: tuple[Step, ...]
    shares: tuple[Arrays, ...]
    relevance: np.ndarray
    floor: float
    rectified: Collection[str]

    def passed(self, step: Step, shares: Arrays) -> np.ndarray:
        """What a reader passes to the tensor: it may read it more than once."""
        return shares_by_source(step.layer, shares, self.rectified)[self.source]

    @cached_property
    def error(self) -> float:
        """How far what the tensor receives is from what the reference passes to it, as `left` has it."""
        return self.left(self.passed_by_the_reference())

    @property
    def differs(self) -> bool:
        """Whether rounding does not explain the error."""
        return not explained(self.error, self.floor)

    def one_by_one(self) -> list[Introduced]:
        """The step of each reader, where the others do as the reference does."""
        passed = self.passed_by_the_reference()
        return [self.beside(place, passed) for place in range(len(self.steps))]

    def passed_by_the_reference(self) -> list[np.ndarray]:
        """What each reader passes to the tensor where it does as the reference does."""
        return [self.passed(*each) for each in zip(self.steps, self.shares, strict=True)]

    def beside(self, place: int, passed: Sequence[np.ndarray]) -> Introduced:
        """The step of the reader at ``place``, where the others pass what ``passed`` has of them."""
        step, shares = self.steps[place], self.shares[place]
        if self.source in self.rectified:
            step = replace(step, after=(*step.after, partial(_rectified, self.source)))
            shares = _rectified(self.source, step, shares)
        own = shares_by_source(step.layer, shares)[self.source]
        rest = self.relevance - sum(each for at, each in enumerate(passed) if at != place)
        places = step.layer.inputs.count(self.source)
        observed = tuple(
            rest / places + (share - own / places) if source == self.source else None
            for source, share in zip(step.layer.inputs, shares, strict=True)
        )
        # What is left of a sum has the rounding of all that was added.
        rounding = self.floor * float(np.linalg.norm(self.relevance)) if len(self.steps) > 1 else 0.0
        size = float(np.linalg.norm(own))
        floor = max(self.floor, rounding / size) if size and np.isfinite(rounding) else self.floor
        error = apart(shares, observed)
        return Introduced(step, shares, observed, error, floor, in_run=True, rounding=rounding)

    def left(self, passed: Sequence[np.ndarray]) -> float:
        """How far the relevance is from the sum of ``passed``: relative L2, of all that the reference adds up there."""
        total = np.asarray(sum(passed))
        parts = [
            share
            for step, shares in zip(self.steps, self.shares, strict=True)
            for source, share in zip(step.layer.inputs, shares, strict=True)
            if source == self.source
        ]
        return _of_the_parts(apart((total,), (self.relevance,)), total, self.relevance, parts)


def seen(case: Case, run: Trace, unclear: Collection[str]) -> Iterator[Readers]:
    """Every tensor that receives something else than the reference's steps pass to it, as far as the run shows it.

    Also those where rounding explains it, but not the order of a sum alone: `Readers.differs` tells the two apart.
    Layers of ``unclear`` are left out: their forward pass is wrong in a way that cannot be said as another layer.
    """
    for name in [layer.name for layer in reversed(case.graph.layers)]:
        readers = readers_of(case, run, name, unclear)
        if readers is None or not readers.differs:
            continue
        each = zip(readers.steps, readers.shares, strict=True)
        floors = (case.step_floor(step, shares, readers.error) for step, shares in each)
        yield replace(readers, floor=max([readers.floor, *floors]))


def readers_of(case: Case, run: Trace, name: str, unclear: Collection[str] = ()) -> Readers | None:
    """The layers that read the output of layer ``name``, and what it receives; the floor is that of one sum.

    None where nothing reads it or the run does not show enough: its own relevance, and that and the inputs of all of
    its readers. A reader that reads the tensor twice shows its share alone: what differs is spread evenly over the two
    places. Shares may cancel: what differs is measured against all that was added up.
    """
    relevance = run.layers[name].relevance if name in run.layers else None
    layers_that_read = case.graph.consumers(name)
    if relevance is None or not layers_that_read:
        return None
    if any(reader.name in unclear or not _known(reader, run) for reader in layers_that_read):
        return None
    steps = tuple(_own_step(case, reader, run) for reader in layers_that_read)
    shares = tuple(case.expected(step) for step in steps)
    least = max(case.least(step) for step in steps)
    rectified = case.method.composite.rectified_sources(case.graph)
    return Readers(name, steps, shares, np.asarray(relevance), least, rectified)


def passed_if(case: Case, readers: Readers, step: Step, hypothesis: Hypothesis) -> np.ndarray | None:
    """What a reader passes to the tensor if it does what ``hypothesis`` says; None where that cannot be said of it."""
    try:
        with np.errstate(all="ignore"):
            shares = case.oracle.carry_out(hypothesis.alter(step))
    except Exception:
        return None  # made for a rule with other parts
    return readers.passed(step, shares)


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
