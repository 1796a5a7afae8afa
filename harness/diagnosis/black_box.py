"""A candidate that shows nothing but its attribution: whole runs of the reference, read differently, against it.

What is found here is where a difference is first seen: the layer stays unknown. A name is given only where the
reference with that one difference gives the candidate's attribution: rounding explains what is left, and that is a
small part of the error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from harness.comparison.floor import MULTIPLE
from harness.diagnosis.attribution import postprocess_finding
from harness.diagnosis.cams import cam_findings
from harness.diagnosis.case import Case
from harness.diagnosis.difference import Difference
from harness.diagnosis.findings import Finding
from harness.diagnosis.head import SEEDS, head_words, other_heads, seed
from harness.diagnosis.measure import apart, explained, factor_of, factor_words, factors_of, summation_floor
from harness.diagnosis.other_noise import with_other_noise
from harness.diagnosis.precision import stored_format
from harness.diagnosis.reread import ELSEWHERE, another_input, reread
from harness.engine import compare, engine, floor_of
from harness.methods import Method

#: Other classes that are tried as the target, the most likely first.
TARGETS = 10


def black_box_findings(case: Case) -> tuple[Finding, ...]:
    """The first of the known differences of a whole run that reproduces the attribution; none where it is right.

    Two, where a difference inside the run and one at either end of it do so together.
    """
    candidate = np.asarray(case.candidate_run.attribution_array, np.float64)
    reference = np.asarray(case.reference_run.attribution_array, np.float64)
    difference = Difference(reference, candidate, apart((reference,), (candidate,)), case.attribution_floor)
    if explained(difference.error, difference.floor) or _agrees(case):
        return ()
    maps = cam_findings(case, difference)
    if maps:
        return maps
    for finding in (
        _another_network(case, difference),
        _fewer_digits(case, difference),
        _scaled(case, difference),
        _another_head(case, difference),
        _another_target(case, difference),
        _of_other_samples(difference),
    ):
        if finding is not None:
            return (finding,)
    ends = _ends(case, difference)
    if ends is not None and ends.cause != "unknown" and _holds_elsewhere(case, ends):
        return (ends,)
    inside, nearest = reread(case, difference)
    if inside:
        return inside
    words = "the attribution differs, and the candidate shows no layers"
    factor = _factor(difference)
    if factor is not None:
        number = factor_words(factor, difference.floor)
        words = (
            f"on this input the attribution is {number} times the reference's, and on another input it is not"
        )
    unknown = difference.finding("rule", "unknown", words)
    unknown = replace(unknown, runner_up=nearest, facts={} if ends is None else ends.facts)
    return (with_other_noise(case, unknown),)


def _agrees(case: Case) -> bool:
    """Whether the attributions agree on equal ground, where rounding put a unit on the other side of a kink."""
    return compare(case.reference_run, case.candidate_run).attribution.verdict in ("identical", "equivalent")


def _run(case: Case, method: Method, target: np.ndarray) -> np.ndarray | None:
    """The reference's attribution by ``method``, in float64; None where the network does not admit the method."""
    asked = replace(case.asked, method=method, target=target, layers=False)
    try:
        run = engine().run(asked, case.reference)
    except Exception:
        return None
    return np.asarray(run.attribution_array, np.float64)


def _against(case: Case, method: Method, difference: Difference) -> float:
    """How far the candidate is from the reference's run of ``method``."""
    run = _run(case, method, case.target)
    return float("inf") if run is None else apart((run,), (difference.candidate,))


def _another_network(case: Case, difference: Difference) -> Finding | None:
    """Where the candidate's network gives other logits, nothing can be said of its method."""
    floor = max(
        floor_of(engine(), case.reference_run).of_activation(case.graph.output),
        summation_floor(case.terms, case.dtype),
    )
    error = apart((np.asarray(case.reference_run.logits),), (np.asarray(case.candidate_run.logits),))
    if explained(error, floor):
        return None
    words = "the candidate's network gives other logits than the reference's"
    return replace(difference.finding("forward", "unknown", words), error=error, floor=floor)


def _fewer_digits(case: Case, difference: Difference) -> Finding | None:
    """Every value is of a shorter format, and the difference is about its rounding."""
    stored = stored_format(difference.candidate, difference.reference, difference.error, case.dtype)
    if stored is None:
        return None
    words = f"every value of the attribution is a {stored} number: the candidate computes in {stored}"
    return replace(difference.finding("postprocess", "precision", words), parameters={"format": stored})


def _scaled(case: Case, difference: Difference) -> Finding | None:
    """One factor a sample: the start of the backward pass, if it is one; else one factor for all, a bare scale."""
    reference, candidate, floor = difference.reference, difference.candidate, difference.floor
    nonzero = reference.reshape(len(reference), -1).any(axis=1)  # zero is zero times any factor
    if not nonzero.any():
        return None
    with np.errstate(all="ignore"):
        factors = np.where(nonzero, factors_of(reference, candidate), 1.0)

    def left(each: np.ndarray) -> float:
        return apart((reference * each.reshape(-1, *(1,) * (reference.ndim - 1)),), (candidate,))

    if not difference.closed_by(left(factors)):
        return None
    logits = np.asarray(case.reference_run.logits, np.float64)
    own = seed(logits, case.target, case.method.head)[np.arange(len(logits)), case.target]
    for words, start in SEEDS.items():
        with np.errstate(all="ignore"):
            wanted = np.where(nonzero, start(logits, case.target) / own, 1.0)
        if np.isfinite(wanted).all() and difference.closed_by(left(wanted)):
            sentence = (
                f"the backward pass starts from {words} instead of {head_words(case.method.head)}; "
                f"the whole result is {factors[nonzero][0]:.6g} times the reference's"
            )
            return _seed(
                case,
                replace(
                    difference.finding("head", "output-seed", sentence, left(wanted)),
                    parameters={"factor": (1 / factors).tolist()},
                ),
            )
    factor = float(factors[nonzero][0])
    if np.allclose(factors[nonzero], factor, rtol=MULTIPLE * floor, atol=0):
        number = factor_words(factor, floor)
        words = (
            f"the attribution is {f'1 + {factor - 1:.3g}' if number == '1' else number} times the reference's"
        )
        finding = difference.finding("postprocess", "scale", words, left(np.full(len(reference), factor)))
        finding = replace(finding, parameters={"factor": factor})
        return finding if _holds_elsewhere(case, finding) else None
    return None


