"""Torch operations that choose, repeat, pad or resample values along axes, with torch's own parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ported_models.sources.torch_shapes import reshape
from ported_models.sources.torch_site import Site, Value, sides_of

# -- choosing and repeating -----------------------------------------------------------------------


def index(site: Site, input: Value, at: Any) -> Value:
    """``x[:, 1:3, None, ..., 0]``: slices, whole numbers, lists of numbers, new axes; the batch axis whole."""
    items = list(at) if isinstance(at, tuple) else [at]
    named = sum(item is not None and item is not Ellipsis for item in items)
    if named > input.rank:
        raise site.refuse(f"the index {at!r}", f"at most {input.rank} axes")
    if not any(item is Ellipsis for item in items):
        items.append(Ellipsis)
    place = next(i for i, item in enumerate(items) if item is Ellipsis)
    items[place : place + 1] = [slice(None)] * (input.rank - named)
    lists = [item for item in items if isinstance(item, list | np.ndarray)]
    if any(item is Ellipsis for item in items) or len(lists) > 1:
        raise site.refuse(f"the index {at!r}", "one Ellipsis and one list at most")
    value, sides, dim = input, [], 0
    for item in items:
        if item is None:
            sides.append(1)
            continue
        length = input.shape[dim]
        chosen: Sequence[int]
        if isinstance(item, slice):
            chosen = range(length)[item]
        elif isinstance(item, int | np.integer) and not isinstance(item, bool):
            chosen = (range(length)[item],)
        elif (
            isinstance(item, list | np.ndarray) and np.ndim(item) == 1 and np.asarray(item).dtype.kind in "iu"
        ):
            chosen = [range(length)[i] for i in item]
        else:
            raise site.refuse(f"the index {at!r}", "slices, numbers, None and an Ellipsis")
        value = site.taken(value, dim, chosen)
        if not isinstance(item, int | np.integer):
            sides.append(len(chosen))
        elif input.axis(dim) == 0:
            raise site.refuse(f"the index {at!r}", "the batch axis whole")
        dim += 1
    return value if sides == list(value.shape) else reshape(site, value, sides)


def select(site: Site, input: Value, dim: int, index: int) -> Value:
    return _at(site, input, dim % input.rank, index)


def narrow(site: Site, input: Value, dim: int, start: int, length: int) -> Value:
    begin = start % input.shape[dim] if start < 0 else start
    return site.taken(input, dim, range(begin, begin + length))


def index_select(site: Site, input: Value, dim: int, index: np.ndarray) -> Value:
    return site.taken(input, dim, index.tolist())


def split(site: Site, tensor: Value, split_size_or_sections: Any, dim: int = 0) -> tuple[Value, ...]:
    length, sections = tensor.shape[dim], split_size_or_sections
    if isinstance(sections, int):
        sections = [min(sections, length - start) for start in range(0, length, sections)]
    ends = np.cumsum(sections)
    if ends[-1] != length:
        raise site.refuse(f"the sections {tuple(sections)} of {length} values", "sections that add up")
    return tuple(
        site.taken(tensor, dim, range(end - size, end)) for size, end in zip(sections, ends, strict=True)
    )


def split_method(site: Site, tensor: Value, split_size: Any, dim: int = 0) -> tuple[Value, ...]:
    """The method names its argument otherwise than the function."""
    return split(site, tensor, split_size, dim)


def chunk(site: Site, input: Value, chunks: int, dim: int = 0) -> tuple[Value, ...]:
    return split(site, input, -(-input.shape[dim] // chunks), dim)


def unbind(site: Site, input: Value, dim: int = 0) -> tuple[Value, ...]:
    return tuple(_at(site, input, dim % input.rank, place) for place in range(input.shape[dim]))


def _at(site: Site, input: Value, dim: int, place: int) -> Value:
    """The values at ``place`` of an axis, without the axis."""
    if input.axis(dim) == 0:
        raise site.refuse("a place of the batch axis", "another axis")
    return index(site, input, (*[slice(None)] * dim, int(place)))


def flip(site: Site, input: Value, *dims: Any) -> Value:
    chosen = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
    for dim in chosen:
        input = site.taken(input, dim, range(input.shape[dim])[::-1])
    return input


def roll(site: Site, input: Value, shifts: Any, dims: Any = None) -> Value:
    if dims is None:
        raise site.refuse("no dims", "dims=...")
    pairs = zip(*((each,) if isinstance(each, int) else each for each in (shifts, dims)), strict=True)
    for shift, dim in pairs:
        length = input.shape[dim]
        input = site.taken(input, dim, [(place - shift) % length for place in range(length)])
    return input


def expand(site: Site, input: Value, *sizes: Any) -> Value:
    """Axes of one repeated; -1 keeps an axis."""
    sides = tuple(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    if len(sides) != input.rank or sides[input.batch_dim] not in (-1, input.shape[input.batch_dim]):
        raise site.refuse(f"the sizes {tuple(sides)} for shape {input.shape}", "as many axes, the batch kept")
    for dim, side in enumerate(sides):
        if side not in (-1, input.shape[dim]):
            input = site.taken(input, dim, (0,) * side)
    return input


def expand_as(site: Site, input: Value, other: Value) -> Value:
    return expand(site, input, other.shape)


def repeat(site: Site, input: Value, *repeats: Any) -> Value:
    times = tuple(repeats[0]) if len(repeats) == 1 and not isinstance(repeats[0], int) else repeats
    if len(times) != input.rank or times[input.batch_dim] != 1:
        raise site.refuse(
            f"the numbers {times} for shape {input.shape}", "one for each axis, 1 for the batch"
        )
    for dim, number in enumerate(times):
        input = site.taken(input, dim, [*range(input.shape[dim])] * number)
    return input


# -- padding --------------------------------------------------------------------------------------

#: What `numpy.pad` calls what torch's modes do.
_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(
    site: Site,
    input: Value,
    pad: Sequence[int],
    mode: str = "constant",
    value: float | None = None,
    aside: bool = False,
) -> Value:
    """Torch names the last axis first, ``(before, after)`` each; a negative number cuts values off."""
    site.check_batch(input)
    sides = [int(side) for side in pad]
    pairs = [(0, 0)] * input.rank
    for axis, start in enumerate(range(0, len(sides), 2), start=1):
        pairs[-axis] = (sides[start], sides[start + 1])
    if any(pairs[0]) or (mode != "constant" and (mode not in _MODES or min(sides) < 0)):
        raise site.refuse(
            f"pad={tuple(sides)}, mode={mode!r}",
            "the batch axis as it is, and no negative number in this mode",
        )
    for dim, (before, after) in enumerate(pairs):
        length = input.shape[dim]
        if mode != "constant":
            indices = np.pad(np.arange(length), (before, after), mode=_MODES[mode])  # type: ignore[call-overload]
            input = site.taken(input, dim, indices, aside)
        else:
            input = site.taken(input, dim, range(max(-before, 0), length - max(-after, 0)), aside)
    pairs = [(max(before, 0), max(after, 0)) for before, after in pairs]
    if mode != "constant" or not any(map(any, pairs)):
        return input
    if not value and input.rank > 2 and not any(pairs[1]):
        return site.add("zero_pad", site.feature_map(input), {"padding": tuple(pairs[2:])}, aside=aside)
    padding = [pairs[input.order.index(axis)] for axis in range(1, input.rank)]
    return site.add("pad", input, {"padding": tuple(padding), "value": float(value or 0.0)}, aside=aside)


# -- resampling -----------------------------------------------------------------------------------


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
    """Each spatial axis by itself; where it is more than whole factors, by the matrix that torch applies."""
    value = site.feature_map(input)
    space = value.shape[2:]
    scales = None if scale_factor is None else _scales(scale_factor, len(space))
    if size is not None:
        factors = [wanted / side for wanted, side in zip(sides_of(size, len(space)), space, strict=True)]
    else:
        factors = list(scales or ())
    plain = mode in ("nearest", "linear", "bilinear") and not align_corners and not antialias
    if plain and len(space) < 3 and all(factor >= 1 and factor == int(factor) for factor in factors):
        interpolation = "nearest" if mode == "nearest" else "bilinear"
        attributes = {"size": tuple(int(factor) for factor in factors), "interpolation": interpolation}
        return site.add("upsample", value, attributes)
    options = {
        "mode": mode,
        "align_corners": align_corners,
        "recompute_scale_factor": recompute_scale_factor,
        "antialias": antialias,
    }
    for axis, length in enumerate(space):
        # What torch makes of each unit vector along this axis. All other axes are two long: with an axis of length 1
        # torch 2.13 reads the memory of a resize with antialias wrongly.
        sides = [length if other == axis else 1 for other in range(len(space))]
        vectors = torch.eye(length, dtype=torch.float64).reshape(length, 1, *sides)
        vectors = vectors.repeat(1, 1, *(1 if other == axis else 2 for other in range(len(space))))
        if size is not None:
            wanted = [side if other == axis else 2 for other, side in enumerate(sides_of(size, len(space)))]
            resized = F.interpolate(vectors, size=wanted, **options)  # type: ignore[arg-type]
        else:
            wanted_scales = [scale if other == axis else 1.0 for other, scale in enumerate(scales or ())]
            resized = F.interpolate(vectors, scale_factor=wanted_scales, **options)  # type: ignore[arg-type]
        along = resized[
            (slice(None), 0, *(slice(None) if other == axis else 0 for other in range(len(space))))
        ]
        matrix = along.T.numpy().astype(site.dtype)
        value = site.add("resample", value, {"axis": value.from_end(2 + axis)}, {"matrix": matrix})
    return value


def _scales(scale_factor: Any, count: int) -> tuple[float, ...]:
    several = not isinstance(scale_factor, int | float)
    return tuple(float(factor) for factor in (scale_factor if several else (scale_factor,) * count))
