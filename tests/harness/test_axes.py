"""Axes are a contract: what is over other axes is a sentence, never a number; and arrays compared as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import harness
from harness.errors import InvalidInputError
from harness.methods import method
from ported_models.build import Builder
from tests.harness.linear_network import GradientBackend, network
from tests.prepared import ready

X = np.array([[0.5, -1.0, 2.0]])
TOKENS = ("batch", "token", "feature")
SERIES = ("batch", "time", "channel")


def trace() -> Any:
    return ready(GradientBackend(), network(), "float64").explain(X, method("gradient"))


def test_layers_of_equal_shapes_over_other_axes_are_not_compared() -> None:
    candidate = trace()
    candidate.layers["first"].axes = ("batch", "token")
    with pytest.raises(InvalidInputError) as raised:
        harness.compare(trace(), candidate)
    assert str(raised.value) == (
        "layer 'first': the reference has the axes (batch, feature), the candidate (batch, token); arrays over other "
        "axes are not compared, also where the shapes agree; compare like with like"
    )


def test_arrays_of_equal_shapes_over_other_axes_are_not_compared() -> None:
    array = np.ones((2, 4, 4))
    assert harness.compare(array, array, axes=TOKENS).passed
    assert harness.compare(array, array, axes=(TOKENS, TOKENS)).passed
    with pytest.raises(
        InvalidInputError, match=r"axes \(batch, token, feature\), the candidate \(batch, time, chan"
    ):
        harness.compare(array, array, axes=(TOKENS, SERIES))
    with pytest.raises(InvalidInputError, match="transpose the candidate"):
        harness.compare(array, array, axes=(SERIES, ("batch", "channel", "time")))


def test_two_arrays_are_judged_by_one_row() -> None:
    reference = np.array([[3.0, 4.0]])
    # 5e-13 / 5 = 1e-13 away; ten floors of 1e-14 are 1e-13 and a half of them is not.
    candidate = reference + np.array([[0.0, 4.9e-13]])
    comparison = harness.compare(reference, candidate, axes=("batch", "feature"), floor=1e-14)
    assert comparison.verdict == "equivalent" and comparison.passed
    assert [row.layer for row in comparison.rows] == ["attribution"]
    assert comparison.notes == ()
    stricter = harness.compare(reference, candidate, axes=("batch", "feature"), floor=4e-15)
    assert stricter.verdict == "close" and stricter.first_divergent == "attribution" and not stricter.passed
    assert harness.compare(reference, candidate, tolerance="close", floor=4e-15).passed


def test_axes_that_are_not_known_and_a_floor_that_was_not_measured_are_said() -> None:
    comparison = harness.compare(np.ones((1, 2)), np.ones((1, 2)))
    assert comparison.verdict == "identical"
    assert [note.split(":")[0] for note in comparison.notes] == [
        "the axes of the arrays are not known",
        "the noise floor was not measured; verdicts allow for one rounding only",
    ]


def test_arrays_in_two_dtypes_are_judged_by_the_coarser() -> None:
    exact = np.array([[1 / 3, 2 / 3]])
    assert harness.compare(exact, exact.astype(np.float32)).verdict == "equivalent"
    # 2e-10 is nothing in float32 and much in float64.
    assert harness.compare(exact, exact * (1 + 2e-10)).verdict == "close"


@pytest.mark.parametrize(
    ("reference", "candidate", "options", "message"),
    [
        (
            np.ones((1, 2)),
            np.ones((2, 1)),
            {},
            r"the reference has shape \(1, 2\) of unknown axes, the candidate",
        ),
        (np.ones((1, 2)), np.ones((1, 2)), {"axes": TOKENS}, r"shape \(1, 2\), which does not fit the axes"),
        (np.ones((1, 2)), np.ones((1, 2)), {"axes": "batch"}, "a tuple of names, one for each axis"),
        (np.ones((1, 2)), np.ones((1, 2)), {"axes": (TOKENS, "batch")}, "a pair of such tuples"),
        (
            np.ones((1, 2)),
            np.ones((1, 2)),
            {"tolerance": "near"},
            "tolerance must be None, 'close' or a number",
        ),
        (np.ones((0, 2)), np.ones((0, 2)), {}, "the reference has no entries"),
        (np.ones((1, 2)), np.array([["a", "b"]]), {}, "the candidate must be numeric and real"),
        (np.ones((1, 2)), np.ones((1, 2)) * 1j, {}, "the candidate must be numeric and real"),
    ],
)
def test_what_cannot_be_compared(
    reference: Any, candidate: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        harness.compare(reference, candidate, **options)


def test_a_trace_is_compared_with_a_trace() -> None:
    with pytest.raises(
        InvalidInputError, match=r"the reference is a trace, the other side an array; .*attribution"
    ):
        harness.compare(trace(), X)
    with pytest.raises(InvalidInputError, match="axes are given beside two traces"):
        harness.compare(trace(), trace(), axes=("batch", "feature"))
    with pytest.raises(InvalidInputError, match="a NoiseFloor, a figure a layer, found 1e-09"):
        harness.compare(trace(), trace(), floor=1e-9)


def test_a_layer_that_makes_other_axes_does_not_keep_their_names() -> None:
    b = Builder("turned", (5, 4), axes=TOKENS)
    b.add("relu", "same")
    b.add("permute", "turned", attributes={"dims": (2, 1)})
    b.add("relu", "still_turned")
    b.add("reshape", "reshaped", attributes={"target": (10, 2)})
    b.add("reshape", "of_the_same_shape", "same", attributes={"target": (5, 4)})
    assert b["same"].axes == TOKENS
    assert b["turned"].axes == b["still_turned"].axes == ("batch", "feature", "token")
    assert b["reshaped"].axes == SERIES
    assert b["of_the_same_shape"].axes == TOKENS
