"""The proof: all causes that were found are applied to the reference, and the whole case is run again.

What then is still between the two attributions is what nobody has explained. The run goes forward through the layers as
the candidate has them, starts where it starts, goes back by the reference's own steps but for those that a cause
alters, which the oracle carries out, and ends in what the candidate makes of the relevance of its input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from harness.backends import repeated, shown_of
from harness.comparison.floor import moved_one_ulp, unit_roundoff
from harness.comparison.postprocess import treated
from harness.diagnosis.attribution import treatment_of
from harness.diagnosis.case import Case
from harness.diagnosis.findings import Finding
from harness.diagnosis.head import behind_softmax, start_of
from harness.diagnosis.joined import joined_of, points_of, procedure_of, single_run
from harness.diagnosis.measure import MOVES, apart, explained, summation_floor
from harness.diagnosis.precision import UNIT_OF
from harness.diagnosis.search import Hypothesis
from harness.engine import engine, floor_of
from harness.errors import HarnessError
from harness.graph import Graph, Layer, walk_back
from harness.methods import Backward, IntegratedGradients, Smoothed
from harness.steps import Arrays, ForwardStep

Activations = Mapping[str, np.ndarray]
#: How far an input is moved for the slope of what is done to it: what is done is linear, or in pieces.
_NUDGE = 2.0**-10
#: The attribution of a whole run on an input, and whether a relevance on the way is not the candidate's, where the last
#: argument asks for that.
_Run = Callable[[Case, "Causes", np.ndarray, bool], tuple[np.ndarray, bool]]


@dataclass(frozen=True, eq=False)
class Causes:
    """What is applied. ``forward`` and ``rule``: by layer, what it does otherwise, forwards and backwards.

    ``findings``: all of them; those about the start, the joining of runs and the result are applied from their
    parameters and words.
    """

    findings: tuple[Finding, ...]
    forward: Mapping[str, Hypothesis] = field(default_factory=dict)
    rule: Mapping[str, Hypothesis] = field(default_factory=dict)

    def of(self, stage: str) -> tuple[Finding, ...]:
        return tuple(each for each in self.findings if each.stage == stage)

    def only(self, finding: Finding) -> Causes:
        """That one of the start or the result, applied alone."""
        return Causes((finding,))


@dataclass(frozen=True)
class Proof:
    """``left``: relative L2 distance of the candidate's attribution from the reference's with the causes.

    ``floor``: what rounding explains of it. ``elsewhere``: whether any relevance that the candidate shows differs from
    that of this run by more than rounding explains; False where that was not asked for.
    """

    left: float
    floor: float
    elsewhere: bool = False

    @property
    def closes(self) -> bool:
        """Whether rounding explains what is left of the attribution."""
        return explained(self.left, self.floor)


def proved(case: Case, causes: Causes, layers: bool = False) -> Proof | None:
    """The whole case with ``causes``; None for a method that is not made of runs backwards, step by step.

    ``case``: with the layers as the candidate has them (`Case.with_mended`). ``layers``: whether the relevance of every
    layer is compared as well (`Proof.elsewhere`); else the attribution alone.
    """
    if not case.method.stepwise and case.candidate_steps is None:
        return None
    if not isinstance(case.method.procedure, Backward | IntegratedGradients | Smoothed):
        return None
    observed = np.asarray(case.candidate_run.attribution, np.float64)
    grounds = [_on_own_activations, *([_on_the_candidates] if _shows_activations(case) else [])]
    best: Proof | None = None
    for run in grounds:
        attribution, elsewhere = run(case, causes, np.asarray(case.x), layers)
        left = apart((attribution,), (observed,))
        floor = _floor(case, causes, attribution, left, run)
        proof = Proof(left, floor, elsewhere)
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
    left = apart((run.attribution,), (case.candidate_run.attribution,))
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
    than the floor of the reference, whose weights are moved as well.
    """
    formats = [each.parameters["format"] for each in causes.findings if "format" in each.parameters]
    ratio = max((UNIT_OF[name] / unit_roundoff(case.dtype) for name in formats), default=1.0)
    floor = summation_floor(case.terms, case.dtype) * max(1.0, ratio)
    movements = _movements(case, causes, attribution, run, ratio)
    while not explained(left, floor) and (moved := next(movements, None)) is not None:
        if np.isfinite(moved):
            floor = max(floor, moved)
    return floor


