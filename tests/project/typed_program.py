"""What a user writes, with types: checked by `mypy --strict`, never run (see test_types.py)."""

from pathlib import Path
from typing import Any, assert_type, cast

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import harness
from ported_models import PortedModel
from ported_models.pair import PortedPair

model = harness.load_model("digits-cnn")
assert_type(model, harness.LoadedModel)
assert_type(model.name, str)
assert_type(model.input_shape, tuple[int, ...])
assert_type(
    [(layer.name, layer.kind, layer.shape) for layer in model.layers], list[tuple[str, str, tuple[int, ...]]]
)
assert_type(model.notes, tuple[str, ...])

pair = harness.load_pair("mine.keras", object(), layer_map={"conv1": "features.0"})
assert_type(pair.verified, bool)
if pair.first_difference is not None:
    assert_type(pair.first_difference.name, str)
    assert_type(pair.first_difference.structure, str | None)
# What is really returned has all that callers are promised.
as_model: harness.LoadedModel = cast(PortedModel, model)
as_pair: harness.LoadedPair = cast(PortedPair, pair)

x = np.zeros((1, *model.input_shape))
trace = harness.explain(pair, x, "lrp.z", target=3)
assert_type(trace, harness.Trace)
assert_type(trace.logits, NDArray[Any])
relevance = trace.layers["conv1"].relevance
if relevance is not None:
    assert_type(relevance, NDArray[Any])
trace.save(Path("a.safetensors"))
assert_type(harness.load_trace("a.safetensors"), harness.Trace)
assert_type(trace.plot(), matplotlib.figure.Figure)

comparison = harness.compare(trace, trace, tolerance="close")
assert_type(comparison, harness.Comparison)
assert_type(comparison.verdict, str)
assert_type(comparison.passed, bool)
assert_type(comparison.first_divergent, str | None)
assert_type(comparison.table, pd.DataFrame)
assert_type(comparison.plot(), matplotlib.figure.Figure)
harness.compare(x, x, floor=1e-7, axes=("batch", "height", "width", "channel"))

diagnosis = harness.diagnose(model, x, "lrp.z", candidate="zennit")
assert_type(diagnosis, harness.Diagnosis)
assert_type((diagnosis.stage, diagnosis.layer, diagnosis.cause), tuple[str | None, str | None, str | None])
assert_type(diagnosis.explanation, str)
assert_type((diagnosis.residual, diagnosis.left), tuple[float | None, float | None])
assert_type(diagnosis.reproducer, Path | None)
for finding in diagnosis.findings:
    assert_type(finding, harness.Finding)
    assert_type((finding.layer, finding.cause, finding.words), tuple[str | None, str, str])
    assert_type(finding.also, tuple[str, ...])


def saliency(twin: object, x: NDArray[Any], target: NDArray[Any], method: object) -> NDArray[Any]:
    return x


mine = harness.backend_from_function("mine", saliency, framework="torch", layers="gradient")
harness.register_backend("mine", mine)
assert_type(harness.list_methods(), list[str])
assert_type(harness.list_models(), list[str])
assert_type(harness.list_backends(), list[str])
assert_type(harness.parametrize_with_methods(model, "lrp.*", candidate=mine), pytest.MarkDecorator)
try:
    harness.explain(model, x, "lrp.nope", backend=mine)
except harness.HarnessError as error:
    assert_type(str(error), str)
