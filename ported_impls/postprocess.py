"""What is made of the relevance of the input: of each run's, and of what the runs were joined to."""

from __future__ import annotations

import numpy as np

from harness.methods import Postprocess, TimesSign
from harness.methods.procedures import Each


def of_each_run(relevance: np.ndarray, each: Each) -> np.ndarray:
    """``R``, ``|R|`` or ``R**2``, of the input's relevance of one run."""
    return {"none": np.positive, "abs": np.abs, "square": np.square}[each](relevance)


def postprocessed(relevance: np.ndarray, x: np.ndarray, postprocess: Postprocess) -> np.ndarray:
    """``R``, ``x R``, ``|R|``, ``R**2``, or ``R`` times the sign of ``x`` from a threshold on (`TimesSign`)."""
    if isinstance(postprocess, TimesSign):
        threshold = postprocess.threshold
        return relevance if threshold <= -1 else np.where(x >= threshold, relevance, -relevance)
    if postprocess == "times_input":
        return x * relevance
    return of_each_run(relevance, postprocess)
