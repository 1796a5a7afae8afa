"""The proof: all causes that were found are applied to the reference, and the whole case is run again.

What then is still between the two attributions is what nobody has explained. The run goes forward through the layers as
the candidate has them, starts where it starts, goes back by the reference's own steps but for those that a cause
alters, which the oracle carries out, and ends in what the candidate makes of the relevance of its input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from harness.case import Case as AskedCase
from harness.comparison.floor import MULTIPLE, moved_by_units, unit_roundoff
from harness.diagnosis.case import Case
from harness.diagnosis.findings import Finding
from harness.diagnosis.joined import joined_of, points_of, procedure_of, single_run
from harness.diagnosis.measure import MOVES, apart, explained, summation_floor
from harness.diagnosis.precision import UNIT_OF
from harness.diagnosis.search import MOST
from harness.diagnosis.walk import Causes, Walk, activations_of, finished, input_relevance
from harness.engine import engine
from harness.errors import HarnessError
from harness.methods import Backward, IntegratedGradients, Smoothed

#: The attribution of a whole run on an input. Where the flag asks for it, every relevance on the way is compared with
#: the candidate's, and None is returned at the first that differs. The last argument is that of `Walk.moved`.
_Run = Callable[[Case, Causes, np.ndarray, bool, AskedCase | None], np.ndarray | None]


@dataclass(frozen=True)
class Proof:
    """``left``: relative L2 distance of the candidate's attribution from the reference's with the causes.

    ``floor``: what rounding explains of it.
    """

    left: float
    floor: float

    @property
    def closes(self) -> bool:
        """Whether rounding explains what is left of the attribution."""
        return explained(self.left, self.floor)


def proved(case: Case, causes: Causes, layers: bool = False) -> Proof | None:
    """The whole case with ``causes``; None for a method that is not made of runs backwards, step by step.

    ``case``: with the layers as the candidate has them (`Case.with_mended`). ``layers``: whether the relevance of every
    layer has to be the candidate's as well, and not the attribution alone; None where that of one is not.
    """
    if not case.method.stepwise and case.candidate_steps is None:
        return None
    if not isinstance(case.method.procedure, Backward | IntegratedGradients | Smoothed):
        return None
    observed = np.asarray(case.candidate_run.attribution_array, np.float64)
    grounds = [_on_own_activations, *([_on_the_candidates] if _shows_activations(case) else [])]
    best: Proof | None = None
    for run in grounds:
        attribution = run(case, causes, np.asarray(case.x), layers, None)
        if attribution is None:
            continue
        left = apart((attribution,), (observed,))
        floor = _floor(case, causes, attribution, left, run)
        proof = Proof(left, floor)
        if best is None or proof.left / proof.floor < best.left / best.floor:
            best = proof
        if best.closes:
            break
    return best


def proved_by_structure(case: Case) -> Proof | None:
    """A pair with the layers that its port lacks or has elsewhere: the reference on the port's own network."""
    port = getattr(case.model, "torch_side", None)
    if port is None:
        return None
    try:
        run = engine().run(replace(case.asked, model=port), case.reference, keep=False)
    except HarnessError:
        return None  # the method does not apply to the port's network
    left = apart((run.attribution_array,), (case.candidate_run.attribution_array,))
    return Proof(left, case.attribution_floor)


def _shows_activations(case: Case) -> bool:
    """Whether the candidate's own activations can stand in the reference's place: a unit may be switched there."""
    run = case.candidate_run.layers
    return isinstance(case.method.procedure, Backward) and all(
        layer.name in run and run[layer.name].activation is not None for layer in case.graph
    )


