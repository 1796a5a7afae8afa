"""The two ends of a run: where the relevance starts at the output, and what is done at the input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.methods import GRADIENT, Head, Method, Postprocess, TimesSign
from harness.trace import Trace
from ported_models.build import Builder
from ported_models.model import PortedModel
from reference_impls.tensorflow import TensorFlowBackend
from tests.prepared import ready
from tests.reference.one_layer import assert_equal


def explain(x: Any, asked: Method, **options: Any) -> Trace:
    """Of three classes, ``x0``, ``x1`` and ``4 x1 - x0``."""
    builder = Builder("scores", (2,))
    builder.add("dense", "logits", weights={"kernel": np.array([[1.0, 0, -1], [0, 1, 4]])})
    prepared = ready(TensorFlowBackend(), PortedModel.from_graph(builder.graph()), "float64")
    return prepared.explain(np.asarray(x, float), asked, **options)


@pytest.mark.parametrize(
    ("postprocess", "expected"),
    [
        pytest.param("none", [-1, 4], id="none"),
        pytest.param("times_input", [-1, 8], id="times the input"),
        pytest.param("abs", [1, 4], id="without sign"),
        pytest.param("square", [1, 16], id="squared"),
        pytest.param(TimesSign(2.5), [1, -4], id="times the sign: both below 2.5"),
        pytest.param(TimesSign(2), [1, 4], id="times the sign: 2 is not below itself"),
    ],
)
def test_the_postprocess_is_the_methods_and_comes_after_the_layers(
    postprocess: Postprocess, expected: list[float]
) -> None:
    # The third logit is the largest, its gradient [-1, 4].
    trace = explain([[1, 2]], Method("test", GRADIENT, "one", postprocess))
    assert_equal(trace.attribution, [expected])
    assert_equal(trace.layers["input"].relevance, [[-1, 4]])


def test_a_sign_threshold_of_minus_one_or_below_leaves_every_sign_as_it_is() -> None:
    for threshold, sign in ((-0.5, -1), (-1, 1), (-3, 1)):
        asked = Method("test", GRADIENT, "one", TimesSign(threshold))
        found = explain([[-2, -5]], asked, target=np.array([2])).attribution
        assert_equal(found, [[-sign, 4 * sign]])


# Logits 4 and -3 of the two targets asked for, once each.
@pytest.mark.parametrize(
    ("head", "at_output", "at_input"),
    [
        pytest.param("logit", [[4, 0, 0], [0, -3, 0]], [[4, 0], [0, -3]], id="logit"),
        pytest.param("one", [[1, 0, 0], [0, 1, 0]], [[1, 0], [0, 1]], id="one"),
        pytest.param("relu_logit", [[4, 0, 0], [0, 0, 0]], [[4, 0], [0, 0]], id="positive part"),
    ],
)
def test_relevance_starts_at_the_target_with_the_head_of_the_method(
    head: Head, at_output: list[list[float]], at_input: list[list[float]]
) -> None:
    x = [[4, -3], [4, -3]]
    trace = explain(x, Method("test", GRADIENT, head), target=np.array([0, 1]))
    assert_equal(trace.layers["logits"].relevance, at_output)
    assert_equal(trace.attribution, at_input)
