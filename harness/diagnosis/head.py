"""Where the backward pass starts: which class, and from how much."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from harness.comparison.floor import MULTIPLE
from harness.diagnosis.findings import Differing, Finding
from harness.diagnosis.measure import apart, explained
from harness.methods import AT_ALL, BacktraceStart, Head, NamedHead

#: From logits (batch, classes) and targets to the relevance at the targets, (batch,), in words.
Seed = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _logit(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    return logits[np.arange(len(target)), target]


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


SEEDS: dict[str, Seed] = {
    "the logit": _logit,
    "one": lambda logits, target: np.ones(len(target)),
    "the positive part of the logit": lambda logits, target: np.maximum(_logit(logits, target), 0),
    "the softmax probability": lambda logits, target: _logit(_softmax(logits), target),
    "minus one": lambda logits, target: -np.ones(len(target)),
    "minus the logit": lambda logits, target: -_logit(logits, target),
    "the absolute value of the logit": lambda logits, target: np.abs(_logit(logits, target)),
    "the logit over the batch size": lambda logits, target: _logit(logits, target) / len(target),
    "the sum of the targets' logits over the batch": lambda logits, target: np.full(
        len(target), _logit(logits, target).sum()
    ),
    "one over the batch size": lambda logits, target: np.full(len(target), 1 / len(target)),
    "one over the number of classes": lambda logits, target: np.full(len(target), 1 / logits.shape[1]),
    "the square of the logit": lambda logits, target: _logit(logits, target) ** 2,
    "the derivative of the softmax probability": lambda logits, target: (
        _logit(_softmax(logits), target) * (1 - _logit(_softmax(logits), target))
    ),
}
_OWN: dict[NamedHead, str] = {
    "logit": "the logit",
    "one": "one",
    "relu_logit": "the positive part of the logit",
    "logits": "all logits",
    "ones": "one at every class",
    "relu_logits": "the positive parts of all logits",
}

#: What every class starts with, from the logits, in words.
_AT_ALL: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "all logits": lambda logits: logits,
    "one at every class": np.ones_like,
    "the positive parts of all logits": lambda logits: np.maximum(logits, 0),
}


def head_words(head: Head) -> str:
    """What a head starts from, in words."""
    return head.words if isinstance(head, BacktraceStart) else _OWN[head]


def seed(logits: np.ndarray, target: np.ndarray, head: Head) -> np.ndarray:
    """The relevance of the output as the method has it, (batch, classes)."""
    if isinstance(head, BacktraceStart):
        return head.relevance(logits, target)
    if head in AT_ALL.values():
        return _AT_ALL[_OWN[head]](logits)
    return _at(logits, target, SEEDS[_OWN[head]](logits, target))


def other_heads(head: Head) -> tuple[Head, ...]:
    """What a method of this family may start from otherwise."""
    whole = head in AT_ALL.values()
    others: tuple[Head, ...] = tuple(AT_ALL.values() if whole else AT_ALL)
    if isinstance(head, BacktraceStart):
        others = (
            *(replace(head, scaler=scaler) for scaler in (None, 1.0)),
            *(replace(head, multiplier=multiplier) for multiplier in (1.0, 100.0)),
        )
    return tuple(other for other in others if other != head)


def _at(logits: np.ndarray, target: np.ndarray, values: np.ndarray) -> np.ndarray:
    start = np.zeros(logits.shape)
    start[np.arange(len(target)), target] = values
    return start


def start_of(findings: Sequence[Finding], logits: np.ndarray, target: np.ndarray, head: Head) -> np.ndarray:
    """The relevance of the output, (batch, classes), with what ``findings`` of this module say about it."""
    for finding in findings:
        if finding.cause == "target":
            target = np.asarray(finding.parameters["found"])
    own = seed(logits, target, head)
    for finding in findings:
        words = finding.parameters.get("start")
        if words is not None:
            at_target = _starts_at(logits, target, head)
            return at_target[words] if words in at_target else dict(_whole_starts(logits, target))[words]
        if finding.cause not in ("target", "unknown") and "factor" in finding.parameters:
            return own / np.asarray(finding.parameters["factor"])[:, None]
    return own


def behind_softmax(logits: np.ndarray, target: np.ndarray, head: Head) -> np.ndarray:
    """What comes back to ``logits`` where the network goes on to a softmax and ``head`` is taken behind that."""
    probability = _softmax(logits)
    start = seed(probability, target, head)
    return probability * (start - (start * probability).sum(axis=1, keepdims=True))


def wider_starts(logits: np.ndarray, target: np.ndarray) -> tuple[str, ...]:
    """What a backward pass may start from besides the target, in words that :func:`start_of` knows."""
    return tuple(words for words, _ in _whole_starts(logits, target))


def head_findings(
    logits: np.ndarray, target: np.ndarray, head: Head, observed: np.ndarray, layer: str, floor: float
) -> Iterator[Finding]:
    """What is different about ``observed``, the candidate's relevance of the output, (batch, classes).

    ``logits`` are the candidate's own. ``target``: the classes that were asked for.
    """
    logits, observed = np.asarray(logits, np.float64), np.asarray(observed, np.float64)
    expected = seed(logits, target, head)
    differing = Differing("head", layer, apart((expected,), (observed,)), floor)
    if explained(differing.error, floor):
        return
    known = [*_whole_starts(logits, target)]
    if head in AT_ALL.values():
        known += _starts_at(logits, target, head).items()
    for words, start in known:
        residual = apart((start,), (observed,))
        if explained(residual, floor):
            parameters = {"start": words}
            yield differing.finding("output-seed", _instead(words, head), residual, parameters=parameters)
            return
    starts = int(np.count_nonzero(observed, axis=1).max(initial=0))
    if starts > 1 or head in AT_ALL.values():
        yield _unknown(differing, head, {"nonzero": starts})
        return
    silent = ~observed.any(axis=1)
    chosen = np.where(silent, target, np.abs(observed).argmax(axis=1))
    if (chosen != target).any():
        residual = apart((seed(logits, chosen, head),), (observed,))
        fits = explained(residual, floor)
        words = f"class {_listed(chosen)} is explained instead of {_listed(target)}"
        parameters = {"found": chosen.tolist(), "expected": target.tolist()}
        yield differing.finding("target", words, residual if fits else None, parameters=parameters)
        if fits:
            return
    yield _value(logits, chosen, head, observed, layer, floor)


def _starts_at(logits: np.ndarray, target: np.ndarray, head: Head) -> dict[str, np.ndarray]:
    """Starts at the target alone, in words; for a head with a multiplier each times that as well."""
    starts = {words: _at(logits, target, make(logits, target)) for words, make in SEEDS.items()}
    if isinstance(head, BacktraceStart):
        factor = head.multiplier
        starts |= {f"{factor:g} times {words}": factor * start for words, start in starts.items()}
    return starts


def _whole_starts(logits: np.ndarray, target: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Starts at more than the target."""
    classes = logits.shape[1]
    own = _at(logits, target, np.ones(len(target)))
    yield "all logits", logits
    yield "one at every class", np.ones_like(logits)
    if classes > 1:
        others = (1 - own) / (classes - 1)
        yield "the logit less the mean of the others", own * logits - others * logits
        yield "one at the target, minus one shared among the others", own - others
    probability = _softmax(logits)
    at_target = _logit(probability, target)[:, None]
    yield "the gradient of the softmax probability", at_target * (own - probability)
    yield "the gradient of the log of the softmax probability", own - probability


