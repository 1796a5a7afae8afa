"""Transposes that pad or place differently, derivatives of other activations, signs where denominators are zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.graph import Layer
from harness.methods import Gradient, GuidedReLU, Sign, Z
from tests.oracle.layers import layer
from tests.oracle.steps import EPS, cause_of, roundings, step

pytestmark = pytest.mark.thinned(0.2)

DRAWN = np.random.default_rng(41)

# Transposes ----------------------------------------------------------------------------------------------


def convolution(length: int, strides: int, padding: tuple[int, int], size: int = 3) -> Layer:
    """One axis, one channel in, two out."""
    windows = (length + sum(padding) - size) // strides + 1
    attributes = {"strides": (strides,), "dilations": (1,), "groups": 1, "padding": (padding,)}
    kernel = DRAWN.normal(size=(size, 1, 2))
    return layer("conv1d", (length, 1), (windows, 2), attributes, inputs=("x",), name="conv", kernel=kernel)


def spread_out(one: Layer, s: np.ndarray) -> np.ndarray:
    """All that a convolution's windows give back, padding and all, (batch, padded length), as loops."""
    kernel, (strides,) = one.weights["kernel"], one.attributes["strides"]
    before, after = one.attributes["padding"][0]
    result = np.zeros((len(s), one.input_shapes[0][0] + before + after))
    for sample, window, channel in np.ndindex(*s.shape):
        for offset in range(len(kernel)):
            result[sample, window * strides + offset] += (
                kernel[offset, 0, channel] * s[sample, window, channel]
            )
    return result


def gathered(one: Layer, x: np.ndarray) -> np.ndarray:
    """The convolution, (batch, windows, 2), as loops."""
    kernel, (strides,) = one.weights["kernel"], one.attributes["strides"]
    padded = np.pad(x[..., 0], ((0, 0), one.attributes["padding"][0]))
    z = np.zeros((len(x), *one.shape))
    for sample, window, channel in np.ndindex(*z.shape):
        for offset in range(len(kernel)):
            z[sample, window, channel] += (
                kernel[offset, 0, channel] * padded[sample, window * strides + offset]
            )
    return z


@pytest.mark.parametrize(
    ("one", "first", "phrase"),
    [
        (convolution(8, 1, (0, 2)), 2, "the padding before and after exchanged"),
        (convolution(8, 1, (1, 1)), 0, "forwards along the only spatial axis, with what lies in the padding"),
        (
            convolution(8, 1, (1, 1)),
            2,
            "backwards along the only spatial axis, with what lies in the padding",
        ),
    ],
)
@pytest.mark.parametrize("rule", [Gradient(), Z()], ids=["gradient", "z"])
def test_a_transpose_that_pads_on_another_side_is_found(
    rule: Any, one: Layer, first: int, phrase: str
) -> None:
    x, relevance = DRAWN.normal(size=(2, 8, 1)), DRAWN.normal(size=(2, *one.shape))
    if isinstance(rule, Z):
        result = x[..., 0] * spread_out(one, relevance / gathered(one, x))[:, first : first + 8]
    else:
        result = spread_out(one, relevance)[:, first : first + 8]
    limit = roundings(1000 * 12, result, result)
    cause, words = cause_of(step(one, rule, x, relevance), result[..., None], limit)
    assert (cause, phrase in words) == ("layout", True), words


def test_a_transpose_one_place_too_far_with_zeros_coming_in_is_found() -> None:
    one = convolution(8, 1, (0, 0))
    relevance = DRAWN.normal(size=(2, *one.shape))
    result = np.concatenate([np.zeros((2, 1)), spread_out(one, relevance)[:, :-1]], axis=1)
    of = step(one, Gradient(), DRAWN.normal(size=(2, 8, 1)), relevance)
    cause, words = cause_of(of, result[..., None], roundings(24, result, result))
    assert (cause, "with zeros where nothing is left" in words) == ("layout", True), words


