"""The end of the network: the softmax that was to be removed; and what is seen of any layer at all."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from harness.steps import Deviation, ForwardStep
from reference_impls.deviations.forward.altering import Pointwise, Whole, then
from reference_impls.deviations.forward.functions import logistic
from reference_impls.deviations.forward.numbers import factor, shown, simplest
from reference_impls.deviations.forward.sight import Sight


def softmax_kept(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """At the output: softmax, log-softmax or sigmoid of the logits."""
    if step.layer.name != step.graph.output:
        return
    for name, change in (("softmax", _softmax), ("log-softmax", _log_softmax), ("sigmoid", _sigmoid)):
        yield Deviation(
            "softmax-kept",
            f"the output goes through a {name} that the network should not have",
            partial(then, change=Pointwise(change)),
            {"function": name, "expected": "none"},
        )


def _softmax(step: ForwardStep, z: np.ndarray) -> np.ndarray:
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _log_softmax(step: ForwardStep, z: np.ndarray) -> np.ndarray:
    shifted = z - z.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _sigmoid(step: ForwardStep, z: np.ndarray) -> np.ndarray:
    return logistic(z)


def scaled(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """One factor for everything."""
    value = simplest(*factor(sight.base, sight.seen))
    if np.isfinite(value) and value not in (0.0, 1.0):
        yield Deviation(
            "scale",
            f"the output is {shown(value)} times what it should be",
            partial(then, change=Pointwise(lambda step, result: result * value)),
            {"factor": value, "expected": 1.0},
            generic=True,
        )


def not_finite(step: ForwardStep, observed: np.ndarray) -> Iterator[Deviation]:
    """NaN or infinity in the output, nothing else being different."""
    bad = ~np.isfinite(observed)
    count = int(bad.sum())
    if not count:
        return
    kinds = [
        f"{int(found.sum())} {name}"
        for name, found in (("NaN", np.isnan(observed)), ("Inf", np.isinf(observed)))
        if found.any()
    ]
    place = tuple(int(index) for index in np.argwhere(bad)[0])
    words = f"{' and '.join(kinds)} among {observed.size} values, the first at {place}"
    yield Deviation(
        "nan",
        words,
        partial(then, change=Whole(lambda step, result: np.where(bad, observed, result))),
        {"count": count, "first": place, "expected": 0},
    )
