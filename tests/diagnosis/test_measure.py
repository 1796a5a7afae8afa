"""What a factor is in words: a fraction is said where one was meant, and never where chance has one."""

from __future__ import annotations

import numpy as np
import pytest

from harness.diagnosis.measure import factor_of, factor_words
from harness.diagnosis.reread import fitted

DOUBLE, SINGLE = float(np.finfo(np.float64).eps), float(np.finfo(np.float32).eps)


@pytest.mark.parametrize(
    ("factor", "floor", "words"),
    [
        (50 / 49, DOUBLE, "1.02040816 (50/49)"),
        (float(np.float32(64 / 63)), SINGLE, "1.01587307 (64/63)"),
        (-2 / 3, DOUBLE, "-0.666666667 (-2/3)"),
        (1.001, DOUBLE, "1.001"),
        (20.0, DOUBLE, "20"),
        (24.793, DOUBLE, "24.793"),
        (26.197906, DOUBLE, "26.197906"),
        (np.pi, DOUBLE, "3.14159265"),
        (355 / 113 + 1e-6, 1e-5, "3.14159392"),
    ],
)
def test_a_factor_is_said_as_the_fraction_that_it_is(factor: float, floor: float, words: str) -> None:
    assert factor_words(factor, floor) == words


@pytest.mark.parametrize("value", [0.1, 0.3, 0.7])
def test_the_factor_of_a_picture_is_exact_where_sums_in_float64_are_not(value: float) -> None:
    """Every value is 20 times the other, but for rounding; sums of 172,800 in float64 are further off."""
    picture = np.full((1, 240, 240, 3), value)
    in_float64 = np.vdot(picture, 20 * picture) / np.vdot(picture, picture)
    assert abs(in_float64 / 20 - 1) > 10 * DOUBLE
    assert factor_of(picture, 20 * picture) == pytest.approx(20, rel=DOUBLE)
    (of_the_sample,) = fitted(picture, 20 * picture)
    assert of_the_sample == pytest.approx(20, rel=DOUBLE)


def test_nothing_is_no_multiple() -> None:
    assert factor_of(np.zeros(3), np.ones(3)) == 0.0