def _movements(
    case: Case, causes: Causes, attribution: np.ndarray, run: _Run, ratio: float
) -> Iterator[float]:
    """How far the result moves under rounding, one measurement after the other."""
    for seed in range(MOVES):
        x = moved_one_ulp(np.asarray(case.x), np.random.default_rng(seed))
        other, _ = run(case, causes, x, False)
        yield apart((attribution,), (other,))
        if seed == 0:
            yield case.attribution_floor * max(1.0, ratio)


def _on_own_activations(case: Case, causes: Causes, x: np.ndarray, layers: bool) -> tuple[np.ndarray, bool]:
    procedure = case.method.procedure
    if isinstance(procedure, Backward):
        walked = _Walk(case, causes, layers)
        return _finished(case, causes, walked.back(activations_of(case, causes, x)), x), walked.elsewhere
    assert isinstance(procedure, IntegratedGradients | Smoothed)
    method = single_run(case.method)
    assert method is not None
    inner = replace(case, method=method)
    procedure = procedure_of(procedure, causes.of("postprocess"))
    runs = [
        _Walk(inner, causes, False).back(activations_of(inner, causes, point))
        for point in points_of(x, procedure)
    ]
    joined, _ = joined_of(runs, x, procedure, case.method.postprocess, case.dtype)
    return joined, False


def _on_the_candidates(case: Case, causes: Causes, x: np.ndarray, layers: bool) -> tuple[np.ndarray, bool]:
    """Equal ground. ``x`` is looked at where it is moved alone: so are the activations then."""
    run = case.candidate_run.layers
    shown = {layer.name: np.asarray(run[layer.name].activation) for layer in case.graph}
    if not np.array_equal(x, case.x):
        generator = np.random.default_rng(int(np.count_nonzero(x != case.x)))
        shown = {name: moved_one_ulp(each.astype(case.dtype), generator) for name, each in shown.items()}
    walked = _Walk(case, causes, layers)
    return _finished(case, causes, walked.back(shown), np.asarray(case.x)), walked.elsewhere


def input_relevance(case: Case, causes: Causes) -> np.ndarray:
    """The relevance of the input in the one run of ``case`` with ``causes``."""
    return _Walk(case, causes, False).back(activations_of(case, causes, np.asarray(case.x)))


def activations_of(case: Case, causes: Causes, x: np.ndarray) -> dict[str, np.ndarray]:
    """By layer, what the network with the causes of the forward pass computes on ``x``."""
    if np.array_equal(x, case.x) and isinstance(case.method.procedure, Backward):
        run = case.reference_run
    else:
        run = engine().run(case.asked.with_input(x), case.reference, keep=False)
    shown = {name: np.asarray(layer.activation) for name, layer in run.layers.items()}
    changed: set[str] = set()
    for layer in case.graph.layers:
        hypothesis = causes.forward.get(layer.name)
        if hypothesis is None and not changed.intersection(layer.inputs):
            continue
        changed.add(layer.name)
        step = ForwardStep(layer, tuple(shown[name] for name in layer.inputs), case.graph)
        shown[layer.name] = case.oracle.carry_forward(step if hypothesis is None else hypothesis.alter(step))
    return shown