def _floor(case: Case, causes: Causes, attribution: np.ndarray, left: float, run: _Run) -> float:
    """What rounding explains of ``left``, measured until it does: a cause may take away what keeps a rule steady.

    First the order of summation alone, which costs no run; then runs with the causes on moved inputs, which cost less
    than the floor of the reference, whose weights are moved as well. Those runs explain `MOST` at most: for a larger
    difference they are not made.
    """
    formats = [each.parameters["format"] for each in causes.findings if "format" in each.parameters]
    ratio = max((UNIT_OF[name] / unit_roundoff(case.dtype) for name in formats), default=1.0)
    floor = summation_floor(case.terms, case.dtype) * max(1.0, ratio)
    movements = _movements(case, causes, attribution, run, ratio, MOVES if left <= MOST else 0)
    while not explained(left, floor) and (moved := next(movements, None)) is not None:
        if np.isfinite(moved):
            floor = max(floor, moved)
    return floor


def _movements(
    case: Case, causes: Causes, attribution: np.ndarray, run: _Run, ratio: float, moves: int
) -> Iterator[float]:
    """How far the result moves under rounding, one measurement after the other: ``moves`` runs, and the reference.

    In one run backwards sums are moved first: where one nearly cancels and is divided by, that shows the most, and no
    run forward is needed for it. Where a pool has equal entries, or a cause leaves a denominator without a stabiliser,
    rounding alone may turn a run into another one. Such a movement explains a difference of `MOST` at most.
    """
    x = np.asarray(case.x)
    if not moves:
        yield case.attribution_floor * max(1.0, ratio)

    def by(x: np.ndarray, moved: AskedCase | None) -> float:
        other = run(case, causes, x, False, moved)
        assert other is not None
        return min(apart((attribution,), (other,)), MOST / MULTIPLE)

    if isinstance(case.method.procedure, Backward):
        yield from (by(x, moved) for moved in islice(case.other_orders(), moves))
    for seed in range(moves):
        yield by(moved_by_units(x, np.random.default_rng(seed)), None)
        if seed == 0:
            yield case.attribution_floor * max(1.0, ratio)


def _on_own_activations(
    case: Case, causes: Causes, x: np.ndarray, layers: bool, moved: AskedCase | None
) -> np.ndarray | None:
    procedure = case.method.procedure
    if isinstance(procedure, Backward):
        relevance = Walk(case, causes, layers, moved).back(activations_of(case, causes, x))
        return None if relevance is None else finished(case, causes, relevance, x)
    assert isinstance(procedure, IntegratedGradients | Smoothed)
    method = single_run(case.method)
    assert method is not None
    inner = replace(case, method=method)
    procedure = procedure_of(procedure, causes.of("postprocess"))
    runs = [input_relevance(inner, causes, point) for point in points_of(x, procedure)]
    joined, _ = joined_of(runs, x, procedure, "none", case.dtype)
    return finished(case, causes, joined, x)


def _on_the_candidates(
    case: Case, causes: Causes, x: np.ndarray, layers: bool, moved: AskedCase | None
) -> np.ndarray | None:
    """Equal ground. ``x`` is looked at where it is moved alone: so are the activations then."""
    run = case.candidate_run.layers
    shown = {layer.name: np.asarray(run[layer.name].activation) for layer in case.graph}
    if not np.array_equal(x, case.x):
        generator = np.random.default_rng(int(np.count_nonzero(x != case.x)))
        shown = {name: moved_by_units(each.astype(case.dtype), generator) for name, each in shown.items()}
    relevance = Walk(case, causes, layers, moved).back(shown)
    return None if relevance is None else finished(case, causes, relevance, np.asarray(case.x))


def simplest(case: Case, causes: Causes) -> tuple[tuple[Finding, ...], Proof] | None:
    """The start of the backward pass or a scale alone, where that closes the gap: nothing else is named then."""
    if len(causes.findings) < 2:
        return None
    for finding in _alone(causes):
        proof = proved(case, causes.only(finding), layers=True)
        if proof is not None and proof.closes:
            return (finding,), proof
    return None


def _alone(causes: Causes) -> Iterator[Finding]:
    """What may explain all: not the start, where the result is not what the candidate's own relevance should give."""
    ends = bool(causes.of("postprocess"))
    for finding in causes.findings:
        head = finding.stage == "head" and finding.cause != "unknown" and not ends
        if head or (finding.stage == "postprocess" and finding.cause == "scale"):
            yield finding
