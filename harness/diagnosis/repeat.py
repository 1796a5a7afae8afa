"""A candidate that differs from itself: reported before anything else, because nothing else can be trusted then.

What is drawn at random gives another result in every run. A candidate that keeps something from one run to the next
(activations that are cleared, a buffer that is filled once) comes back to a result that it gave before: `state`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.comparison.metrics import relative_l2
from harness.diagnosis.case import Case
from harness.diagnosis.findings import Finding
from harness.diagnosis.localise import of_step
from harness.diagnosis.measure import apart, explained, summation_floor
from harness.engine import engine, floor_of
from harness.graph import Layer
from harness.steps import Step
from harness.trace import LayerTrace, Trace

#: Runs of the candidate beside the first; and further ones, which say whether what differs comes back.
REPEATS, MORE = 1, 4


def repeat_finding(case: Case) -> Finding | None:
    """What differs between two runs of the candidate on one input; None where nothing does beyond rounding.

    A difference in the order of summation (threads) is rounding and no finding.
    """
    first = case.candidate_run
    floor = summation_floor(case.terms, case.dtype)
    for _ in range(REPEATS):
        second = case.again()
        found = _between_runs(case, first, second, floor)
        if found is not None:
            return _kept_from_run_to_run(found) if _comes_back(case, first, second) else found
    return None


def _between_runs(case: Case, first: Trace, second: Trace, floor: float) -> Finding | None:
    """The first tensor that differs between two runs, forwards, then backwards."""
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
            words = "two runs give different relevance for the same activations: something is drawn at random"
            return _finding("rule", source, words, error, floor)
    error = apart((first.attribution_array,), (second.attribution_array,))
    if not explained(error, floor) and not explained(error, case.attribution_floor):
        words = "two runs give different attributions: something is drawn at random"
        return Finding("postprocess", None, "nondeterminism", words, error, floor)
    return None


def _comes_back(case: Case, first: Trace, second: Trace) -> bool:
    """Whether further runs are, bit for bit, all the second, or the first and the second in turn.

    What is drawn at random from few outcomes comes back too, but in no order.
    """
    constant = alternating = True
    for place in range(MORE):
        run = case.again()
        constant = constant and _same_bits(run, second)
        alternating = alternating and _same_bits(run, second if place % 2 else first)
        if not constant and not alternating:
            return False
    return True


def _same_bits(one: Trace, other: Trace) -> bool:
    """Whether two runs show the same at every layer and in the result."""
    pairs = [(one.attribution_array, other.attribution_array)]
    for name, layer in one.layers.items():
        pairs += [
            (getattr(layer, what), getattr(other.layers[name], what)) for what in ("activation", "relevance")
        ]
    return all(
        np.array_equal(left, right, equal_nan=True)
        for left, right in pairs
        if left is not None and right is not None
    )


def _kept_from_run_to_run(found: Finding) -> Finding:
    """``found``, of a candidate whose runs come back to a result that it gave before."""
    what = {"forward": "outputs", "rule": "relevance for the same activations"}.get(
        found.stage, "attributions"
    )
    words = (
        f"later runs give other {what} than the first, and the same among themselves: "
        "something is kept from one run to the next, or cleared before the next needs it"
    )
    return replace(found, cause="state", words=words)


def case_floor(case: Case, layer: Layer) -> float:
    """What rounding explains of a layer's relevance in the reference's full run."""
    return float(floor_of(engine(), case.reference_run).of_relevance(layer.name))


def _between(one: LayerTrace | None, other: LayerTrace | None, what: str) -> float:
    left, right = getattr(one, what, None), getattr(other, what, None)
    return 0.0 if left is None or right is None else apart((left,), (right,))


def _passed_by(case: Case, layer: Layer) -> Layer:
    """The layer whose step passes different relevance to ``layer``'s output: its reader.

    Of several the one whose step, run twice, differs; or else the one whose step is not the reference's (any more);
    ``layer`` itself where no such step can be run.
    """
    readers = case.graph.consumers(layer.name)
    if len(readers) == 1:
        return readers[0]
    steps = [(reader, _own_step(case, reader)) for reader in readers]
    for reader, step in steps:
        if step is not None and not explained(
            apart(case.observed(step), case.observed(step)), case.least(step)
        ):
            return reader
    for reader, step in steps:
        if step is not None and of_step(case, step, case.expected(step)).differs:
            return reader
    return layer


def _own_step(case: Case, layer: Layer) -> Step | None:
    """The step of ``layer`` on what the candidate's run shows; None where it does not show it, or has no steps."""
    run = case.candidate_run.layers
    relevance = run[layer.name].relevance if layer.name in run else None
    inputs = [run[name].activation if name in run else None for name in layer.inputs]
    if case.candidate_steps is None or not case.method.stepwise:
        return None
    if relevance is None or any(x is None for x in inputs):
        return None
    return case.step(layer, tuple(np.asarray(x) for x in inputs), relevance)


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
