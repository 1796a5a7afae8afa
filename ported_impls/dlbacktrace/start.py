"""The relevance of the output (`harness.methods.BacktraceStart`)."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.methods import BacktraceStart


def start(outputs: Tensor, target: Tensor, head: BacktraceStart) -> Tensor:
    """(batch, outputs); ``target``: (batch,)."""
    explained = outputs > head.threshold
    if head.task != "binary-segmentation":
        explained = torch.nn.functional.one_hot(target, outputs.shape[1]).bool()
    if head.part == "against":
        rest = outputs.masked_fill(explained, 0.0)
        if outputs.shape[1] == 1:
            rest = torch.where(explained & (outputs < 1), 1 - outputs, rest)
        if head.scaler is not None:
            total = rest.sum(1, keepdim=True)
            rest = torch.where(total > 0, rest * (head.scaler / total), rest)
        return rest * head.multiplier
    if head.scaler is None:
        return torch.where(explained, outputs, 0.0) * head.multiplier
    if head.task == "bbox-regression":
        explained = torch.ones_like(explained)
    count = explained.sum(1, keepdim=True).clamp(min=1)
    return torch.where(explained, head.scaler / count, 0.0).to(outputs.dtype) * head.multiplier
