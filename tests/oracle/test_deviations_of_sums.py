"""Sums of absolute contributions, statistics in epsilon, batch norm by its own output, results brought to a size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.methods import (
    AlphaBeta,
    AlphaBetaX,
    BatchNormReverse,
    Bounded,
    Epsilon,
    Flat,
    Gamma,
    Pass,
    ReplaceZero,
    Sign,
    SignedEpsilon,
    StdEpsilon,
    WSquare,
    Z,
    ZPlusFast,
)
from reference_impls.deviations.backward import carry_out, deviations
from tests.oracle.layers import dense, layer
from tests.oracle.steps import EPS, cause_of, roundings, step

pytestmark = pytest.mark.thinned(0.2)

DRAWN = np.random.default_rng(29)
KERNEL, BIAS = DRAWN.normal(size=(5, 4)), np.array([0.7, -0.4, 0.3, -1.1])
X, R = DRAWN.normal(size=(3, 5)) * [[1.0], [2.0], [4.0]], DRAWN.normal(size=(3, 4))
LAYER = dense(KERNEL, BIAS, inputs=("x",), name="fc")
TERMS = 50


def shared(divisor: np.ndarray, absolute: bool = False) -> np.ndarray:
    """``R_i = sum_j x_i * w_ij * R_j / d_j``, or of ``|x_i * w_ij|``, as loops."""
    result = np.zeros(X.shape)
    for sample, i, j in np.ndindex(*X.shape, KERNEL.shape[1]):
        contribution = X[sample, i] * KERNEL[i, j]
        contribution = abs(contribution) if absolute else contribution
        result[sample, i] += contribution * R[sample, j] / divisor[sample, j]
    return result


def outwards(z: np.ndarray, epsilon: float | np.ndarray) -> np.ndarray:
    return z + np.where(z >= 0, epsilon, -epsilon)


def found(rule: Any, result: np.ndarray) -> tuple[str, str]:
    # No denominator of this module is smaller than a hundredth of its terms.
    return cause_of(step(LAYER, rule, X, R), result, roundings(100 * TERMS, result, result))


# Absolute contributions ----------------------------------------------------------------------------------

SUM = np.abs(X) @ np.abs(KERNEL)
RULES: tuple[Any, ...] = (
    Z(),
    AlphaBeta(2, 1),
    AlphaBetaX((2, 0), (1, 0)),
    Gamma(0.25),
    ZPlusFast(),
    Bounded(-1.0, 2.0),
    Sign(),
    WSquare(),
    Flat(),
)
OF_BIAS: tuple[tuple[Any, str], ...] = (
    (0.0, ""),
    (np.abs(BIAS), ", with |b|"),
    (BIAS, ", with b"),
    (np.maximum(BIAS, 0), ", with the positive part of b"),
)


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize(("bias", "phrase"), OF_BIAS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_absolute_contributions_under_every_rule_are_one_deviation(rule, bias, phrase, absolute) -> None:
    cause, words = found(rule, shared(SUM + bias, absolute))
    below = "so is what they are divided by" if absolute else "the contributions x * W keep their sign"
    assert (cause, words.endswith(below + phrase)) == ("absolute-contributions", True), words


@pytest.mark.parametrize(
    ("divisor", "phrase"), [(SUM, ", not stabilised"), (SUM + 1e-7, ", plus 1e-07")], ids=["none", "signed"]
)
@pytest.mark.parametrize("stabilizer", [SignedEpsilon(0.5), ReplaceZero()], ids=str)
def test_another_stabilizer_of_absolute_contributions_is_part_of_it(stabilizer, divisor, phrase: str) -> None:
    cause, words = found(AlphaBeta(1, 0, stabilizer=stabilizer), shared(divisor, absolute=True))
    if stabilizer == ReplaceZero() and phrase == ", not stabilised":
        phrase = "so is what they are divided by"  # nothing here is zero, and both come to the same
    assert (cause, words.endswith(phrase)) == ("absolute-contributions", True), words


# What epsilon is a multiple of ---------------------------------------------------------------------------

Z_OF_X = X @ KERNEL + BIAS
OUTPUT = "times the standard deviation of the output"


@pytest.mark.parametrize(
    ("size", "phrase"),
    [
        (Z_OF_X.std(axis=1, keepdims=True), f"0.5 {OUTPUT} instead of that of the input"),
        (Z_OF_X.std(axis=1, ddof=1, keepdims=True), f"{OUTPUT}, with ddof 1, instead"),
        (Z_OF_X.std(), f"{OUTPUT} over the whole batch instead"),
        (Z_OF_X.std(ddof=1), f"{OUTPUT} over the whole batch, with ddof 1, instead"),
        (np.maximum(X, 0).std(axis=1, keepdims=True), "the positive part of the input"),
        (np.abs(X).mean(axis=1, keepdims=True), "the mean of the absolute input"),
        (np.sqrt((X**2).mean(axis=1, keepdims=True)), "the root of the mean square of the input"),
    ],
)
def test_epsilon_by_another_statistic_is_found(size: np.ndarray, phrase: str) -> None:
    cause, words = found(StdEpsilon(0.5), shared(outwards(Z_OF_X, 0.5 * size)))
    assert (cause, phrase in words) == ("stabilizer-form", True), words


@pytest.mark.parametrize("rule", [Epsilon(1e-7), StdEpsilon(0.1), Gamma(0.25), AlphaBeta(2, 1)], ids=str)
def test_no_sentence_says_the_same_number_twice(rule: Any) -> None:
    of = step(LAYER, rule, X, R)
    # As far from the rule as a value that agrees with its own to eight digits.
    near = 1 + 1e-8
    others = {
        Epsilon(1e-7): Epsilon(1e-7 * near),
        StdEpsilon(0.1): StdEpsilon(0.1 * near),
        Gamma(0.25): Gamma(0.25 * near),
    }
    observed = carry_out(step(LAYER, others.get(rule, rule), X, R))
    sentences = [
        each.words for each in deviations(of, observed) if each.cause in ("epsilon-value", "alpha-beta")
    ]
    sentences += [each.words for each in deviations(of, observed) if each.words.startswith("gamma is ")]
    assert sentences
    for words in sentences:
        values, _, specified = words.partition(" instead of ")
        found_values = tuple(word for word in values.split() if word[0].isdigit() or word[0] == "-")
        assert found_values != tuple(specified.split(" and ")), words


# Batch norm by its own input and output ------------------------------------------------------------------

GAMMA, BETA, MEAN, VARIANCE = (np.abs(DRAWN.normal(size=3)) + 0.5 for _ in range(4))
BN_X, BN_R = DRAWN.normal(size=(2, 4, 3)) * 3, DRAWN.normal(size=(2, 4, 3))
NORMALISED = (BN_X - MEAN) / np.sqrt(VARIANCE + 1e-3)
Y = NORMALISED * GAMMA + BETA
NORM = layer(
    "batch_norm",
    (4, 3),
    (4, 3),
    {"epsilon": 1e-3},
    inputs=("x",),
    name="bn",
    gamma=GAMMA,
    beta=BETA,
    mean=MEAN,
    variance=VARIANCE,
)


@pytest.mark.parametrize(
    ("above", "below", "phrase"),
    [
        (BN_X * Y, (BN_X - MEAN) * Y, "beta is not subtracted from y"),
        (BN_X * (Y - BETA), BN_X * Y, "the mean is not subtracted from x"),
        (BN_X * (Y - BETA), (BN_X - MEAN) * (Y - BETA), "y before beta is added"),
        (BN_X * NORMALISED, (BN_X - MEAN) * NORMALISED, "y before gamma and beta stands for y"),
        (Y - BETA, (BN_X - MEAN) * Y, "x is left out in front"),
        (BN_X * (Y - BETA), BN_X - MEAN, "the denominator, which is x - mean"),
    ],
)
def test_other_readings_of_a_batch_norm_by_its_output_are_found(above, below, phrase: str) -> None:
    result = above * BN_R / outwards(below, 1e-7)
    # Differences that are divided by: the nearest to zero has lost three digits.
    limit = roundings(1000 * 10, result, result)
    cause, words = cause_of(step(NORM, BatchNormReverse(), BN_X, BN_R), result, limit)
    assert (cause, phrase in words) == ("batchnorm", True), words


def test_another_epsilon_of_a_batch_norm_by_its_output_is_found() -> None:
    result = BN_X * (Y - BETA) * BN_R / outwards((BN_X - MEAN) * Y, 1e-3)
    limit = roundings(1000 * 10, result, result)
    cause, words = cause_of(step(NORM, BatchNormReverse(), BN_X, BN_R), result, limit)
    assert (cause, words) == ("epsilon-value", "epsilon is 0.001 instead of 1e-07")


# Brought to a size ---------------------------------------------------------------------------------------

RELU = layer("relu", (40,), (40,), inputs=("x",), name="relu")
WIDE = DRAWN.normal(size=(2, 40)) * 2


def quantile(x: np.ndarray, share: float) -> float:
    """Linear between the two nearest of the sorted sizes."""
    sizes = np.sort(np.abs(x).ravel())
    place = share * (len(sizes) - 1)
    low = int(place)
    return float(sizes[low] + (place - low) * (sizes[low + 1] - sizes[low]))


@pytest.mark.parametrize(
    ("change", "cause", "phrase"),
    [
        (lambda r: np.clip(r, -1, 1), "scale", "clipped to [-1, 1]"),
        (lambda r: np.clip(r, -0.625, 0.625), "scale", "clipped to [-0.625, 0.625]"),
        (
            lambda r: np.stack([np.clip(row, -quantile(row, 0.9), quantile(row, 0.9)) for row in r]),
            "scale",
            "the quantile 0.9 of the absolute values of each sample",
        ),
    ],
)
def test_clipped_sizes_are_found(change: Callable[[Any], Any], cause: str, phrase: str) -> None:
    found_cause, words = cause_of(step(RELU, Pass(), WIDE, WIDE), change(WIDE), 4 * EPS)
    assert (found_cause, phrase in words) == (cause, True), words


def test_a_sum_enforced_over_the_whole_batch_couples_its_samples() -> None:
    unscaled = shared(outwards(Z_OF_X, 0.5))
    result = unscaled * R.sum() / unscaled.sum()
    cause, words = found(Epsilon(0.5), result)
    assert (cause, "its sum over the whole batch is that of the relevance" in words) == (
        "batch-coupling",
        True,
    ), words


def test_the_mean_over_the_channels_in_every_channel_is_found() -> None:
    relu = layer("relu", (3, 4), (3, 4), inputs=("x",), name="relu")
    relevance = DRAWN.normal(size=(2, 3, 4))
    result = np.repeat(relevance.sum(axis=2)[..., None] / 4, 4, axis=2)
    cause, words = cause_of(step(relu, Pass(), relevance, relevance), result, 8 * EPS)
    assert (cause, words) == ("scale", "every channel of the result has the mean over the channels")
