"""Where the relevance starts: which class is explained, and with how much relevance."""

from __future__ import annotations

import numpy as np

from harness.errors import InvalidInputError
from harness.methods import Head


def resolve_target(model: str, logits: np.ndarray, target: np.ndarray | None) -> np.ndarray:
    """The explained classes, (batch,) int64: ``target``, or the first largest of each sample's logits.

    Raises InvalidInputError for a class that does not exist, a number of classes that is not the batch's
    and for logits that are not (batch, classes).
    """
    if logits.ndim != 2:
        raise InvalidInputError(
            f"{model}: the output has shape {logits.shape}, expected (batch, classes); "
            "flatten or pool it first"
        )
    if target is None:
        return logits.argmax(axis=1)
    target = np.asarray(target, np.int64)
    batch, classes = logits.shape
    if target.shape != (batch,):
        raise InvalidInputError(
            f"{model}: target has shape {target.shape}, expected ({batch},), one class a sample"
        )
    outside = target[(target < 0) | (target >= classes)]
    if outside.size:
        raise InvalidInputError(
            f"{model}: target {outside[0]} is outside the {classes} classes 0 to {classes - 1}"
        )
    return target


def initial_relevance(logits: np.ndarray, target: np.ndarray, head: Head) -> np.ndarray:
    """(batch, classes): at the target of each sample its logit, the positive part of it, or one; zero elsewhere."""
    seed = np.zeros_like(logits)
    at_target = np.arange(len(target)), target
    if head == "one":
        seed[at_target] = 1
    else:
        seed[at_target] = logits[at_target] if head == "logit" else np.maximum(logits[at_target], 0)
    return seed
