"""Torch operations on shapes, with torch's own parameters.

As in `ported_models.sources.torch_layers`, a function serves the module and its functional form alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ported_models.sources.torch_site import Sides, Site, Value, as_it_is, channels_first, permuted

# -- shapes ---------------------------------------------------------------------------------------


def _together(sides: tuple[Any, ...], named: Any) -> Sequence[int]:
    """The sides that a tensor's method was given one by one, as one sequence, or by name."""
    if named is not None:
        return tuple(named)
    return tuple(sides[0]) if len(sides) == 1 and not isinstance(sides[0], int) else sides


def reshape(site: Site, input: Value, *sides: Any, shape: Any = None, size: Any = None) -> Value:
    """`view`, `reshape`: the batch stays; a result of several axes is channels first if the input was."""
    sides = tuple(_together(sides, shape if shape is not None else size))
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


def unflatten(site: Site, input: Value, dim: int, sizes: Sequence[int]) -> Value:
    axis, sizes = dim % input.rank, list(sizes)
    if -1 in sizes:
        known = -math.prod(sizes)
        sizes = [input.shape[axis] // known if side == -1 else side for side in sizes]
    return reshape(site, input, [*input.shape[:axis], *sizes, *input.shape[axis + 1 :]])


def permute(site: Site, input: Value, *sides: Any, dims: Any = None) -> Value:
    order = [int(dim) % input.rank for dim in _together(sides, dims)]
    return _with_batch_first(site, permuted(input, order))


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
    return _with_batch_first(site, permuted(input, order))


def _with_batch_first(site: Site, value: Value) -> Value:
    if value.order[0] != 0:
        raise site.refuse("the batch axis moved", "the batch axis first")
    return value


# -- what does nothing in inference ---------------------------------------------------------------


def dropout(site: Site, input: Value, p: float = 0.5, training: bool = False, inplace: bool = False) -> Value:
    if training and p:
        raise site.refuse("training=True in evaluation mode too", "training=self.training")
    return site.add("dropout", input, {"rate": float(p)})


def nothing(site: Site, input: Value, *_: Any, **__: Any) -> Value:
    return input
