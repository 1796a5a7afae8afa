"""What a verdict rests on beside the two runs: the noise floor, and the reference on equal ground.

All of it is made of ordinary cases, asked of the engine: the same case in the other dtype, the case with everything
moved by rounding, and single steps on the candidate's activations (`harness.comparison.rerun` says why).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from harness.backends import Backend, Steps
from harness.case import Case
from harness.comparison.floor import MULTIPLE, RUNS, NoiseFloor, movement, unit_roundoff, unmeasured
from harness.comparison.known import of_pair
from harness.comparison.metrics import relative_l2
from harness.comparison.postprocess import treated
from harness.comparison.rerun import Ground, walk_back
from harness.comparison.summation import longest_sum
from harness.comparison.verdict import ATTRIBUTION, of_input, results
from harness.engine.cases import Engine
from harness.errors import HarnessError
from harness.files import array_digest, json_digest
from harness.graph import Graph
from harness.methods import Backward, IntegratedGradients, Method, Smoothed
from harness.trace import LayerTrace, Trace


def floor_of(engine: Engine, trace: Trace) -> NoiseFloor:
    """The noise floor of ``trace``, a run of a reference; one unit roundoff where it cannot be run again.

    In float64 the reference runs RUNS times with weights and input moved by one unit in the last place; the floor
    is the largest movement. In float32 it is the distance from the float64 run.
    """
    case, backend = trace.case, trace.executed_by
    if case is None:
        return unmeasured(trace.dtype)
    if trace.floor is not None:
        measured: NoiseFloor = trace.floor
        return measured
    key = engine.key(case, backend)
    if key is not None and key in engine.floors:
        return engine.floors[key]
    case = replace(case, layers=bool(trace.layers))
    if trace.dtype == "float32":
        base, runs = engine.run(case.in_dtype("float64"), backend), [trace]
        how = "distance of the float32 reference from its float64 run"
    else:
        # Without their cases, which hold the moved weights.
        base = trace
        runs = [
            replace(engine.run(moved, backend, keep=False), case=None)
            for moved in engine.moved(case, backend)
        ]
        how = f"largest of {RUNS} runs with weights and input moved by one unit in the last place"
        if any(run.method != case.method for run in runs):
            how += ", standard deviations by their own rounding"
    forward = None if key is None or not trace.layers else _forward_key(case, key)
    known = None if forward is None else engine.activation_floors.get(forward)
    floor = movement(base, runs, case.model.graph, how, known)
    if forward is not None:
        engine.activation_floors[forward] = floor.activation
    trace.floor = floor
    if key is not None:
        engine.floors[key] = floor
    return floor


def raised_floors(engine: Engine, trace: Trace, floor: NoiseFloor) -> Iterator[NoiseFloor]:
    """``floor``, that of ``trace``, raised by what moved weights show in the trace's own dtype, run by run.

    For float32 runs of a method that joins many runs: one of them may put a unit on the other side of a kink, which the
    float64 run shows by chance alone, and there is no equal ground for it. None for all others.
    """
    case, backend = trace.case, trace.executed_by
    if trace.dtype != "float32" or not isinstance(trace.method.procedure, Smoothed | IntegratedGradients):
        return
    case = replace(case, layers=bool(trace.layers))
    for count, moved in enumerate(engine.moved(case, backend), 1):
        run = replace(engine.run(moved, backend, keep=False), case=None)
        how = f"{floor.how.partition(', or')[0]}, or of {count} float32 runs with weights and input moved by rounding"
        one = movement(trace, [run], case.model.graph, how)
        floor = replace(
            one,
            attribution=max(floor.attribution, one.attribution),
            inputs={name: max(floor.inputs.get(name, 0.0), each) for name, each in one.inputs.items()},
            relevance={
                name: max(floor.relevance.get(name, 0.0), each) for name, each in one.relevance.items()
            },
            activation={
                name: max(floor.activation.get(name, 0.0), each) for name, each in one.activation.items()
            },
        )
        yield floor


def _forward_key(case: Case, key: str) -> str:
    """What the activations of a run depend on: its method and target do not count."""
    return json_digest([case.model.digest, array_digest(case.x), case.dtype, key.split()[1]])


def ground_of(
    engine: Engine, candidate: Trace, reference: Trace, layers: Collection[str], measured: bool
) -> dict[str, Ground]:
    """The relevance of ``layers`` on the candidate's activations, from the output backwards.

    ``measured``: whether rounding in the backward pass is measured there; else the bound that no floor is below stands
    for it. Empty where the reference cannot run single steps, the candidate kept no activations, or the method is more
    than one run backwards.
    """
    walked = [each for each in walked_back(engine, reference, candidate, measured) if each[0] in layers]
    # NumPy releases the interpreter for the sums, so the tensors are handled side by side.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = pool.map(lambda each: ground_at(each[0], each[1], each[2], candidate, reference), walked)
        grounds = {name: there for (name, *_), there in zip(walked, found, strict=True) if there is not None}
    if measured:
        _measure_again(engine, candidate, reference, grounds)
    return grounds


def ground_at(
    name: str, relevance: np.ndarray, floor: float, candidate: Trace, reference: Trace
) -> Ground | None:
    """How far both runs are from ``relevance``, that of layer ``name`` on equal ground; None where one shows none."""
    observed, before = candidate.layers[name].relevance, reference.layers[name].relevance
    if observed is None or before is None:
        return None
    return Ground(of_pair(relative_l2, relevance, observed), floor, of_pair(relative_l2, before, relevance))


def ground_of_result(
    engine: Engine, candidate: Trace, reference: Trace, floor: NoiseFloor, measured: bool
) -> dict[str, Ground]:
    """The attribution, and its parts, on the candidate's activations, for a candidate that shows no layers.

    Empty where its activations are not known, are not the reference's to within rounding, or where
    :func:`ground_of` is None as well.
    """
    if candidate.activations is None or not reference.layers:
        return {}
    shown = candidate.activations()
    for name, layer in reference.layers.items():
        if layer.activation is None or name not in shown:
            return {}
        if relative_l2(layer.activation, shown[name]) > MULTIPLE * floor.of_activation(name):
            return {}
    graph = reference.case.model.graph
    layers = {
        layer.name: LayerTrace(layer.name, layer.kind, layer.axes, shown.get(layer.name)) for layer in graph
    }
    shown_run = replace(candidate, layers=layers)
    allowed = {}
    for name, relevance, floor_there in walked_back(engine, reference, shown_run, measured):
        allowed[name] = floor_there
        if name == graph.input.name:
            result = treated(relevance, reference.case.x, candidate.method.postprocess)
            there, before, observed = (
                results(reference.inputs, array)
                for array in (result, reference.attribution_array, candidate.attribution_array)
            )
            places = {row: layer for row, layer in layers_of_results(reference).items() if layer in allowed}
            grounds = {
                layer: Ground(
                    relative_l2(there[row], observed[row]),
                    allowed[layer],
                    relative_l2(before[row], there[row]),
                )
                for row, layer in places.items()
            }
            if measured:
                _measure_again(engine, shown_run, reference, grounds)
            return {row: grounds[layer] for row, layer in places.items()}
    return {}


def layers_of_results(reference: Trace) -> dict[str, str]:
    """By the row of the attribution, or of its part at one of several inputs, the layer whose relevance it is."""
    source = next(iter(reference.layers))
    return {ATTRIBUTION: source} | {of_input(each.name): each.layer for each in reference.inputs}


def _measure_again(engine: Engine, candidate: Trace, reference: Trace, grounds: dict[str, Ground]) -> None:
    """Raise the floors of ``grounds`` to what moved sums show, where a distance is beyond its floor.

    One run in another dtype says little of a denominator that nearly cancels: by chance it may fall close to the
    first. Ends at the first layer that stays beyond its floor.
    """
    if all(ground.within for ground in grounds.values()):
        return
    case, backend = reference.case, reference.executed_by
    sides = [_side(engine, each, backend) for each in (case, *engine.moved(case, backend, sums=True))]
    base, *moved = (side.walk_back(candidate) for side in sides if side is not None)
    for (name, relevance), *otherwise in zip(base, *moved, strict=True):
        if name in grounds:
            floor = max(relative_l2(relevance, other) for _, other in otherwise)
            grounds[name] = grounds[name]._replace(floor=max(grounds[name].floor, floor))
            if not grounds[name].within:
                return


def walked_back(
    engine: Engine, reference: Trace, run: Trace, measured: bool
) -> Iterator[tuple[str, np.ndarray, float]]:
    """Layer, its relevance on the activations of ``run`` and the floor of that, from the output backwards.

    Nothing where the reference cannot run single steps, ``run`` kept no activations, or the method is more than one run
    backwards.
    """
    case, backend = reference.case, reference.executed_by
    graph: Graph = case.model.graph
    if any(layer.name not in run.layers or run.layers[layer.name].activation is None for layer in graph):
        return
    steps = engine.steps(case, backend)
    if not isinstance(run.method.procedure, Backward) or steps is None:
        return
    others, scale = otherwise_rounded(engine, reference) if measured else ([], 1.0)
    if measured and not others:
        return
    walks = [side.walk_back(run) for side in others]
    floor = unit_roundoff(case.dtype) * float(np.sqrt(longest_sum(graph)))
    for (name, relevance), *otherwise in zip(walk_back(steps, graph, run), *walks, strict=True):
        # What a layer passes down is no more certain than what it received.
        floor = max([floor, *(scale * relative_l2(relevance, other) for _, other in otherwise)])
        yield name, relevance, floor


class Side(NamedTuple):
    """What walks back through the activations of a run: single steps of a backend for one network and method."""

    graph: Graph
    steps: Steps
    method: Method

    def walk_back(self, run: Trace) -> Iterator[tuple[str, np.ndarray]]:
        """Relevance by layer on the activations of ``run``, output first."""
        return walk_back(self.steps, self.graph, replace(run, method=self.method))


def _side(engine: Engine, case: Case, backend: Backend) -> Side | None:
    steps = engine.steps(case, backend)
    return None if steps is None else Side(case.model.graph, steps, case.method)


def otherwise_rounded(engine: Engine, reference: Trace) -> tuple[list[Side], float]:
    """What walks back as the reference does but for rounding, and what of its distance rounding explains."""
    case, backend = reference.case, reference.executed_by
    steps, scale = in_other_dtype(engine, reference)
    if steps is not None:
        return [Side(case.model.graph, steps, case.method)], scale
    moved = [_side(engine, each, backend) for each in engine.moved(case, backend)]
    return [side for side in moved if side is not None], 1.0


def in_other_dtype(engine: Engine, reference: Trace) -> tuple[Steps | None, float]:
    """The single steps of ``reference`` in the other dtype, and what of their distance rounding explains.

    None where it computes in one dtype only.
    """
    case = reference.case
    other = case.in_dtype("float64" if case.dtype == "float32" else "float32")
    try:
        steps = engine.steps(other, reference.executed_by)
    except HarnessError:
        return None, 1.0
    return steps, min(1.0, unit_roundoff(case.dtype) / unit_roundoff(other.dtype))
