"""Constants of a stabilizer that a person wrote are read as they were written, not as the number they come to."""

from __future__ import annotations

import numpy as np
import pytest

from harness.methods import Epsilon, Rule, StdEpsilon
from harness.steps import Step
from tests.oracle.layers import dense
from tests.oracle.steps import cause_of, step

DRAWN = np.random.default_rng(5)
#: 48 inputs: the deviation with ddof 1 is sqrt(48 / 47) = 1.01058 of that with ddof 0, so that 0.25 reads 0.252646.
X = DRAWN.normal(size=(3, 48))
KERNEL = DRAWN.normal(size=(48, 4))
R = DRAWN.normal(size=(3, 4))


def of(rule: Rule) -> Step:
    return step(dense(KERNEL, inputs=("x",), name="dense"), rule, X, R)


def divided_by(size: np.ndarray) -> np.ndarray:
    """``x * W (R / (z + size * sign(z)))``, with ``size`` (samples, 1), by hand."""
    z = X @ KERNEL
    return X * ((R / (z + np.where(z >= 0, size, -size))) @ KERNEL.T)


@pytest.mark.parametrize("factor", [0.25, 0.1])
def test_a_multiple_of_the_deviation_with_ddof_1(factor: float) -> None:
    observed = divided_by(factor * X.std(axis=1, ddof=1, keepdims=True))
    cause, words = cause_of(of(StdEpsilon(0.5)), observed, 1e-13)
    assert (cause, words) == (
        "std-ddof",
        f"epsilon is {factor:g} * std(x) with ddof 1 instead of 0.5 * std(x) with ddof 0",
    )
    cause, words = cause_of(of(Epsilon(1e-7)), observed, 1e-13)
    assert cause == "stabilizer-form" and f"z + {factor:g} * std(x) with ddof 1 on the side" in words


def test_a_deviation_that_was_rounded_to_float32() -> None:
    held = (0.25 * X.std(axis=1, keepdims=True)).astype(np.float32).astype(np.float64)
    cause, words = cause_of(of(Epsilon(1e-7)), divided_by(held), 1e-13)
    assert cause == "stabilizer-form" and "z + 0.25 * std(x) as float32 holds it" in words


def test_a_constant_that_float32_holds() -> None:
    """0.01 in float32 is 0.00999999977648258."""
    observed = divided_by(np.full((3, 1), 0.00999999977648258))
    cause, words = cause_of(of(Epsilon(0.01)), observed, 1e-13)
    assert (cause, words) == ("precision", "the constant 0.01 is held in float32, 0.009999999776")
