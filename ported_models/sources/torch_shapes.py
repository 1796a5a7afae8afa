"""Torch operations on shapes, with torch's own parameters.

As in `ported_models.sources.torch_layers`, a function serves the module and its functional form alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from harness.errors import UnsupportedLayerError
from ported_models.sources.torch_site import Sides, Site, Value, as_it_is, channels_first, permuted

# -- shapes ---------------------------------------------------------------------------------------


def _together(sides: tuple[Any, ...], named: Any) -> Sequence[int]:
    """The sides that a tensor's method was given one by one, as one sequence, or by name."""
    if named is not None:
        return tuple(named)
    return tuple(sides[0]) if len(sides) == 1 and not isinstance(sides[0], int) else sides


def reshape(site: Site, input: Value, *sides: Any, shape: Any = None, size: Any = None) -> Value:
    """`view`, `reshape`: no axis crosses the batch; a result of several axes is channels first if the input was."""
    sides = tuple(_together(sides, shape if shape is not None else size))
    target = [int(side) for side in sides]
    values = math.prod(input.shape)
    if -1 in target:
        known = -math.prod(target)
        target = [values // known if side == -1 and known > 0 else side for side in target]
    if math.prod(target) != values:
        raise site.refuse(
            f"the target {tuple(sides)} for an input of shape {input.shape}", "as many values as the input"
        )
    if tuple(target) == input.shape:
        return input
    if not input.batch_first or target[0] != site.batch:
        return _around_the_batch(site, input, target)
    rest = target[1:]
    if not rest:
        raise _mixed(site, input, target)
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


def _mixed(site: Site, input: Value, target: Sequence[int]) -> UnsupportedLayerError:
    return site.refuse(
        f"the target {tuple(target)} for an input of shape {input.shape}",
        "the batch axis first, unchanged: x.view(x.size(0), ...)",
    )


def _around_the_batch(site: Site, input: Value, target: Sequence[int]) -> Value:
    """Axes on both sides of the batch get another shape; the batch is one axis of the target, or in one with others."""
    place = input.order.index(0)
    behind = math.prod(input.sides[axis] for axis in input.order[place + 1 :])
    found = []
    for dim, side in enumerate(target):
        rest = math.prod(target[dim + 1 :])
        inner = behind // rest
        if inner and inner * rest == behind and side % (site.batch * inner) == 0:
            found.append((dim, side // (site.batch * inner), inner))
    if len(found) > 1:
        # A batch of one is an axis of its own where there is one for it.
        found = [each for each in found if each[1:] == (1, 1)]
    if len(found) != 1 or len(target) < 2:
        raise _mixed(site, input, target)
    ((dim, outer, inner),) = found
    before = (*target[:dim], *((outer,) if outer > 1 else ()))
    sides = (*before, *((inner,) if inner > 1 else ()), *target[dim + 1 :])
    value = replace(site.features_last(input), beside=(0, 0))
    order = (*range(1, len(before) + 1), 0, *range(len(before) + 1, len(sides) + 1))
    if sides != value.sides[1:]:
        kind = "reshape" if len(sides) > 1 else "flatten"
        given = {"target": sides, "order": "channels_last"} if len(sides) > 1 else {"order": "channels_last"}
        value = site.add(kind, value, given, order=as_it_is(len(sides) + 1))
    return replace(value, order=order, beside=(int(outer > 1), int(inner > 1)))


def flatten(site: Site, input: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    start, end = start_dim % input.rank, end_dim % input.rank
    if start == 0 and end == input.rank - 1:
        raise site.refuse("start_dim=0", "start_dim=1, so that the batch axis stays")
    sides = input.shape
    return reshape(site, input, [*sides[:start], math.prod(sides[start : end + 1]), *sides[end + 1 :]])


def squeeze(site: Site, input: Value, dim: Sides | None = None) -> Value:
    chosen = range(input.rank) if dim is None else (dim,) if isinstance(dim, int) else dim
    dims = {axis % input.rank for axis in chosen} - {input.batch_dim}
    sides = [side for axis, side in enumerate(input.shape) if axis not in dims or side != 1]
    return reshape(site, input, sides)


def unsqueeze(site: Site, input: Value, dim: int) -> Value:
    position = dim % (input.rank + 1)
    return reshape(site, input, [*input.shape[:position], 1, *input.shape[position:]])


def unflatten(site: Site, input: Value, dim: int, sizes: Sequence[int]) -> Value:
    axis, sizes = dim % input.rank, list(sizes)
    if -1 in sizes:
        known = -math.prod(sizes)
        sizes = [input.shape[axis] // known if side == -1 else side for side in sizes]
    return reshape(site, input, [*input.shape[:axis], *sizes, *input.shape[axis + 1 :]])


def permute(site: Site, input: Value, *sides: Any, dims: Any = None) -> Value:
    return permuted(input, [int(dim) % input.rank for dim in _together(sides, dims)])


def channel_shuffle(site: Site, input: Value, groups: int) -> Value:
    """Channel ``g * n + i`` becomes channel ``i * groups + g``, ``n`` channels a group."""
    places = [
        group * (input.shape[1] // groups) + place
        for place in range(input.shape[1] // groups)
        for group in range(groups)
    ]
    return site.taken(input, 1, places)


def pixel_shuffle(site: Site, input: Value, upscale_factor: int) -> Value:
    """(batch, c r^2, h, w) to (batch, c, h r, w r)."""
    batch, channels, height, width = input.shape
    r = upscale_factor
    value = reshape(site, input, [batch, channels // r**2, r, r, height, width])
    return reshape(
        site, permute(site, value, 0, 1, 4, 2, 5, 3), [batch, channels // r**2, height * r, width * r]
    )


def pixel_unshuffle(site: Site, input: Value, downscale_factor: int) -> Value:
    """(batch, c, h r, w r) to (batch, c r^2, h, w)."""
    batch, channels, height, width = input.shape
    r = downscale_factor
    value = reshape(site, input, [batch, channels, height // r, r, width // r, r])
    return reshape(
        site, permute(site, value, 0, 1, 3, 5, 2, 4), [batch, channels * r**2, height // r, width // r]
    )


def transpose(site: Site, input: Value, dim0: int, dim1: int) -> Value:
    order = list(range(input.rank))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return permuted(input, order)


# -- what does nothing in inference ---------------------------------------------------------------


def dropout(site: Site, input: Value, p: float = 0.5, training: bool = False, inplace: bool = False) -> Value:
    if training and p:
        raise site.refuse("training=True in evaluation mode too", "training=self.training")
    return site.add("dropout", input, {"rate": float(p)})


def zeros_like(site: Site, input: Value, **_: Any) -> torch.Tensor:
    return torch.from_numpy(np.zeros(input.shape, site.dtype))


def nothing(site: Site, input: Value, *_: Any, **__: Any) -> Value:
    return input
