"""The noise floor is a measurement of the reference against itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.case import Case
from harness.comparison import RUNS, NoiseFloor
from harness.comparison.floor import moved_by_units, movement, unit_roundoff
from harness.engine import engine, floor_of
from harness.methods import method
from tests.harness.linear_network import GradientBackend, network

X = np.array([[0.5, -1.0, 2.0]])


def test_every_value_moves_by_exactly_one_unit_and_zero_stays() -> None:
    array = np.array([1.0, -2.0, 0.0, 1e-300, 3.5])
    moved = moved_by_units(array, np.random.default_rng(0))
    assert moved[2] == 0.0
    steps = np.abs(moved - array)[[0, 1, 3, 4]]
    for value, step in zip(array[[0, 1, 3, 4]], steps, strict=True):
        # Downwards from a power of two the neighbour is half as far.
        assert step in (np.spacing(abs(value)), np.spacing(abs(value)) / 2)
    assert {bool(s) for s in np.sign(moved_by_units(np.ones(100), np.random.default_rng(1)) - 1) > 0} == {
        True,
        False,
    }


def test_in_float64_the_floor_is_the_largest_movement_of_the_moved_runs() -> None:
    backend = GradientBackend()
    trace = engine().run(Case(network(), X, method("gradient"), None, "float64"), backend)
    floor = floor_of(engine(), trace)
    assert backend.runs == 1 + RUNS
    # dx = seed @ W2^T @ W1^T with weights of order 1, each moved by one unit: a few units together.
    assert 0 < floor.relevance["x"] < 8 * np.finfo(np.float64).eps
    # The seed is one-hot: nothing moves it.
    assert floor.relevance["second"] == 0.0
    # The longest sum of the network has three terms.
    assert floor.of_relevance("second") == unit_roundoff("float64") * np.sqrt(3)
    assert floor_of(engine(), trace) == floor


def test_in_float32_the_floor_is_the_distance_from_the_float64_run() -> None:
    backend = GradientBackend()
    case = Case(network(), (X / 3).astype(np.float32), method("gradient"), None, "float32")
    trace = engine().run(case, backend)
    exact = engine().run(case.with_target(trace.target).in_dtype("float64"), backend)
    floor = floor_of(engine(), trace)
    difference = trace.layers["first"].activation - exact.layers["first"].activation
    expected = np.linalg.norm(difference) / np.linalg.norm(exact.layers["first"].activation)
    assert floor.activation["first"] == pytest.approx(expected, rel=1e-12)


def test_a_floor_survives_json() -> None:
    floor = NoiseFloor("float32", "how", 1e-7, {"a": 2e-7}, {"a": 3e-7})
    assert NoiseFloor.from_json(floor.to_json()) == floor


def test_where_single_precision_overflows_the_rest_has_its_own_floor() -> None:
    """A value of 1e300 is infinite in float32; the floor is that of the values beside it, by hand.

    ``(3, 4)`` stored as ``(3, 4 + 1e-3)`` is 1e-3 / 5 off. Single precision holds 4.001 to 2.4e-7, which is 2.4e-4 of
    that.
    """
    backend = GradientBackend()
    trace = engine().run(Case(network(), X, method("gradient"), None, "float64"), backend)
    layers = {
        name: replace(layer, relevance=np.array([[3.0, 4.0, 1e300]]), activation=np.ones((1, 3)))
        for name, layer in trace.layers.items()
    }
    base = replace(trace, layers=layers, attribution_array=np.array([[3.0, 4.0, 1e300]]))
    single = np.array([[3.0, 4.0 + 1e-3, np.inf]], np.float32)
    run = replace(
        base,
        attribution_array=single,
        layers={name: replace(layer, relevance=single) for name, layer in layers.items()},
    )
    floor = movement(base, [run], network().graph, "by hand")
    assert floor.attribution == pytest.approx(2e-4, rel=2.4e-4)
    assert floor.relevance["x"] == pytest.approx(2e-4, rel=2.4e-4)
    assert floor.activation["x"] == 0
