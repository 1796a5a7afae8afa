"""What a user's function returned, checked: an attribution, or an attribution and the relevance of layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from harness.errors import InvalidInputError
from harness.graph import Input, joined

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
    kinds = ", ".join(type(each).__name__ for each in result)
    raise InvalidInputError(
        f"{backend}: the function returned a tuple ({kinds}), expected the attribution alone or "
        "(attribution, {layer name: relevance})"
    )


def checked_attribution(
    backend: str,
    value: Any,
    x: np.ndarray,
    as_array: Callable[[Any], np.ndarray] = np.asarray,
    inputs: Sequence[Input] = (),
) -> np.ndarray:
    """The attribution in memory of its own, if it has the shape of ``x`` (batch, *input shape).

    ``as_array`` makes a canonical array of what was returned. ``inputs``: of a model of several, for which a mapping by
    name was returned; they are put side by side. Raises InvalidInputError.
    """
    if inputs:
        return _joined_attribution(backend, value, len(x), as_array, inputs)
    attribution = _numeric(backend, "an attribution", value, as_array)
    if attribution.shape != x.shape:
        raise InvalidInputError(
            f"{backend}: the function returned an attribution of shape {attribution.shape} "
            f"(channels last), expected the shape of the input, {x.shape}"
        )
    return attribution


def _joined_attribution(
    backend: str, value: Any, batch: int, as_array: Callable[[Any], np.ndarray], inputs: Sequence[Input]
) -> np.ndarray:
    names = [each.name for each in inputs]
    if not isinstance(value, Mapping) or set(value) != set(names):
        found = ", ".join(map(repr, value)) if isinstance(value, Mapping) else type(value).__name__
        raise InvalidInputError(
            f"{backend}: the function returned {found or 'an empty mapping'}, expected a mapping with an attribution "
            f"for each input: {', '.join(map(repr, names))} (zeros for one that gets none)"
        )
    arrays = {}
    for each in inputs:
        what = f"an attribution of the input {each.name!r}"
        arrays[each.name] = _numeric(backend, what, value[each.name], as_array)
        if arrays[each.name].shape != (batch, *each.shape):
            raise InvalidInputError(
                f"{backend}: the function returned {what} of shape {arrays[each.name].shape} (channels last), "
                f"expected {(batch, *each.shape)}"
            )
    return joined(inputs, arrays)


def checked_layers(
    backend: str, given: Mapping[str, Any], as_array: Callable[[Any], np.ndarray]
) -> dict[str, np.ndarray]:
    """Relevance by layer name, each in memory of its own; names and shapes are the harness's to check.

    Raises InvalidInputError for a value that is no array of real, finite numbers.
    """
    checked: dict[str, np.ndarray] = {}
    for name, value in given.items():
        checked[name] = _numeric(backend, f"relevance of layer {name!r}", value, as_array)
        bad = int((~np.isfinite(checked[name])).sum())
        if bad:
            raise InvalidInputError(
                f"{backend}: the function returned relevance of layer {name!r} with {bad} NaN or infinite values, "
                "expected finite numbers; leave the layer out to have the attribution judged alone"
            )
    return checked


def _numeric(backend: str, what: str, value: Any, as_array: Callable[[Any], np.ndarray]) -> np.ndarray:
    try:
        array = as_array(value)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InvalidInputError(
            f"{backend}: the function returned {type(value).__name__} for {what}, which is no array ({reason})"
        ) from None
    if array.dtype.kind not in "fiub":
        raise InvalidInputError(
            f"{backend}: the function returned {type(value).__name__} of dtype {array.dtype} for {what}, "
            "expected an array of real numbers"
        )
    return np.array(array, order="K", copy=True)


def show_changes(array: np.ndarray, after: np.ndarray) -> None:
    """Write into ``array`` what a function left in ``after``, its copy; with another shape, no value stays."""
    if after.shape != array.shape:
        array[...] = np.nan if array.dtype.kind == "f" else -1
    elif not np.array_equal(after, array):
        array[...] = after
