"""What a user hands in is checked before anything runs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from harness.checks import checked_dtype, checked_input, checked_target
from harness.errors import InvalidInputError

IMAGE_MODEL = SimpleNamespace(name="net", input_shape=(8, 6, 3), graph=SimpleNamespace(inputs=()))


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((8, 6, 3), r"no batch axis.*x\[None\]"),
        ((1, 3, 8, 6), r"channels-first.*moveaxis\(x, 1, -1\)"),
        ((3, 8, 6), "channels-first without a batch axis"),
        ((1, 8, 6, 1), r"does not fit: net expects \(batch, 8, 6, 3\)"),
        ((0, 8, 6, 3), "no samples"),
    ],
)
def test_a_wrong_shape_says_which_axis_is_wrong(shape: tuple[int, ...], text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        checked_input(IMAGE_MODEL, np.zeros(shape), "float32")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_inf_are_refused_with_their_place(bad: float) -> None:
    x = np.zeros((1, 8, 6, 3))
    x[0, 2, 1, 0] = bad
    with pytest.raises(
        InvalidInputError, match=r"1 NaN or infinite values, the first at index \(0, 2, 1, 0\)"
    ):
        checked_input(IMAGE_MODEL, x, "float64")


def test_a_value_that_overflows_the_dtype_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="infinite"), np.errstate(over="ignore"):
        checked_input(IMAGE_MODEL, np.full((1, 8, 6, 3), 1e300), "float32")


def test_words_are_no_input() -> None:
    with pytest.raises(InvalidInputError, match="must be numeric"):
        checked_input(IMAGE_MODEL, np.array([["a"]]), "float32")


def test_a_good_input_comes_back_in_the_dtype_asked_for() -> None:
    array = checked_input(IMAGE_MODEL, np.ones((2, 8, 6, 3), dtype=np.uint8), "float64")
    assert array.dtype == np.float64
    assert array.flags.c_contiguous


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (4, "outside the model's classes 0..3"),
        (-1, "outside"),
        ([0, 1, 2], "one per sample"),
        (1.5, "class index"),
    ],
)
def test_a_bad_target_is_refused(target: object, text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        checked_target(target, batch=2, classes=4)


def test_one_target_is_meant_for_every_sample() -> None:
    assert checked_target(3, 2, 4).tolist() == [3, 3]
    assert checked_target(None, 2, 4) is None


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="float32, float64"):
        checked_dtype("float16")
