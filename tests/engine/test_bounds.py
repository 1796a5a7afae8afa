"""What a bound decides, the measured floor decides in the same way, on small networks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

import harness
from evidence.bounds import by_measured_floors
from harness.backends import backend_named
from harness.case import Case
from harness.comparison import Comparison
from harness.engine import compare, engine
from harness.methods import (
    ALL_METHODS,
    SUITE_METHODS,
    Backward,
    GradCam,
    IntegratedGradients,
    Smoothed,
    method,
)
from harness.runner import chosen_input
from harness.runner.run import why_not
from harness.trace import Trace


def verdicts(comparison: Comparison) -> dict[str, str]:
    rows = (*comparison.rows, *comparison.forward, comparison.attribution)
    return {f"{type(row).__name__} {row.layer}": row.verdict for row in rows}


def assert_the_same(reference: Trace, candidate: Trace) -> Comparison:
    """Every row has the verdict that the measured floors give, whatever decided it."""
    least = compare(reference, candidate)
    measured = by_measured_floors(reference, candidate, least)
    assert verdicts(least) == verdicts(measured), reference.method.name
    assert least.first_divergent == measured.first_divergent
    return least


def scaled(trace: Trace, factor: float) -> Trace:
    """``trace`` as a candidate gives it whose rules are wrong by ``factor`` from the middle of the network on."""
    names = list(trace.layers)
    layers = {
        name: replace(layer, relevance=layer.relevance * trace.attribution.dtype.type(factor))
        if names.index(name) < len(names) // 2
        else layer
        for name, layer in trace.layers.items()
    }
    factor_ = trace.attribution.dtype.type(factor)
    return replace(trace, layers=layers, attribution_array=trace.attribution * factor_)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        pytest.param("digits-cnn", "float32", marks=pytest.mark.nightly),
        pytest.param("ecg-cnn1d", "float32", marks=pytest.mark.nightly),
        pytest.param("digits-cnn", "float64", marks=pytest.mark.nightly),
    ],
)
def test_a_bound_decides_as_the_measured_floor_does(name: str, dtype: str) -> None:
    model = harness.load_model(name)
    x, _ = chosen_input(model, None)
    sides = [backend_named(side) for side in ("tensorflow", "torch")]
    names = SUITE_METHODS if dtype == "float64" else ALL_METHODS[:: 1 if name == "digits-cnn" else 3]
    decided: Counter[str] = Counter()
    for wanted in map(method, names):
        if isinstance(wanted.procedure, Smoothed):
            wanted = replace(wanted, procedure=replace(wanted.procedure, samples=3))
        elif isinstance(wanted.procedure, IntegratedGradients):
            wanted = replace(wanted, procedure=replace(wanted.procedure, steps=4))
        elif not isinstance(wanted.procedure, Backward | GradCam):
            continue
        if why_not(wanted, model):
            continue
        case = Case(model, x, wanted, None, dtype)
        reference = engine().run(case, sides[0])
        candidate = engine().run(reference.case, sides[1])
        comparison = assert_the_same(reference, candidate)
        assert comparison.passed, wanted.name
        decided.update(row.decided_by for row in comparison.rows)
        # A wrong candidate: far beyond rounding, and a little beyond the bound.
        for factor in (1.001, 1 + 30 * comparison.rows[0].floor):
            assert_the_same(reference, scaled(candidate, factor))
    assert decided["bound"] > 0.5 * sum(decided.values())
