"""Kernels and windows, one offset at a time: what all windows meet there, and the way back. In the dtype of the input.

Where windows lie is index arithmetic, taken from the oracle (`reference_impls.oracle.windows`).
"""

from __future__ import annotations

import numpy as np

from reference_impls.oracle.windows import Windows, convolution_windows, pooling_windows

__all__ = ["Windows", "convolution_windows", "gather", "pooling_windows", "scatter"]


def gather(x: np.ndarray, kernel: np.ndarray, windows: Windows, groups: int) -> np.ndarray:
    """The convolution of ``x`` (batch, *space, in) with ``kernel`` (*space, in/groups, out): (batch, *windows, out)."""
    padded = windows.pad(x)
    counts = windows.counts(x.shape[1:-1])
    sums = np.zeros((len(x), *counts, kernel.shape[-1]), x.dtype)
    for offset in windows.offsets():
        sums += _by_group(windows.met(padded, offset, counts), kernel[offset], groups)
    return sums


def scatter(
    s: np.ndarray, kernel: np.ndarray, windows: Windows, groups: int, space: tuple[int, ...]
) -> np.ndarray:
    """The transpose of :func:`gather`: ``s`` (batch, *windows, out) back to (batch, *space, in)."""
    padded = np.zeros((len(s), *windows.padded_space(space), kernel.shape[-2] * groups), s.dtype)
    for offset in windows.offsets():
        # One matrix a group, its inputs and outputs exchanged: (out/groups, groups * in/groups).
        parts = np.split(kernel[offset], groups, axis=-1)
        back = np.concatenate([part.T for part in parts], axis=-1)
        windows.met(padded, offset, s.shape[1:-1])[...] += _by_group(s, back, groups)
    return windows.unpad(padded)


def _by_group(x: np.ndarray, matrix: np.ndarray, groups: int) -> np.ndarray:
    """``x`` (..., groups * in) times ``matrix`` (in, groups * out), the channels of each group on their own."""
    if groups == 1:
        return x @ matrix
    if len(matrix) == 1 and matrix.shape[-1] == x.shape[-1]:
        return x * matrix[0]
    pairs = zip(np.split(x, groups, axis=-1), np.split(matrix, groups, axis=-1), strict=True)
    return np.concatenate([part @ own for part, own in pairs], axis=-1)
