"""How far a result is from another, for results of one array per input; and what rounding explains of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from harness.comparison.floor import MULTIPLE, moved_by_units, unit_roundoff
from harness.comparison.metrics import difference_of
from harness.steps import Arrays

#: How often a result is computed again with everything moved by one unit in the last place.
MOVES = 4
#: Of a fraction that a factor is taken for, and how likely a factor may meet one by chance.
LARGEST_DENOMINATOR, CHANCE = 1000, 1e-2


def apart(references: Sequence[np.ndarray], candidates: Sequence[np.ndarray | None]) -> float:
    """The largest relative L2 distance of any pair; infinite where NaN and Inf stand at other places.

    A pair of which nothing was found is left out.
    """
    distances = [
        _distance(reference, candidate)
        for reference, candidate in zip(references, candidates, strict=True)
        if candidate is not None
    ]
    return max(distances, default=0.0)


def _distance(reference: np.ndarray, candidate: np.ndarray) -> float:
    if reference.shape != candidate.shape:
        return float("inf")
    difference = difference_of(reference, candidate)
    return difference.rel_l2 if difference.same_finite else float("inf")


def movement(compute: Callable[[Arrays], Arrays], operands: Arrays, dtype: str) -> float:
    """How far ``compute`` moves when its operands are moved by one unit in the last place of ``dtype``."""
    base = compute(operands)
    largest = 0.0
    for seed in range(MOVES):
        generator = np.random.default_rng(seed)
        moved = tuple(
            moved_by_units(array.astype(dtype), generator).astype(array.dtype) for array in operands
        )
        largest = max(largest, apart(base, compute(moved)))
    return largest


def summation_floor(terms: int, dtype: str) -> float:
    """What the order of a sum of ``terms`` alone may change (harness.comparison.summation)."""
    return unit_roundoff(dtype) * float(np.sqrt(terms))


def factor_words(factor: float, floor: float) -> str:
    """``factor``, known to the floor, with nine digits; beside it the fraction that it is, "1.02040816 (50/49)".

    A factor that a few digits write has no fraction, nor has one that a fraction meets by chance.
    """
    number, known_to = f"{factor:.9g}", MULTIPLE * floor
    fraction = Fraction(factor).limit_denominator(LARGEST_DENOMINATOR)
    # Fractions with denominators up to q lie about 1 / q^2 apart.
    by_chance = 2 * known_to * abs(factor) * fraction.denominator**2
    short = abs(float(f"{factor:.4g}") - factor) <= known_to * abs(factor)
    decimal = Fraction(number) == fraction
    if short or decimal or by_chance > CHANCE or abs(float(fraction) - factor) > known_to * abs(factor):
        return number
    return f"{number} ({fraction})"


def factor_of(reference: np.ndarray, candidate: np.ndarray) -> float:
    """The multiple of ``reference`` that is nearest to ``candidate`` (L2); 0.0 where ``reference`` is all zero.

    Summed in extended precision: over the pixels of a picture, sums in float64 are further off than a result that is
    exactly a multiple.
    """
    one, other = (np.asarray(each).astype(np.longdouble) for each in (reference, candidate))
    size = (one * one).sum()
    return float((one * other).sum() / size) if size else 0.0


def factors_of(reference: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """:func:`factor_of` for each sample, (samples,)."""
    return np.array([factor_of(*pair) for pair in zip(reference, candidate, strict=True)])


def explained(residual: float, floor: float) -> bool:
    """Whether rounding explains ``residual``."""
    return residual <= MULTIPLE * floor
