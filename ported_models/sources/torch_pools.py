"""Torch's pools and reductions in the neutral graph's terms, with torch's own parameters (torch 2.13)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from ported_models.sources.torch_joins import multiply
from ported_models.sources.torch_shapes import reshape
from ported_models.sources.torch_site import Operation, Sides, Site, Value, as_it_is, permuted, sides_of

#: Up to this many values along an axis are added up one by one.
_FEW = 16


def pool(kind: str, count: int) -> Operation:
    """``max_pool`` or ``average_pool`` over ``count`` axes."""

    def max_pool(
        site: Site,
        input: Value,
        kernel_size: Sides,
        stride: Sides | None = None,
        padding: Sides = 0,
        dilation: Sides = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Value:
        if any(step != 1 for step in sides_of(dilation, count)) or return_indices:
            raise site.refuse(f"dilation={dilation}, return_indices={return_indices}", "neither")
        value, attributes = _windows(site, input, kernel_size, stride, padding)
        if ceil_mode:
            attributes["padding"] = _ceil_padding(value, attributes)
        return site.add(f"max_pool{count}d", value, attributes)

    def average_pool(
        site: Site,
        input: Value,
        kernel_size: Sides,
        stride: Sides | None = None,
        padding: Sides = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Value:
        if divisor_override is not None:
            raise site.refuse(f"divisor_override={divisor_override}", "none")
        value, attributes = _windows(site, input, kernel_size, stride, padding)
        if ceil_mode and (more := _ceil_padding(value, attributes)) != attributes["padding"]:
            # Padding counts where torch is told so; what ceil_mode adds at the end never does.
            if count_include_pad and any(map(any, attributes["padding"])):
                value = site.add("zero_pad", value, {"padding": attributes["padding"]}, aside=True)
                more = tuple(
                    (0, after - own) for (_, after), (_, own) in zip(more, attributes["padding"], strict=True)
                )
            attributes["padding"], count_include_pad = more, False
        padded = any(side for pair in attributes["padding"] for side in pair)
        attributes["count_include_pad"] = bool(count_include_pad and padded)
        return site.add(f"average_pool{count}d", value, attributes)

    def _windows(
        site: Site, input: Value, kernel_size: Sides, stride: Sides | None, padding: Sides
    ) -> tuple[Value, dict[str, Any]]:
        size = sides_of(kernel_size, count)
        attributes = {
            "pool_size": size,
            "strides": size if stride is None or stride == [] else sides_of(stride, count),
            "padding": tuple((side, side) for side in sides_of(padding, count)),
        }
        return site.feature_map(input), attributes

    return max_pool if kind == "max_pool" else average_pool


def _ceil_padding(value: Value, attributes: dict[str, Any]) -> tuple[tuple[int, int], ...]:
    """Padding with what `ceil_mode` adds at the end: one more window where values would be left over.

    The window must begin inside the input or its padding before (torch `pooling_output_shape`).
    """
    pairs = []
    for size, window, stride, (before, after) in zip(
        value.shape[2:], attributes["pool_size"], attributes["strides"], attributes["padding"], strict=True
    ):
        outputs = -(-(size + before + after - window) // stride) + 1
        if (outputs - 1) * stride >= size + before:
            outputs -= 1
        extra = max((outputs - 1) * stride + window - size - before - after, 0)
        pairs.append((before, after + extra))
    return tuple(pairs)


def adaptive_pool(kind: str, count: int) -> Operation:
    """Window ``i`` of ``m`` over ``n`` values reaches from ``floor(i n / m)`` to ``ceil((i + 1) n / m)``.

    One window is global pooling, one a value is nothing; elsewhere each axis is pooled by itself, which the mean
    and the maximum of a box allow.
    """

    def adaptive(site: Site, input: Value, output_size: Any, return_indices: bool = False) -> Value:
        if return_indices:
            raise site.refuse("return_indices=True", "return_indices=False")
        value = site.feature_map(input)
        space = value.shape[2:]
        sizes = (output_size,) * count if isinstance(output_size, int) or output_size is None else output_size
        outputs = tuple(
            side if wanted is None else int(wanted) for side, wanted in zip(space, sizes, strict=True)
        )
        if outputs == space:
            return value
        if all(side == 1 for side in outputs):
            return site.add(f"global_{kind}", value, {"keepdims": True})
        if not any(side % wanted for side, wanted in zip(space, outputs, strict=True)):
            window = tuple(side // wanted for side, wanted in zip(space, outputs, strict=True))
            return site.add(f"{kind}{count}d", value, {"pool_size": window, "strides": window})
        for axis, wanted in enumerate(outputs):
            value = _pooled_along(site, value, f"{kind}{count}d", axis, wanted)
        return value

    return adaptive


def _pooled_along(site: Site, value: Value, kind: str, axis: int, outputs: int) -> Value:
    """``value`` with ``outputs`` adaptive windows along the spatial ``axis``."""
    length, count = value.shape[2 + axis], value.rank - 2
    starts = [place * length // outputs for place in range(outputs)]
    sizes = [-(-(place + 1) * length // outputs) - start for place, start in enumerate(starts)]
    if set(sizes) == {1}:
        return site.taken(value, 2 + axis, starts)

    def pooled(piece: Value, size: int, step: int) -> Value:
        window, strides = ([1 if other != axis else side for other in range(count)] for side in (size, step))
        return site.add(kind, piece, {"pool_size": window, "strides": strides})

    steps = {after - before for before, after in itertools.pairwise(starts)}
    if outputs == 1:
        return pooled(value, length, length)
    if len(set(sizes)) == 1 and len(steps) == 1:
        return pooled(value, sizes[0], steps.pop())
    pieces = [
        pooled(site.taken(value, 2 + axis, range(start, start + size)), size, 1)
        for start, size in zip(starts, sizes, strict=True)
    ]
    return site.add("concat", pieces, {"axis": value.from_end(2 + axis)})


def reduction(kind: str) -> Operation:
    """``mean`` or ``amax`` over any axes but the batch; over all but the layer's last one it is global pooling."""

    def reduce(
        site: Site, input: Value, dim: Sides | None = None, keepdim: bool = False, dtype: Any = None
    ) -> Value:
        dims = _reduced(site, input, dim)
        if not input.batch_first:
            return _with_the_batch_in_front(site, input, dims, keepdim)
        if {input.axis(axis) for axis in dims} == set(range(1, input.rank - 1)):
            order = input.order if keepdim else (0, 1)
            return site.add(f"global_{kind}", input, {"keepdims": bool(keepdim)}, order=order)
        kept = [axis for axis in range(1, input.rank) if axis not in dims]
        # A pool whose windows are the axes that go, those that stay behind them.
        front = permuted(input, (0, *dims, *kept)) if kept else input
        value = site.arranged(front, as_it_is(input.rank))
        if not kept:
            value = reshape(site, value, [value.shape[0], *value.shape[1:], 1])
            value = site.arranged(value, as_it_is(value.rank))
        count = value.rank - 2
        window = [side if place < len(dims) else 1 for place, side in enumerate(value.shape[1:-1])]
        if count > 3:
            raise site.refuse(f"{input.rank} axes", "at most five")
        value = site.add(f"{kind}{count}d", value, {"pool_size": window, "strides": window})
        sides = [1 if axis in dims else side for axis, side in enumerate(input.shape)]
        return reshape(
            site, value, sides if keepdim else [side for axis, side in enumerate(sides) if axis not in dims]
        )

    def _with_the_batch_in_front(site: Site, input: Value, dims: Sequence[int], keepdim: bool) -> Value:
        if input.beside != (0, 0):
            site.check_batch(input)
        batch = input.batch_dim
        front = permuted(input, (batch, *(axis for axis in range(input.rank) if axis != batch)))
        value = reduce(site, front, [axis + (axis < batch) for axis in dims], keepdim)
        place = batch - (0 if keepdim else sum(axis < batch for axis in dims))
        return permuted(value, (*range(1, place + 1), 0, *range(place + 1, value.rank)))

    return reduce


def total(
    site: Site, input: Value, dim: Sides | None = None, keepdim: bool = False, dtype: Any = None
) -> Value:
    """``sum``: the values along an axis added up where they are few, else the mean times their number."""
    dims = _reduced(site, input, dim)
    number = math.prod(input.shape[axis] for axis in dims)
    if len(dims) == 1 and 1 < number <= _FEW:
        value = site.add("add", [site.taken(input, dims[0], (place,)) for place in range(number)])
        sides = [side for axis, side in enumerate(value.shape) if axis != dims[0]]
        return value if keepdim else reshape(site, value, sides)
    mean = reduction("average_pool")(site, input, dims, keepdim)
    return multiply(site, mean, float(number))


def _reduced(site: Site, input: Value, dim: Sides | None) -> tuple[int, ...]:
    """The axes of ``dim``, counted from the front; without the batch axis, or it is refused."""
    chosen = range(input.rank) if dim is None or dim == () else (dim,) if isinstance(dim, int) else dim
    dims = tuple(sorted(axis % input.rank for axis in chosen))
    if input.batch_dim in dims:
        raise site.refuse(f"dim={dim}", "axes without the batch")
    return dims
