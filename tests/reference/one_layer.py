"""One layer under one rule, on numbers small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.testing import assert_allclose

from harness.methods import Assignment, Composite, Method, Rule
from ported_models.build import Builder
from ported_models.model import PortedModel
from reference_impls.tensorflow import TensorFlowBackend


def composite_of(rule: Rule) -> Method:
    """``rule`` at every layer."""
    return Method("test", Composite((Assignment(rule),)))


def model_of(
    kind: str,
    inputs: Sequence[np.ndarray],
    weights: Mapping[str, Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> PortedModel:
    """A network of one layer, named "layer", reading arrays shaped like ``inputs``, without a batch axis."""
    builder = Builder("one layer", inputs[0].shape)
    # A layer with several inputs reads the network's and others, which only lend their shape.
    sources = ["input"]
    for index, array in enumerate(inputs[1:]):
        values = builder.add("flatten", f"values{index}", "input")
        repeated = {"axis": -1, "indices": (0,) * array.size}
        taken = builder.add("take", f"taken{index}", values, repeated)
        sources.append(builder.add("reshape", f"source{index}", taken, {"target": array.shape}))
    weights = {key: np.asarray(value, float) for key, value in (weights or {}).items()}
    builder.add(kind, "layer", sources, attributes, weights)
    return PortedModel.from_graph(builder.graph())


def step(
    kind: str,
    rule: Rule,
    inputs: Sequence[Any],
    relevance: Any,
    weights: Mapping[str, Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
    backend: Any = None,
) -> tuple[np.ndarray, ...]:
    """Relevance of each of ``inputs`` of a layer, in float64; no array has a batch axis here.

    ``backend``: what computes it; the TensorFlow reference unless given.
    """
    arrays = [np.asarray(values, float) for values in inputs]
    model = model_of(kind, arrays, weights, attributes)
    received = (
        (backend or TensorFlowBackend())
        .prepare(model, "float64")
        .step(
            model.graph["layer"],
            tuple(array[None] for array in arrays),
            np.asarray(relevance, float)[None],
            composite_of(rule),
        )
    )
    return tuple(array[0] for array in received)


def assert_equal(found: np.ndarray, expected: Any) -> None:
    """``found`` is ``expected`` to eight roundings, more than any of these short calculations has."""
    assert_allclose(found, np.asarray(expected, found.dtype), rtol=8 * np.finfo(found.dtype).eps, atol=0)
