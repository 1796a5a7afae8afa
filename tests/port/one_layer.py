"""One layer of a torch twin under one rule, on numbers small enough to work out by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.testing import assert_allclose

from harness.graph import Graph
from harness.methods import Assignment, Composite, Gradient, Method, Rule
from ported_impls.backend import TorchBackend
from ported_models.build import Builder
from ported_models.model import PortedModel


def at_layer(rule: Rule) -> Method:
    """``rule`` at the layer "layer", the gradient elsewhere."""
    return Method("test", Composite((Assignment(rule, names=("layer",)), Assignment(Gradient()))))


def one_layer(
    kind: str,
    shapes: Sequence[tuple[int, ...]],
    weights: Mapping[str, Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Graph:
    """A graph with a layer "layer" whose inputs have ``shapes`` (without the batch axis)."""
    builder = Builder("one_layer", shapes[0])
    sources = ["input"]
    for index, shape in enumerate(shapes[1:], 1):
        if shape == shapes[0]:
            sources.append(builder.add("relu", f"source{index}", "input"))
            continue
        builder.add("flatten", f"flat{index}", "input")
        kernel = np.zeros((math.prod(shapes[0]), math.prod(shape)))
        builder.add("dense", f"numbers{index}", weights={"kernel": kernel})
        sources.append(builder.add("reshape", f"source{index}", attributes={"target": shape}))
    arrays = {key: np.asarray(value, float) for key, value in (weights or {}).items()}
    builder.add(kind, "layer", sources, attributes, arrays)
    return builder.graph()


def step(
    kind: str,
    rule: Rule,
    inputs: Sequence[Any],
    relevance: Any,
    weights: Mapping[str, Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
    dtype: str = "float64",
) -> tuple[np.ndarray, ...]:
    """Relevance of each of ``inputs``; batch of one, but no array has a batch axis here."""
    arrays = [np.asarray(values, dtype) for values in inputs]
    graph = one_layer(kind, [array.shape for array in arrays], weights, attributes)
    received = (
        TorchBackend()
        .prepare(PortedModel.from_graph(graph), dtype)
        .step(
            graph["layer"],
            tuple(array[None] for array in arrays),
            np.asarray(relevance, dtype)[None],
            at_layer(rule),
        )
    )
    return tuple(array[0] for array in received)


def assert_equal(found: np.ndarray, expected: Any) -> None:
    """``found`` is ``expected`` to eight roundings: more than any of these few-term sums has."""
    expected = np.asarray(expected, found.dtype)
    assert found.shape == expected.shape
    assert_allclose(found, expected, rtol=8 * np.finfo(found.dtype).eps, atol=0)
