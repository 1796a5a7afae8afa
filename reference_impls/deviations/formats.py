"""The number formats of accelerators: rounding to each, from float64 to the float64 that is its nearest number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Rounding = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Format:
    """``bits``: a number is rounded by at most ``2**-bits`` of itself. ``how``: in words, where it is not the usual."""

    name: str
    bits: int
    round: Rounding
    how: str = ""

    @property
    def words(self) -> str:
        """Name and manner."""
        return self.name + self.how

    @property
    def operands_only(self) -> bool:
        """Whether tensor cores read their operands in it, and nothing is stored in it."""
        return self.name == "tf32"

    def holds(self, values: np.ndarray) -> bool:
        """Whether every value is one of this format."""
        finite = values[np.isfinite(values)]
        return bool(np.array_equal(self.round(finite), finite))


def to_float32(values: np.ndarray) -> np.ndarray:
    """To the nearest float32, ties to even; too large ones become infinite."""
    with np.errstate(over="ignore"):
        return np.asarray(values, np.float64).astype(np.float32).astype(np.float64)


def to_float16(values: np.ndarray) -> np.ndarray:
    """To the nearest float16, ties to even; too large ones become infinite, tiny ones subnormal."""
    with np.errstate(over="ignore"):
        return np.asarray(values, np.float64).astype(np.float16).astype(np.float64)


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """To the nearest bfloat16 (8 bits of significand, the exponents of float32), ties to even."""
    return _shortened(values, 16)


def to_tf32(values: np.ndarray) -> np.ndarray:
    """To the nearest TF32 (11 bits of significand, the exponents of float32), ties to even."""
    return _shortened(values, 13)


def to_tf32_away(values: np.ndarray) -> np.ndarray:
    """To the nearest TF32, ties away from zero, as tensor cores are fed (PTX `cvt.rna.tf32.f32`)."""
    with np.errstate(over="ignore"):
        single = np.asarray(values, np.float64).astype(np.float32)
    bits = single.view(np.uint32).astype(np.uint64)
    shortened = ((bits + np.uint64(0x1000)) & np.uint64(0xFFFFE000)).astype(np.uint32).view(np.float32)
    return np.where(np.isfinite(single), shortened, single).astype(np.float64)


def to_tf32_cut(values: np.ndarray) -> np.ndarray:
    """To TF32 towards zero: what a tensor core reads of a float32 that nobody has rounded (PTX ISA, `mma`)."""
    with np.errstate(over="ignore"):
        single = np.asarray(values, np.float64).astype(np.float32)
    cut = (single.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where(np.isfinite(single), cut, single).astype(np.float64)


def _shortened(values: np.ndarray, dropped: int) -> np.ndarray:
    """float32 without its last ``dropped`` bits, rounded to nearest, ties to even; NaN and Inf stay."""
    with np.errstate(over="ignore"):
        single = np.asarray(values, np.float64).astype(np.float32)
    bits = single.view(np.uint32).astype(np.uint64)
    half = np.uint64((1 << (dropped - 1)) - 1)
    rounded = bits + half + ((bits >> np.uint64(dropped)) & np.uint64(1))
    mask = np.uint64(0xFFFFFFFF ^ ((1 << dropped) - 1))
    shortened = (rounded & mask).astype(np.uint32).view(np.float32)
    return np.where(np.isfinite(single), shortened, single).astype(np.float64)


FLOAT16 = Format("float16", 11, to_float16)
FLOAT32 = Format("float32", 24, to_float32)
#: From the coarsest to the finest; of those with 11 bits, the ones that only round operands are first.
FORMATS = (
    Format("bfloat16", 8, to_bfloat16),
    Format("tf32", 11, to_tf32_away),
    Format("tf32", 11, to_tf32, " (ties to even)"),
    Format("tf32", 10, to_tf32_cut, " (the last bits cut off)"),
    FLOAT16,
    FLOAT32,
)
