"""The relevance of the output (`harness.methods.BacktraceStart`)."""

from __future__ import annotations

import numpy as np

from harness.methods import BacktraceStart


def start(outputs: np.ndarray, target: np.ndarray, head: BacktraceStart) -> np.ndarray:
    """(batch, outputs), in their dtype; ``target``: (batch,)."""
    begun = np.zeros_like(outputs)
    for sample, (values, wanted) in enumerate(zip(outputs, target, strict=True)):
        begun[sample] = (
            _against(values, wanted, head) if head.part == "against" else _in_favour(values, wanted, head)
        )
    return begun * outputs.dtype.type(head.multiplier)


def _in_favour(values: np.ndarray, wanted: int, head: BacktraceStart) -> np.ndarray:
    if head.scaler is not None and head.task == "bbox-regression":
        return np.full_like(values, head.scaler / len(values))
    begun = np.zeros_like(values)
    chosen = _chosen(values, wanted, head)
    if not len(chosen):
        return begun
    if head.scaler is None:
        begun[chosen] = values[chosen]
    else:
        begun[chosen] = head.scaler / len(chosen)
    return begun


def _against(values: np.ndarray, wanted: int, head: BacktraceStart) -> np.ndarray:
    begun, chosen = values.copy(), _chosen(values, wanted, head)
    begun[chosen] = 1 - values[chosen] if len(values) == 1 and values[0] < 1 else 0
    total = begun.sum()
    if head.scaler is not None and total > 0:
        begun *= head.scaler / total
    return begun


def _chosen(values: np.ndarray, wanted: int, head: BacktraceStart) -> np.ndarray:
    """The indices of the outputs that are explained."""
    if head.task == "binary-segmentation":
        return np.flatnonzero(values > head.threshold)
    return np.asarray([wanted])
