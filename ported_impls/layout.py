"""Between the canonical layout (channels last) and the twin's (channels on axis 1)."""

from __future__ import annotations

import numpy as np
import torch


def to_twin(array: np.ndarray) -> torch.Tensor:
    """A canonical array as a contiguous tensor of its dtype; from rank 3 on the last axis goes to axis 1."""
    moved = np.moveaxis(array, -1, 1) if array.ndim >= 3 else array
    return torch.from_numpy(np.require(moved, requirements=["C", "W"]))


def to_canonical(tensor: torch.Tensor) -> np.ndarray:
    """A twin's tensor as an array in canonical layout; shares the tensor's memory."""
    array = tensor.detach().cpu().numpy()
    return np.moveaxis(array, 1, -1) if array.ndim >= 3 else array
