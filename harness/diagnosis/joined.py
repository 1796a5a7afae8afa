"""Methods of many runs: each run on its own first, then how the runs are joined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from harness.backends import run_on_copies
from harness.comparison.postprocess import treated
from harness.diagnosis.attribution import postprocess_finding
from harness.diagnosis.case import Case
from harness.diagnosis.findings import Finding
from harness.diagnosis.measure import apart, explained
from harness.diagnosis.other_noise import with_other_noise
from harness.diagnosis.search import LEFT
from harness.methods import (
    GRADIENT,
    Backward,
    GradCam,
    IntegratedGradients,
    Method,
    Postprocess,
    Rollout,
    Smoothed,
    gaussian_noise,
)
from harness.methods.paths import places_on_path
from harness.methods.procedures import Quadrature


@dataclass(frozen=True)
class _OneWithoutNoise(Smoothed):
    """One of the samples, by its ``place``, is the input itself: the last in `SmoothGrad` of Zennit 1.0.0."""

    place: int = -1


def single_run(method: Method) -> Method | None:
    """One of the runs that the method is made of; None where it runs no network backwards."""
    procedure = method.procedure
    if isinstance(procedure, Backward):
        return method
    if isinstance(procedure, IntegratedGradients | Smoothed):
        return replace(method, procedure=Backward(), postprocess="none")
    if isinstance(procedure, Rollout):
        return replace(method, procedure=Backward()) if procedure.gradient else None
    if isinstance(procedure, GradCam):
        return replace(method, composite=GRADIENT, procedure=Backward(), postprocess="none")
    return None


def joined_finding(case: Case) -> Finding | None:
    """Whether the candidate joins its own runs as the method says; None where it does, or where this cannot be said.

    Each run is the candidate's own on the point or sample in question, so that what its steps do counts on
    both sides, and equal values under a max pooling fall alike.
    """
    procedure = case.method.procedure
    if not isinstance(procedure, IntegratedGradients | Smoothed):
        return None
    runs = _runs(case, procedure)
    expected, floor = joined_of(runs, case.x, procedure, case.method.postprocess, case.dtype)
    observed = np.asarray(case.candidate_run.attribution_array, np.float64)
    error = apart((expected,), (observed,))
    floor = max(floor, case.attribution_floor)
    if explained(error, floor):
        return None
    # Where a point has ties (a black image under max pooling), rounding decides them, and looking into a run can
    # be enough for it to round otherwise.
    floor = max(floor, apart((expected,), (_joined(case, procedure, layers=False)[0],)))
    if explained(error, floor):
        return None
    for words, other in other_procedures(procedure):
        value, noise = _joined(case, other)
        residual = apart((value,), (observed,))
        if explained(residual, max(floor, noise)):
            return Finding("postprocess", None, "unknown", words, error, floor, residual)
    # What is made of the whole, once its runs are joined.
    relevance, _ = joined_of(runs, case.x, procedure, "none", case.dtype)
    made = postprocess_finding(case, relevance, expected, observed, error, floor)
    if made.cause != "unknown" and made.residual is not None and made.residual <= LEFT * min(1.0, error):
        return made
    words = f"its runs, each right on its own, are joined in another way than {type(procedure).__name__} says"
    return with_other_noise(case, Finding("postprocess", None, "unknown", words, error, floor))


def _joined(
    case: Case, procedure: IntegratedGradients | Smoothed, layers: bool = True
) -> tuple[np.ndarray, float]:
    """The attribution from the candidate's own single runs, and the rounding of their sum."""
    runs = _runs(case, procedure, layers)
    return joined_of(runs, case.x, procedure, case.method.postprocess, case.dtype)


def _runs(case: Case, procedure: IntegratedGradients | Smoothed, layers: bool = True) -> list[np.ndarray]:
    """The attribution of each of the candidate's own single runs.

    ``layers``: the runs are looked into, as the whole run was.
    """
    method = single_run(case.method)
    assert method is not None
    prepared = case.candidate_prepared
    return [
        run_on_copies(prepared, replace(case.asked, x=x, method=method, layers=layers)).attribution
        for x in points_of(case.x, procedure)
    ]