@dataclass(eq=False)
class _Walk:
    """One run backwards. ``elsewhere``: whether a relevance on the way is not the candidate's; only if ``compared``."""

    case: Case
    causes: Causes
    compared: bool
    elsewhere: bool = False

    def back(self, activations: Activations) -> np.ndarray:
        """The relevance of the input."""
        case = self.case
        rectified = case.method.composite.rectified_sources(case.graph)
        activations = {name: repeated(each, case.method) for name, each in activations.items()}
        received = np.zeros(0)
        start = self._start(shown_of(activations[case.graph.output], case.method))
        begun = case.reference_run.layers[case.graph.output].relevance
        if case.method.stepwise and begun is not None and np.array_equal(start, begun):
            start = begun
        walked = walk_back(case.graph, start, partial(self._step, activations), rectified)
        for layer, relevances in walked:
            received = shown_of(relevances, case.method)
            if self.compared and not self.elsewhere:
                self.elsewhere = self._differs(layer, received)
        return received

    def _start(self, logits: np.ndarray) -> np.ndarray:
        case, forward = self.case, self.causes.of("forward")
        logits = np.asarray(logits, np.float64)
        if any(each.cause == "softmax-kept" for each in forward):
            return behind_softmax(logits, case.target, case.method.head)
        # A cause is about the start that a trace shows.
        return np.concatenate(
            [
                start_of(
                    self.causes.of("head") if part == case.method else (), logits, case.target, part.head
                )
                for part in case.method.parts
            ]
        )

    def _step(self, activations: Activations, layer: Layer, relevance: np.ndarray) -> Arrays:
        case = self.case
        inputs = tuple(np.asarray(activations[name]) for name in layer.inputs)
        forward = self.causes.forward.get(layer.name)
        if forward is None:
            return self._carried_out(layer, inputs, relevance)
        read = forward.alter(ForwardStep(layer, inputs, case.graph)).inputs
        shares = self._carried_out(layer, read, relevance)
        return (
            shares
            if read is inputs
            else (_through(forward, layer, case.graph, inputs, shares[0]), *shares[1:])
        )

    def _carried_out(self, layer: Layer, inputs: Arrays, relevance: np.ndarray) -> Arrays:
        step = self.case.step(layer, inputs, relevance)
        hypothesis = self.causes.rule.get(layer.name)
        if hypothesis is None:
            as_before = self._is_the_references(layer, inputs, relevance)
            return (self.case.shown(step) if as_before else None) or self.case.expected(step)
        with np.errstate(all="ignore"):
            return self.case.oracle.carry_out(hypothesis.alter(step))

    def _is_the_references(self, layer: Layer, inputs: Arrays, relevance: np.ndarray) -> bool:
        """Whether the operands are those of the reference's own run, the same arrays: no cause has altered them."""
        run = self.case.reference_run.layers
        own = (*(run[name].activation for name in layer.inputs), run[layer.name].relevance)
        return all(one is other for one, other in zip((*inputs, relevance), own, strict=True))

    def _differs(self, layer: Layer, relevance: np.ndarray) -> bool:
        shown = self.case.candidate_run.layers.get(layer.name)
        if shown is None or shown.relevance is None:
            return False
        distance = apart((relevance,), (shown.relevance,))
        if explained(distance, summation_floor(self.case.terms, self.case.dtype)):
            return False
        return not explained(distance, floor_of(engine(), self.case.reference_run).of_relevance(layer.name))


def _through(
    forward: Hypothesis, layer: Layer, graph: Graph, inputs: Arrays, relevance: np.ndarray
) -> np.ndarray:
    """Relevance of what the layer reads, brought back to what it is made of, ``inputs[0]``: by the derivative.

    For what changes every value by itself or puts values in another order; otherwise as it is.
    """
    x = np.asarray(inputs[0], np.float64)

    def made(value: np.ndarray) -> np.ndarray:
        return forward.alter(ForwardStep(layer, (value, *inputs[1:]), graph)).inputs[0]

    with np.errstate(all="ignore"):
        slope = (made(x + _NUDGE) - made(x - _NUDGE)) / (2 * _NUDGE)
        signs = np.where(np.random.default_rng(0).random(x.shape) < 0.5, -1.0, 1.0)
        along = (made(x + _NUDGE * signs) - made(x - _NUDGE * signs)) / (2 * _NUDGE)
    if slope.shape != x.shape or not np.isfinite(slope).all():
        return relevance
    if np.allclose(along, slope * signs):
        return relevance * slope
    if np.allclose(along, slope * signs[..., ::-1]):
        return (relevance * slope)[..., ::-1]
    return relevance


def _finished(case: Case, causes: Causes, relevance: np.ndarray, x: np.ndarray) -> np.ndarray:
    """What the candidate makes of the relevance of its input."""
    relevance, x = np.asarray(relevance, np.float64), np.asarray(x, np.float64)
    for finding in causes.of("postprocess"):
        treatment = treatment_of(case, finding, relevance)
        if treatment is not None:
            with np.errstate(all="ignore"):
                return treatment(relevance, x)
    return treated(relevance, x, case.method.postprocess)


def simplest(case: Case, causes: Causes) -> tuple[tuple[Finding, ...], Proof] | None:
    """The start of the backward pass or a scale alone, where that closes the gap: nothing else is named then."""
    if len(causes.findings) < 2:
        return None
    for finding in _alone(causes):
        proof = proved(case, causes.only(finding), layers=True)
        if proof is not None and proof.closes and not proof.elsewhere:
            return (finding,), proof
    return None


def _alone(causes: Causes) -> Iterator[Finding]:
    for finding in causes.findings:
        head = finding.stage == "head" and finding.cause != "unknown"
        if head or (finding.stage == "postprocess" and finding.cause == "scale"):
            yield finding