def _factor(difference: Difference) -> float | None:
    """The one number that the reference is multiplied by on this input; None where none closes the gap."""
    factor = factor_of(difference.reference, difference.candidate)
    left = apart((difference.reference * factor,), (difference.candidate,))
    return factor if difference.closed_by(left) else None


def _holds_elsewhere(case: Case, finding: Finding) -> bool:
    """Whether one factor for all, where ``finding`` is that, is the same on another input.

    A candidate that divides by something (the largest value of the batch, say) has another factor there.
    """
    if finding.cause != "scale" or "factor" not in finding.parameters:
        return True
    factor, other = float(finding.parameters["factor"]), another_input(case)
    if other is None:
        return True
    reference, candidate = (
        np.asarray(run.attribution_array, np.float64) for run in (other.reference_run, other.candidate_run)
    )
    left = apart((reference * factor,), (candidate,))
    error = apart((reference,), (candidate,))
    return explained(left, other.attribution_floor) or left <= ELSEWHERE * min(1.0, error)


def _another_head(case: Case, difference: Difference) -> Finding | None:
    """Another start of the backward pass where the method's own is zero for a sample, so that no factor shows it."""
    for head in other_heads(case.method.head):
        residual = _against(case, replace(case.method, head=head), difference)
        if difference.closed_by(residual):
            words = (
                f"the backward pass starts from {head_words(head)} instead of {head_words(case.method.head)}"
            )
            return _seed(case, difference.finding("head", "output-seed", words, residual))
    return None


def _seed(case: Case, finding: Finding) -> Finding:
    """``finding`` about the start of the backward pass; one that depends on the batch is called that."""
    if not case.coupled:
        return finding
    words = f"what the backward pass starts from depends on the batch: {finding.words}"
    return replace(finding, cause="batch-coupling", words=words)


def _another_target(case: Case, difference: Difference) -> Finding | None:
    """Other classes: for each sample, of those that are tried, the one whose run comes nearest."""
    nearest, target = difference.reference.copy(), case.target.copy()

    def far(attribution: np.ndarray) -> np.ndarray:
        return np.square(attribution - difference.candidate).reshape(len(attribution), -1).sum(axis=1)

    for other in _other_targets(case):
        run = _run(case, case.method, other)
        if run is None:
            continue
        closer = far(run) < far(nearest)
        nearest[closer], target[closer] = run[closer], other[closer]
        residual = apart((nearest,), (difference.candidate,))
        if difference.closed_by(residual):
            words = f"class {target.tolist()} is explained instead of {case.target.tolist()}"
            parameters = {"found": target.tolist(), "expected": case.target.tolist()}
            return replace(difference.finding("head", "target", words, residual), parameters=parameters)
    return None


def _other_targets(case: Case) -> Iterator[np.ndarray]:
    """The other classes, the most likely first, one after the other for all samples."""
    order = np.argsort(-np.asarray(case.reference_run.logits), axis=1, kind="stable")
    for rank in range(min(TARGETS, order.shape[1])):
        if not np.array_equal(order[:, rank], case.target):
            yield order[:, rank]
    for value in range(min(TARGETS, order.shape[1])):
        if not (case.target == value).all():
            yield np.full_like(case.target, value)


def _of_other_samples(difference: Difference) -> Finding | None:
    """The attribution as it should be, but each sample with that of another, or of all together."""
    reference = difference.reference
    if len(reference) < 2:
        return None
    for words, exchanged in (
        ("the attributions of the samples are in reversed order", reference[::-1]),
        ("every sample gets the attribution of the first", reference[:1]),
        ("every sample gets the attribution of the last", reference[-1:]),
        ("every sample gets the sum of the batch's attributions", reference.sum(axis=0, keepdims=True)),
        ("every sample gets the mean of the batch's attributions", reference.mean(axis=0, keepdims=True)),
    ):
        residual = apart((np.broadcast_to(exchanged, reference.shape),), (difference.candidate,))
        if difference.closed_by(residual):
            return difference.finding("postprocess", "batch-coupling", words, residual)
    return None


def _ends(case: Case, difference: Difference) -> Finding | None:
    """What is made of the relevance of the input; None where the reference does not show it."""
    source = case.reference_run.layers.get(case.graph.input.name)
    if source is None or source.relevance is None:
        return None
    relevance = np.asarray(source.relevance, np.float64)
    finding = postprocess_finding(
        case, relevance, difference.reference, difference.candidate, difference.error, difference.floor
    )
    finding = replace(finding, first_seen=True, layer=None)
    if finding.residual is None or difference.closed_by(finding.residual):
        return finding
    return replace(finding, cause="unknown")
