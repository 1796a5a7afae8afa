"""Where relevance starts, right and wrong: (batch, classes) from logits (batch, classes) and target (batch,)."""

from __future__ import annotations

import numpy as np


def at(logits: np.ndarray, target: np.ndarray, values: np.ndarray | float) -> np.ndarray:
    """``values`` at the target of each sample, zero elsewhere."""
    seed = np.zeros_like(logits)
    seed[np.arange(len(target)), target] = values
    return seed


def own(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The target's logit of each sample."""
    return logits[np.arange(len(target)), target]


def probability(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return own(powers / powers.sum(axis=1, keepdims=True), target)


def second(logits: np.ndarray) -> np.ndarray:
    return np.argsort(logits, axis=1)[:, -2]


def the_next(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    return (target + 1) % logits.shape[1]


def logit_of(logits: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return at(logits, classes, own(logits, classes))
