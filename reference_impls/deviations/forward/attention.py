"""Attention in the forward pass: mask, scale, softmax axis, operands, heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from harness.graph import Graph, Layer
from harness.steps import Deviation, ForwardStep
from reference_impls.deviations.forward.altering import Alteration, first, with_attributes, with_weights
from reference_impls.deviations.forward.sight import Sight

CAUSE = "forward-attention"
#: What may stand between a product, a softmax and the next product.
_BETWEEN = ("shape", "identity", "scale", "normalisation", "resampling")


def readings(step: ForwardStep, sight: Sight) -> Iterator[Deviation]:
    """Other readings of a layer that belongs to attention; nothing at others."""
    layer, graph = step.layer, step.graph
    if layer.kind == "softmax":
        yield from _of_softmax(step)
    if layer.kind == "matmul":
        yield from _of_product(step)
    if layer.kind in ("scale", "affine") and _leads_to_softmax(layer, graph):
        yield from _of_scores(layer)
    if layer.kind == "dense" and _leads_to_product(layer, graph):
        yield from _of_projection(layer, graph)
    if layer.kind == "grid_sample":
        yield from _of_sampling(step)


def _deviation(words: str, alter: Alteration, **parameters: object) -> Deviation:
    return Deviation(CAUSE, words, alter, parameters)


def _of_softmax(step: ForwardStep) -> Iterator[Deviation]:
    known = step.layer.attributes["axis"]
    for axis in range(-len(step.layer.shape), 0):
        if axis != known:
            words = f"the softmax runs over axis {axis} instead of {known}"
            yield _deviation(words, with_attributes(axis=axis), axis=axis, expected=known)
    features = _features_of_scores(step.layer, step.graph)
    if features is not None:
        root = float(np.sqrt(features))
        for words, factor in (
            (f"the scores are not divided by the root of the {features} features", root),
            (f"the scores are divided by the {features} features, and not by their root alone", 1 / root),
        ):
            yield _deviation(words, first(partial(_softmax_of, factor)), factor=factor)
    if len(step.layer.shape) > 2 and step.layer.shape[0] > 1:
        words = f"the weights are averaged over the {step.layer.shape[0]} heads"
        yield Deviation("heads", words, first(_averaged), {"heads": step.layer.shape[0]})


def _softmax_of(factor: float, step: ForwardStep, result: np.ndarray) -> np.ndarray:
    scores = np.asarray(step.inputs[0], np.float64) * factor
    axis = step.layer.attributes["axis"]
    powers = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def _averaged(step: ForwardStep, result: np.ndarray) -> np.ndarray:
    return np.broadcast_to(result.mean(axis=1, keepdims=True), result.shape)


def _of_product(step: ForwardStep) -> Iterator[Deviation]:
    one, other = (np.asarray(x, np.float64) for x in step.inputs)
    if step.layer.attributes["transposed"]:
        other = np.swapaxes(other, -1, -2)
    combined: dict[str, Callable[[], np.ndarray]] = {
        "the first operand is transposed": lambda: np.swapaxes(one, -1, -2) @ other,
        "the second operand is transposed": lambda: one @ np.swapaxes(other, -1, -2),
        "the operands are exchanged": lambda: other @ one,
        "the result is transposed": lambda: np.swapaxes(one @ other, -1, -2),
    }
    shape = (len(one), *step.layer.shape)
    for words, compute in combined.items():
        try:
            result = compute()
        except ValueError:
            continue  # These shapes do not go together.
        if result.shape == shape:
            yield _deviation(words, first(partial(_given, result)))
    features = one.shape[-1]
    for words, factor in (
        (f"the result is divided by the root of the {features} features", features**-0.5),
        (f"the result is multiplied by the root of the {features} features", features**0.5),
    ):
        yield _deviation(words, first(partial(_times, factor)), factor=factor)
    if len(step.layer.shape) > 2 and step.layer.shape[0] > 1:
        words = f"the result is averaged over the {step.layer.shape[0]} heads"
        yield Deviation("heads", words, first(_averaged), {"heads": step.layer.shape[0]})


def _given(result: np.ndarray, step: ForwardStep, own: np.ndarray) -> np.ndarray:
    return result


def _times(factor: float, step: ForwardStep, result: np.ndarray) -> np.ndarray:
    return result * factor


def _of_scores(layer: Layer) -> Iterator[Deviation]:
    """The mask, or the scale."""
    if "bias" in layer.weights:
        bias = layer.weights["bias"]
        yield _deviation("the mask is left out", with_weights(bias=np.zeros_like(bias)))
        turned = np.swapaxes(bias, -1, -2) if bias.ndim > 1 else bias
        if turned.shape == bias.shape and not np.array_equal(turned, bias):
            yield _deviation("the mask is transposed", with_weights(bias=turned))
        if bias.min() < 0:
            words = "the mask is inverted: what it should hide is seen, and the rest hidden"
            yield _deviation(words, with_weights(bias=bias.min() - bias))
    if "kernel" in layer.weights:
        kernel = layer.weights["kernel"]
        yield _deviation("the scale is left out", with_weights(kernel=np.ones_like(kernel)))
        yield _deviation("the scale is squared", with_weights(kernel=kernel**2))


def _of_projection(layer: Layer, graph: Graph) -> Iterator[Deviation]:
    """Query, key and value: dense layers that read the same and have kernels of one shape."""
    for other in graph:
        alike = other.kind == "dense" and other.name != layer.name and other.inputs == layer.inputs
        if not alike or other.weights["kernel"].shape != layer.weights["kernel"].shape:
            continue
        if _leads_to_product(other, graph):
            weights = {name: other.weights.get(name) for name in ("kernel", "bias")}
            words = f"it has the weights of {other.name}: query, key and value are mixed up"
            yield _deviation(words, with_weights(**weights), weights_of=other.name)


def _of_sampling(step: ForwardStep) -> Iterator[Deviation]:
    known = step.layer.attributes["padding"]
    other = "border" if known == "zeros" else "zeros"
    words = {"border": "places outside are moved to the border", "zeros": "places outside read zeros"}[other]
    yield Deviation("sampling", words, with_attributes(padding=other), {"padding": other, "expected": known})


def _features_of_scores(layer: Layer, graph: Graph) -> int | None:
    """How many features the product in front of a softmax sums over; None where there is none."""
    source = layer
    while len(source.inputs) == 1:
        source = graph[source.inputs[0]]
        if source.kind == "matmul":
            return source.input_shapes[0][-1]
        if source.traits.family not in _BETWEEN:
            return None
    return None


def _leads_to_softmax(layer: Layer, graph: Graph) -> bool:
    return _leads_to(layer, graph, "softmax")


def _leads_to_product(layer: Layer, graph: Graph) -> bool:
    return _leads_to(layer, graph, "matmul")


def _leads_to(layer: Layer, graph: Graph, kind: str) -> bool:
    """Whether the output comes to a layer of ``kind`` with nothing but shapes, scales and masks between."""
    for reader in graph.consumers(layer.name):
        if reader.kind == kind:
            return True
        if reader.traits.family in _BETWEEN and _leads_to(reader, graph, kind):
            return True
    return False
