"""A candidate that shows the attribution alone, where a sum nearly cancels: one run in float64 says little of rounding.

The inputs are the five of 900 random ones on which the port's attribution is more than ten measured floors from the
reference's in float32, though each of its layers is right.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import harness
from harness.comparison.floor import MULTIPLE
from harness.engine import engine, floor_of

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

SEEDS = (80, 283, 291, 353, 465)
METHOD = "lrp.z"


@pytest.fixture(scope="module")
def model() -> Any:
    return harness.load_model("digits-cnn")


@pytest.fixture(autouse=True)
def no_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a function of another framework, which rounds as the port does not."""
    monkeypatch.setattr(sys.modules["harness.engine.compare"], "port_beside", lambda *_: None)


def drawn(model: Any, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(1, *model.input_shape)).astype(np.float32)


def port(change: Callable[[np.ndarray], np.ndarray], dtypes: tuple[str, ...] = ("float32", "float64")) -> Any:
    """The port's attribution as ``change`` leaves it, in these ``dtypes`` alone."""

    def function(graph: Any, x: Any, target: Any, method: Any) -> np.ndarray:
        values = x
        if str(values.dtype) not in dtypes:
            raise TypeError(f"{values.dtype} is not supported")
        loaded = harness.load_model("digits-cnn")
        run = harness.explain(loaded, values, method, "torch", target, str(values.dtype), layers=False)
        return change(run.attribution_array)

    return harness.backend_from_function("mine", function, "numpy")


def same(values: np.ndarray) -> np.ndarray:
    return values


def shifted(values: np.ndarray) -> np.ndarray:
    """Adds a little of the relevance one pixel further: within ten raised floors, beyond ten measured ones."""
    return values + 3e-4 * np.roll(values, 1, axis=1)


@pytest.mark.parametrize("seed", SEEDS)
def test_these_inputs_show_it(model: Any, seed: int) -> None:
    x = drawn(model, seed)
    reference = harness.explain(model, x, METHOD)
    whole, alone = (harness.explain(model, x, METHOD, "torch", layers=shown) for shown in (True, False))
    distance = harness.compare(reference, alone).attribution.rel_l2
    # Not by `floor_of` of this very trace, whose comparison may have raised it.
    assert distance > MULTIPLE * floor_of(engine(), harness.explain(model, x, METHOD)).of_attribution()
    assert harness.compare(reference, whole).passed


@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float32",)])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_right_function_passes_and_nothing_is_named(model: Any, seed: int, dtypes: tuple[str, ...]) -> None:
    x, candidate = drawn(model, seed), port(same, dtypes)
    run = harness.explain(model, x, METHOD, candidate, layers=False)
    comparison = harness.compare(harness.explain(model, x, METHOD), run)
    assert comparison.passed
    assert "sums nearly cancel" in " ".join(comparison.notes)
    assert harness.diagnose(model, x, METHOD, candidate=candidate).findings == ()


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_wrong_in_float64_too_does_not_pass_under_the_raised_floor(model: Any, seed: int) -> None:
    x, candidate = drawn(model, seed), port(shifted)
    comparison = harness.compare(
        harness.explain(model, x, METHOD), harness.explain(model, x, METHOD, candidate, layers=False)
    )
    assert not comparison.passed
    assert harness.diagnose(model, x, METHOD, candidate=candidate).findings


def test_one_of_float32_alone_does_not_pass_for_what_rounding_does_not_explain(model: Any) -> None:
    x, candidate = (
        drawn(model, SEEDS[0]),
        port(lambda values: values + 0.1 * np.roll(values, 1, axis=1), ("float32",)),
    )
    comparison = harness.compare(
        harness.explain(model, x, METHOD), harness.explain(model, x, METHOD, candidate, layers=False)
    )
    assert not comparison.passed
    assert harness.diagnose(model, x, METHOD, candidate=candidate).findings


def test_one_that_rounds_to_float32_without_a_word_passes_where_it_was_asked_for_float32(model: Any) -> None:
    """It passes there under a high floor, so both are run in float64 as well, where it is far off."""

    def single(graph: Any, x: Any, target: Any, method: Any) -> np.ndarray:
        values = x
        loaded = harness.load_model("digits-cnn")
        run = harness.explain(loaded, values.astype(np.float32), method, "torch", target, layers=False)
        return run.attribution_array.astype(values.dtype)

    candidate = harness.backend_from_function("single", single, "numpy")
    for seed in (*SEEDS, 7, 13):
        assert harness.diagnose(model, drawn(model, seed), METHOD, candidate=candidate).findings == ()


def test_too_little_memory_in_float64_is_not_taken_for_a_candidate_of_float32_alone(model: Any) -> None:
    def change(values: np.ndarray) -> np.ndarray:
        if values.dtype == np.float64:
            raise MemoryError("no room")
        return values

    x, candidate = drawn(model, SEEDS[0]), port(change)
    run = harness.explain(model, x, METHOD, candidate, layers=False)
    with pytest.raises(MemoryError):
        harness.compare(harness.explain(model, x, METHOD), run)
