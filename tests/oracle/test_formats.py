"""The three ways in which a float32 becomes a TF32 (10 bits of fraction), against numbers counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from harness.methods import Gradient
from reference_impls.deviations.backward import formats as backwards
from reference_impls.deviations.forward import formats as forwards
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
    ("away", backwards.to_tf32_away),
    ("away", forwards.to_tf32_away),
    ("even", backwards.to_tf32),
    ("even", forwards.to_tf32),
    ("cut", backwards.to_tf32_cut),
    ("cut", forwards.to_tf32_cut),
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
    ("way", "said"), [("even", "tf32 (ties to even)"), ("cut", "tf32 (the last bits cut off)")]
)
def test_another_way_of_rounding_is_told_in_its_words(way: str, said: str) -> None:
    kernel = 1 + UNIT * np.array([[0.5, 2.5], [1.5, 4.501], [0.75, 6.5]])
    units = {"even": [[0.0, 2.0], [2.0, 5.0], [1.0, 6.0]], "cut": [[0.0, 2.0], [1.0, 4.0], [0.0, 6.0]]}
    relevance = np.array([[1.0, 2.0], [3.0, -1.0]])
    layer = dense(kernel, None, inputs=("x",), name="fc")
    result = relevance @ (1 + UNIT * np.array(units[way])).T
    cause, words = cause_of(step(layer, Gradient(), np.ones((2, 3)), relevance), result, 1e-14)
    assert (cause, said in words) == ("precision", True), words
