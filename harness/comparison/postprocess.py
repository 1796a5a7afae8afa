"""What a method's post-processing makes of the relevance of the input."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.methods import Postprocess, TimesSign

#: From the relevance of the input, (batch, *input shape), and the input to the attribution.
Treatment = Callable[[np.ndarray, np.ndarray], np.ndarray]

TREATMENTS: dict[str, Treatment] = {
    "none": lambda relevance, x: relevance,
    "times_input": lambda relevance, x: relevance * x,
    "abs": lambda relevance, x: np.abs(relevance),
    "square": lambda relevance, x: np.square(relevance),
}


def treated(relevance: np.ndarray, x: np.ndarray, postprocess: Postprocess) -> np.ndarray:
    """The attribution that ``postprocess`` asks for (`harness.methods.Postprocess`)."""
    if isinstance(postprocess, TimesSign):
        return relevance * np.where((x >= postprocess.threshold) | (postprocess.threshold <= -1), 1.0, -1.0)
    return TREATMENTS[postprocess](relevance, x)
