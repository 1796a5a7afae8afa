"""DeepLIFT on equal ground: on a constant baseline all entries of a pooling window are equal, and rounding chooses one.

The reference and the port are the real ones. The port's baseline is moved by one unit in the last place at every second
column, so that another entry of every window is the largest: what a processor's own order of sums does to a map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from harness.api import explain
from harness.backends import backend_named
from harness.case import Case
from harness.comparison import Comparison
from harness.comparison.floor import derived
from harness.comparison.verdict import judge
from harness.engine import Engine, compare, engine, floor_of, run_ahead
from harness.engine.many_runs import on_ground_of_runs
from harness.methods import baselines, method
from ported_models import PortedModel
from tests.undecided import undecided

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

METHODS = (
    "deep_lift:baselines=0.5",
    "deep_lift_shap:baselines=-0.5/0.5,multiply_by_inputs=false",
)


@pytest.fixture(scope="module")
def model() -> PortedModel:
    return undecided()


def with_baselines(monkeypatch: pytest.MonkeyPatch, made: Callable[..., Iterable[np.ndarray]]) -> None:
    """Give the port the baselines that ``made`` returns."""
    for name in ("ported_impls.deep_lift", "ported_impls.run"):
        monkeypatch.setattr(f"{name}.baselines", made)


def on_other_entries(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    """Make the second entry of each window of the port's baselines the largest, by one unit in the last place."""

    def made(procedure, shape):
        for baseline in baselines(procedure, shape):
            up = baseline.astype(dtype)
            up[:, :, 1::2] = np.nextafter(up[:, :, 1::2], np.inf, dtype=dtype)
            yield up.astype(np.float64)

    with_baselines(monkeypatch, made)


def judged(model: PortedModel, name: str, dtype: str, scale: float = 1.0) -> tuple[Comparison, Comparison]:
    """By the bound alone, and then on equal ground."""
    known = Engine()
    x = np.random.default_rng(1).normal(size=(2, 6, 6, 2)).astype(np.float32) * np.float32(scale)
    case = Case(model, x, method(name), np.array([1, 3]), dtype)
    reference, candidate = (known.run(case, backend_named(side)) for side in ("tensorflow", "torch"))
    by_bound = judge(reference, candidate, derived(dtype, model.graph), ruling="bound")
    return by_bound, on_ground_of_runs(known, by_bound, reference, candidate)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", METHODS)
def test_another_of_equal_entries_is_excused(
    model: PortedModel, monkeypatch: pytest.MonkeyPatch, name: str, dtype: str
) -> None:
    on_other_entries(monkeypatch, dtype)
    by_bound, comparison = judged(model, name, dtype)
    assert by_bound.attribution.rel_l2 > 0.01
    assert comparison.attribution.decided_by == "equal ground"
    assert comparison.settled
    assert comparison.passed


@pytest.mark.parametrize("name", METHODS)
def test_it_is_excused_beside_a_given_floor_too(
    model: PortedModel, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    on_other_entries(monkeypatch, "float64")
    x = np.random.default_rng(1).normal(size=(2, 6, 6, 2))
    reference, candidate = (
        explain(model, x, name, side, target=[1, 3], dtype="float64") for side in ("tensorflow", "torch")
    )
    floor = floor_of(engine(), reference)
    assert judge(reference, candidate, floor).verdict == "divergent"
    assert compare(reference, candidate, floor=floor).passed


def _thousandth(rule):
    return lambda *args: rule(*args) * 1.001


@pytest.mark.parametrize("kind", ["max_pool2d", "elu"])
@pytest.mark.parametrize("name", METHODS)
def test_a_rule_that_is_a_thousandth_off_is_not(
    model: PortedModel, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    on_other_entries(monkeypatch, "float64")
    from ported_impls import deep_lift

    monkeypatch.setitem(deep_lift._RULES, kind, _thousandth(deep_lift._RULES[kind]))
    _, comparison = judged(model, name, "float64")
    assert comparison.attribution.verdict == "divergent"


def test_another_baseline_is_not(model: PortedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(procedure, shape):
        return (each * 1.001 for each in baselines(procedure, shape))

    with_baselines(monkeypatch, other)
    _, comparison = judged(model, METHODS[0], "float64")
    assert not comparison.passed
    assert "no equal ground: in run 1 of 1 the activations of 'input'" in comparison.notes[0]


def test_a_small_baseline_is_looked_at_on_its_own(
    model: PortedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one batch with an input that is 1e17 times as large nobody would see that the baseline is a tenth off."""

    def other(procedure, shape):
        return (each * 1.1 for each in baselines(procedure, shape))

    with_baselines(monkeypatch, other)
    _, comparison = judged(model, METHODS[0], "float64", scale=1e17)
    assert "in run 1 of 1 the activations of 'input' are 1.0e-01 apart" in comparison.notes[0]


@pytest.mark.parametrize("name", METHODS)
def test_the_runs_in_step_give_what_the_sides_give_alone(model: PortedModel, name: str) -> None:
    x = np.random.default_rng(1).normal(size=(2, 6, 6, 2)).astype(np.float32)
    case = Case(model, x, method(name), np.array([1, 3]), "float64")
    sides = [backend_named(side) for side in ("tensorflow", "torch")]
    alone, in_step = Engine(), Engine()
    assert set(run_ahead(in_step, case, *sides)) == {"reference", "candidate"}
    for side in sides:
        first, second = alone.run(case, side), in_step.run(case, side)
        np.testing.assert_array_equal(first.attribution, second.attribution)
        for layer, there in first.layers.items():
            np.testing.assert_array_equal(there.relevance, second.layers[layer].relevance)
            np.testing.assert_array_equal(there.activation, second.layers[layer].activation)
