"""Layer norms and RMS norms that a source spells out, known by their values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any

import numpy as np

#: A spelled-out constant (1/sqrt(2), 0.044715) is rounded to float32; up to 16 of them act on a value.
TOLERANCE = 16 * float(np.finfo(np.float32).eps) / 2

#: The kind, its attributes and its weights.
Found = tuple[str, dict[str, Any], dict[str, np.ndarray | None]]


def norm_of(
    compute: Callable[[np.ndarray], np.ndarray],
    sizes: Sequence[int],
    behind: int,
    epsilons: Iterable[float],
    constants: Sequence[np.ndarray],
) -> Found | None:
    """``gamma * (x - mean) / sqrt(variance + epsilon) + beta`` over the last axes, if ``compute`` is that.

    Or, an RMS norm, ``gamma * x / sqrt(mean of squares + epsilon)``. ``sizes``: those of its input, of which at most
    the last ``behind`` are normalised. Epsilon, gamma and beta are found among the source's own constants, so they stay
    exact.
    """
    # Small values, so that a wrong epsilon shows; a seed, so that a source always reads the same.
    rng = np.random.default_rng(0)
    epsilons = [epsilon for epsilon in epsilons if epsilon > 0]
    for count in range(1, behind + 1):
        # What stands before the normalised axes makes no difference, and is kept short.
        shape = tuple(sizes[-count:])
        x = rng.normal(scale=0.03, size=(*(2 for _ in sizes[:-count]), *shape))
        if not all(_fits(array, x.shape) for array in constants):
            continue
        values = compute(x)
        if values.shape != x.shape:
            return None
        last = tuple(range(-count, 0))
        vectors = [None, *(array for array in constants if array.shape == shape)]
        centred = x - x.mean(axis=last, keepdims=True)
        for base, kind in ((centred, "layer_norm"), (x, "rms_norm")):
            squares = (base**2).mean(axis=last, keepdims=True)
            betas = vectors if kind == "layer_norm" else [None]
            for epsilon, gamma, beta in product(epsilons, vectors, betas):
                expected = base / np.sqrt(squares + epsilon)
                expected = expected * (1.0 if gamma is None else gamma) + (0.0 if beta is None else beta)
                if np.allclose(values, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max()):
                    weights = {"gamma": gamma, "beta": beta} if kind == "layer_norm" else {"gamma": gamma}
                    return kind, {"epsilon": epsilon, "axes_count": count}, weights
    return None


def _fits(array: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether a constant is one of axes, or is repeated over a tensor of ``shape``."""
    return array.dtype.kind != "f" or (
        array.ndim <= len(shape)
        and all(side in (1, size) for side, size in zip(array.shape[::-1], shape[::-1], strict=False))
    )
