"""What a step of contrast mode may do otherwise, each with its cause; in float64.

Both relevances lie along the batch, those for the target first (`harness.backends.pairs`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from harness.methods import Contrast
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import (
    chained,
    deviation,
    then,
    with_formula,
    with_relevance,
    with_rule,
    with_weights,
)
from reference_impls.dlbacktrace.contrast import Pair, quotients
from reference_impls.dlbacktrace.contributions import Contributions
from reference_impls.dlbacktrace.maps import maps_of

Arrays = tuple[np.ndarray, ...]


def exchanged(relevances: np.ndarray) -> np.ndarray:
    """Those against the target first."""
    favour, against = np.split(relevances, 2)
    return np.concatenate([against, favour])


def _of_the_rule(step: Step, observed: Arrays) -> Iterator[Deviation]:
    if not isinstance(step.rule, Contrast):
        return
    other = Contrast("convolution" if step.rule.reading == "linear" else "linear")
    words = (
        f"equal relevances, and a side alone, are read as {other.reading!r} instead of {step.rule.reading!r}"
    )
    yield deviation("rule-mapping", words, with_rule(other), {"reading": other.reading})
    if "bias" in step.layer.weights:
        words = "the bias is left out of the sign of the output"
        yield deviation("bias-handling", words, with_weights(_without_bias))
    if step.layer.traits.kernel:
        for words, counted in (
            ("negative contributions keep their sign where the rule takes their size", (1.0, -1.0)),
            ("negative contributions get nothing", (1.0, 0.0)),
            ("positive contributions get nothing", (0.0, 1.0)),
        ):
            yield deviation("absolute-contributions", words, with_formula(partial(_counting, counted)))


def _counting(counted: tuple[float, float], step: Step) -> Arrays:
    """The rule with positive and negative contributions handed so many times what is theirs."""
    assert isinstance(step.rule, Contrast)
    received = Pair(*np.split(np.asarray(step.relevance, np.float64), 2))
    inputs = [np.split(np.asarray(step.inputs[0], np.float64), 2)[0]]
    maps = maps_of(step.layer, np.dtype(np.float64))
    for linear in maps[:-1]:
        inputs.append(linear.apply(inputs[-1], linear.kernel) + linear.bias)
    for linear, at in zip(reversed(maps), reversed(inputs), strict=True):
        contributions = Contributions(linear, at)
        positive, negative = contributions.positive, contributions.negative
        by = quotients(positive, negative, positive + linear.bias - negative, received, step.rule)
        to_positive, to_negative = (
            [factor * each for each in pair] for factor, pair in zip(counted, by, strict=True)
        )
        received = Pair(*map(contributions.shared, to_positive, to_negative))
    return (np.concatenate(received),)


def _without_bias(layer: object, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**weights, "bias": np.zeros_like(weights["bias"])} if "bias" in weights else weights


def _of_both(step: Step, observed: Arrays) -> Iterator[Deviation]:
    """The two relevances taken for one another, or not mixed."""
    for words, change in (
        ("what the step gives for the target and against it is exchanged", then(exchanged)),
        ("relevance for the target is taken for that against it", with_relevance(exchanged)),
        (
            "relevance for the target is taken for that against it, on both sides of the step",
            chained(with_relevance(exchanged), then(exchanged)),
        ),
    ):
        yield deviation("rule-mapping", words, change)
    for words, keep in (
        ("what speaks against the target is lost", lambda f, a: (f, np.zeros_like(a))),
        ("what speaks for the target is lost", lambda f, a: (np.zeros_like(f), a)),
    ):
        yield deviation("rule-mapping", words, then(_of_halves(keep)))
        yield deviation("rule-mapping", f"{words} before the step", with_relevance(_of_halves(keep)))


def _of_halves(
    keep: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> Callable[[np.ndarray], np.ndarray]:
    return lambda relevances: np.concatenate(keep(*np.split(relevances, 2)))


contrasts = (_of_the_rule, _of_both)