@pytest.mark.parametrize(("late", "phrase"), [(False, "get nothing"), (True, "before the first place")])
def test_a_transpose_without_its_output_padding_is_found(late: bool, phrase: str) -> None:
    # Padded on both sides, 6 places are 8; windows of 3 two apart reach 7 of them.
    one = convolution(6, 2, (1, 1))
    relevance = DRAWN.normal(size=(2, *one.shape))
    back = spread_out(one, relevance)[:, 1:6]
    zeros = np.zeros((2, 1))
    result = np.concatenate([zeros, back] if late else [back, zeros], axis=1)
    of = step(one, Gradient(), DRAWN.normal(size=(2, 6, 1)), relevance)
    cause, words = cause_of(of, result[..., None], roundings(24, result, result))
    assert (cause, phrase in words) == ("layout", True), words


def test_relevance_of_the_output_padding_that_is_dropped_is_found() -> None:
    attributes = {
        "strides": (2,),
        "dilations": (1,),
        "groups": 1,
        "padding": ((0, 0),),
        "output_padding": (1,),
    }
    kernel = np.array([[[1.0]], [[2.0]], [[-1.0]]])
    # The windows of the transposed convolution begin at 0, 2, ..., the last at 4; it has 7 places and 1 more.
    one = layer("conv_transpose1d", (3, 1), (8, 1), attributes, inputs=("x",), name="up", kernel=kernel)
    relevance = np.arange(1.0, 9.0).reshape(1, 8, 1)
    healthy = [1 + 4 - 3, 3 + 8 - 5, 5 + 12 - 7]
    # None of the windows reaches the last place, so that there is nothing to find.
    of = step(one, Gradient(), np.ones((1, 3, 1)), relevance)
    with pytest.raises(AssertionError, match="as specified"):
        cause_of(of, np.reshape(healthy, (1, 3, 1)).astype(float), EPS)
    # Cut off by one, the last window, (5, 6, 7), does.
    padded = {**attributes, "padding": ((0, 1),)}
    one = layer("conv_transpose1d", (3, 1), (7, 1), padded, inputs=("x",), name="up", kernel=kernel)
    of = step(one, Gradient(), np.ones((1, 3, 1)), relevance[:, :7])
    result = np.reshape([1 + 4 - 3, 3 + 8 - 5, 5 + 12 - 0], (1, 3, 1)).astype(float)
    cause, words = cause_of(of, result, 0.0)
    assert (cause, words) == ("layout", "the relevance of the output padding is dropped on the way back")


# Derivatives ---------------------------------------------------------------------------------------------

AT = np.array([[-3.5, -1.25, -0.5, 0.25, 0.75, 2.0, 3.5]])
SEEN = np.array([[1.0, -2.0, 3.0, 4.0, -5.0, 0.5, 2.5]])


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


GATE = logistic(AT)


@pytest.mark.parametrize(
    ("kind", "attributes", "slope", "phrase"),
    [
        ("leaky_relu", {"alpha": 0.3}, np.where(AT > 0, 1, 0.01), "below 0 is 0.01 instead of 0.3"),
        ("leaky_relu", {"alpha": 0.3}, np.where(AT > 0, 1, 0.137), "below 0 is 0.137 instead of 0.3"),
        ("relu", {}, np.where(AT > 0, 1, 0.2), "leaky_relu (alpha 0.2) instead of relu"),
        ("elu", {"alpha": 1.0}, np.where(AT > 0, 1, 2 * np.exp(AT)), "below 0 is 2 instead of 1"),
        ("swish", {}, GATE * (1 - GATE), "that of sigmoid instead of swish"),
        ("tanh", {}, GATE * (1 - GATE), "that of sigmoid instead of tanh"),
        ("relu6", {}, np.where(AT > 0, 1, 0), "that of relu instead of relu6"),
        ("sigmoid", {}, np.where(np.abs(AT) < 3, 1 / 6, 0), "hard sigmoid (x / 6 + 0.5) instead of sigmoid"),
        ("gelu", {"approximate": "none"}, None, "gelu (tanh form) instead of gelu"),
    ],
)
@pytest.mark.parametrize("rule", [Gradient(), GuidedReLU()], ids=["gradient", "guided"])
def test_the_derivative_of_another_activation_is_found(rule, kind, attributes, slope, phrase: str) -> None:
    at = AT * 2 if kind == "relu6" else AT
    if slope is None:
        # d/dx of x / 2 * (1 + tanh(c * (x + 0.044715 * x**3))), c = sqrt(2 / pi)
        t = np.tanh(np.sqrt(2 / np.pi) * (AT + 0.044715 * AT**3))
        slope = (1 + t) / 2 + AT / 2 * (1 - t**2) * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * AT**2)
    relevance = np.maximum(SEEN, 0) if isinstance(rule, GuidedReLU) else SEEN
    one = layer(kind, (7,), (7,), attributes, inputs=("x",), name="act")
    result = relevance * slope
    cause, words = cause_of(step(one, rule, at, SEEN), result, roundings(100, result, result))
    assert (cause, phrase in words) == ("forward-activation", True), words


