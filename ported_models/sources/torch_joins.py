"""Torch operations on several tensors and on constants, with torch's own parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ported_models.sources.torch_shapes import unsqueeze
from ported_models.sources.torch_site import Site, Value, features_last


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
    powers = set() if isinstance(exponent, Value) else set(np.ravel(exponent).tolist())
    if not isinstance(input, Value) or powers not in ({2}, {0.5}):
        raise site.refuse(f"the exponent {exponent}", "a tensor to the power of 2 or 0.5")
    return site.add("multiply", [input, input]) if powers == {2} else site.add("sqrt", input)


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
    while first.rank < second.rank:
        first = unsqueeze(site, first, 0)
    while second.rank < first.rank:
        second = unsqueeze(site, second, 0)
    return site.add(kind, _alike(site, (first, second)))


def _alike(site: Site, values: Sequence[Value]) -> list[Value]:
    """``values`` read in one order: their own where they share it, else that of one with features last, else channels
    first."""
    if len({(value.batch_dim, value.beside, value.order.index(0)) for value in values}) > 1:
        shapes = " and ".join(str(value.shape) for value in values)
        raise site.refuse(
            f"inputs of shapes {shapes}, the batch another axis in each", "one axis for the batch"
        )
    if len({value.order for value in values}) == 1:
        return list(values)
    if not values[0].batch_first or any(value.order == features_last(value.order) for value in values):
        return [site.features_last(value) for value in values]
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
    below = site.builder[value.layer]
    adds = np.ndim(kernel) == 0 and float(kernel) == 1.0
    if adds and below.kind == "affine" and site.builder[below.inputs[0]].kind == "pad":
        # A class token in the room that was made for it, and the position embeddings of all tokens: one constant.
        weights = {**below.weights, "bias": below.weights["bias"] + weights["bias"]}
        value = replace(value, layer=below.inputs[0])
    return site.add("affine", value, {}, weights)


def _constant(site: Site, value: Value, constant: Any) -> np.ndarray:
    """``constant`` with the axes of the layer, the batch first, each of its length or of one."""
    array = np.asarray(constant, site.dtype)
    shape = (1,) * (value.rank - array.ndim) + array.shape
    if len(shape) == value.rank and all(
        side in (1, own) for side, own in zip(shape, value.shape, strict=True)
    ):
        opened: list[int] = []
        for side, group in zip(shape, value.groups, strict=True):
            opened += [1] * len(group) if side == 1 else [value.sides[value.order[place]] for place in group]
        array = array.reshape(opened).transpose(np.argsort(value.order))
        if (array == array[:1]).all():
            array = array[:1]
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
    if values[0].axis(dim) == 0:
        raise site.refuse(f"dim={dim}", "an axis other than the batch")
    return site.add("concat", values, {"axis": values[0].from_end(dim)})


def _with_constants(site: Site, tensors: Sequence[Any], dim: int) -> Value:
    places = [place for place, value in enumerate(tensors) if isinstance(value, Value)]
    first, last = places[0], places[-1]
    if places != list(range(first, last + 1)):
        raise site.refuse("a constant between two tensors", "constants before or behind them")
    value = concatenate(site, tensors[first : last + 1], dim)
    dim, axis = dim % value.rank, value.axis(dim)
    if axis == 0:
        raise site.refuse(f"dim={dim}", "an axis other than the batch")
    if value.beside != (0, 0):
        raise site.refuse(
            "a constant beside a tensor whose batch is in one axis with others", "tensors of the network"
        )
    batch = value.batch_dim
    parts = [
        None if first <= place <= last else _alone(site, np.asarray(each), value, dim)
        for place, each in enumerate(tensors)
        if place in (first, *range(first), *range(last + 1, len(tensors)))
    ]
    sides = [1 if each == batch else side for each, side in enumerate(value.shape)]
    constant = np.concatenate([np.zeros(sides) if part is None else part for part in parts], axis=dim)
    room = [sum(np.shape(each)[dim] for each in some) for some in (tensors[:first], tensors[last + 1 :])]
    padding = [(0, 0)] * (len(value.order) - 1)
    padding[axis - 1] = (room[0], room[1])
    padded = site.add("pad", value, {"padding": tuple(padding)})
    return _affine(site, padded, 1.0, constant)


def _alone(site: Site, array: np.ndarray, beside: Value, dim: int) -> np.ndarray:
    """``array``, which is joined to ``beside`` along ``dim``, as it is for one sample."""
    batch = beside.batch_dim
    if array.ndim != beside.rank:
        raise site.refuse(f"a constant of shape {array.shape} beside {beside.shape}", "as many axes")
    one = array.take([0], axis=batch)
    if (array != one).any():
        raise site.refuse("a constant that differs from sample to sample", "the same for every sample")
    sides = [1 if each == batch else side for each, side in enumerate(beside.shape)]
    sides[dim] = array.shape[dim]
    return np.broadcast_to(one, sides)


def stack(site: Site, tensors: Sequence[Any], dim: int = 0) -> Value:
    if not all(isinstance(value, Value) for value in tensors):
        raise site.refuse("a constant among the tensors", "tensors of the network")
    position = dim % (tensors[0].rank + 1)
    return concatenate(site, [unsqueeze(site, value, position) for value in tensors], position)
