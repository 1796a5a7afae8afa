"""The smallest case that still shows the finding's error."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.backends import Programs, StepProgram, capability, step_on_copies, steps_of
from harness.comparison.summation import backward_terms, forward_terms
from harness.diagnosis.findings import Finding
from harness.diagnosis.measure import apart, explained, movement, summation_floor
from harness.diagnosis.reproducer.cuts import Part, parts
from harness.diagnosis.reproducer.evidence import Evidence
from harness.errors import HarnessError
from harness.graph import Graph, Layer
from harness.steps import Arrays, Deviating, ForwardStep, Step

#: A smaller case shows the same error if it is at most this factor larger or smaller (relative L2 of either).
SAME_ORDER = 10.0


@dataclass(frozen=True, eq=False)
class Shown:
    """A case that shows the error. ``observed``: the candidate's result there, by ``program`` where it has one.

    ``why_recorded``: why it has none. ``floor``: what rounding explains of ``error`` (relative L2).
    """

    part: Part
    observed: tuple[np.ndarray | None, ...]
    expected: Arrays
    program: StepProgram | None
    error: float
    floor: float
    why_recorded: str = ""


def choose(
    finding: Finding, evidence: Evidence, layer: Layer, graph: Graph, candidate: Any, oracle: Deviating
) -> Shown:
    """The smallest case with an error of the same order, else the smallest with one, else the whole layer."""
    second: Shown | None = None
    whole: Shown | None = None
    why = "the candidate gives no single steps"
    for part in parts(evidence, layer):
        try:
            program, observed, reason = _candidate(part, evidence, candidate)
        except Exception as error:
            # A candidate's own code may refuse a smaller layer in any way; a larger case then does.
            why = " ".join(str(error).split()) or type(error).__name__
            continue
        why = reason or why
        try:
            expected = _expected(part, evidence, graph, oracle)
        except HarnessError:
            continue
        distance = apart(expected, observed)
        if part.whole:
            whole = Shown(part, observed, expected, program, distance, finding.floor, reason)
            continue
        floor = _floor(part, evidence, graph, oracle)
        if explained(distance, floor):
            continue
        shown = Shown(part, observed, expected, program, distance, floor, reason)
        if finding.error / SAME_ORDER <= distance <= finding.error * SAME_ORDER:
            return shown
        second = second or shown
    return second or whole or _as_recorded(finding, evidence, layer, why)


def _candidate(
    part: Part, evidence: Evidence, candidate: Any
) -> tuple[StepProgram | None, tuple[np.ndarray, ...], str]:
    """The candidate's program and result for a case; without a program the reason for it.

    Raises whatever the candidate raises, HarnessError where it cannot run such a case.
    """
    reason = "the candidate gives no program of its steps"
    programs: Programs | None = capability(candidate, "programs")
    steps = steps_of(candidate, evidence.method)
    if programs is not None:
        try:
            program = (
                programs.forward_program(part.layer, part.inputs, evidence.method, part.kept)
                if part.relevance is None
                else programs.step_program(
                    part.layer, part.inputs, part.relevance, evidence.method, part.kept
                )
            )
            return program, program.results, ""
        except HarnessError as error:
            reason = str(error)
    if part.kept is not None or part.relevance is None or steps is None:
        raise HarnessError(reason)
    observed = step_on_copies(steps, part.layer, part.inputs, part.relevance, evidence.method)
    return None, observed, reason


def _expected(part: Part, evidence: Evidence, graph: Graph, oracle: Deviating) -> Arrays:
    """The oracle's result for a case."""
    inputs = tuple(x.astype(np.float64) for x in part.inputs)
    if part.relevance is None:
        return (oracle.carry_forward(ForwardStep(part.layer, inputs, graph)),)
    rule = evidence.method.composite.rule_for(part.layer, graph)
    relevance = part.relevance.astype(np.float64)
    return oracle.carry_out(Step(part.layer, rule, inputs, relevance, graph, evidence.method))


def _floor(part: Part, evidence: Evidence, graph: Graph, oracle: Deviating) -> float:
    """How far the oracle's result moves with its operands by one unit in the last place of the dtype.

    At least what the order of summation may change.
    """
    names, count = list(part.layer.weights), len(part.inputs)
    given = () if part.relevance is None else (part.relevance,)

    def compute(operands: Arrays) -> Arrays:
        moved = replace(
            part,
            layer=replace(part.layer, weights=dict(zip(names, operands[count + len(given) :], strict=True))),
            inputs=operands[:count],
            relevance=operands[count] if given else None,
        )
        return _expected(moved, evidence, graph, oracle)

    operands = (*part.inputs, *given, *part.layer.weights.values())
    terms = max(forward_terms(part.layer), backward_terms(part.layer))
    return max(summation_floor(terms, evidence.dtype), movement(compute, operands, evidence.dtype))


def _as_recorded(finding: Finding, evidence: Evidence, layer: Layer, why: str) -> Shown:
    part = Part(layer, evidence.inputs, evidence.relevance)
    return Shown(part, evidence.observed, evidence.expected, None, finding.error, finding.floor, why)