def test_a_derivative_written_in_the_output_and_given_the_input_is_found() -> None:
    one = layer("sigmoid", (7,), (7,), inputs=("x",), name="act")
    result = SEEN * AT * (1 - AT)
    cause, words = cause_of(step(one, Gradient(), AT, SEEN), result, roundings(10, result, result))
    assert (cause, "taken for the output" in words) == ("preactivation", True)


# Signs where denominators are zero -----------------------------------------------------------------------


def blank_image() -> tuple[Layer, np.ndarray, np.ndarray]:
    """A convolution without bias, zero at the borders of its input: whole windows are zero, and so is their z."""
    attributes = {"strides": (1, 1), "dilations": (1, 1), "groups": 1, "padding": ((1, 1), (1, 1))}
    kernel = DRAWN.normal(size=(3, 3, 1, 2))
    one = layer("conv2d", (8, 8, 1), (8, 8, 2), attributes, inputs=("x",), name="conv", kernel=kernel)
    x = np.zeros((2, 8, 8, 1))
    x[:, 3:6, 3:6] = DRAWN.normal(size=(2, 3, 3, 1))
    x[0, 4, 4], x[1, 4, 4] = 0.5, -0.5
    return one, x, DRAWN.normal(size=(2, 8, 8, 2))


def passed_back(one: Layer, x: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """``f^T(R / S(z); W)`` with an exact zero of z replaced by 1e-7, as loops."""
    kernel = one.weights["kernel"]
    padded, result = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), np.zeros((2, 10, 10, 1))
    for sample, top, left, channel in np.ndindex(*relevance.shape):
        window = padded[sample, top : top + 3, left : left + 3, 0]
        z = float((window * kernel[:, :, 0, channel]).sum())
        s = relevance[sample, top, left, channel] / (1e-7 if z == 0 else z)
        result[sample, top : top + 3, left : left + 3, 0] += s * kernel[:, :, 0, channel]
    return result[:, 1:-1, 1:-1]


@pytest.mark.parametrize("mu", [0.0, 0.5, -0.5])
@pytest.mark.parametrize(
    "signs_of",
    [
        lambda x, mu: np.where(x > mu, 1, -1),
        lambda x, mu: np.sign(x - mu),
        lambda x, mu: np.where(x == 0, 0, np.where(x >= mu, 1, -1)),
        lambda x, mu: np.where(np.abs(x) >= mu, 1, -1),
        lambda x, mu: np.where(np.abs(x) > mu, np.sign(x), 0),
        lambda x, mu: np.where(x >= mu, 1, 0),
        lambda x, mu: np.where(x > mu, 1, 0),
        lambda x, mu: np.where(x >= mu, -1, 1),
    ],
    ids=[">", "0 at the threshold", "0 at 0", "|x|", "dead zone", "0 below", "0 below and at", "exchanged"],
)
def test_other_signs_are_one_deviation_where_denominators_are_exactly_zero(signs_of, mu: float) -> None:
    one, x, relevance = blank_image()
    back = passed_back(one, x, relevance)
    result = signs_of(x, mu) * back
    # 18 terms a sum; the nearest z to zero has lost three digits.
    limit = roundings(1000 * 40, result, result)
    assert cause_of(step(one, Sign(mu), x, relevance), result, limit)[0] == "sign-threshold"


def test_the_sign_of_what_comes_back_is_found() -> None:
    one, x, relevance = blank_image()
    back = passed_back(one, x, relevance)
    result = np.where(back >= 0.5, 1, -1) * back
    limit = roundings(1000 * 40, result, result)
    cause, words = cause_of(step(one, Sign(0.5), x, relevance), result, limit)
    assert (cause, "the sign is that of the relevance" in words) == ("sign-threshold", True)
