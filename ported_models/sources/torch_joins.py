"""Torch operations on several tensors and on constants, with torch's own parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ported_models.sources.torch_shapes import unsqueeze
from ported_models.sources.torch_site import Site, Value


def add(site: Site, input: Any, other: Any, alpha: float = 1) -> Value:
    if alpha != 1:
        raise site.refuse(f"alpha={alpha}", "alpha=1")
    return _combined(site, "add", input, other)


def multiply(site: Site, input: Any, other: Any) -> Value:
    return _combined(site, "multiply", input, other)


def subtract(site: Site, input: Any, other: Any, alpha: float = 1) -> Value:
    if alpha != 1:
        raise site.refuse(f"alpha={alpha}", "alpha=1")
    if isinstance(input, Value) and isinstance(other, Value):
        return _combined(site, "add", input, _affine(site, other, -1.0, 0.0))
    if isinstance(input, Value):
        return _affine(site, input, 1.0, -np.asarray(other, np.float64))
    return _affine(site, other, -1.0, input)


def negative(site: Site, input: Value) -> Value:
    return _affine(site, input, -1.0, 0.0)


def power(site: Site, input: Any, exponent: Any) -> Value:
    if not isinstance(input, Value) or exponent != 2:
        raise site.refuse(f"the exponent {exponent}", "a tensor to the power of 2")
    return site.add("multiply", [input, input])


def divide(site: Site, input: Any, other: Any, rounding_mode: str | None = None) -> Value:
    if rounding_mode is not None:
        raise site.refuse(f"rounding_mode={rounding_mode!r}", "none")
    if isinstance(other, Value):
        raise site.refuse("a tensor below the line", "a tensor divided by a constant")
    return _affine(site, input, 1.0 / np.asarray(other, np.float64), 0.0)


def _combined(site: Site, kind: str, first: Any, second: Any) -> Value:
    if not isinstance(first, Value):
        first, second = second, first
    if not isinstance(second, Value):
        return _affine(site, first, *((1.0, second) if kind == "add" else (second, 0.0)))
    if first.rank != second.rank:
        raise site.refuse(f"inputs of shapes {first.shape} and {second.shape}", "the same number of axes")
    return site.add(kind, _alike(site, (first, second)))


def _alike(site: Site, values: Sequence[Value]) -> list[Value]:
    """``values`` read in one order: their own where they share it, else channels first."""
    if len({value.order for value in values}) == 1:
        return list(values)
    return [site.feature_map(value) for value in values]


def _affine(site: Site, value: Value, kernel: Any, bias: Any) -> Value:
    """``kernel * x + bias`` with constants: one for all, one along the layer's last axis, or one a number."""
    arrays = {"kernel": _constant(site, value, kernel), "bias": _constant(site, value, bias)}
    if all(np.ndim(array) == 0 for array in (kernel, bias)) and float(kernel) == 1.0 and float(bias) == 0.0:
        return value
    if all(array.size == array.shape[-1] for array in arrays.values()):
        weights = {
            name: np.broadcast_to(array.reshape(-1), value.sides[-1:]) for name, array in arrays.items()
        }
        return site.add("scale", value, {}, weights)
    weights = {name: np.broadcast_to(array[0], value.sides[1:]) for name, array in arrays.items()}
    return site.add("affine", value, {}, weights)


def _constant(site: Site, value: Value, constant: Any) -> np.ndarray:
    """``constant`` with the axes of the layer, the batch first, each of its length or of one."""
    array = np.asarray(constant, site.dtype)
    if array.ndim <= value.rank:
        array = array.reshape((1,) * (value.rank - array.ndim) + array.shape)
        array = array.transpose([value.order.index(axis) for axis in range(value.rank)])
        fits = all(
            side in (1, wanted) for side, wanted in zip(array.shape, (1, *value.sides[1:]), strict=True)
        )
        if fits:
            return array
    raise site.refuse(
        f"a constant of shape {np.shape(constant)} with a tensor of shape {value.shape}",
        "one that is the same for every sample and makes the tensor no larger",
    )


def concatenate(site: Site, tensors: Sequence[Any], dim: int = 0) -> Value:
    """Constants among the tensors are room made by ``pad``, then added."""
    if not all(isinstance(value, Value) for value in tensors):
        return _with_constants(site, tensors, dim)
    if len(tensors) == 1:
        return tensors[0]
    values = _alike(site, tensors)
    axis = values[0].axis(dim)
    if axis == 0:
        raise site.refuse(f"dim={dim}", "an axis other than the batch")
    return site.add("concat", values, {"axis": axis - values[0].rank})


def _with_constants(site: Site, tensors: Sequence[Any], dim: int) -> Value:
    places = [place for place, value in enumerate(tensors) if isinstance(value, Value)]
    first, last = places[0], places[-1]
    if places != list(range(first, last + 1)):
        raise site.refuse("a constant between two tensors", "constants before or behind them")
    value = concatenate(site, tensors[first : last + 1], dim)
    dim, axis = dim % value.rank, value.axis(dim)
    if axis == 0:
        raise site.refuse(f"dim={dim}", "an axis other than the batch")
    before, behind = ([np.asarray(each) for each in part] for part in (tensors[:first], tensors[last + 1 :]))
    room = [sum(array.shape[dim] for array in part) for part in (before, behind)]
    middle = [1, *value.shape[1:]]
    constant = np.concatenate(
        [
            *(
                np.broadcast_to(array[:1], [1, *_with(value.shape[1:], dim - 1, array.shape[dim])])
                for array in before
            ),
            np.zeros(middle),
            *(
                np.broadcast_to(array[:1], [1, *_with(value.shape[1:], dim - 1, array.shape[dim])])
                for array in behind
            ),
        ],
        axis=dim,
    )
    if any((array != array[:1]).any() for array in (*before, *behind)):
        raise site.refuse("a constant that differs from sample to sample", "the same for every sample")
    padding = [(0, 0)] * (value.rank - 1)
    padding[axis - 1] = (room[0], room[1])
    return _affine(site, site.add("pad", value, {"padding": tuple(padding)}), 1.0, constant)


def _with(sides: Sequence[int], place: int, side: int) -> tuple[int, ...]:
    return (*sides[:place], side, *sides[place + 1 :])


def stack(site: Site, tensors: Sequence[Any], dim: int = 0) -> Value:
    if not all(isinstance(value, Value) for value in tensors):
        raise site.refuse("a constant among the tensors", "tensors of the network")
    position = dim % (tensors[0].rank + 1)
    return concatenate(site, [unsqueeze(site, value, position) for value in tensors], position)
