"""Torch operations on shapes, on several tensors and on constants, with torch's own parameters.

As in `ported_models.sources.torch_layers`, a function serves the module and its functional form alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ported_models.sources.torch_layers import Sides, sides_of
from ported_models.sources.torch_site import Site, Value, as_it_is, channels_first, permuted

# -- shapes ---------------------------------------------------------------------------------------


def reshape(site: Site, input: Value, *shape: Any) -> Value:
    """`view`, `reshape`: the batch stays; a result of several axes is channels first if the input was."""
    sides = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
    target = [int(side) for side in sides]
    features = math.prod(input.shape[1:])
    rest = target[1:]
    kept = target[:1] == [site.batch] or (target[:1] == [-1] and math.prod(rest) == features)
    if not kept or not rest:
        raise site.refuse(
            f"the target {tuple(target)} for an input of shape {input.shape}",
            "the batch axis first, unchanged: x.view(x.size(0), ...)",
        )
    if -1 in rest:
        known = -math.prod(rest)
        rest = [features // known if side == -1 and known > 0 else side for side in rest]
    if math.prod(rest) != features:
        raise site.refuse(
            f"the target {tuple(target)} for an input of shape {input.shape}", "as many values as the input"
        )
    if tuple(rest) == input.shape[1:]:
        return input
    if input.order not in (as_it_is(input.rank), channels_first(input.rank)):
        input = site.arranged(input, as_it_is(input.rank))
    plain = input.rank > 2 and input.order == as_it_is(input.rank)
    order = "channels_last" if plain else "channels_first"
    if len(rest) == 1:
        return site.add("flatten", input, {"order": order}, order=(0, 1))
    rank = len(rest) + 1
    return site.add(
        "reshape",
        input,
        {"target": tuple(rest), "order": order},
        order=as_it_is(rank) if plain else channels_first(rank),
    )


def flatten(site: Site, input: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    start, end = start_dim % input.rank, end_dim % input.rank
    if start == 0:
        raise site.refuse("start_dim=0", "start_dim=1, so that the batch axis stays")
    sides = input.shape
    return reshape(site, input, [*sides[:start], math.prod(sides[start : end + 1]), *sides[end + 1 :]])


def squeeze(site: Site, input: Value, dim: Sides | None = None) -> Value:
    chosen = range(1, input.rank) if dim is None else (dim,) if isinstance(dim, int) else dim
    dims = {axis % input.rank for axis in chosen}
    sides = [side for axis, side in enumerate(input.shape) if axis not in dims or side != 1 or axis == 0]
    return reshape(site, input, sides)


def unsqueeze(site: Site, input: Value, dim: int) -> Value:
    position = dim % (input.rank + 1)
    return reshape(site, input, [*input.shape[:position], 1, *input.shape[position:]])


def index(site: Site, input: Value, at: Any) -> Value:
    """``x[:, :, None]``: axes of one, and every axis of the input whole."""
    items = at if isinstance(at, tuple) else (at,)
    if any(item is not None and item is not Ellipsis and item != slice(None) for item in items):
        raise site.refuse(f"the index {at!r}", "whole axes and None only")
    named = sum(item == slice(None) for item in items)
    rest = [slice(None)] * (input.rank - named)
    place = next((i for i, item in enumerate(items) if item is Ellipsis), len(items))
    whole = [*items[:place], *rest, *items[place + 1 :]]
    sides = iter(input.shape)
    return reshape(site, input, [1 if item is None else next(sides) for item in whole])


def permute(site: Site, input: Value, *dims: Any) -> Value:
    order = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
    return _with_batch_first(site, permuted(input, [int(dim) % input.rank for dim in order]))


def transpose(site: Site, input: Value, dim0: int, dim1: int) -> Value:
    order = list(range(input.rank))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return _with_batch_first(site, permuted(input, order))


def _with_batch_first(site: Site, value: Value) -> Value:
    if value.order[0] != 0:
        raise site.refuse("the batch axis moved", "the batch axis first")
    return value


def zero_pad(
    site: Site, input: Value, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Value:
    """Torch names the last axis first, ``(before, after)`` each."""
    sides = [int(side) for side in pad]
    pairs = [(0, 0)] * input.rank
    for axis, start in enumerate(range(0, len(sides), 2), start=1):
        pairs[-axis] = (sides[start], sides[start + 1])
    if mode != "constant" or value or any(side < 0 for side in sides) or any(map(any, pairs[:2])):
        raise site.refuse(
            f"pad={tuple(sides)}, mode={mode!r}, value={value}", "zeros around the spatial axes only"
        )
    if not any(sides):
        return input
    return site.add("zero_pad", site.feature_map(input), {"padding": tuple(pairs[2:])})


def upsample(
    site: Site,
    input: Value,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Value:
    if mode not in ("nearest", "bilinear") or align_corners or antialias:
        raise site.refuse(
            f"mode={mode!r}, align_corners={align_corners}, antialias={antialias}",
            "'nearest' or 'bilinear' with align_corners=False",
        )
    value = site.feature_map(input)
    space = value.shape[2:]
    if size is not None:
        factors = [wanted / side for wanted, side in zip(sides_of(size, len(space)), space, strict=True)]
    else:
        factors = [scale_factor] * len(space) if isinstance(scale_factor, int | float) else list(scale_factor)
    if any(factor < 1 or factor != int(factor) for factor in factors):
        raise site.refuse(f"the factors {tuple(factors)}", "whole numbers")
    attributes = {"size": tuple(int(factor) for factor in factors), "interpolation": mode}
    return site.add("upsample", value, attributes)


# -- several inputs and constants -----------------------------------------------------------------


def add(site: Site, input: Any, other: Any, alpha: float = 1) -> Value:
    if alpha != 1:
        raise site.refuse(f"alpha={alpha}", "alpha=1")
    return _combined(site, "add", input, other)


def multiply(site: Site, input: Any, other: Any) -> Value:
    return _combined(site, "multiply", input, other)


def subtract(site: Site, input: Any, other: Any) -> Value:
    if isinstance(input, Value) and isinstance(other, Value):
        raise site.refuse("two tensors", "a tensor minus a constant")
    if isinstance(input, Value):
        return _affine(site, input, 1.0, -np.asarray(other, np.float64))
    return _affine(site, other, -1.0, input)


def divide(site: Site, input: Any, other: Any) -> Value:
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
    """``kernel * x + bias`` with constants that differ at most along the layer's last axis."""
    weights = {}
    for name, constant in (("kernel", kernel), ("bias", bias)):
        array = np.asarray(constant, site.dtype)
        if array.ndim > value.rank:
            raise site.refuse(f"a constant of shape {array.shape}", "one value, or one a channel")
        array = array.reshape((1,) * (value.rank - array.ndim) + array.shape)
        array = array.transpose([value.order.index(axis) for axis in range(value.rank)])
        if any(side != 1 for side in array.shape[:-1]) or array.shape[-1] not in (1, value.sides[-1]):
            raise site.refuse(f"a constant of shape {np.shape(constant)}", "one value, or one a channel")
        weights[name] = np.broadcast_to(array.reshape(-1), (value.sides[-1],))
    return site.add("scale", value, {}, weights)


def concatenate(site: Site, tensors: Sequence[Value], dim: int = 0) -> Value:
    if len(tensors) == 1:
        return tensors[0]
    values = _alike(site, tensors)
    axis = values[0].axis(dim)
    if axis == 0:
        raise site.refuse(f"dim={dim}", "an axis other than the batch")
    return site.add("concat", values, {"axis": axis - values[0].rank})


# -- what does nothing in inference ---------------------------------------------------------------


def dropout(site: Site, input: Value, p: float = 0.5, training: bool = False, inplace: bool = False) -> Value:
    if training and p:
        raise site.refuse("training=True in evaluation mode too", "training=self.training")
    return site.add("dropout", input, {"rate": float(p)})


def nothing(site: Site, input: Value, *_: Any, **__: Any) -> Value:
    return input
