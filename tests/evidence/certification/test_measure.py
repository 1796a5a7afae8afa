"""The measure: the largest difference over the largest value of the library."""

from __future__ import annotations

import numpy as np
import pytest

from evidence.certification.measure import BOUND, Place, first_above, largest_error
from harness.errors import InvalidInputError


def test_the_largest_difference_is_relative_to_the_largest_value_of_the_library() -> None:
    # differences 1 and 0.5, largest value of the library 4: 1 / 4
    assert largest_error(np.array([3.0, 0.5]), np.array([4.0, 0.0])) == 0.25


def test_nan_at_the_same_places_is_no_difference() -> None:
    assert largest_error(np.array([np.nan, 1.0]), np.array([np.nan, 2.0])) == 0.5


@pytest.mark.parametrize(
    ("reference", "library"),
    [([np.nan, 1.0], [1.0, 1.0]), ([1.0, 1.0], [np.inf, 1.0]), ([0.0, 1e-30], [0.0, 0.0])],
)
def test_what_only_one_side_has_is_an_infinite_error(reference: list[float], library: list[float]) -> None:
    assert largest_error(np.array(reference), np.array(library)) == np.inf


def test_two_zeros_agree() -> None:
    assert largest_error(np.zeros(3), np.zeros(3)) == 0


def test_different_shapes_are_an_error_that_names_both() -> None:
    with pytest.raises(InvalidInputError, match=r"\(2,\) and \(3,\)"):
        largest_error(np.zeros(2), np.zeros(3))


def test_an_error_is_allowed_up_to_ten_floors() -> None:
    assert Place("layer", error=9e-4, floor=1e-4).allowed
    assert not Place("layer", error=1.1e-3, floor=1e-4).allowed


def test_an_error_below_the_bound_needs_no_floor() -> None:
    assert Place("layer", error=BOUND, floor=0.0).allowed


def test_where_only_rounding_is_left_both_sides_must_round_by_the_same_amount() -> None:
    assert Place("input", error=1.5, floor=1e8, size=0.7).allowed
    assert not Place("input", error=1.0, floor=1e8, size=1e6).allowed


def test_a_difference_begins_at_the_first_place_above_the_bound() -> None:
    places = [Place("logits", 1e-7, 0.0), Place("dense", 2e-5, 0.0), Place("conv", 1.0, 0.0)]
    assert first_above(places) is places[1]
    assert first_above(places[:1]) is None
