"""Formats of fewer digits, each as a function from float64 to the float64 that is its nearest number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.graph import Layer

Format = Callable[[np.ndarray], np.ndarray]


def to_float32(x: np.ndarray) -> np.ndarray:
    """The nearest float32, as float64; infinite beyond its range."""
    with np.errstate(over="ignore"):
        return np.asarray(x, dtype=np.float64).astype(np.float32).astype(np.float64)


def to_float16(x: np.ndarray) -> np.ndarray:
    """The nearest float16, as float64; infinite beyond its range."""
    with np.errstate(over="ignore"):
        return np.asarray(x, dtype=np.float64).astype(np.float16).astype(np.float64)


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 (8 significant bits, the exponents of float32), ties to even, as float64."""
    return _of_bits(x, 16)


def to_tf32_away(x: np.ndarray) -> np.ndarray:
    """As :func:`to_tf32` with ties away from zero: how operands are rounded for tensor cores (PTX `cvt.rna.tf32`)."""
    with np.errstate(over="ignore"):
        single = np.asarray(x, dtype=np.float64).astype(np.float32)
    fraction, exponent = np.frexp(single.astype(np.float64))
    units = np.trunc(fraction * 2.0**11 + np.copysign(0.5, fraction))
    return np.where(np.isfinite(single), np.ldexp(units, exponent - 11), single.astype(np.float64))


def to_tf32_cut(x: np.ndarray) -> np.ndarray:
    """The next such number towards zero: what a tensor core reads of a float32 that was not rounded before."""
    with np.errstate(over="ignore"):
        single = np.asarray(x, dtype=np.float64).astype(np.float32)
    fraction, exponent = np.frexp(single.astype(np.float64))
    cut = np.ldexp(np.trunc(fraction * 2.0**11), exponent - 11)
    return np.where(np.isfinite(single), cut, single.astype(np.float64))


def to_tf32(x: np.ndarray) -> np.ndarray:
    """The nearest number of 11 significant bits with the exponents of float32 (TensorFloat-32), ties to even."""
    return _of_bits(x, 13)


def _of_bits(x: np.ndarray, dropped: int) -> np.ndarray:
    """float32 without its last ``dropped`` bits, rounded to the nearest, ties to even."""
    with np.errstate(over="ignore"):
        single = np.asarray(x, dtype=np.float64).astype(np.float32)
    bits = single.view(np.uint32).astype(np.uint64)
    half = np.uint64(1 << (dropped - 1))
    odd = (bits >> np.uint64(dropped)) & np.uint64(1)
    rounded = (bits + half - np.uint64(1) + odd) & ~np.uint64((1 << dropped) - 1)
    result = rounded.astype(np.uint32).view(np.float32).astype(np.float64)
    return np.where(np.isfinite(single), result, single.astype(np.float64))


#: Each format, and in brackets how numbers are rounded to it where that is not the usual way.
FORMATS: dict[str, Format] = {
    "tf32": to_tf32_away,
    "tf32 (ties to even)": to_tf32,
    "tf32 (the last bits cut off)": to_tf32_cut,
    "bfloat16": to_bfloat16,
    "float16": to_float16,
    "float32": to_float32,
}


def format_of(said: str) -> str:
    """The name of a format without the way of rounding."""
    return said.partition(" (")[0]


def operands_only(said: str) -> bool:
    """Whether it is a format that tensor cores read their operands in, and nothing is stored in."""
    return format_of(said) == "tf32"


def rounded_weights(rounding: Format, layer: Layer, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All weights of a layer, the bias among them, rounded."""
    return {name: rounding(weight) for name, weight in weights.items()}
