"""The search for pairs of deviations: none that fits is lost behind others that fit as well."""

from __future__ import annotations

import numpy as np

from harness.diagnosis.search import SECONDS, Problem, Search
from harness.steps import Deviation

ROUNDING = float(np.finfo(np.float64).eps)


def test_a_round_constant_is_found_behind_many_fitted_ones_that_come_nearer_by_rounding() -> None:
    """The step gives 0 and the candidate 2: one deviation adds 1, and each of the others adds another 1.

    A layer with one output that has relevance is such a case: whatever is fitted to its one number fits it.
    """

    def adding(cause: str, words: str, value: float, generic: bool = False) -> Deviation:
        return Deviation(cause, words, lambda total: total + value, generic=generic)

    first = adding("bias-handling", "the bias is counted", 1.0)
    fitted = [
        adding("stabilizer-form", f"fitted form {place}", 1.0, generic=True) for place in range(2 * SECONDS)
    ]
    # Listed before the fitted forms, as the search lists what is common, but a rounding further from the candidate.
    common = adding("stabilizer-form", "z + 1e-06", 1.0 + ROUNDING)
    problem = Problem(
        step=0.0,
        observed=(np.array([2.0]),),
        carry_out=lambda total: (np.array([total]),),
        deviations=lambda total: [first] if total == 0 else [common, *fitted],
        floor=4 * ROUNDING,
        noise=lambda step, residual: 0.0,
    )
    fits = Search(problem, error=1.0).paired().fits
    assert fits[0].words == "the bias is counted; and z + 1e-06"
    assert len(fits) == 1 + 2 * SECONDS
