"""Where the backward pass starts: which class, and from how much."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from harness.comparison.floor import MULTIPLE
from harness.diagnosis.findings import Finding
from harness.diagnosis.measure import apart, explained
from harness.methods import Head

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
    "one over the batch size": lambda logits, target: np.full(len(target), 1 / len(target)),
    "one over the number of classes": lambda logits, target: np.full(len(target), 1 / logits.shape[1]),
    "the square of the logit": lambda logits, target: _logit(logits, target) ** 2,
    "the derivative of the softmax probability": lambda logits, target: (
        _logit(_softmax(logits), target) * (1 - _logit(_softmax(logits), target))
    ),
}
_OWN: dict[Head, str] = {
    "logit": "the logit",
    "one": "one",
    "relu_logit": "the positive part of the logit",
}


def head_words(head: Head) -> str:
    """What a head starts from, in words."""
    return _OWN[head]


def seed(logits: np.ndarray, target: np.ndarray, head: Head) -> np.ndarray:
    """The relevance of the output as the method has it, (batch, classes)."""
    return _at(logits, target, SEEDS[_OWN[head]](logits, target))


def _at(logits: np.ndarray, target: np.ndarray, values: np.ndarray) -> np.ndarray:
    start = np.zeros(logits.shape)
    start[np.arange(len(target)), target] = values
    return start


def head_findings(
    logits: np.ndarray, target: np.ndarray, head: Head, observed: np.ndarray, layer: str, floor: float
) -> Iterator[Finding]:
    """What is different about ``observed``, the candidate's relevance of the output, (batch, classes).

    ``logits`` are the candidate's own. ``target``: the classes that were asked for.
    """
    logits, observed = np.asarray(logits, np.float64), np.asarray(observed, np.float64)
    expected = seed(logits, target, head)
    error = apart((expected,), (observed,))
    if explained(error, floor):
        return
    for words, start, parameters in _whole_starts(logits, target):
        residual = apart((start,), (observed,))
        if explained(residual, floor):
            yield _finding("output-seed", layer, _instead(words, head), error, floor, residual, parameters)
            return
    chosen = np.abs(observed).argmax(axis=1)
    single = np.count_nonzero(observed, axis=1).max(initial=0) <= 1
    if not single:
        yield _unknown(layer, head, error, floor, {"nonzero": int(np.count_nonzero(observed, axis=1).max())})
        return
    silent = ~observed.any(axis=1)
    chosen = np.where(silent, target, chosen)
    wrong = chosen != target
    if wrong.any():
        fits = apart((seed(logits, chosen, head),), (observed,))
        words = f"class {_listed(chosen)} is explained instead of {_listed(target)}"
        yield _finding(
            "target",
            layer,
            words,
            error,
            floor,
            fits if explained(fits, floor) else None,
            {"found": chosen.tolist(), "expected": target.tolist()},
        )
        if explained(fits, floor):
            return
    yield _value(logits, chosen, head, observed, layer, floor)


def _whole_starts(
    logits: np.ndarray, target: np.ndarray
) -> Iterator[tuple[str, np.ndarray, Mapping[str, Any]]]:
    """Starts at more than the target."""
    classes = logits.shape[1]
    own = _at(logits, target, np.ones(len(target)))
    yield "all logits", logits, {}
    yield "one at every class", np.ones_like(logits), {}
    if classes > 1:
        others = (1 - own) / (classes - 1)
        yield "the logit less the mean of the others", own * logits - others * logits, {}
        yield "one at the target, minus one shared among the others", own - others, {}
    probability = _softmax(logits)
    at_target = _logit(probability, target)[:, None]
    yield "the gradient of the softmax probability", at_target * (own - probability), {}
    yield "the gradient of the log of the softmax probability", own - probability, {}


def _value(
    logits: np.ndarray, chosen: np.ndarray, head: Head, observed: np.ndarray, layer: str, floor: float
) -> Finding:
    """The start at one neuron has another value."""
    expected = seed(logits, chosen, head)
    error = apart((expected,), (observed,))
    values = observed[np.arange(len(chosen)), chosen]
    ranked = sorted(
        (
            (apart((_at(logits, chosen, make(logits, chosen)),), (observed,)), words)
            for words, make in SEEDS.items()
        ),
        key=lambda each: each[0],
    )
    own = expected[np.arange(len(chosen)), chosen]
    with np.errstate(all="ignore"):
        factor = own / values
    parameters = {"found": values.tolist(), "expected": own.tolist(), "factor": factor.tolist()}
    residual, words = ranked[0]
    if explained(residual, floor):
        ratio = f"; the whole result is {_listed(1 / factor, '.6g')} times the reference's"
        return _finding(
            "output-seed", layer, _instead(words, head) + ratio, error, floor, residual, parameters, ranked[1]
        )
    with np.errstate(all="ignore"):
        same = np.allclose(factor, factor[0], rtol=MULTIPLE * floor, atol=0)
    if same:
        words = f"the backward pass starts from {1 / factor[0]:.6g} times {head_words(head)}"
        return _finding("output-seed", layer, words, error, floor, 0.0, parameters, ranked[0])
    return _unknown(layer, head, error, floor, parameters)


def _instead(words: str, head: Head) -> str:
    return f"the backward pass starts from {words} instead of {head_words(head)}"


def _unknown(layer: str, head: Head, error: float, floor: float, facts: Mapping[str, Any]) -> Finding:
    words = f"the backward pass starts from something else than {head_words(head)} at the target"
    return Finding("head", layer, "unknown", words, error, floor, facts=facts)


def _finding(
    cause: str,
    layer: str,
    words: str,
    error: float,
    floor: float,
    residual: float | None,
    parameters: Mapping[str, Any],
    runner_up: tuple[float, str] | None = None,
) -> Finding:
    second = None if runner_up is None else (f"starts from {runner_up[1]}", runner_up[0])
    return Finding("head", layer, cause, words, error, floor, residual, second, parameters=parameters)


def _listed(values: np.ndarray, form: str = "d") -> str:
    distinct = list(dict.fromkeys(format(value, form) for value in values.tolist()))
    return ", ".join(distinct[:4]) + (", ..." if len(distinct) > 4 else "")
