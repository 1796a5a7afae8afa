"""Grad-CAM's map and how it gets the size of the input (signxai 1.1.9.2 `grad_cam.py`)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image


def heat_map(activation: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """``max(h, 0) / max(h)`` of each sample, (batch, *space), with ``h = A w`` and ``w`` the mean of ``G`` over space.

    ``activation`` ``A`` and ``relevance`` ``G``: (batch, *space, channel). NaN where the largest ``h`` is zero.
    """
    space = tuple(range(1, activation.ndim - 1))
    weights = relevance.mean(axis=space, keepdims=True)
    h = (activation * weights).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.maximum(h, 0) / h.max(axis=space, keepdims=True)


def resized(
    maps: np.ndarray, shape: tuple[int, ...], resize: Literal["bicubic_8bit", "linear"]
) -> np.ndarray:
    """``maps`` (batch, *space) at the ``shape`` of the input (batch, *space, channel), in their dtype."""
    one = _bicubic_8bit if resize == "bicubic_8bit" else _linear
    planes = np.stack([one(each, shape[1:-1]) for each in maps]).astype(maps.dtype)
    return np.repeat(planes[..., None], shape[-1], axis=-1)


def _bicubic_8bit(plane: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Scaled to 0..255, cut off to whole numbers (Keras `array_to_img`; NaN becomes 0), resized by Pillow."""
    scaled = plane - plane.min()
    largest = scaled.max()
    if largest != 0:
        scaled = scaled / largest
    levels = np.nan_to_num(scaled * 255, nan=0.0).astype(np.uint8)
    height, width = size
    return np.asarray(Image.fromarray(levels).resize((width, height), Image.Resampling.BICUBIC))


def _linear(line: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Linear interpolation at ``size`` places, evenly spaced from the first value to the last."""
    places = np.linspace(0, len(line) - 1, num=size[0])
    return np.interp(places, np.arange(len(line)), line)
