"""The end of the network: the softmax that was to be removed; and what is seen of any layer at all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.steps import Deviation, ForwardStep
from reference_impls.deviations.forward.altering import Pointwise, then
from reference_impls.deviations.forward.functions import logistic
from reference_impls.deviations.forward.numbers import factor, shown, simplest
from reference_impls.deviations.forward.sight import Sight


def softmax_kept(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """At the output: softmax, log-softmax or sigmoid of the logits."""
    if step.layer.name != step.graph.output:
        return
    for name, change in (
        ("softmax", _softmax),
        ("log-softmax", _log_softmax),
        ("sigmoid", lambda _, z: logistic(z)),
    ):
        words = f"the output goes through a {name} that the network should not have"
        parameters = {"function": name, "expected": "none"}
        yield Deviation("softmax-kept", words, then(Pointwise(change)), parameters)


def _softmax(step: ForwardStep, z: np.ndarray) -> np.ndarray:
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _log_softmax(step: ForwardStep, z: np.ndarray) -> np.ndarray:
    shifted = z - z.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def scaled(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """One factor for everything."""
    value = simplest(*factor(sight.base, sight.seen))
    if np.isfinite(value) and value not in (0.0, 1.0):
        words = f"the output is {shown(value)} times what it should be"
        change = Pointwise(lambda step, result: result * value)
        yield Deviation("scale", words, then(change), {"factor": value, "expected": 1.0}, generic=True)


def not_finite(step: ForwardStep, observed: np.ndarray) -> Iterator[Deviation]:
    """NaN or infinity in the output, nothing else being different."""
    bad = ~np.isfinite(observed)
    count = int(bad.sum())
    if not count:
        return
    kinds = [
        f"{int(mask.sum())} {name}"
        for name, mask in (("NaN", np.isnan(observed)), ("Inf", np.isinf(observed)))
        if mask.any()
    ]
    place = tuple(int(index) for index in np.argwhere(bad)[0])
    words = f"{' and '.join(kinds)} among {observed.size} values, the first at {place}"
    change = then(lambda step, result: np.where(bad, observed, result))
    yield Deviation("nan", words, change, {"count": count, "first": place, "expected": 0})
