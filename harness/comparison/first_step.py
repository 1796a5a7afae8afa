"""Whose step made the first relevance that differs.

``R[name]`` is what reached the output of layer ``name``: the layers that read it made it, each by its own step. The
first relevance that differs, from the output backwards, therefore tells of its readers: of the reader, where there is
one; else the two sides' steps are run on the reference's activations and relevance, one reader at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np

from harness.backends.protocol import Steps
from harness.comparison.floor import MULTIPLE, NoiseFloor
from harness.graph import Graph
from harness.methods import Backward
from harness.shares import rectified_sources, shares_by_source
from harness.trace import LayerTrace, Trace


class FirstStep(NamedTuple):
    """``layer``: the one whose step made the first relevance that differs. ``note``: what could not be told."""

    layer: str
    note: str | None = None


def first_step(
    received: str, compared: Collection[str], reference: Trace, candidate: Trace, floor: NoiseFloor
) -> FirstStep:
    """Whose step made the relevance of ``received``, the first that differs from the output backwards.

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
    said = f"the relevance of {received} comes from {' and '.join(suspects)}"
    places = {received, *(name for name in suspects if name not in compared)}
    differing = _differing(places, suspects, reference, candidate, floor)
    if differing is None:
        return FirstStep(received, f"{said}; which of them differs cannot be told without their single steps")
    if not differing:
        return FirstStep(
            received, f"{said}, whose own steps agree: what differs is how their shares are added"
        )
    return FirstStep(differing[0])


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
    found: set[str] = set()
    waiting = [received]
    while waiting:
        for reader in readers[waiting.pop()]:
            if reader not in found:
                found.add(reader)
                if reader not in compared:
                    waiting.append(reader)
    return tuple(name for name in reversed(readers) if name in found)


def _differing(
    places: Collection[str], suspects: tuple[str, ...], reference: Trace, candidate: Trace, floor: NoiseFloor
) -> list[str] | None:
    """Those of ``suspects`` whose steps pass something else to one of ``places``; None where no steps can be run."""
    reference_steps, candidate_steps = (
        trace.rerun and trace.rerun.prepared for trace in (reference, candidate)
    )
    if not (isinstance(reference_steps, Steps) and isinstance(candidate_steps, Steps)):
        return None
    if not isinstance(reference.method.procedure, Backward):
        return None
    graph: Graph = reference.rerun.model.graph
    try:
        return [
            name
            for name in suspects
            if any(
                not distance <= MULTIPLE * floor.of_relevance(place)
                for place, distance in _apart(name, graph, reference, reference_steps, candidate_steps)
                if place in places
            )
        ]
    except Exception:  # a candidate that cannot run one of these steps is no evidence about it
        return None


def _apart(
    name: str, graph: Graph, reference: Trace, reference_steps: Steps, candidate_steps: Steps
) -> Iterator[tuple[str, float]]:
    """How far what one step passes to each input differs, relative to all that the input receives (L2)."""
    layer, run = graph[name], reference.layers
    inputs = tuple(np.asarray(run[source].activation) for source in layer.inputs)
    relevance = np.asarray(run[name].relevance)
    rectified = rectified_sources(graph, reference.method.composite.assign(graph))
    one, other = (
        shares_by_source(layer, side.propagate(layer, inputs, relevance, reference.method), rectified)
        for side in (reference_steps, candidate_steps)
    )
    for source, share in one.items():
        size = float(np.linalg.norm(np.asarray(run[source].relevance, np.float64)))
        distance = float(np.linalg.norm(np.asarray(other[source], np.float64) - share))
        yield source, distance / size if distance else 0.0
