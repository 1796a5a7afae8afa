"""Healthy ports at the limits of a float: nothing is found."""

from __future__ import annotations

import numpy as np
import pytest

import harness
from harness.diagnosis.localise import _kept
from harness.runner import chosen_input

pytestmark = pytest.mark.thinned(0.25)


@pytest.mark.parametrize(
    "name",
    [
        # The three gradients cancel: rounding is all there is, and torch's is another than TensorFlow's.
        "zblrp_epsilon_1:low=0,high=1",
        # Relevance overflows float32; how far NaN spreads depends on how the convolutions are computed.
        "lrp.gamma:signed=false",
    ],
)
def test_nothing_is_found_where_rounding_or_overflow_is_all_there_is(name: str) -> None:
    model = harness.load_model("efficientnet-lite0")
    x, _ = chosen_input(model, None)
    assert harness.diagnose(model, x, name).findings == ()


def test_relevance_that_is_finite_is_taken_as_it_is() -> None:
    relevance = np.array([[1e30, -2.0]], np.float32)
    assert _kept(relevance) is relevance


def test_of_relevance_that_overflowed_the_rest_is_kept_to_the_last_digit() -> None:
    relevance = np.array([[np.nan, np.inf, 3e37, -1e30, 0]], np.float32)
    kept = _kept(relevance)
    assert kept.dtype == np.float32
    assert (kept[0, :2] == 0).all()
    assert 0.5 <= kept[0, 2] < 1
    np.testing.assert_array_equal(kept[0, 2:] / kept[0, 2], relevance[0, 2:] / relevance[0, 2])


def test_of_relevance_that_is_lost_altogether_nothing_is_kept() -> None:
    np.testing.assert_array_equal(_kept(np.full((1, 3), np.nan)), np.zeros((1, 3)))
