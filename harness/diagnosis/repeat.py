"""A candidate that differs from itself: reported before anything else, because nothing else can be trusted then."""

from __future__ import annotations

import numpy as np

from harness.comparison.metrics import relative_l2
from harness.diagnosis.case import Case
from harness.diagnosis.findings import Finding
from harness.diagnosis.measure import apart, explained, summation_floor
from harness.engine import engine, floor_of
from harness.graph import Layer
from harness.trace import LayerTrace

#: Runs of the candidate beside the first.
REPEATS = 1


def repeat_finding(case: Case) -> Finding | None:
    """What differs between two runs of the candidate on one input; None where nothing does beyond rounding.

    A difference in the order of summation (threads) is rounding and no finding.
    """
    first = case.candidate_run
    floor = summation_floor(case.terms, case.dtype)
    for _ in range(REPEATS):
        second = case.again()
        for layer in case.graph.layers:
            one, other = first.layers.get(layer.name), second.layers.get(layer.name)
            error = _between(one, other, "activation")
            if not explained(error, floor):
                assert one is not None and other is not None
                return _finding("forward", layer, _forward_words(case, layer, one, other), error, floor)
        for layer in reversed(case.graph.layers):
            error = _between(first.layers.get(layer.name), second.layers.get(layer.name), "relevance")
            # Where the forward pass repeats itself, so do the operands of every step.
            if not explained(error, floor) and not explained(error, case_floor(case, layer)):
                source = _passed_by(case, layer)
                words = (
                    "two runs give different relevance for the same activations: something is drawn at random"
                )
                return _finding("rule", source, words, error, floor)
        error = apart((first.attribution,), (second.attribution,))
        if not explained(error, floor) and not explained(error, case.attribution_floor):
            words = "two runs give different attributions: something is drawn at random"
            return Finding("postprocess", None, "nondeterminism", words, error, floor)
    return None


def case_floor(case: Case, layer: Layer) -> float:
    """What rounding explains of a layer's relevance in the reference's full run."""
    return float(floor_of(engine(), case.reference_run).of_relevance(layer.name))


def _between(one: LayerTrace | None, other: LayerTrace | None, what: str) -> float:
    left, right = getattr(one, what, None), getattr(other, what, None)
    return 0.0 if left is None or right is None else apart((left,), (right,))


def _passed_by(case: Case, layer: Layer) -> Layer:
    """The layer whose step passes different relevance to ``layer``'s output: its reader.

    Of several the one whose step, run twice, differs; ``layer`` itself where no such step can be run.
    """
    readers = case.graph.consumers(layer.name)
    if len(readers) == 1:
        return readers[0]
    return next((reader for reader in readers if _differs_from_itself(case, reader)), layer)


def _differs_from_itself(case: Case, layer: Layer) -> bool:
    run = case.candidate_run.layers
    relevance = run[layer.name].relevance if layer.name in run else None
    inputs = [run[name].activation if name in run else None for name in layer.inputs]
    if case.candidate_steps is None or not case.method.stepwise:
        return False
    if relevance is None or any(x is None for x in inputs):
        return False
    step = case.step(layer, tuple(np.asarray(x) for x in inputs), relevance)
    return not explained(apart(case.observed(step), case.observed(step)), case.least(step))


def _forward_words(case: Case, layer: Layer, one: LayerTrace, other: LayerTrace) -> str:
    """What two different outputs of one layer for equal inputs look like."""
    first, second = np.asarray(one.activation), np.asarray(other.activation)
    zeros = float(np.mean(first == 0))
    reference = case.reference_run.layers[layer.name].activation
    if layer.kind == "dropout":
        return f"dropout is left on: two runs give different outputs, {zeros:.0%} of the first are zero"
    if reference is not None and np.mean((first == 0) & (np.asarray(reference) != 0)) > 0.01:
        dropped = float(np.mean((first == 0) & (np.asarray(reference) != 0)))
        return f"two runs give different outputs; {dropped:.0%} of the values are dropped: dropout is left on"
    return f"two runs give different outputs, {relative_l2(first, second):.1e} apart: something is drawn at random"


def _finding(stage: str, layer: Layer, words: str, error: float, floor: float) -> Finding:
    return Finding(stage, layer.name, "nondeterminism", words, error, floor)  # type: ignore[arg-type]
