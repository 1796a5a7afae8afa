"""What rounding explains of a step that is altered: a sum that nearly cancels is rounded by all that goes into it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from harness.diagnosis.explain_step import _noise
from harness.graph import Layer
from harness.methods import method
from harness.steps import Step
from ported_models.build import Builder
from reference_impls.oracle.backend import OracleBackend

EPSILON = 0.25


def test_the_rounding_of_a_bias_counts_where_it_is_all_that_a_denominator_keeps() -> None:
    """One dense layer with weight 1 and bias -1/4, epsilon 1/4 added whatever the sign of z: R x / (z + 1/4) = 1.

    With x = 2^-30 the denominator is 2^-30. A unit in the last place of x is lost in the sum; one of the bias is 2^-55,
    so 2^-25 of the denominator.
    """
    builder = Builder("cancel", (1,))
    weights = {"kernel": np.ones((1, 1), np.float32), "bias": np.array([-EPSILON], np.float32)}
    builder.add("dense", "logits", weights=weights)
    graph = builder.graph()
    layer: Layer = graph["logits"]
    resolved = method(f"lrp.epsilon:epsilon={EPSILON}")
    rule = resolved.composite.rule_for(layer, graph)
    step = Step(layer, rule, (np.full((1, 1), 2.0**-30),), np.ones((1, 1)), graph, resolved)
    oracle = OracleBackend().prepare(SimpleNamespace(graph=graph), "float64")
    plain = next(
        each for each in oracle.deviations(step, (np.ones((1, 1)),)) if "whatever the sign" in each.words
    )
    altered = plain.alter(step)
    assert np.allclose(oracle.carry_out(altered)[0], 1.0)
    case = cast(Any, SimpleNamespace(oracle=oracle, dtype="float64"))
    noise = _noise(case, altered, residual=2.0**-24)
    assert 2.0**-26 <= noise <= 2.0**-24
