"""What a user's function returned, checked: an attribution, or an attribution and the relevance of layers."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from harness.errors import InvalidInputError
from harness.graph import Graph
from harness.trace.trace import LayerTrace

#: What a trace says of activations that the function did not compute itself, or may not have.
TWINS_OWN = "a run of the twin beside the function's own"


def parted(backend: str, result: Any) -> tuple[Any, Mapping[str, Any] | None]:
    """The attribution, and the relevance by layer where the function returned it; neither is looked into.

    Raises InvalidInputError for a tuple that is not those two.
    """
    if not isinstance(result, tuple):
        return result, None
    if len(result) == 2 and isinstance(result[1], Mapping):
        return result[0], result[1]
    said = ", ".join(type(each).__name__ for each in result)
    raise InvalidInputError(
        f"{backend}: the function returned a tuple ({said}), expected the attribution alone or "
        "(attribution, {layer name: relevance})"
    )


def checked_attribution(
    backend: str, value: Any, x: np.ndarray, as_array: Callable[[Any], np.ndarray] = np.asarray
) -> np.ndarray:
    """The attribution in memory of its own, if it has the shape of ``x`` (batch, *input shape).

    ``as_array`` makes a canonical array of what was returned. Raises InvalidInputError.
    """
    attribution = _numeric(backend, "an attribution", value, as_array)
    if attribution.shape != x.shape:
        raise InvalidInputError(
            f"{backend}: the function returned an attribution of shape {attribution.shape} "
            f"(channels last), expected the shape of the input, {x.shape}"
        )
    return attribution


def checked_layers(
    backend: str, graph: Graph, given: Mapping[str, Any], batch: int, as_array: Callable[[Any], np.ndarray]
) -> dict[str, np.ndarray]:
    """Relevance by canonical layer name, (batch, *layer shape), channels last, each in memory of its own.

    Raises InvalidInputError for a name that is no layer, another shape, or a value that is not finite.
    """
    known = [layer.name for layer in graph]
    checked: dict[str, np.ndarray] = {}
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the layers are {', '.join(known)}"
            raise InvalidInputError(
                f"{backend}: the function returned relevance of {name!r}, which is no layer of {graph.name}; {hint}"
            )
        relevance = _numeric(backend, f"relevance of layer {name!r}", value, as_array)
        expected = (batch, *graph[name].shape)
        if relevance.shape != expected:
            first = relevance.ndim > 2 and np.moveaxis(relevance, 1, -1).shape == expected
            hint = "; it is channels-first: use numpy.moveaxis(relevance, 1, -1)" if first else ""
            raise InvalidInputError(
                f"{backend}: the function returned relevance of layer {name!r} of shape {relevance.shape}, "
                f"expected {expected}, batch first and channels last{hint}"
            )
        bad = int((~np.isfinite(relevance)).sum())
        if bad:
            raise InvalidInputError(
                f"{backend}: the function returned relevance of layer {name!r} with {bad} NaN or infinite values, "
                "expected finite numbers; leave the layer out to have the attribution judged alone"
            )
        checked[name] = relevance
    return checked


def given_layers(
    graph: Graph, activations: Mapping[str, np.ndarray], relevances: Mapping[str, np.ndarray]
) -> dict[str, LayerTrace]:
    """The layers of a trace, in forward order; those without a relevance show their activation only."""
    return {
        layer.name: LayerTrace(
            layer.name, layer.kind, layer.axes, activations.get(layer.name), relevances.get(layer.name)
        )
        for layer in graph
    }


def _numeric(backend: str, what: str, value: Any, as_array: Callable[[Any], np.ndarray]) -> np.ndarray:
    try:
        array = as_array(value)
    except (TypeError, ValueError) as error:
        said = " ".join(str(error).split())
        raise InvalidInputError(
            f"{backend}: the function returned {type(value).__name__} for {what}, which is no array ({said})"
        ) from None
    if array.dtype.kind not in "fiub":
        raise InvalidInputError(
            f"{backend}: the function returned {type(value).__name__} of dtype {array.dtype} for {what}, "
            "expected an array of real numbers"
        )
    return np.array(array, order="K", copy=True)
