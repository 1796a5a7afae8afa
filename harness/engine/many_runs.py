"""Equal ground for methods that join many runs: SmoothGrad, VarGrad, integrated gradients, DeepLIFT.

In each single run rounding may put a unit on the other side of a kink, so that two right sides are further apart than
any bound derived beforehand; `harness.comparison.rerun` says the same of one run. Here both sides make their runs in
step, one run of each at a time. At every run the reference's rules walk back on the candidate's activations, which must
be the reference's own to within rounding, and the harness joins what they give as the method says. The candidate's
result is held against that.

A backend takes part that declares the capability "runs". What its runs come to is kept by the backend: no run is made
twice for it (:func:`run_ahead`).
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from harness.backends import Backend, OneRun, Runs, capability, is_installed, runs_on_copies, to_watch
from harness.case import Case
from harness.comparison.floor import MULTIPLE, NoiseFloor, derived
from harness.comparison.joining import JoinedRuns, ManyRuns
from harness.comparison.metrics import relative_l2
from harness.comparison.rerun import Ground
from harness.comparison.verdict import Comparison, doubtful, on_equal_ground, results
from harness.engine.cases import Engine, require_support
from harness.errors import is_interrupt
from harness.methods import Method, Smoothed
from harness.state import Watch
from harness.trace import Trace

#: Of the activations of a run, others of the same layers.
Change = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
#: Relevances of layers that wait to be counted in while the walk back goes on.
_WAITING = 4


@dataclass(frozen=True, eq=False)
class InStep:
    """What came of the runs of both sides.

    ``joined``: the reference on the candidate's activations; None where these are not the reference's at every run.
    ``why``: where they are not, as a sentence. ``seconds``: what each side's own runs took. ``model``: its digest.
    """

    model: str
    joined: JoinedRuns | None
    why: str
    seconds: Mapping[str, float]


def run_ahead(engine: Engine, case: Case, reference: Backend, candidate: Backend) -> Mapping[str, float]:
    """Make the runs of both sides in step, where ``case`` joins many, before either is asked for its result.

    ``case`` is on the candidate's device. Returns the seconds by side, none where nothing was done: where a side does
    not take part, or what a side raises, which it will raise again. The runs of a user's own code are made where it is
    watched, by `Engine.run`.
    """
    if any(made.model != case.model.digest for made in engine.in_step.values()):
        engine.in_step.clear()  # a run goes on with another network
    if not joins_many(case) or not (is_installed(reference) and is_installed(candidate)):
        return {}
    try:
        for backend in (reference, candidate):
            require_support(backend, case)
        of_reference = engine.resolved(replace(case, device="cpu"), reference)
        of_candidate = replace(of_reference, device=case.device)
        if _known(engine, of_reference, of_candidate, reference, candidate) is not None:
            return {}
        made = _in_step(engine, of_reference, of_candidate, reference, candidate)
    except BaseException as error:  # the side is asked again, and blamed, by who wants its result
        if is_interrupt(error):
            raise
        return {}
    return {} if made is None else made.seconds


def on_ground_of_runs(
    engine: Engine, comparison: Comparison, reference: Trace, candidate: Trace
) -> Comparison:
    """``comparison``, which bounds have judged, with what is in doubt judged on equal ground, for methods of many runs.

    What is not within ten bounds there stays in doubt. Others, and where a side does not take part: as it is.
    """
    if not joins_many(reference.case) or candidate.case is None:
        return comparison
    sides = reference.case, candidate.case, reference.executed_by, candidate.executed_by
    try:
        made = _known(engine, *sides) or _in_step(engine, *sides)
    except BaseException as error:  # it gave a result, which is judged without
        if is_interrupt(error):
            raise
        return comparison
    if made is None:
        return comparison
    if made.joined is None:
        return replace(comparison, notes=(*comparison.notes, made.why))
    doubted = {row.layer for row in comparison.relevances if doubtful(row)}
    return on_equal_ground(comparison, _grounds(made.joined, reference, candidate, doubted, comparison.floor))


def _grounds(
    joined: JoinedRuns, reference: Trace, candidate: Trace, doubted: set[str], bound: NoiseFloor
) -> dict[str, Ground]:
    kind = kind_of(reference.method)
    ends = [results(reference.inputs, each.attribution_array) for each in (reference, candidate)]

    def ground(name: str) -> Ground | None:
        if name in ends[0]:
            there = results(reference.inputs, joined.attribution(reference.method, kind))[name]
            return held(there, ends[0][name], ends[1][name], bound.of_attribution())
        before, observed = reference.layers[name].relevance, candidate.layers[name].relevance
        walked = joined.relevance(name, kind)
        if walked is None or before is None or observed is None:
            return None
        return held(walked, before, observed, bound.of_relevance(name))

    def held(there: np.ndarray, before: np.ndarray, observed: np.ndarray, floor: float) -> Ground:
        return Ground(relative_l2(there, observed), floor, relative_l2(before, there))

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = zip(doubted, pool.map(ground, doubted), strict=True)
        return {name: each for name, each in found if each is not None}


def joins_many(case: Case | None) -> bool:
    """Whether ``case`` is of a method that joins many runs."""
    return case is not None and isinstance(case.method.procedure, ManyRuns)


def kind_of(method: Method) -> str:
    """What the runs of ``method`` are joined to."""
    return method.procedure.statistic if isinstance(method.procedure, Smoothed) else "sum"


def runs_alone(method: Method) -> Method:
    """``method`` without what is made of its runs: methods that are one in this share them."""
    procedure = method.procedure
    if isinstance(procedure, Smoothed):
        procedure = replace(procedure, statistic="mean")
    return replace(method, name="", postprocess="none", procedure=procedure)


def _key(engine: Engine, cases: tuple[Case, Case], backends: tuple[Backend, Backend]) -> str | None:
    """What the runs of both sides are kept under; None where the code of one is not known."""
    keys = [
        engine.key(case.with_method(runs_alone(case.method)), backend)
        for case, backend in zip(cases, backends, strict=True)
    ]
    return None if None in keys else " ".join(map(str, keys))


def _known(
    engine: Engine, of_reference: Case, of_candidate: Case, reference: Backend, candidate: Backend
) -> InStep | None:
    """What came of these runs before, if they were the last ones."""
    key = _key(engine, (of_reference, of_candidate), (reference, candidate))
    made: InStep | None = None if key is None else engine.in_step.get(key)
    joined = None if made is None else made.joined
    return None if joined is not None and kind_of(of_reference.method) not in joined.kinds else made


def _in_step(
    engine: Engine, of_reference: Case, of_candidate: Case, reference: Backend, candidate: Backend
) -> InStep | None:
    """The runs of both sides, one of each at a time; None where a side does not take part.

    Raises what a side raises.
    """
    sides: list[Runs | None] = [
        capability(engine.prepared(case.model, backend, case.dtype, case.device), "runs")
        for case, backend in ((of_reference, reference), (of_candidate, candidate))
    ]
    if None in sides:
        return None
    # The memory is needed for the next.
    engine.in_step.clear()
    engine.make_room(of_reference.model)
    method = runs_alone(of_reference.method)
    expected = (each for each in engine.expected(of_reference.model) if _joins_as(each, method))
    kinds = {kind_of(each) for each in (of_reference.method, *expected)}
    joined = JoinedRuns(method, of_reference.x, of_reference.model.graph.input.name, kinds)
    watched = to_watch(candidate, of_candidate.model)
    watch = None if watched is None else Watch(watched)
    try:
        first, second = (
            runs_on_copies(side, case)
            for side, case in zip(sides, (of_reference, of_candidate), strict=True)
            if side is not None
        )
        made = joined_in_step(joined, of_reference, first, second)
    finally:
        if watch is not None:
            watch.put_back()
    key = _key(engine, (of_reference, of_candidate), (reference, candidate))
    if key is not None:
        engine.in_step[key] = made
    return made


def _joins_as(method: Method, runs: Method) -> bool:
    return isinstance(method.procedure, Smoothed) and runs_alone(method) == runs


def joined_in_step(
    joined: JoinedRuns,
    case: Case,
    reference: Iterator[OneRun],
    candidate: Iterator[OneRun],
    moved: Sequence[tuple[JoinedRuns, Change]] = (),
) -> InStep:
    """What ``joined`` becomes of the runs; all are made, also where they are no use any more.

    ``moved``: joins of the reference's walks on the candidate's activations as a function changes them.
    """
    bound, why, count = derived(case.dtype, case.model.graph), "", 0
    seconds = {"reference": 0.0, "candidate": 0.0}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        while True:
            other = _timed(candidate, seconds, "candidate")
            one = _timed(reference, seconds, "reference")
            if one is None and other is None:
                break
            walk = None if one is None else one.walk_back
            activations = None
            if not why:
                try:
                    activations = _shown(joined, count, one, other, bound, pool)
                except _Apart as apart:
                    why = str(apart)
            del one, other  # the walk back needs no activations of the reference's own
            if activations is not None and walk is not None:
                _add(joined, count, walk(activations), pool)
                for each, change in moved:
                    _add(each, count, walk(change(activations)), pool)
            count += 1
            # Of no side two runs are there at a time.
            del walk, activations
    if not why and count != joined.count:
        why = f"both sides made {count} runs, expected {joined.count}"
    return InStep(case.model.digest, None if why else joined, why and f"no equal ground: {why}", seconds)


def _timed(runs: Iterator[OneRun], seconds: dict[str, float], side: str) -> OneRun | None:
    started = time.perf_counter()
    run = next(runs, None)
    seconds[side] += time.perf_counter() - started
    return run


class _Apart(Exception):
    """Why the reference cannot walk back on what the candidate shows in one run."""


def _shown(
    joined: JoinedRuns,
    run: int,
    one: OneRun | None,
    other: OneRun | None,
    bound: NoiseFloor,
    pool: ThreadPoolExecutor,
) -> dict[str, np.ndarray]:
    """The candidate's activations, which are the reference's to within rounding. Raises _Apart.

    Views that nobody can write through: the candidate changes them in its next run at the earliest.
    """
    if one is None or other is None or run >= joined.count:
        raise _Apart(f"one side makes {run} runs, expected {joined.count} of both")
    if one.walk_back is None:
        raise _Apart("the reference runs no single steps")
    of_one, of_other = one.activations, other.activations
    for name in of_one:
        if name not in of_other:
            raise _Apart(f"the candidate shows no activation of {name!r} in its runs")

    def beside(name: str) -> float:
        first, second = of_one[name], of_other[name]
        if second.shape != first.shape:
            return float("inf")
        # Of two runs in one batch neither hides how far the other is.
        pairs = zip(np.split(first, joined.passes), np.split(second, joined.passes), strict=True)
        return max(relative_l2(a, b) for a, b in pairs)

    activations = {}
    for name, apart in zip(of_one, pool.map(beside, of_one), strict=True):
        if not apart <= MULTIPLE * bound.of_activation(name):
            raise _Apart(
                f"in run {run + 1} of {joined.count} the activations of {name!r} are {apart:.1e} apart, more than ten "
                "times what the order of summation explains"
            )
        activations[name] = of_other[name].view()
        activations[name].setflags(write=False)
    return activations


def _add(
    joined: JoinedRuns, run: int, walked: Iterable[tuple[str, np.ndarray]], pool: ThreadPoolExecutor
) -> None:
    """Count in what the reference's walk back gives, layer by layer; of those that wait to be counted few are there."""
    added: deque[Future[None]] = deque()
    for name, relevance in walked:
        added.append(pool.submit(joined.add, run, name, relevance))
        if len(added) > _WAITING:
            added.popleft().result()
    for each in added:
        each.result()
