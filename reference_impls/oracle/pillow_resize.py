"""Pillow's bicubic resizing of 8-bit images, `PIL.Image.resize` in mode "L", step by step in NumPy.

The fixed-point arithmetic of `src/libImaging/Resample.c`: first along the width, then along the height, the
image being whole numbers in 0..255 in between as well. Since version 13 (pull request 9549) Pillow starts
with the height where that shrinks much more than the width; here the width is always first, as it was before
and as it still is where the height grows and where a square becomes a square.
"""

from __future__ import annotations

import math

import numpy as np

#: Bits behind the point of a coefficient: of 32, 8 are for the value and 2 for the overshoot of the filter.
PRECISION_BITS = 32 - 8 - 2
#: How far the bicubic filter reaches on either side, in pixels of the coarser image.
SUPPORT = 2.0


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """``image`` (height, width), uint8, in another size."""
    wide = image if image.shape[1] == width else _along_last_axis(image, width)
    return wide if image.shape[0] == height else _along_last_axis(wide.T, height).T


def _along_last_axis(image: np.ndarray, length: int) -> np.ndarray:
    """Every row resampled to ``length``: ``clip((sum of value * coefficient + 1/2) >> bits, 0, 255)``."""
    half = 1 << (PRECISION_BITS - 1)
    total = image.astype(np.int64) @ coefficients(image.shape[1], length).T + half
    return np.clip(total >> PRECISION_BITS, 0, 255).astype(np.uint8)


def coefficients(before: int, after: int) -> np.ndarray:
    """Fixed-point weights (after, before), int64: row ``i`` says what of each old pixel is in new pixel ``i``.

    Pixel ``i`` lies at ``(i + 0.5) * scale``, ``scale = before / after``. When shrinking, the filter is
    stretched by the scale. A row sums to one before it is rounded (`precompute_coeffs`, `normalize_coeffs_8bpc`).
    """
    scale = before / after
    stretch = max(scale, 1.0)
    support = SUPPORT * stretch
    matrix = np.zeros((after, before), dtype=np.int64)
    for row in range(after):
        center = (row + 0.5) * scale
        first = max(int(center - support + 0.5), 0)
        end = min(int(center + support + 0.5), before)
        weights = [bicubic((place - center + 0.5) * (1.0 / stretch)) for place in range(first, end)]
        total = 0.0
        # Added up in this order: another one may round a coefficient the other way.
        for weight in weights:
            total += weight
        for place, weight in zip(range(first, end), weights, strict=True):
            share = weight / total * (1 << PRECISION_BITS)
            matrix[row, place] = int(share + math.copysign(0.5, share))
    return matrix


def bicubic(x: float) -> float:
    """Keys's cubic convolution kernel with ``a = -0.5`` (Keys 1981, eq. 15): 1 at 0, zero from 2 on."""
    a = -0.5
    x = abs(x)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    if x < 2.0:
        return (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return 0.0
