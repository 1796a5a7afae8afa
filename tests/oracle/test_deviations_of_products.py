"""Products of rounded operands, as tensor cores and autocast compute them, and the cause found for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.methods import (
    AlphaBeta,
    AlphaBetaX,
    Bounded,
    Epsilon,
    Flat,
    Gamma,
    Gradient,
    KernelRule,
    Sign,
    SignedEpsilon,
    StdEpsilon,
    WSquare,
    Z,
    ZPlusFast,
)
from reference_impls.deviations.backward import carry_out
from reference_impls.deviations.backward.terms import Arithmetic, carried
from tests.oracle.layers import dense
from tests.oracle.steps import cause_of, distance, roundings, step

DRAWN = np.random.default_rng(11)
KERNEL, BIAS = DRAWN.normal(size=(6, 5)), DRAWN.normal(size=5)
# Below 2**-14, where frexp gives -13, float16 has fewer digits than tf32.
KERNEL[0, 0] = 1.2345e-5
X, R = DRAWN.normal(size=(3, 6)), DRAWN.normal(size=(3, 5))
LAYER = dense(KERNEL, BIAS, inputs=("x",), name="fc")
#: Significant binary digits.
DIGITS = {"tf32": 11, "bfloat16": 8, "float16": 11, "float32": 24}
FORMATS = list(DIGITS)
#: Products, quotients and sums of both sides.
TERMS = 60


def to_format(x: np.ndarray, name: str) -> np.ndarray:
    """Rounded to its significant digits, ties to even: the mantissa is scaled to a whole number."""
    mantissa, exponent = np.frexp(x)
    if name == "float16":
        exponent = np.maximum(exponent, -13)
        mantissa = np.ldexp(x, -exponent)
    return np.ldexp(np.round(mantissa * 2.0 ** DIGITS[name]), exponent - DIGITS[name])


def outwards(z: np.ndarray, epsilon: float) -> np.ndarray:
    return z + np.where(z >= 0, epsilon, -epsilon)


def found(rule: Any, result: np.ndarray) -> tuple[str, str]:
    # z is nowhere nearer to zero than 0.05 here: a quotient has lost two digits at most.
    return cause_of(step(LAYER, rule, X, R), result, roundings(100 * TERMS, result, result))


@pytest.mark.parametrize("name", FORMATS)
def test_products_of_rounded_operands_are_told_from_rounded_inputs(name: str) -> None:
    z = to_format(X, name) @ to_format(KERNEL, name) + BIAS
    s = R / outwards(z, 0.25)
    result = X * (to_format(s, name) @ to_format(KERNEL, name).T)
    assert found(Epsilon(0.25), result) == (
        "precision",
        f"the operands of every product with the weights are rounded to {name}, sums and the rest are not",
    )


@pytest.mark.parametrize("name", FORMATS)
def test_a_rounded_bias_beside_rounded_operands_is_told(name: str) -> None:
    z = to_format(X, name) @ to_format(KERNEL, name) + to_format(BIAS, name)
    s = R / outwards(z, 0.25)
    result = X * (to_format(s, name) @ to_format(KERNEL, name).T)
    cause, words = found(Epsilon(0.25), result)
    assert (cause, f"{name}, and so is the bias, the rest is not" in words) == ("precision", True), words


@pytest.mark.parametrize("name", FORMATS)
def test_the_gradient_of_rounded_operands_is_found(name: str) -> None:
    result = to_format(R, name) @ to_format(KERNEL, name).T
    cause, words = found(Gradient(), result)
    assert (cause, f"rounded to {name}" in words) == ("precision", True)


@pytest.mark.parametrize("name", FORMATS[1:])
def test_autocast_is_found(name: str) -> None:
    def cast(x: np.ndarray) -> np.ndarray:
        return to_format(x, name)

    z = cast(cast(X) @ cast(KERNEL) + cast(BIAS))
    result = X * cast(cast(R / outwards(z, 0.25)) @ cast(KERNEL).T)
    cause, words = found(Epsilon(0.25), result)
    assert (cause, f"rounded to {name}" in words, "autocast" in words) == ("precision", True, True), words


@pytest.mark.parametrize("name", FORMATS[1:])
def test_a_rounded_result_of_products_of_rounded_operands_is_found(name: str) -> None:
    z = to_format(X, name) @ to_format(KERNEL, name) + BIAS
    s = to_format(R / outwards(z, 0.25), name)
    result = to_format(X * (s @ to_format(KERNEL, name).T), name)
    cause, words = found(Epsilon(0.25), result)
    assert (cause, words.endswith(f"rounded to {name}, and so is the result of the step")) == (
        "precision",
        True,
    )


@pytest.mark.parametrize("bias_in_the_sum", [True, False])
@pytest.mark.parametrize("name", FORMATS[1:])
def test_a_step_computed_in_a_short_format_is_found(name: str, bias_in_the_sum: bool) -> None:
    def cast(x: np.ndarray) -> np.ndarray:
        return to_format(x, name)

    x, kernel, bias, relevance = (cast(each) for each in (X, KERNEL, BIAS, R))
    z = cast(x @ kernel + bias) if bias_in_the_sum else cast(cast(x @ kernel) + bias)
    s = cast(relevance / cast(outwards(z, 0.25)))
    result = cast(x * cast(s @ kernel.T))
    cause, words = found(Epsilon(0.25), result)
    phrase = f"every operand and every result on the way is rounded to {name}"
    assert (cause, words.startswith(phrase), "before the bias" in words) == (
        "precision",
        True,
        not bias_in_the_sum,
    ), words


def test_both_shares_of_alpha_beta_are_products_of_rounded_operands() -> None:
    def cast(x: np.ndarray) -> np.ndarray:
        return to_format(x, "bfloat16")

    def share(upper: Callable[..., Any], lower: Callable[..., Any]) -> np.ndarray:
        up, down = cast(upper(KERNEL, 0)), cast(lower(KERNEL, 0))
        x_up, x_down = np.maximum(X, 0), np.minimum(X, 0)
        z = cast(x_up) @ up + upper(BIAS, 0) + cast(x_down) @ down + lower(BIAS, 0)
        s = cast(R / outwards(z, 1e-3))
        return x_up * (s @ up.T) + x_down * (s @ down.T)

    result = 2 * share(np.maximum, np.minimum) - share(np.minimum, np.maximum)
    cause, words = found(AlphaBeta(2, 1, stabilizer=SignedEpsilon(1e-3)), result)
    assert (cause, "sums and the rest are not" in words, "bfloat16" in words) == ("precision", True, True)


RULES: tuple[KernelRule | Gradient, ...] = (
    Z(),
    Z(bias=False),
    StdEpsilon(0.25),
    AlphaBeta(2, 1),
    AlphaBeta(2, 1, bias=False),
    AlphaBeta(2, 1, split_bias=True),
    AlphaBetaX((2, 0), (1, 0)),
    AlphaBetaX((2, 1), (0.5, 1)),
    ZPlusFast(),
    Gamma(0.25),
    Gamma(0.25, signed=False),
    Sign(0.5),
    WSquare(),
    WSquare(bias=True),
    Flat(),
    Bounded(-1.0, 2.0),
    Gradient(),
)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_terms_without_rounding_are_the_rule(rule: Any) -> None:
    of = step(LAYER, rule, X, R)
    expected = carry_out(of)
    assert distance(carried(of, Arithmetic()), expected) <= roundings(100 * TERMS, expected[0], expected[0])