def _value(
    logits: np.ndarray, chosen: np.ndarray, head: Head, observed: np.ndarray, layer: str, floor: float
) -> Finding:
    """The start at one neuron has another value."""
    expected = seed(logits, chosen, head)
    differing = Differing("head", layer, apart((expected,), (observed,)), floor)
    values, own = _logit(observed, chosen), _logit(expected, chosen)
    starts = _starts_at(logits, chosen, head)
    ranked = sorted(((apart((start,), (observed,)), words) for words, start in starts.items()), key=_residual)
    with np.errstate(all="ignore"):
        factor = own / values
        same = np.allclose(factor, factor[0], rtol=MULTIPLE * floor, atol=0)
    parameters: dict[str, Any] = {
        "found": values.tolist(),
        "expected": own.tolist(),
        "factor": factor.tolist(),
    }
    (residual, words), second = ranked[:2]
    if explained(residual, floor):
        parameters["start"] = words
        words = (
            f"{_instead(words, head)}; the whole result is {_listed(1 / factor, '.6g')} times the reference's"
        )
        return _seeded(differing, words, residual, second, parameters)
    if same:
        words = f"the backward pass starts from {1 / factor[0]:.6g} times {head_words(head)}"
        return _seeded(differing, words, 0.0, ranked[0], parameters)
    return _unknown(differing, head, parameters)


def _residual(ranked: tuple[float, str]) -> float:
    return ranked[0]


def _seeded(
    differing: Differing,
    words: str,
    residual: float,
    second: tuple[float, str],
    parameters: Mapping[str, Any],
) -> Finding:
    runner_up = (f"starts from {second[1]}", second[0])
    return differing.finding("output-seed", words, residual, runner_up=runner_up, parameters=parameters)


def _instead(words: str, head: Head) -> str:
    return f"the backward pass starts from {words} instead of {head_words(head)}"


def _unknown(differing: Differing, head: Head, facts: Mapping[str, Any]) -> Finding:
    at = "" if head in AT_ALL.values() else " at the target"
    words = f"the backward pass starts from something else than {head_words(head)}{at}"
    return differing.finding("unknown", words, facts=facts)


def _listed(values: np.ndarray, form: str = "d") -> str:
    distinct = list(dict.fromkeys(format(value, form) for value in values.tolist()))
    return ", ".join(distinct[:4]) + (", ..." if len(distinct) > 4 else "")
