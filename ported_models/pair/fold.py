"""A batch norm that one side has folded into the kernel before it: the same function with one layer less.

With ``t = gamma / sqrt(variance + epsilon)`` a batch norm of ``f(x; W, b)`` is ``f(x; t W, t (b - mean) + beta)``,
``t`` along the output channels. The side that has the batch norm gets the folded layer, with the numbers of
the side that has folded it: both then run one network, which is what is compared and explained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from harness.graph import Graph, Layer
from ported_models.pair.same import without

#: Roundings of a fold in float32: the epsilon, the sum below the root, the root, its inverse, two products, and the
#: result as it is stored; a root is good to two units.
_ROUNDINGS = 8


@dataclass(frozen=True)
class Fold:
    """``norm``: the batch norm that ``kernel``, a layer of the same graph, takes in."""

    norm: str
    kernel: str


def folded(graph: Graph, other: Graph) -> tuple[Graph, tuple[Fold, ...]]:
    """``graph`` with every batch norm folded that ``other`` has folded, and which these are.

    A fold is recognised by its numbers: kernel and bias of ``other`` are those of the formula, to the rounding of
    the formula in float32.
    """
    folds: list[Fold] = []
    taken: set[str] = set()
    for norm in graph.layers:
        if norm.kind != "batch_norm":
            continue
        kernel = graph[norm.inputs[0]]
        if not kernel.traits.kernel or len(graph.consumers(kernel.name)) != 1:
            continue
        for candidate in other:
            if candidate.kind != kernel.kind or candidate.name in taken:
                continue
            weights = _as_folded(graph, kernel, norm, candidate)
            if weights is not None:
                taken.add(candidate.name)
                folds.append(Fold(norm.name, kernel.name))
                graph = without(graph, {norm.name}, {kernel.name: replace(kernel, weights=weights)})
                break
    return graph, tuple(folds)


def _as_folded(graph: Graph, kernel: Layer, norm: Layer, other: Layer) -> Mapping[str, np.ndarray] | None:
    """The weights of ``other``, in the order of ``kernel``, where they are those of the fold."""
    last = "pointwise_kernel" if "pointwise_kernel" in kernel.weights else "kernel"
    if kernel.attributes.get("groups", 1) != 1 and "transpose" in kernel.kind:
        return None
    if any(
        other.weights[key].shape != array.shape for key, array in kernel.weights.items() if "kernel" in key
    ):
        return None
    channels = kernel.weights[last].shape[-1]
    w = {key: np.asarray(array, np.float64) for key, array in norm.weights.items()}
    gamma, beta = w.get("gamma", np.ones(channels)), w.get("beta", np.zeros(channels))
    factor = gamma / np.sqrt(w["variance"] + norm.attributes["epsilon"])
    own = {key: np.asarray(array, np.float64) for key, array in kernel.weights.items()}
    bias = own.get("bias", np.zeros(channels))
    unit = _ROUNDINGS * float(np.finfo(np.float32).eps) / 2
    other_bias = np.asarray(other.weights.get("bias", np.zeros(channels)), np.float64)
    allowed = unit * ((np.abs(bias) + np.abs(w["mean"])) * np.abs(factor) + np.abs(beta))
    if np.any(np.abs(other_bias - (factor * (bias - w["mean"]) + beta)) > allowed):
        return None
    for rows in _row_orders(graph, kernel):
        arrays = dict(other.weights)
        if rows is not None:
            arrays["kernel"] = arrays["kernel"][rows]
        wanted = {**own, last: own[last] * factor}
        if all(
            np.all(np.abs(arrays[key] - wanted[key]) <= unit * np.abs(wanted[key]))
            for key in wanted
            if "kernel" in key
        ):
            return arrays
    return None


def _row_orders(graph: Graph, kernel: Layer) -> list[np.ndarray | None]:
    """The orders in which the other side may have the rows of a dense kernel: behind a flatten, any of two."""
    source = graph[kernel.inputs[0]]
    while source.traits.activation or (source.traits.per_value and len(source.inputs) == 1):
        source = graph[source.inputs[0]]
    if kernel.kind != "dense" or source.kind != "flatten":
        return [None]
    *space, channels = source.input_shapes[0]
    to_last = np.moveaxis(np.arange(source.shape[0]).reshape(channels, *space), 0, -1).reshape(-1)
    return [None, to_last, np.argsort(to_last)]
