"""A candidate that shows nothing but its attribution: whole runs of the reference, read differently, against it.

What is found here is where a difference is first seen: the layer stays unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from harness.api import prepared_for
from harness.comparison.floor import MULTIPLE
from harness.diagnosis.attribution import postprocess_finding
from harness.diagnosis.case import Case
from harness.diagnosis.findings import Finding
from harness.diagnosis.head import SEEDS, head_words
from harness.diagnosis.measure import apart, explained
from harness.methods import (
    AlphaBeta,
    Bounded,
    Composite,
    Epsilon,
    Flat,
    Gamma,
    Method,
    Rule,
    Sign,
    StdEpsilon,
    WSquare,
    Z,
)

#: Other classes that are tried as the target, the most likely first.
TARGETS = 10


@dataclass(frozen=True, eq=False)
class Reading:
    """Another reading of the method: a cause, in words, and the method itself."""

    cause: str
    words: str
    method: Method


def black_box_finding(case: Case) -> Finding | None:
    """The first of the known differences of a whole run that reproduces the attribution; None where it is right."""
    found = np.asarray(case.theirs.attribution, np.float64)
    ours = np.asarray(case.ours.attribution, np.float64)
    floor = case.attribution_floor
    error = apart((ours,), (found,))
    if explained(error, floor):
        return None
    scaled = _scaled(case, ours, found, error, floor)
    if scaled is not None:
        return scaled
    for target in _other_targets(case):
        residual = _against(case, case.method, target, found)
        if explained(residual, floor):
            words = f"class {target.tolist()} is explained instead of {case.target.tolist()}"
            parameters = {"found": target.tolist(), "expected": case.target.tolist()}
            return _seen("head", "target", words, error, floor, residual, None, parameters)
    ends = _ends(case, ours, found, error, floor)
    if ends is not None and ends.cause != "unknown":
        return ends
    best: tuple[float, Reading] | None = None
    for reading in readings(case.method):
        residual = _against(case, reading.method, case.target, found)
        if explained(residual, floor):
            return _seen("rule", reading.cause, reading.words, error, floor, residual, None, {})
        if best is None or residual < best[0]:
            best = residual, reading
    runner_up = None if best is None else (best[1].words, best[0])
    facts = {} if ends is None else ends.facts
    words = "the attribution differs, and the candidate shows no layers"
    unknown = _seen("rule", "unknown", words, error, floor, None, runner_up, {})
    return replace(unknown, facts=facts)


def _seen(
    stage: str,
    cause: str,
    words: str,
    error: float,
    floor: float,
    residual: float | None,
    runner_up: tuple[str, float] | None,
    parameters: dict[str, object],
) -> Finding:
    return Finding(
        stage,  # type: ignore[arg-type]
        None,
        cause,
        words,
        error,
        floor,
        residual,
        runner_up,
        first_seen=True,
        parameters=parameters,
    )


def _against(case: Case, method: Method, target: np.ndarray, found: np.ndarray) -> float:
    try:
        run = prepared_for(case.model, case.reference, case.dtype).explain(
            case.x, method, target, layers=False
        )
    except Exception:
        return float("inf")  # a reading that this network does not admit
    return apart((np.asarray(run.attribution, np.float64),), (found,))


def _scaled(case: Case, ours: np.ndarray, found: np.ndarray, error: float, floor: float) -> Finding | None:
    """One factor a sample: the start of the backward pass, if it is one; else a bare scale."""
    rows = np.stack([ours.reshape(len(ours), -1), found.reshape(len(found), -1)])
    with np.errstate(all="ignore"):
        factors = (rows[0] * rows[1]).sum(axis=1) / np.square(rows[0]).sum(axis=1)
    residual = apart((ours * factors.reshape(-1, *(1,) * (ours.ndim - 1)),), (found,))
    if not explained(residual, floor):
        return None
    logits = np.asarray(case.ours.logits, np.float64)
    own = SEEDS[head_words(case.method.head)](logits, case.target)
    for words, start in SEEDS.items():
        with np.errstate(all="ignore"):
            wanted = start(logits, case.target) / own
        if np.allclose(wanted, factors, rtol=MULTIPLE * floor, atol=0):
            said = (
                f"the backward pass starts from {words} instead of {head_words(case.method.head)}; "
                f"the whole result is {factors[0]:.6g} times the reference's"
            )
            parameters = {"factor": (1 / factors).tolist()}
            return _seen("head", "output-seed", said, error, floor, residual, None, parameters)
    if np.allclose(factors, factors[0], rtol=MULTIPLE * floor, atol=0):
        words = f"the attribution is {factors[0]:.9g} times the reference's"
        return _seen(
            "postprocess", "scale", words, error, floor, residual, None, {"factor": float(factors[0])}
        )
    return None


def _other_targets(case: Case) -> Iterator[np.ndarray]:
    """The other classes, the most likely first, one after the other for all samples."""
    order = np.argsort(-np.asarray(case.ours.logits), axis=1, kind="stable")
    for rank in range(min(TARGETS, order.shape[1])):
        if not np.array_equal(order[:, rank], case.target):
            yield order[:, rank]
    for value in range(min(TARGETS, order.shape[1])):
        if not (case.target == value).all():
            yield np.full_like(case.target, value)


def _ends(case: Case, ours: np.ndarray, found: np.ndarray, error: float, floor: float) -> Finding | None:
    source = case.ours.layers.get(case.graph.input.name)
    if source is None or source.relevance is None:
        return None
    relevance = np.asarray(source.relevance, np.float64)
    finding = postprocess_finding(case, relevance, ours, found, error, floor)
    return replace(finding, first_seen=True, layer=None)


def readings(method: Method) -> Iterator[Reading]:
    """The method with one thing read differently at every layer where it occurs."""
    rules = {assignment.rule for assignment in method.composite.assignments}
    for rule in rules:
        for cause, words, other in _other_rules(rule):
            assignments = tuple(
                replace(assignment, rule=other) if assignment.rule == rule else assignment
                for assignment in method.composite.assignments
            )
            yield Reading(cause, words, replace(method, composite=Composite(assignments)))


def _other_rules(rule: Rule) -> Iterator[tuple[str, str, Rule]]:
    match rule:
        case Epsilon(epsilon=epsilon):
            for other in (1e-12, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.25, 1.0):
                if other != epsilon:
                    yield (
                        "epsilon-value",
                        f"epsilon is {other:g} instead of {epsilon:g}",
                        replace(rule, epsilon=other),
                    )
            yield "stabilizer-form", "nothing but an exact zero is replaced in the denominator", Z(rule.bias)
        case StdEpsilon(factor=factor):
            for other in (0.1, 0.25, 0.5, 1.0):
                if other != factor:
                    yield (
                        "epsilon-value",
                        f"the factor is {other:g} instead of {factor:g}",
                        StdEpsilon(other, rule.bias),
                    )
            yield (
                "stabilizer-form",
                f"epsilon is {factor:g}, not times the deviation",
                Epsilon(factor, rule.bias),
            )
        case AlphaBeta(alpha=alpha):
            for first, second in ((1.0, 0.0), (2.0, 1.0), (3.0, 2.0)):
                if first != alpha:
                    words = (
                        f"alpha and beta are {first:g} and {second:g} instead of {alpha:g} and {rule.beta:g}"
                    )
                    yield "alpha-beta", words, replace(rule, alpha=first, beta=second)
            yield (
                "bias-handling",
                "the bias is shared out by its sign",
                replace(rule, split_bias=not rule.split_bias),
            )
        case Sign(threshold=threshold):
            for other in (-1.0, -0.5, 0.0, 0.5, 1.0):
                if other != threshold:
                    words = f"the threshold is {other:g} instead of {threshold:g}"
                    yield "sign-threshold", words, replace(rule, threshold=other)
        case Bounded():
            for low, high in ((-1.0, 1.0), (0.0, 1.0)):
                if (low, high) != (rule.low, rule.high):
                    words = f"the bounds are {low:g} and {high:g} instead of {rule.low:g} and {rule.high:g}"
                    yield "input-layer-rule", words, Bounded(low, high)
        case Gamma():
            yield "rule-mapping", "gamma in its other form", replace(rule, signed=not rule.signed)
        case _:
            pass
    if isinstance(rule, Z | Epsilon | StdEpsilon | AlphaBeta | Sign) and rule.bias:
        yield "bias-handling", "the bias is left out", replace(rule, bias=False)
    if isinstance(rule, Z | Epsilon | AlphaBeta | Flat | WSquare | Gamma):
        usual: tuple[Rule, ...] = (
            Z(),
            Epsilon(1e-7),
            AlphaBeta(1.0, 0.0),
            AlphaBeta(2.0, 1.0),
            Flat(),
            WSquare(),
        )
        for instead in usual:
            if type(instead) is not type(rule):
                yield "rule-mapping", f"{instead} instead of {rule}", instead
