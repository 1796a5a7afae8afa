"""The two ends of a run: what the network's output is, and what becomes of the relevance of the input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from harness.comparison.postprocess import TREATMENTS, Treatment, treated
from harness.diagnosis.case import Case
from harness.diagnosis.facts import facts
from harness.diagnosis.findings import Differing, Finding
from harness.diagnosis.measure import apart, explained, factor_of, factor_words, summation_floor
from harness.diagnosis.signs import other_signs
from harness.engine import engine, floor_of
from harness.graph import Input, parted
from harness.methods import Postprocess, TimesSign


def result_findings(case: Case) -> Iterator[Finding]:
    """The logits that the candidate reports against the output of its last layer: is there a softmax behind it?"""
    run = case.candidate_run
    last = run.layers.get(case.graph.output)
    if last is None or last.activation is None:
        return
    output, logits = np.asarray(last.activation, np.float64), np.asarray(run.logits, np.float64)
    floor = summation_floor(logits.shape[-1], case.dtype)
    error = apart((output,), (logits,))
    if output.shape != logits.shape or explained(error, floor):
        return
    differing = Differing("forward", case.graph.output, error, floor)
    powers = np.exp(output - output.max(axis=1, keepdims=True))
    residual = apart((powers / powers.sum(axis=1, keepdims=True),), (logits,))
    if explained(residual, floor):
        words = "the network still ends in a softmax: its logits are probabilities"
        yield differing.finding("softmax-kept", words, residual)
    else:
        words = "the logits are not the output of the last layer"
        yield differing.finding("unknown", words)


def attribution_findings(case: Case) -> Iterator[Finding]:
    """What the candidate makes of the relevance that reached its input."""
    run, source = case.candidate_run, case.graph.input.name
    if source not in run.layers or run.layers[source].relevance is None:
        return
    relevance = np.asarray(run.layers[source].relevance, np.float64)
    attribution, x = np.asarray(run.attribution_array, np.float64), np.asarray(case.x, np.float64)
    floor = summation_floor(1, case.dtype)
    expected = treated(relevance, x, case.method.postprocess)
    error = apart((expected,), (attribution,))
    if explained(error, floor):
        return
    finding = postprocess_finding(case, relevance, expected, attribution, error, floor)
    yield replace(finding, first_seen=case.candidate_steps is None)


def postprocess_finding(
    case: Case, relevance: np.ndarray, expected: np.ndarray, observed: np.ndarray, error: float, floor: float
) -> Finding:
    """Name what is done to ``relevance`` of the input to get ``observed`` instead of ``expected``."""
    x = np.asarray(case.x, np.float64)
    differing = Differing("postprocess", case.graph.input.name, error, floor)
    bad = ~np.isfinite(observed) & np.isfinite(expected)
    if bad.any():
        nan = int(np.isnan(observed[bad]).sum())
        words = (
            f"{nan} NaN and {int(bad.sum()) - nan} infinite values where the relevance of the input has none"
        )
        return differing.finding("nan", words)
    ranked = sorted(
        (
            (apart((treatment(relevance, x),), (observed,)), cause, words)
            for cause, words, treatment in treatments(expected, case)
        ),
        key=lambda each: each[0],
    )
    (residual, cause, words), second = ranked[0], ranked[1]
    runner_up = (second[2], second[0])
    if explained(residual, floor):
        return differing.finding(cause, words, residual, runner_up=runner_up)
    factor = factor_of(expected, observed)
    left = apart((expected * factor,), (observed,))
    if explained(left, floor):
        words = f"the attribution is multiplied by {factor_words(factor, floor)}"
        return differing.finding("scale", words, left, runner_up=runner_up, parameters={"factor": factor})
    words = "the attribution is not what the relevance of the input should give"
    known = facts((expected,), (observed,), case.graph.input.axes)
    return differing.finding("unknown", words, runner_up=(words, residual), facts=known)


def treatment_of(case: Case, finding: Finding, relevance: np.ndarray) -> Treatment | None:
    """What ``finding``, one of :func:`postprocess_finding`, says is done to the relevance of the input."""
    if finding.cause == "scale" and "factor" in finding.parameters:
        factor = float(finding.parameters["factor"])
        return lambda relevance, x: factor * treated(relevance, x, case.method.postprocess)
    named = (
        each
        for cause, words, each in treatments(relevance, case)
        if (cause, words) == _cause_and_words(finding)
    )
    return next(named, None)


def _cause_and_words(finding: Finding) -> tuple[str, str]:
    return finding.cause, finding.words


def treatments(expected: np.ndarray, case: Case) -> Iterator[tuple[str, str, Treatment]]:
    """Cause, words and what may be done instead; ``expected`` is what should come out."""
    own = case.method.postprocess
    axes = tuple(range(1, expected.ndim))

    def spread(of: Callable[[np.ndarray], np.ndarray]) -> Treatment:
        def over(relevance: np.ndarray, x: np.ndarray) -> np.ndarray:
            base = treated(relevance, x, own)
            with np.errstate(all="ignore"):
                return base / of(base)

        return over

    def then(change: Callable[[np.ndarray], np.ndarray]) -> Treatment:
        return lambda relevance, x: change(treated(relevance, x, own))

    for name, treatment in TREATMENTS.items():
        if name != own:
            cause = {"abs": "absolute-contributions", "square": "absolute-contributions"}.get(
                name, "input-layer-rule"
            )
            yield cause, _treatment_words(name, own), treatment
    if own != "times_input":
        yield "input-layer-rule", "the result is multiplied by the input", then_times_x(own)
    else:
        yield "input-layer-rule", "the result is multiplied by the input twice", lambda r, x: r * x * x
    if isinstance(own, TimesSign):
        yield from other_signs(own, case)
    yield "absolute-contributions", "absolute values are taken of the attribution", then(np.abs)
    yield (
        "negative-clipped",
        "negative values of the attribution are set to zero",
        then(lambda a: np.maximum(a, 0)),
    )
    yield (
        "negative-clipped",
        "positive values of the attribution are set to zero",
        then(lambda a: np.minimum(a, 0)),
    )
    for cause, words, change in _of_inputs(case.graph.inputs):
        yield cause, words, then(change)
    yield "scale", "the attribution has the opposite sign", then(np.negative)
    for words, of in (
        ("its largest absolute value", lambda a: np.abs(a).max(axis=axes, keepdims=True)),
        ("its largest value", lambda a: a.max(axis=axes, keepdims=True)),
        ("its sum", lambda a: a.sum(axis=axes, keepdims=True)),
        ("the sum of its absolute values", lambda a: np.abs(a).sum(axis=axes, keepdims=True)),
        ("its standard deviation", lambda a: a.std(axis=axes, keepdims=True)),
        ("its L2 norm", lambda a: np.sqrt(np.square(a).sum(axis=axes, keepdims=True))),
        ("the largest absolute value of the whole batch", lambda a: np.abs(a).max(keepdims=True)),
        ("the number of samples in the batch", lambda a: np.full((1,) * a.ndim, float(len(a)))),
    ):
        cause = "batch-coupling" if "batch" in words else "scale"
        yield cause, f"the attribution is divided by {words}", spread(of)
    yield (
        "scale",
        "the attribution is shifted and scaled to reach from 0 to 1",
        then(partial(_zero_to_one, axes)),
    )
    yield (
        "batch-coupling",
        "the attributions of the whole batch are shifted and scaled to reach from 0 to 1",
        then(partial(_zero_to_one, None)),
    )
    if not case.graph.inputs:
        for cause, words, change in _of_places(case.graph.input.axes, expected.shape):
            yield cause, words, then(change)


def _of_places(
    axes: Sequence[str], shape: Sequence[int], of: str = ""
) -> Iterator[tuple[str, str, Callable[[np.ndarray], np.ndarray]]]:
    """What may be done to an attribution of these axes and this shape, both with the batch; ``of``: of which input."""
    rank = len(shape)
    for cause, words, of_channels in (
        ("layout", f"the attribution{of} is summed over the channels and repeated", np.sum),
        ("layout", f"the attribution{of} is averaged over the channels and repeated", np.mean),
        (
            "absolute-contributions",
            f"the largest absolute value of the channels{of} is taken and repeated",
            lambda a, **of: np.abs(a).max(**of),
        ),
    ):
        yield cause, words, partial(_of_the_channels, of_channels)
    for axis in range(1, rank):
        yield "layout", f"the {axes[axis]} axis{of} is reversed", partial(np.flip, axis=axis)
    for axis in range(1, rank):
        for other in range(axis + 1, rank):
            if shape[axis] == shape[other]:
                words = f"the axes {axes[axis]} and {axes[other]}{of} are exchanged"
                yield "layout", words, partial(np.swapaxes, axis1=axis, axis2=other)
    for axis in range(2, rank):
        words = f"values{of} are read in another order of the axes ({axes[axis]} to the front)"
        yield "layout", words, partial(_to_front, axis)


def _of_inputs(inputs: Sequence[Input]) -> Iterator[tuple[str, str, Callable[[np.ndarray], np.ndarray]]]:
    """What may be done to the attributions of several inputs: two of one shape exchanged, one changed or left out."""
    for place, one in enumerate(inputs):
        for other in inputs[place + 1 :]:
            if one.shape == other.shape:
                words = f"the attributions of the inputs {one.name!r} and {other.name!r} are exchanged"
                yield "layout", words, partial(_exchanged, one, other)
    for one in inputs:
        yield (
            "scale",
            f"the attribution of the input {one.name!r} is zero",
            partial(_with, one, np.zeros_like),
        )
        for cause, words, change in _of_places(one.axes, (1, *one.shape), f" of the input {one.name!r}"):
            yield cause, words, partial(_with, one, change)


def input_findings(case: Case) -> Iterator[Finding]:
    """What is done to the attribution of single inputs of several, where that of others is right.

    All that differs has to be named, unless no other search would see it: small parts of a vector that agrees as one.
    """
    runs = (case.reference_run, case.candidate_run)
    wholes = [np.asarray(run.attribution_array, np.float64) for run in runs]
    found = list(_by_input(case, wholes))
    unseen = explained(apart(wholes[:1], wholes[1:]), case.attribution_floor)
    named = len(found) < len(case.graph.inputs) and all(each.cause != "unknown" for each in found)
    if unseen or named:
        yield from found


def _by_input(case: Case, wholes: Sequence[np.ndarray]) -> Iterator[Finding]:
    for one in case.graph.inputs:
        expected, observed = (parted((one,), whole)[one.name] for whole in wholes)
        floor = floor_of(engine(), case.reference_run).of_attribution(one.name)
        error = apart((expected,), (observed,))
        if not explained(error, floor):
            yield _input_finding(one, expected, observed, Differing("postprocess", None, error, floor, True))


def _input_finding(one: Input, expected: np.ndarray, observed: np.ndarray, differing: Differing) -> Finding:
    of = f"the attribution of the input {one.name!r}"
    tried: list[tuple[str, str, Callable[[np.ndarray], np.ndarray]]] = [
        ("scale", f"{of} is zero", np.zeros_like),
        ("scale", f"{of} has the opposite sign", np.negative),
        ("absolute-contributions", f"absolute values are taken of {of}", np.abs),
        *_of_places(one.axes, expected.shape, f" of the input {one.name!r}"),
    ]
    residuals = [apart((change(expected),), (observed,)) for _, _, change in tried]
    best = int(np.argmin(residuals))
    if explained(residuals[best], differing.floor):
        return differing.finding(*tried[best][:2], residuals[best])
    factor = factor_of(expected, observed)
    left = apart((expected * factor,), (observed,))
    if explained(left, differing.floor):
        words = f"{of} is multiplied by {factor_words(factor, differing.floor)}"
        return differing.finding("scale", words, left, parameters={"factor": factor})
    return differing.finding("unknown", f"{of} is another")


def _exchanged(one: Input, other: Input, attribution: np.ndarray) -> np.ndarray:
    changed = attribution.copy()
    changed[:, one.places], changed[:, other.places] = (
        attribution[:, other.places],
        attribution[:, one.places],
    )
    return changed


def _with(one: Input, change: Callable[[np.ndarray], np.ndarray], attribution: np.ndarray) -> np.ndarray:
    """``attribution`` with ``change`` made to that of one input."""
    changed = attribution.copy()
    part = change(parted((one,), attribution)[one.name])
    changed[:, one.places] = part.reshape(len(part), -1)
    return changed


def _zero_to_one(axes: tuple[int, ...] | None, attribution: np.ndarray) -> np.ndarray:
    low, high = (of(attribution, axis=axes, keepdims=True) for of in (np.min, np.max))
    with np.errstate(all="ignore"):
        return np.asarray((attribution - low) / (high - low))


def _of_the_channels(of: Callable[..., np.ndarray], attribution: np.ndarray) -> np.ndarray:
    return np.broadcast_to(of(attribution, axis=-1, keepdims=True), attribution.shape)


def _to_front(axis: int, array: np.ndarray) -> np.ndarray:
    """The values as they are read with ``axis`` before the others, in the old shape."""
    return np.moveaxis(array, axis, 1).reshape(array.shape)


def then_times_x(own: Postprocess) -> Treatment:
    """The method's own treatment, and times the input."""
    return lambda relevance, x: treated(relevance, x, own) * x


def _treatment_words(name: str, own: Postprocess) -> str:
    words = {
        "none": "the relevance of the input is taken as it is",
        "times_input": "the relevance of the input is multiplied by the input",
        "abs": "absolute values are taken of the relevance of the input",
        "square": "the relevance of the input is squared",
    }
    instead = "what the sign of the input asks for" if isinstance(own, TimesSign) else f"{own!r}"
    return f"{words[name]} instead of {instead}"
