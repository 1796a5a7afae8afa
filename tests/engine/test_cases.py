"""A case is checked once, cannot be changed, and has one digest of all that its result depends on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.case import Case
from harness.errors import InvalidInputError
from harness.methods import method
from tests.harness.linear_network import network

X = np.array([[0.5, -1.0, 2.0]])


def case() -> Case:
    return Case.checked(network(), X, method("gradient"), 1, "float64")


def test_nobody_can_write_to_the_arrays_of_a_case() -> None:
    x = X.copy()
    made = Case.checked(network(), x, method("gradient"), 1, "float64")
    x[:] = 0.0
    np.testing.assert_array_equal(made.x, X)
    for array in (made.x, made.target):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@pytest.mark.parametrize(
    ("x", "target", "message"),
    [(X[:, :2], None, "shape"), (X, 2, "outside the model's classes"), (X * np.nan, None, "NaN")],
)
def test_what_does_not_fit_the_model_is_refused(x: np.ndarray, target: int | None, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Case.checked(network(), x, method("gradient"), target, "float64")


def test_the_digest_is_that_of_everything_that_a_result_depends_on() -> None:
    one = case()
    assert case().digest == one.digest
    heavier = network().with_weights(lambda layer, name, array: array * 2)
    others = [
        replace(one, model=heavier),
        one.with_input(X + 1e-16 * np.array([0.0, 1.0, 0.0]) * 4),
        one.with_input(np.concatenate([X, X])),
        one.with_method(method("input_t_gradient")),
        one.with_method(method("lrp.epsilon:epsilon=0.25")),
        one.with_method(method("lrp.epsilon:epsilon=0.5")),
        one.with_target(np.array([0])),
        one.with_target(None),
        one.in_dtype("float32"),
        replace(one, layers=False),
    ]
    assert len({one.digest, *(other.digest for other in others)}) == 1 + len(others)
