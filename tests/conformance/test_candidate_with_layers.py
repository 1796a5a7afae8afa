"""A candidate of a third party, with every layer's relevance and step, is one short file (`docs/add-a-backend.md`)."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness

EXAMPLE = Path(__file__).parents[2] / "examples" / "candidate_with_layers.py"
METHOD = "guided_backprop"
pytestmark = [pytest.mark.torch, pytest.mark.tensorflow]


@pytest.fixture(scope="module")
def model() -> Any:
    return harness.load_model("digits-cnn")


def image(model: Any) -> np.ndarray:
    array: np.ndarray = next(iter(model.examples.values()))()
    return array


def test_it_takes_at_most_forty_lines_of_code() -> None:
    text = EXAMPLE.read_text()
    lines = text[text.index("import numpy") :].splitlines()
    assert len([line for line in lines if line.strip() and not line.strip().startswith("#")]) <= 40
    assert "ported_impls" not in text and "reference_impls" not in text


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_it_computes_the_same_function_at_every_layer(model: Any, dtype: str) -> None:
    candidate = runpy.run_path(str(EXAMPLE))["Candidate"]()
    reference = harness.explain(model, image(model), METHOD, dtype=dtype)
    trace = harness.explain(model, image(model), METHOD, candidate, target=reference.target, dtype=dtype)
    comparison = harness.compare(reference, trace)
    assert comparison.passed
    assert list(comparison.table["layer"]) == [layer.name for layer in model.graph.backward()]
    assert set(comparison.table["verdict"]) <= {"identical", "equivalent"}
    assert set(comparison.forward_table["verdict"]) <= {"identical", "equivalent"}


def test_a_mistake_in_one_step_is_found_in_that_layer(model: Any) -> None:
    """`conv2_relu` lets negative relevance through: it has the gradient instead of guided backprop's rule."""
    parts = runpy.run_path(str(EXAMPLE))
    right = parts["Prepared"].step

    def step(self: Any, layer: Any, *operands: Any) -> Any:
        plain = replace(layer, kind="plain") if layer.name == "conv2_relu" else layer
        return right(self, plain, *operands)

    parts["Prepared"].step = step
    found = harness.diagnose(model, image(model), METHOD, None, parts["Candidate"](), dtype="float64")
    assert (found.stage, found.layer, found.cause) == ("rule", "conv2_relu", "rule-mapping")
    assert found.comparison.verdict == "divergent"
    assert found.comparison.first_divergent == "conv2_relu"
