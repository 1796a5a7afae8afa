"""Where the relevance starts."""

from __future__ import annotations

import numpy as np

from harness.methods import Head, Selection


def initial_relevance(
    logits: np.ndarray, target: np.ndarray, head: Head, selection: Selection = "target"
) -> np.ndarray:
    """(batch, classes): at the target of each sample its logit, the positive part of it, or one; zero elsewhere.

    A head in the plural starts at every class.

    Where every run selects for itself ("run_maximum"), the target is the largest logit of this one.
    """
    if head == "logits":
        return logits.copy()
    if head == "ones":
        return np.ones_like(logits)
    if head == "relu_logits":
        return logits.clip(min=0)
    seed = np.zeros_like(logits)
    if selection == "run_maximum":
        target = logits.argmax(axis=-1)
    at_target = np.arange(len(target)), target
    if head == "one":
        seed[at_target] = 1
    else:
        seed[at_target] = logits[at_target] if head == "logit" else np.maximum(logits[at_target], 0)
    return seed
