"""Between the canonical layout (channels last) and the twin's (channels on axis 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def feature_orders(model: Any) -> Mapping[str, np.ndarray]:
    """By layer name, the indices that bring the last axis of the torch side into canonical order.

    Only a pair ported by hand has any (`PortedPair.torch_order`): its torch side may flatten in another order.
    """
    orders: Mapping[str, np.ndarray] = getattr(model, "torch_order", {})
    return orders


def ported_by_hand(model: Any) -> bool:
    """Whether the torch side is a module of the user's own, which nobody knows to be called layer by layer."""
    return hasattr(model, "torch_order")


def in_canonical_order(array: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    """The last axis as the reference has it; ``order`` is that of the layer, None where the sides agree."""
    return array if order is None else array[..., order]


def in_twin_order(array: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    """The inverse of :func:`in_canonical_order`."""
    return array if order is None else array[..., np.argsort(order)]


def to_twin(array: np.ndarray) -> torch.Tensor:
    """A canonical array as a contiguous tensor of its dtype, in memory of its own.

    From rank 3 on the last axis goes to axis 1.
    """
    moved = np.moveaxis(array, -1, 1) if array.ndim >= 3 else array
    return torch.from_numpy(np.array(moved, order="C", copy=True))


def to_canonical(tensor: torch.Tensor) -> np.ndarray:
    """A twin's tensor as an array in canonical layout; shares the tensor's memory."""
    array = tensor.detach().cpu().numpy()
    return np.moveaxis(array, 1, -1) if array.ndim >= 3 else array
