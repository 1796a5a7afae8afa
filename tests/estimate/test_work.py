"""What a case consists of, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from harness.case import Case
from harness.engine import Store
from harness.estimate import Estimate, Machine, estimate, expectation, how_far_off
from harness.estimate.machine import nonnegative_fit
from harness.estimate.work import multiply_adds, products, work_of
from harness.graph import Graph, Layer
from harness.methods import AlphaBeta, Bounded, Epsilon, Flat, Gamma, Gradient, Pass, method
from tests.harness.linear_network import GradientBackend, network

IMAGE = ("batch", "height", "width", "channel")


def convolution(
    kind: str, shape_in: tuple[int, ...], shape: tuple[int, ...], **kernels: tuple[int, ...]
) -> Layer:
    weights = {name: np.zeros(size, np.float32) for name, size in kernels.items()}
    return Layer("layer", kind, ("x",), (shape_in,), shape, IMAGE, {}, weights)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        # 3 * 3 * 5 numbers for each of 7 filters, at 4 * 6 places; a bias is no product.
        (convolution("conv2d", (4, 6, 5), (4, 6, 7), kernel=(3, 3, 5, 7), bias=(7,)), 3 * 3 * 5 * 7 * 24),
        # Transposed, each number of the input meets the whole kernel.
        (convolution("conv_transpose2d", (2, 3, 5), (4, 6, 7), kernel=(2, 2, 5, 7)), 2 * 2 * 5 * 7 * 6),
        (
            convolution(
                "separable_conv2d",
                (4, 4, 3),
                (4, 4, 8),
                depthwise_kernel=(3, 3, 3, 2),
                pointwise_kernel=(1, 1, 6, 8),
            ),
            (3 * 3 * 3 * 2 + 6 * 8) * 16,
        ),
        (convolution("relu", (4, 4, 3), (4, 4, 3)), 0),
    ],
)
def test_multiply_adds_of_a_layer(layer, expected) -> None:
    assert multiply_adds(layer) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Epsilon(0.1), 2),  # f, f^T
        (AlphaBeta(1, 0), 4),  # two of each
        (AlphaBeta(2, 1), 8),
        (Bounded(), 6),
        (Gamma(0.25), 8),
        (Flat(), 2),
        (Gradient(), 1),
        (Pass(), 0),
    ],
)
def test_products_of_a_rule_are_those_of_its_formula(rule, expected) -> None:
    assert products(rule) == expected


def test_the_work_of_a_network_is_that_of_its_runs() -> None:
    graph: Graph = network().graph  # 3 -> 2 -> 2: 6 and 4 multiply-adds, 7 numbers in its tensors
    once = work_of(graph, method("lrp.epsilon"))
    assert (once.layers, once.weights, once.runs) == (3, 10, 1)
    assert once.multiply_adds == 10 + 2 * 10
    assert once.tensors == once.trace == 2 * 7
    assert once.largest == 3
    steps = work_of(graph, method("integrated_gradients"), batch=2)
    assert steps.multiply_adds == 2 * steps.runs * (10 + 10)
    assert steps.runs == 64
    assert steps.trace == 2 * once.trace
    assert work_of(graph, method("input")).multiply_adds == 10


def test_the_estimate_adds_up_what_was_counted() -> None:
    machine = Machine(1.0, 0.5, 0.25, 0.125, 2.0, 0.5, 0.25, 100.0, 10.0, 1000.0)
    found: Estimate = estimate(network().graph, method("lrp.epsilon"), 1, "float32", machine)
    assert found.seconds == 1.0 + 0.5 * 3 + 0.25 * 30 + 0.125 * 14
    assert found.load_s == 2.0 + 0.5 * 3 + 0.25 * 10
    # 10 weights: 4 bytes, twice 4, and 8. 14 numbers of a trace: twice 4, and 8. Six float64 copies of 3.
    assert found.memory == 1000 + 10 * 20 + 14 * 16 + 3 * 48
    assert found.disk == pytest.approx((100 + 30) * 7 / 3)


def test_factors_are_found_again_and_none_is_below_zero() -> None:
    rows = [[1, 1, 0], [1, 8, 1], [1, 2, 9], [1, 4, 4]]
    assert nonnegative_fit(rows, [2 + 3 * b + 0.5 * c for _, b, c in rows]) == pytest.approx([2, 3, 0.5])
    # What would take less time the more there is of it takes none.
    falling = nonnegative_fit([[1, 0], [1, 1], [1, 2]], [3.0, 2.0, 1.5])
    assert falling[1] == 0
    # One figure for all, each a share of itself: sum(1/y) / sum(1/y^2).
    assert falling[0] == pytest.approx((1 / 3 + 1 / 2 + 1 / 1.5) / (1 / 9 + 1 / 4 + 1 / 2.25))


def test_a_run_says_how_far_off_its_estimate_was() -> None:
    rows = [
        {"seconds_with_files": 3.0, "seconds_estimated": 2.0},
        {"seconds_with_files": 3.0, "seconds_estimated": 1.0},
        {"seconds_with_files": None, "seconds_estimated": 1.0},
    ]
    assert how_far_off(rows) == (
        "Estimated: 3.0 s for 2 cases, each by itself; they took 6.0 s, 2.00 times that."
    )
    assert how_far_off([{"seconds_with_files": 3.0, "seconds_estimated": None}]) == ""


def test_code_of_the_users_own_is_asked_nothing_before_its_case(tmp_path) -> None:
    class Raises(GradientBackend):
        def version(self) -> dict[str, str]:
            raise AssertionError("asked before its case")

    seconds = expectation(GradientBackend("reference"), Raises("candidate"), Store(tmp_path, 2**20))
    case = Case(network(), np.ones((1, 3), np.float32), method("gradient"), None, "float32")
    assert seconds(case) is None
