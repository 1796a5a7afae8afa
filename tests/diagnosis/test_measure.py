"""What a factor is in words: a fraction is said where one was meant, and never where chance has one."""

from __future__ import annotations

import numpy as np
import pytest

from harness.diagnosis.measure import factor_words

DOUBLE, SINGLE = float(np.finfo(np.float64).eps), float(np.finfo(np.float32).eps)


@pytest.mark.parametrize(
    ("factor", "floor", "words"),
    [
        (50 / 49, DOUBLE, "1.02040816 (50/49)"),
        (float(np.float32(64 / 63)), SINGLE, "1.01587307 (64/63)"),
        (-2 / 3, DOUBLE, "-0.666666667 (-2/3)"),
        (1.001, DOUBLE, "1.001"),
        (20.0, DOUBLE, "20"),
        (26.197906, DOUBLE, "26.197906"),
        (np.pi, DOUBLE, "3.14159265"),
        (355 / 113 + 1e-6, 1e-5, "3.14159392"),
    ],
)
def test_a_factor_is_said_as_the_fraction_that_it_is(factor: float, floor: float, words: str) -> None:
    assert factor_words(factor, floor) == words
