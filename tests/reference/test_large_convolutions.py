"""The gradient at a convolution of many places, which is computed in another way than at a small one."""

from __future__ import annotations

import numpy as np
import pytest

from harness.methods import Gradient
from reference_impls.tensorflow import layers
from tests.reference.one_layer import step

Pairs = tuple[tuple[int, int], tuple[int, int]]


@pytest.mark.parametrize(
    ("size", "dilations", "padding", "turns"),
    [
        ((3, 3), (1, 1), ((1, 1), (1, 1)), True),
        ((1, 1), (1, 1), ((0, 0), (0, 0)), True),
        ((2, 4), (1, 1), ((0, 1), (2, 0)), True),
        ((3, 2), (2, 3), ((4, 0), (1, 3)), True),
        # More padding than the kernel reaches: values of the output that no input reaches.
        ((1, 2), (1, 1), ((0, 1), (0, 0)), False),
    ],
)
def test_relevance_goes_back_along_the_weights_it_came_by(
    size: tuple[int, int],
    dilations: tuple[int, int],
    padding: Pairs,
    turns: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    turned = []
    monkeypatch.setattr(
        layers, "_turns", lambda layer, own=layers._turns: turned.append(own(layer)) or turned[-1]
    )
    x = rng.standard_normal((36, 40, 16))
    kernel = rng.standard_normal((*size, 16, 3))
    sides = [
        length + sum(pair) - dilation * (taps - 1)
        for length, pair, dilation, taps in zip(x.shape, padding, dilations, size, strict=False)
    ]
    relevance = rng.standard_normal((*sides, 3))
    # Tap (i, j) reads, for the output at (p, q), the padded input at (p + i * dilation, q + j * dilation).
    padded = np.zeros((36 + sum(padding[0]), 40 + sum(padding[1]), 16))
    for i, j in np.ndindex(*size):
        rows = slice(i * dilations[0], i * dilations[0] + sides[0])
        columns = slice(j * dilations[1], j * dilations[1] + sides[1])
        padded[rows, columns] += relevance @ kernel[i, j].T
    expected = padded[padding[0][0] : padding[0][0] + 36, padding[1][0] : padding[1][0] + 40]
    attributes = {"padding": padding, "dilations": dilations}
    (found,) = step("conv2d", Gradient(), [x], relevance, {"kernel": kernel}, attributes)
    assert turned == [turns]
    # A sum of at most 8 * 3 products of standard normal numbers, in float64.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("attributes", [{"strides": (2, 1)}, {"groups": 2}])
def test_other_convolutions_are_left_to_the_framework(
    attributes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "_turned", None)
    kernel = np.ones((1, 1, 16 // int(str(attributes.get("groups", 1))), 2))
    relevance = np.ones((32 if "strides" in attributes else 64, 64, 2))
    (found,) = step("conv2d", Gradient(), [np.ones((64, 64, 16))], relevance, {"kernel": kernel}, attributes)
    # Each input is read by all outputs of its group: two without groups, one with two groups.
    assert found[0, 0].tolist() == [2.0 if "strides" in attributes else 1.0] * 16
