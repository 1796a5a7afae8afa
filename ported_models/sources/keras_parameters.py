"""How Keras writes the parameters of its layers, read into the neutral graph's terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.errors import UnsupportedLayerError
from ported_models.sources.keras_calls import Call

Shape = tuple[int, ...]


def sides(value: Any, count: int) -> Shape:
    """An integer or a sequence of ``count`` integers, as a tuple."""
    return (int(value),) * count if isinstance(value, int | float) else tuple(int(side) for side in value)


def pairs(value: Any, count: int) -> tuple[tuple[int, int], ...]:
    """Padding or cropping of ``count`` axes: an integer, one integer an axis, or one pair an axis."""
    if count == 1 and not isinstance(value, int) and isinstance(value[0], int):
        value = [value]
    sides = [value] * count if isinstance(value, int) else value
    return tuple((side, side) if isinstance(side, int) else (int(side[0]), int(side[1])) for side in sides)


def number(value: Any) -> float:
    """A number that TensorFlow's Keras may have written as ``{"type": "ndarray", "value": ...}``."""
    return float(value["value"] if isinstance(value, Mapping) else value)


def weights_of(call: Call, **names: str) -> dict[str, np.ndarray]:
    """The named weights of the call under the graph's names; those that the call lacks are left out."""
    return {ours: call.weights[theirs] for ours, theirs in names.items() if theirs in call.weights}


def refusal(call: Call, key: str, found: Any, expected: str) -> UnsupportedLayerError:
    return UnsupportedLayerError(
        f"{call.where} has {key} {found!r}, expected {expected}; change it or the layer"
    )


def negative_axis(call: Call, axis: int, shape: Shape) -> int:
    """An axis that counts the batch as 0, in canonical negative form."""
    if axis == 0 or not -len(shape) <= axis <= len(shape):
        raise refusal(call, "axis", axis, f"an axis other than the batch of an input of shape {shape}")
    return axis if axis < 0 else axis - len(shape) - 1
