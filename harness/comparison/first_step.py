"""Whose step made the first relevance that differs.

``R[name]`` is what reached the output of layer ``name``: the layers that read it made it, each by its own step. The
first relevance that differs, from the output backwards, therefore tells of its readers: of the reader, where there is
one; else the two sides' steps are run on the reference's activations and relevance, one reader at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np

from harness.backends import Steps, step_on_copies, unanswered
from harness.comparison.floor import MULTIPLE, NoiseFloor
from harness.graph import Graph, shares_by_source
from harness.methods import Backward
from harness.trace import LayerTrace, Trace


class FirstStep(NamedTuple):
    """``layer``: the one whose step made the first relevance that differs. ``note``: what could not be told."""

    layer: str
    note: str | None = None


class BothSteps(NamedTuple):
    """The single steps of both sides, and the graph that they are run on."""

    graph: Graph
    reference: Steps
    candidate: Steps


def first_step(
    received: str,
    compared: Collection[str],
    reference: Trace,
    candidate: Trace,
    floor: NoiseFloor,
    steps: BothSteps | None,
) -> FirstStep:
    """Whose step made the relevance of ``received``, the first that differs from the output backwards.

    ``steps``: None where a side has none.
    ``compared``: the layers whose relevance both sides show. A reader that is not among them may have inherited what
    differs, from its own readers: those are asked as well.

    It is ``received`` itself where nothing with relevance reads it (the output: the start differs), and where the
    readers cannot be told apart: which layer reads which is not known, a side runs no single steps, or every
    reader's step agrees, so that what differs is how their shares are added. A note says which.
    """
    sources = {name: _inputs(name, reference, candidate) for name in reference.layers}
    if any(inputs is None for inputs in sources.values()):
        return FirstStep(
            received, f"which layers read {received} is not known, so it is named instead of them"
        )
    readers = {
        name: tuple(
            reader
            for reader in reversed(sources)
            if name in (sources[reader] or ()) and _carries(reference.layers[reader])
        )
        for name in sources
    }
    suspects = _suspects(received, compared, readers)
    if len(suspects) < 2:
        return FirstStep(suspects[0] if suspects else received)
    origin = f"the relevance of {received} comes from {' and '.join(suspects)}"
    places = {received, *(name for name in suspects if name not in compared)}
    differing = None if steps is None else _differing(places, suspects, reference, floor, steps)
    if differing is None:
        return FirstStep(
            received, f"{origin}; which of them differs cannot be told without their single steps"
        )
    if not differing:
        return FirstStep(
            received, f"{origin}, whose own steps agree: what differs is how their shares are added"
        )
    return FirstStep(differing[0])


def returns_nothing(name: str, reference: Trace, steps: BothSteps) -> tuple[str, ...]:
    """The layers read by ``name`` for which the candidate's step returns nothing where the reference's has relevance.

    Zeros are something: a step that was cut off returns none. Empty where no such step can be run.
    """
    layer = steps.graph[name]
    shown = [reference.layers[source].activation for source in layer.inputs]
    relevance = reference.layers[name].relevance
    if not isinstance(reference.method.procedure, Backward) or relevance is None or not shown:
        return ()
    if any(x is None for x in shown):
        return ()
    operands = (layer, tuple(np.asarray(x) for x in shown), np.asarray(relevance), reference.method)
    try:
        missing = unanswered(steps.candidate, *operands)
        expected = step_on_copies(steps.reference, *operands) if missing else ()
    except Exception:  # a candidate that cannot run the step is no evidence about it
        return ()
    return tuple(dict.fromkeys(layer.inputs[place] for place in missing if expected[place].any()))


def _inputs(name: str, reference: Trace, candidate: Trace) -> tuple[str, ...] | None:
    """The layers that ``name`` reads, as either trace knows it."""
    for trace in (reference, candidate):
        if name in trace.layers and trace.layers[name].inputs is not None:
            return trace.layers[name].inputs
    return None


def _carries(layer: LayerTrace) -> bool:
    """Whether relevance may pass through ``layer``: it is not all zero, as behind a layer that leads nowhere."""
    return layer.relevance is None or bool(layer.relevance.any())


def _suspects(
    received: str, compared: Collection[str], readers: dict[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """The layers that may have made the relevance of ``received`` differ, in backward order."""
    suspects: set[str] = set()
    waiting = [received]
    while waiting:
        for reader in readers[waiting.pop()]:
            if reader not in suspects:
                suspects.add(reader)
                if reader not in compared:
                    waiting.append(reader)
    return tuple(name for name in reversed(readers) if name in suspects)


def _differing(
    places: Collection[str],
    suspects: tuple[str, ...],
    reference: Trace,
    floor: NoiseFloor,
    steps: BothSteps,
) -> list[str] | None:
    """Those of ``suspects`` whose steps pass something else to one of ``places``; None where no steps can be run."""
    if not isinstance(reference.method.procedure, Backward):
        return None
    try:
        return [
            name
            for name in suspects
            if any(
                not distance <= MULTIPLE * floor.of_relevance(place)
                for place, distance in _apart(name, reference, steps)
                if place in places
            )
        ]
    except Exception:  # a candidate that cannot run one of these steps is no evidence about it
        return None


def _apart(name: str, reference: Trace, steps: BothSteps) -> Iterator[tuple[str, float]]:
    """How far what one step passes to each input differs, relative to all that the input receives (L2)."""
    graph, run = steps.graph, reference.layers
    layer = graph[name]
    inputs = tuple(np.asarray(run[source].activation) for source in layer.inputs)
    relevance = np.asarray(run[name].relevance)
    rectified = reference.method.composite.rectified_sources(graph)
    one, other = (
        shares_by_source(layer, step_on_copies(side, layer, inputs, relevance, reference.method), rectified)
        for side in (steps.reference, steps.candidate)
    )
    for source, share in one.items():
        size = float(np.linalg.norm(np.asarray(run[source].relevance, np.float64)))
        distance = float(np.linalg.norm(np.asarray(other[source], np.float64) - share))
        yield source, distance / size if distance else 0.0
