"""Layers of the kinds that dl-backtrace 0.1.24 has a handler for, with operands: the cases that it and ours share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.graph import Graph, Layer
from harness.methods import SATURATIONS, Backtrace, EqualShare, LargestShare, MagnitudeShare, Rule, Saturation
from ported_models.build import Builder


@dataclass(frozen=True, eq=False)
class Shared:
    """One case: the layer of a graph, its inputs, the relevance of its output, and the rule that the package has."""

    name: str
    graph: Graph
    inputs: tuple[np.ndarray, ...]
    relevance: np.ndarray
    rule: Rule

    @property
    def layer(self) -> Layer:
        return self.graph["layer"]


def _layer(
    kind: str,
    input_shapes: list[tuple[int, ...]],
    attributes: dict[str, Any] | None = None,
    weights: dict[str, Any] | None = None,
) -> Graph:
    """A graph whose layer "layer" is of ``kind``; several inputs are made of the one by a ReLU each."""
    builder = Builder("one", input_shapes[0])
    names = ["input"]
    for number in range(1, len(input_shapes)):
        names.append(builder.add("relu", f"other{number}", "input"))
    builder.add(kind, "layer", names, attributes, weights)
    return builder.graph()


def shared_cases() -> Iterator[Shared]:
    """Two samples each, of both signs, float64."""
    rng = np.random.default_rng(24)

    def case(name: str, graph: Graph, rule: Rule, pairs: bool = False) -> Shared:
        layer = graph["layer"]
        inputs = tuple(rng.standard_normal((2, *shape)) for shape in layer.input_shapes)
        if pairs:  # two neighbours are equal, so that there are ties of two
            inputs = tuple(np.repeat(x[:, ::2], 2, axis=1) for x in inputs)
        return Shared(name, graph, inputs, rng.standard_normal((2, *layer.shape)), rule)

    for activation, saturation in SATURATIONS.items():
        for bias in (True, False):
            name = f"{activation}{'' if bias else ', no bias'}"
            yield case(
                f"dense, {name}",
                _layer("dense", [(9,)], weights=_weights(rng, (9, 6), bias)),
                Backtrace("linear", saturation),
            )
            own = Saturation(saturation.form, saturation.low, saturation.high, saturation.function, "none")
            yield case(
                f"conv2d, {name}", _conv(rng, (3, 3), (1, 1), "same", bias), Backtrace("convolution", own)
            )
    yield case(
        "dense over tokens",
        _layer("dense", [(4, 9)], weights=_weights(rng, (9, 6), True)),
        Backtrace("linear"),
    )
    for name, size, strides, padding in (
        ("valid", (3, 3), (1, 1), "valid"),
        ("strided", (3, 3), (2, 2), "valid"),
        ("padded by one", (3, 3), (2, 2), ((1, 1), (1, 1))),
        ("same, strided", (3, 3), (2, 2), "same"),
        ("same, even window", (2, 2), (1, 1), "same"),
        ("one by one", (1, 1), (1, 1), "valid"),
    ):
        yield case(f"conv2d, {name}", _conv(rng, size, strides, padding, True), Backtrace("convolution"))
    for name, attributes in (
        ("", {"pool_size": (2, 2)}),
        (", overlapping", {"pool_size": (3, 3), "strides": (2, 2)}),
        (", padded by one", {"pool_size": (3, 3), "strides": (2, 2), "padding": ((1, 1), (1, 1))}),
        (", same", {"pool_size": (2, 2), "strides": (2, 2), "padding": "same"}),
    ):
        yield case(f"max_pool2d{name}", _layer("max_pool2d", [(7, 7, 3)], attributes), LargestShare())
    ties = _layer("max_pool2d", [(6, 6, 2)], {"pool_size": (2, 2)})
    yield case("max_pool2d, ties of two", ties, LargestShare(), pairs=True)
    yield case(
        "average_pool2d", _layer("average_pool2d", [(6, 6, 3)], {"pool_size": (2, 2)}), MagnitudeShare()
    )
    yield case(
        "average_pool2d, overlapping",
        _layer("average_pool2d", [(7, 7, 3)], {"pool_size": (3, 3), "strides": (2, 2)}),
        MagnitudeShare(),
    )
    yield case("global_average_pool", _layer("global_average_pool", [(5, 4, 3)]), MagnitudeShare())
    yield case("add", _layer("add", [(4, 4, 3), (4, 4, 3)]), EqualShare())
    yield case("multiply", _layer("multiply", [(4, 4, 3), (4, 4, 3)]), EqualShare())


def _weights(rng: np.random.Generator, shape: tuple[int, ...], bias: bool) -> dict[str, Any]:
    weights = {"kernel": rng.standard_normal(shape)}
    return {**weights, "bias": rng.standard_normal(shape[-1])} if bias else weights


def _conv(rng: np.random.Generator, size: tuple[int, int], strides: Any, padding: Any, bias: bool) -> Graph:
    attributes = {"strides": strides, "padding": padding}
    return _layer("conv2d", [(7, 7, 3)], attributes, _weights(rng, (*size, 3, 4), bias))
