"""One run of the case with causes applied: forward through the layers as the candidate has them, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from harness.backends import repeated, shown_of
from harness.case import Case as AskedCase
from harness.comparison.postprocess import treated
from harness.diagnosis.attribution import treatment_of
from harness.diagnosis.case import Case
from harness.diagnosis.findings import Finding
from harness.diagnosis.head import behind_softmax, start_of
from harness.diagnosis.measure import apart, explained, summation_floor
from harness.diagnosis.search import Hypothesis
from harness.engine import engine, floor_of
from harness.graph import Graph, Layer, walk_back
from harness.methods import Backward
from harness.steps import Arrays, ForwardStep

Activations = Mapping[str, np.ndarray]
#: How far an input is moved for the slope of what is done to it: what is done is linear, or in pieces.
_NUDGE = 2.0**-10
#: The parameter of a finding that a layer gets the sum of its readers' shares instead of that of their positive parts.
SUMMED = "shares_summed"


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


def input_relevance(case: Case, causes: Causes, x: np.ndarray) -> np.ndarray:
    """The relevance of the input ``x`` in the one run of ``case`` with ``causes``."""
    relevance = Walk(case, causes, False).back(activations_of(case, causes, x))
    assert relevance is not None
    return relevance


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
class Walk:
    """One run backwards. ``compared``: whether every relevance on the way has to be the candidate's.

    ``moved``: the case whose weights the layers have on the way back (`Case.other_orders`); None for their own.
    """

    case: Case
    causes: Causes
    compared: bool
    moved: AskedCase | None = None

    def back(self, activations: Activations) -> np.ndarray | None:
        """The relevance of the input; None where one on the way is not the candidate's and has to be."""
        case = self.case
        summed = (each for each in self.causes.of("rule") if each.parameters.get(SUMMED))
        rectified = case.method.composite.rectified_sources(case.graph).difference(
            *((str(each.layer), *each.also) for each in summed)
        )
        activations = {name: repeated(each, case.method) for name, each in activations.items()}
        received = np.zeros(0)
        start = self._start(shown_of(activations[case.graph.output], case.method))
        begun = case.reference_run.layers[case.graph.output].relevance
        if case.method.stepwise and begun is not None and np.array_equal(start, begun):
            start = begun
        walked = walk_back(case.graph, start, partial(self._step, activations), rectified)
        for layer, relevances in walked:
            received = shown_of(relevances, case.method)
            if self.compared and self._differs(layer, received):
                return None
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
            as_before = self.moved is None and self._is_the_references(layer, inputs, relevance)
            return (self.case.shown(step) if as_before else None) or self.case.expected(step, self.moved)
        if self.moved is not None and layer.name not in self.case.mended:
            step = replace(step, layer=self.moved.model.graph[layer.name])
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


def finished(case: Case, causes: Causes, relevance: np.ndarray, x: np.ndarray) -> np.ndarray:
    """What the candidate makes of the relevance of its input."""
    relevance, x = np.asarray(relevance, np.float64), np.asarray(x, np.float64)
    for finding in causes.of("postprocess"):
        treatment = treatment_of(case, finding, relevance)
        if treatment is not None:
            with np.errstate(all="ignore"):
                return treatment(relevance, x)
    return treated(relevance, x, case.method.postprocess)
