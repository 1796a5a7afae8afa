"""Number formats (the three ways to a TF32, 10 bits of fraction) and the distance, against numbers counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from harness.methods import Gradient
from reference_impls.deviations.distance import everywhere, where_finite
from reference_impls.deviations.formats import (
    FORMATS,
    to_bfloat16,
    to_float16,
    to_tf32,
    to_tf32_away,
    to_tf32_cut,
)
from tests.oracle.layers import dense
from tests.oracle.steps import cause_of, step

#: One unit in the last place of numbers from 1 to 2.
UNIT = 2.0**-10
#: In units above 1: a tie above an even number, one above an odd number, a little less and more than half.
GIVEN = np.array([0.5, 1.5, 0.499, 0.501, 0.0, 2.0])
WAYS = {
    "away": [1.0, 2.0, 0.0, 1.0, 0.0, 2.0],
    "even": [0.0, 2.0, 0.0, 1.0, 0.0, 2.0],
    "cut": [0.0, 1.0, 0.0, 0.0, 0.0, 2.0],
}
FUNCTIONS = [
    ("away", to_tf32_away),
    ("even", to_tf32),
    ("cut", to_tf32_cut),
]


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("way", "rounded"), FUNCTIONS)
def test_ties_and_the_rest(way: str, rounded: Callable[[np.ndarray], np.ndarray], sign: float) -> None:
    for scale in (1.0, 2.0**20, 2.0**-20):
        given = sign * scale * (1 + UNIT * GIVEN)
        np.testing.assert_array_equal(rounded(given), sign * scale * (1 + UNIT * np.array(WAYS[way])))


@pytest.mark.parametrize(("way", "rounded"), FUNCTIONS)
def test_what_has_no_digits_stays(way: str, rounded: Callable[[np.ndarray], np.ndarray]) -> None:
    given = np.array([np.nan, np.inf, -np.inf, 0.0])
    np.testing.assert_array_equal(rounded(given), given)


@pytest.mark.parametrize(
    ("way", "phrase"), [("even", "tf32 (ties to even)"), ("cut", "tf32 (the last bits cut off)")]
)
def test_another_way_of_rounding_is_told_in_its_words(way: str, phrase: str) -> None:
    kernel = 1 + UNIT * np.array([[0.5, 2.5], [1.5, 4.501], [0.75, 6.5]])
    units = {"even": [[0.0, 2.0], [2.0, 5.0], [1.0, 6.0]], "cut": [[0.0, 2.0], [1.0, 4.0], [0.0, 6.0]]}
    relevance = np.array([[1.0, 2.0], [3.0, -1.0]])
    layer = dense(kernel, None, inputs=("x",), name="fc")
    result = relevance @ (1 + UNIT * np.array(units[way])).T
    cause, words = cause_of(step(layer, Gradient(), np.ones((2, 3)), relevance), result, 1e-14)
    assert (cause, phrase in words) == ("precision", True), words


def test_the_other_formats() -> None:
    # bfloat16 has 7 bits of fraction: 1 + 1/256 is a tie above an even number; float16 has 10, and ends at 65504.
    # 1e38 is 150.46 * 2**119; float16 could not hold it.
    assert to_bfloat16(np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, 1e38])).tolist() == [
        1.0,
        1 + 2.0**-6,
        150 * 2.0**119,
    ]
    assert to_float16(np.array([1 + 2.0**-11, 65504.0, 65520.0])).tolist() == [1.0, 65504.0, np.inf]
    assert [each.words for each in FORMATS if each.operands_only] == [
        "tf32",
        "tf32 (ties to even)",
        "tf32 (the last bits cut off)",
    ]


def test_the_distance_is_that_of_all_arrays_together() -> None:
    # Off by (3, 0) and (0, 4) of (0, 6) and (8, 0): 5 / 10.
    observed = (np.array([0.0, 6.0]), np.array([8.0, 0.0]))
    computed = (np.array([3.0, 6.0]), np.array([8.0, 4.0]))
    assert where_finite(computed, observed) == everywhere(computed, observed) == 0.5
    assert where_finite(observed, observed) == 0.0
    assert where_finite(computed[:1], (np.zeros(2),)) == np.inf
    assert (
        where_finite((np.zeros(2),), (np.zeros(3),)) == everywhere((np.zeros(2),), (np.zeros(3),)) == np.inf
    )


def test_what_is_not_finite_counts_where_it_is_to_be_reproduced() -> None:
    observed, computed = (np.array([np.nan, 2.0]),), (np.array([1.0, 3.0]),)
    assert where_finite(computed, observed) == 0.5
    assert everywhere(computed, observed) == np.inf
    assert everywhere((np.array([np.nan, 3.0]),), observed) == 0.5
    assert where_finite(observed, computed) == everywhere(observed, computed) == np.inf
    assert everywhere((np.array([-np.inf, 2.0]),), (np.array([np.inf, 2.0]),)) == np.inf