def joined_of(
    runs: Sequence[np.ndarray],
    x: np.ndarray,
    procedure: IntegratedGradients | Smoothed,
    postprocess: Postprocess,
    dtype: str,
) -> tuple[np.ndarray, float]:
    """What ``procedure`` and ``postprocess`` make of the relevance of the input in each of its runs, float64.

    Beside it the rounding of their sum in ``dtype``, relative: what cancels in the sum leaves that of its terms.
    """
    each = {"abs": np.abs, "square": np.square}.get(procedure.each, np.asarray)
    stacked = np.stack([each(np.asarray(run, np.float64)) for run in runs])
    x = np.asarray(x, np.float64)
    if isinstance(procedure, IntegratedGradients):
        weights = [weight for _, weight in places_on_path(procedure)]
        result = np.tensordot(np.asarray(weights), stacked, axes=1)
        if procedure.times_difference:
            result = result * (x - procedure.baseline)
    else:
        result = stacked.mean(axis=0) if procedure.statistic == "mean" else stacked.var(axis=0)
    size = float(np.linalg.norm(result)) or 1.0
    rounding = float(np.finfo(dtype).eps) * float(np.linalg.norm(np.abs(stacked).mean(axis=0))) / size
    return treated(result, x, postprocess), rounding


def procedure_of(
    procedure: IntegratedGradients | Smoothed, findings: Sequence[Finding]
) -> IntegratedGradients | Smoothed:
    """The procedure as ``findings``, those of :func:`joined_finding`, say that the candidate has it."""
    chosen = {each.words for each in findings}
    return next((other for words, other in other_procedures(procedure) if words in chosen), procedure)


def points_of(x: np.ndarray, procedure: IntegratedGradients | Smoothed) -> Iterator[np.ndarray]:
    """The inputs of the runs."""
    if isinstance(procedure, Smoothed):
        clean = procedure.place % procedure.samples if isinstance(procedure, _OneWithoutNoise) else None
        for number, noise in enumerate(gaussian_noise(procedure, x.shape)):
            yield x if number == clean else x + noise.astype(x.dtype)
        return
    for place, _ in places_on_path(procedure):
        yield procedure.baseline + place * (x - procedure.baseline)


def _other_quadratures(procedure: IntegratedGradients) -> Iterator[tuple[str, IntegratedGradients]]:
    for other in get_args(Quadrature):
        if other != procedure.quadrature:
            words = f"the path is summed up by {other} instead of {procedure.quadrature}"
            yield words, replace(procedure, quadrature=other, endpoint=False)
    # n intervals have n + 1 places; written as a mean of neighbours, their weights sum to 1, not to n / (n + 1).
    steps = procedure.steps + 1
    words = f"the path is summed up by riemann_trapezoid of {steps} places instead of {procedure.quadrature}"
    trapezoid = replace(procedure, quadrature="riemann_trapezoid", endpoint=False, steps=steps)
    yield f"{words} of {procedure.steps}", trapezoid
    if procedure.quadrature != "mean":
        form = "not rounded" if procedure.float32_weights else "rounded to float32"
        words = f"the places and weights of the path are {form}"
        yield words, replace(procedure, float32_weights=not procedure.float32_weights)
    words = "taken" if not procedure.times_difference else "left out"
    yield (
        f"the factor x - baseline is {words}",
        replace(procedure, times_difference=not procedure.times_difference),
    )


def other_procedures(
    procedure: IntegratedGradients | Smoothed,
) -> Iterator[tuple[str, IntegratedGradients | Smoothed]]:
    """The ways in which runs are known to be joined otherwise, in words, and the procedure that does it."""
    if isinstance(procedure, IntegratedGradients):
        if procedure.quadrature == "mean":
            where = "includes" if not procedure.endpoint else "leaves out"
            yield f"the path {where} its end", replace(procedure, endpoint=not procedure.endpoint)
        yield from _other_quadratures(procedure)
        for steps in (procedure.steps - 1, procedure.steps + 1, 20, 32, 50, 64, 100):
            if steps != procedure.steps and steps > 1:
                yield (
                    f"the path has {steps} steps instead of {procedure.steps}",
                    replace(procedure, steps=steps),
                )
    else:
        other = "variance" if procedure.statistic == "mean" else "mean"
        yield f"the {other} of the runs is taken", replace(procedure, statistic=other)  # type: ignore[arg-type]
        for ordinal, place in (("last", -1), ("first", 0)):
            words = f"the {ordinal} of the {procedure.samples} samples is the input without noise"
            yield words, _OneWithoutNoise(**vars(procedure), place=place)
    for each in ("none", "abs", "square"):
        if each != procedure.each:
            form = {"none": "as they are", "abs": "as absolute values", "square": "squared"}[each]
            yield f"the runs are joined {form}", replace(procedure, each=each)
