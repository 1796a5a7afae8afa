"""The double-precision copy of a file that the table measures derivatives on computes what the file does."""

from __future__ import annotations

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from evidence.models.onnx_slopes import (
    DIFFERENCE_BOUND,
    SIGNS,
    STEP,
    directions,
    evaluator,
    in_double,
    slopes_along,
    step_for,
)
from tests.models.onnx_runs import exported, node


@pytest.mark.parametrize("opset", [9, 13, 15])
def test_stored_statistics_are_used_and_not_those_of_the_batch(opset: int) -> None:
    """(x - 1) / sqrt(3 + 1) * 2 + 5 = x + 4, whatever else is in the batch."""
    constants = {
        name: np.array([value], np.float32) for name, value in (("g", 2), ("b", 5), ("m", 1), ("v", 3))
    }
    proto = exported([node("BatchNormalization", "x g b m v", epsilon=1.0)], ["n", 1, 2], constants, opset)
    x = np.array([[[0.0, 7.0]], [[-3.0, 10.0]]])
    (y,) = ReferenceEvaluator(in_double(proto, "y")).run(None, {"x": x})
    assert y.tolist() == (x + 4).tolist()


@pytest.mark.parametrize(("size", "expected"), [(3, [1 / 6, 2 / 15, 3 / 14]), (2, [1 / 6, 2 / 14, 3 / 10])])
def test_local_response_normalisation_sums_the_squares_of_neighbouring_channels(
    size: int, expected: list[float]
) -> None:
    """Of the channels 1, 2, 3 each is divided by one and the squares in its window; an even one has more behind it."""
    proto = exported([node("LRN", "x", size=size, alpha=float(size), beta=1.0)], ["n", 3, 1, 1], {}, 13)
    x = np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
    (y,) = evaluator(in_double(proto, "y")).run(None, {"x": x})
    assert y.ravel().tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("constant", [0.0, 1e6, 1e9, 1e12])
def test_a_slope_is_measured_beside_a_constant_of_any_size(constant: float) -> None:
    """``c + 3 a - 4 b`` along (1, 1) falls by one; its gradient is 5 long, and the direction the root of two."""
    direction, scale = np.ones(2), 5 * np.sqrt(2)
    x = np.array([0.5, 0.25])

    def function(x: np.ndarray) -> float:
        return float(constant + 3 * x[0] - 4 * x[1])

    (slope,) = slopes_along(function, x, [direction], step_for(function, x, scale))
    assert abs(slope + 1) / scale <= DIFFERENCE_BOUND


def test_directions_are_the_gradient_and_its_sizes_with_random_signs() -> None:
    """(3, 0, -4) is 5 long; raised by 5 / sqrt(3), the sizes keep their order and none is zero."""
    own, *signed = directions(np.array([3.0, 0.0, -4.0]))
    assert own == pytest.approx(np.array([3.0, 0.0, -4.0]) * np.sqrt(3) / 5)
    raised = np.array([3.0, 0.0, 4.0]) + 5 / np.sqrt(3)
    assert len(signed) == SIGNS
    for each in signed:
        assert np.abs(each) == pytest.approx(raised * np.sqrt(3) / np.linalg.norm(raised))
    assert len({tuple(np.sign(each)) for each in signed}) > 1
    assert directions(np.zeros(2))[0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("wrong", ["one entry zero", "one entry negative", "two exchanged", "all too large"])
def test_a_gradient_with_a_wrong_entry_is_off_along_a_direction(wrong: str) -> None:
    """A hundred entries about the size of one: where one is missing, ``|g|^2`` is a hundredth off."""
    right = np.random.default_rng(0).uniform(0.5, 1.5, 100)
    gradient = right.copy()
    if wrong == "one entry zero":
        gradient[7] = 0.0
    elif wrong == "one entry negative":
        gradient[7] = -gradient[7]
    elif wrong == "two exchanged":
        gradient[[7, 8]] = gradient[[8, 7]]
    else:
        gradient = gradient * (1 + 1e-4)
    chosen = directions(gradient)
    scale = float(np.linalg.norm(gradient) * np.linalg.norm(chosen[0]))
    slopes = slopes_along(lambda x: float(right @ x), np.ones(100), chosen, STEP)
    off = [abs(float(gradient @ each) - slope) / scale for each, slope in zip(chosen, slopes, strict=True)]
    assert max(off) > 5 * DIFFERENCE_BOUND


def test_a_slope_that_a_kink_bends_is_another_with_half_the_step() -> None:
    """Beside a constant of 1e12 no step is narrow enough: a ReLU that begins 0.1 further on counts for a part of it.

    Of ``3 max(x - 0.1, 0)`` at zero, a step ``h`` gives the slope ``3 (h - 0.1) / 2h``: 1.5 for a step without end.
    """

    def kinked(x: np.ndarray) -> float:
        return float(1e12 + 3 * max(x[0] - 0.1, 0.0))

    x, ones = np.zeros(1), np.ones(1)
    step = step_for(kinked, x, scale=3.0)
    whole, half = (slopes_along(kinked, x, [ones], each)[0] for each in (step, step / 2))
    assert step > 1.0
    assert abs(whole - half) / 3.0 > DIFFERENCE_BOUND


PLAIN: list[dict[str, object]] = [
    {"kernel_shape": [2, 3]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]},
    {"kernel_shape": [2, 2], "strides": [1, 2], "dilations": [2, 3], "pads": [1, 0, 0, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
]
MEANS = [{**each, "count_include_pad": counted} for each in PLAIN for counted in (0, 1)]


@pytest.mark.parametrize("opset", [9, 19])
@pytest.mark.parametrize(
    ("operator", "attributes"),
    [*(("MaxPool", each) for each in PLAIN), *(("AveragePool", each) for each in MEANS)],
)
def test_a_pooling_is_the_reference_s_own(operator: str, attributes: dict[str, object], opset: int) -> None:
    if opset < 11:
        attributes = {key: each for key, each in attributes.items() if key not in ("dilations", "ceil_mode")}
    proto = exported([node(operator, "x", **attributes)], ["n", 2, 8, 9], {}, opset)
    x = np.random.default_rng(0).standard_normal((2, 2, 8, 9)) - 5.0
    (own,) = ReferenceEvaluator(in_double(proto, "y")).run(None, {"x": x})
    (windows,) = evaluator(in_double(proto, "y")).run(None, {"x": x})
    assert windows.dtype == np.float64
    # Sums of nine numbers of one sign, in another order, and a division.
    np.testing.assert_allclose(windows, own, rtol=10 * np.finfo(np.float64).eps)
