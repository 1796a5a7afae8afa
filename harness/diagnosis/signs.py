"""What else the sign may be that the relevance of the input is multiplied by, under the SIGN postprocessing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from harness.comparison.postprocess import TREATMENTS, Treatment, treated
from harness.diagnosis.case import Case
from harness.methods import TimesSign


def other_signs(own: TimesSign, case: Case) -> Iterator[tuple[str, str, Treatment]]:
    """The sign of the input, with another threshold or read otherwise at the threshold itself."""
    mu = own.threshold

    def above(relevance: np.ndarray, x: np.ndarray) -> np.ndarray:
        return relevance * np.where(x > mu, 1.0, -1.0)

    def with_zero(relevance: np.ndarray, x: np.ndarray) -> np.ndarray:
        return relevance * np.sign(x - mu)

    yield (
        "sign-threshold",
        f"an input equal to the threshold {mu:g} counts as below it (> instead of >=)",
        above,
    )
    yield "sign-threshold", f"the sign of an input equal to the threshold {mu:g} is 0 instead of 1", with_zero
    attribution = np.asarray(case.candidate_run.attribution_array, np.float64)
    run = case.candidate_run.layers.get(case.graph.input.name)
    known = {-1.0, -0.5, 0.0, 0.5, 1.0}
    if run is not None and run.relevance is not None:
        sign = np.sign(attribution * np.asarray(run.relevance, np.float64))
        x = np.asarray(case.x, np.float64)
        if (sign > 0).any():
            known.add(float(x[sign > 0].min()))
    for other in sorted(known - {mu}):
        yield "sign-threshold", f"the threshold is {other:g} instead of {mu:g}", partial(_with_sign, other)
    yield "sign-threshold", "the sign of the input is left out", TREATMENTS["none"]
    yield from _signs_of_the_relevance(own, case)


def _signs_of_the_relevance(own: TimesSign, case: Case) -> Iterator[tuple[str, str, Treatment]]:
    """The sign of the relevance instead of that of the input, by the threshold or by a part of the largest value."""
    words = "the sign is that of the relevance and not of the input, and is 1 from a threshold of {} on"
    yield "sign-threshold", words.format(f"{own.threshold:g}"), partial(_with_own_sign, own.threshold)
    run = case.candidate_run.layers.get(case.graph.input.name)
    if run is None or run.relevance is None:
        return
    relevance = np.asarray(run.relevance, np.float64)
    sign = np.sign(relevance * np.asarray(case.candidate_run.attribution_array, np.float64))
    for whose, over in (("its", _of_samples), ("the batch's", _of_batch))[: len(relevance)]:
        with np.errstate(all="ignore"):
            part = np.nan_to_num(relevance / over(relevance))
        below, above = part[sign < 0].max(initial=-np.inf), part[sign > 0].min(initial=np.inf)
        for digits in (1, 2, 3):
            share = float(np.ceil(below * 10**digits) / 10**digits) if np.isfinite(below) else 0.0
            if below < share <= above and share > 0:
                of_largest = f"{share:g} times {whose} largest absolute value"
                yield "sign-threshold", words.format(of_largest), partial(_with_part, share, over)
                return


def _with_own_sign(threshold: float, relevance: np.ndarray, x: np.ndarray) -> np.ndarray:
    return relevance * np.where(relevance >= threshold, 1.0, -1.0)


def _with_part(
    share: float, over: Callable[[np.ndarray], np.ndarray], relevance: np.ndarray, x: np.ndarray
) -> np.ndarray:
    return relevance * np.where(relevance >= share * over(relevance), 1.0, -1.0)


def _of_samples(relevance: np.ndarray) -> np.ndarray:
    """The largest absolute value of each sample."""
    return np.abs(relevance).max(axis=tuple(range(1, relevance.ndim)), keepdims=True, initial=0.0)


def _of_batch(relevance: np.ndarray) -> np.ndarray:
    """That of all of them."""
    return np.abs(relevance).max(initial=0.0, keepdims=True)


def _with_sign(threshold: float, relevance: np.ndarray, x: np.ndarray) -> np.ndarray:
    return treated(relevance, x, TimesSign(threshold))
