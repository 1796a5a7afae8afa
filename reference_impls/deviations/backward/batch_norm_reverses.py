"""Other readings of ``R_x = x * (y - beta) * R / S((x - mean) * y)``, batch norm shared by its own input and output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from harness.methods import BatchNormReverse
from harness.steps import Deviation, Step
from reference_impls.deviations.backward.altering import deviation, with_formula
from reference_impls.deviations.backward.carrying import counted
from reference_impls.oracle import forward
from reference_impls.oracle.linear import Arrays, weights_of


@dataclass(frozen=True)
class Reading:
    """Which of the quantities of :func:`_quantities` stand in ``front * top * R / S(left * right)``."""

    front: str = "x"
    top: str = "y - beta"
    left: str = "x - mean"
    right: str = "y"


READINGS: tuple[tuple[str, Reading], ...] = (
    ("beta is not subtracted from y", Reading(top="y")),
    ("the mean is not subtracted from x in the denominator", Reading(left="x")),
    ("neither beta nor the mean is subtracted: x * y * R / S(x * y)", Reading(top="y", left="x")),
    ("the mean is subtracted from the x in front too", Reading(front="x - mean")),
    ("the denominator has y before beta is added", Reading(right="y - beta")),
    ("y before beta stands for y, without the mean subtracted", Reading(left="x", right="y - beta")),
    ("y before gamma and beta stands for y", Reading(top="normalised", right="normalised")),
    ("the numerator has y before gamma and beta", Reading(top="normalised")),
    ("the denominator has y before gamma and beta", Reading(right="normalised")),
    ("x is left out in front", Reading(front="1")),
    ("y - beta is left out in the numerator", Reading(top="1")),
    ("y is left out of the denominator, which is x - mean", Reading(right="1")),
    ("x - mean is left out of the denominator, which is y", Reading(left="1")),
    ("x - mean is left out of the denominator, and x in front", Reading(front="1", left="1")),
    (
        "x is left out in front, and the mean is not subtracted in the denominator",
        Reading(front="1", left="x"),
    ),
)


def reverse_readings(step: Step) -> Iterator[Deviation]:
    """Each quantity of the formula left out, or in the place of another."""
    if not isinstance(step.rule, BatchNormReverse):
        return
    for words, reading in READINGS:
        yield deviation("batchnorm", words, with_formula(partial(_read, reading)))


def _quantities(step: Step) -> dict[str, np.ndarray]:
    (x,), weights = step.inputs, weights_of(step.layer)
    y, beta = forward.batch_norm(step.layer, step.inputs), weights.get("beta", np.zeros(()))
    distance = x - weights["mean"]
    return {
        "x": x,
        "y": y,
        "1": np.ones(x.shape),
        "x - mean": distance,
        "y - beta": y - beta,
        "normalised": distance / np.sqrt(weights["variance"] + step.layer.attributes["epsilon"]),
    }


def _read(reading: Reading, step: Step) -> Arrays:
    of = _quantities(step)
    divisor = counted(step)(of[reading.left] * of[reading.right])
    return (of[reading.front] * of[reading.top] * step.relevance / divisor,)
