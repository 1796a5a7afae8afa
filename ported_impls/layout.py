"""Between the canonical layout (channels last) and the twin's (channels on axis 1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
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


_PLACE: ContextVar[str] = ContextVar("place", default="cpu")


@contextmanager
def tensors_on(place: str) -> Iterator[None]:
    """While open, what :func:`to_twin` makes lies on ``place``."""
    token = _PLACE.set(place)
    try:
        yield
    finally:
        _PLACE.reset(token)


def to_twin(array: np.ndarray) -> torch.Tensor:
    """A canonical array as a contiguous tensor of its dtype, in memory of its own.

    From rank 3 on the last axis goes to axis 1.
    """
    moved = np.moveaxis(array, -1, 1) if array.ndim >= 3 else array
    return torch.from_numpy(np.array(moved, order="C", copy=True)).to(_PLACE.get())


def to_canonical(tensor: torch.Tensor) -> np.ndarray:
    """A twin's tensor as an array in canonical layout; shares the tensor's memory where that is the host's."""
    array = tensor.detach().cpu().numpy()
    return np.moveaxis(array, 1, -1) if array.ndim >= 3 else array
