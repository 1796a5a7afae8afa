"""Operators that move, cut, pad, repeat and join values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np
import onnx

from ported_models.onnx.layout import canonical_order, channels_first_order, compose
from ported_models.onnx.reading import Reading, Tensor, attribute


def _transpose(reading: Reading, node: onnx.NodeProto) -> None:
    x = reading.tensor(node)
    axes = attribute(node, "perm") or range(x.rank)[::-1]
    if axes[0] != 0:
        reading.unsupported(node, f"it moves the batch axis ({tuple(axes)})")
    reading.rename(node, Tensor(x.layer, compose(x.order, axes)))


def _flatten(reading: Reading, node: onnx.NodeProto) -> None:
    x = reading.tensor(node)
    if attribute(node, "axis", 1) % x.rank != 1:
        reading.unsupported(node, f"axis={attribute(node, 'axis')} would merge samples, expected 1")
    _regroup(reading, node, (prod(reading.sizes(x)[1:]),))


def _reshape(reading: Reading, node: onnx.NodeProto) -> None:
    target = reading.constant(node, 1, "shape")
    if target is None:
        reading.unsupported(node, "it has no shape")
    sizes = reading.sizes(reading.tensor(node))
    shape = [
        sizes[position] if size == 0 and not attribute(node, "allowzero", 0) else int(size)
        for position, size in enumerate(target)
    ]
    known = prod(size for size in shape if size != -1)
    shape = [prod(sizes) // known if size == -1 else size for size in shape]
    if not shape or shape[0] != reading.batch or prod(shape) != prod(sizes):
        reading.unsupported(
            node,
            f"its shape {tuple(target.tolist())} mixes the batch axis with others (input: {_free(sizes)})",
        )
    _regroup(reading, node, tuple(shape[1:]))


def _squeeze(reading: Reading, node: onnx.NodeProto) -> None:
    sizes = reading.sizes(reading.tensor(node))
    axes = _axes(reading, node)
    if axes is None:
        axes = [axis for axis, size in enumerate(sizes) if size == 1 and axis > 0]
    gone = {axis % len(sizes) for axis in axes}
    if 0 in gone:
        reading.unsupported(node, "it removes the batch axis")
    _regroup(reading, node, tuple(size for axis, size in enumerate(sizes) if axis > 0 and axis not in gone))


def _unsqueeze(reading: Reading, node: onnx.NodeProto) -> None:
    sizes = list(reading.sizes(reading.tensor(node)))
    axes = _axes(reading, node) or []
    rank = len(sizes) + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        sizes.insert(axis, 1)
    if sizes[0] != reading.batch:
        reading.unsupported(node, "it puts an axis before the batch axis")
    _regroup(reading, node, tuple(sizes[1:]))


def _axes(reading: Reading, node: onnx.NodeProto) -> list[int] | None:
    """The axes of a Squeeze or Unsqueeze: an attribute before opset 13, an input since."""
    array = reading.constant(node, 1, "list of axes")
    return attribute(node, "axes") if array is None else array.tolist()


def _regroup(reading: Reading, node: onnx.NodeProto, target: tuple[int, ...]) -> None:
    """The values in the order of the ONNX tensor, in a new shape (without batch)."""
    x = reading.tensor(node)
    if target == reading.sizes(x)[1:]:
        reading.rename(node, x)
        return
    if not target:
        reading.unsupported(node, "nothing but the batch axis is left")
    rank = len(target) + 1
    if x.rank == 2:
        first = reading.reads_channels_first(node.output[0])
    else:
        first = x.order == channels_first_order(x.rank)
    if not first:
        x = reading.arranged(node, x, canonical_order(x.rank))
    order = "channels_first" if first else "channels_last"
    if rank == 2:
        reading.emit(node, "flatten", [x], {"order": order}, order=(0, 1))
        return
    after = channels_first_order(rank) if first else canonical_order(rank)
    reading.emit(node, "reshape", [x], {"target": target, "order": order}, order=after)


def _pad(reading: Reading, node: onnx.NodeProto) -> None:
    x = reading.tensor(node)
    mode = attribute(node, "mode", "constant")
    value = reading.constant(node, 2, "value")
    if mode != "constant" or attribute(node, "value", 0.0) or (value is not None and value.any()):
        reading.unsupported(node, f"it pads in mode {mode!r} or with other values than zero")
    given, listed = reading.constant(node, 1, "padding"), reading.constant(node, 3, "list of axes")
    pads = list(attribute(node, "pads", ())) if given is None else given.tolist()
    axes = list(range(x.rank)) if listed is None else listed.tolist()
    before, after = pads[: len(axes)], pads[len(axes) :]
    pairs = {axis % x.rank: pair for axis, *pair in zip(axes, before, after, strict=True)}
    _along_space(reading, node, "zero_pad", pairs)


def _slice(reading: Reading, node: onnx.NodeProto) -> None:
    x = reading.tensor(node)
    sizes = reading.sizes(x)
    starts, ends, axes, steps = _slice_arguments(reading, node)
    pairs = {}
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        first, stop, stride = slice(start, end, step).indices(sizes[axis])
        if stride != 1:
            reading.unsupported(node, f"it takes every {step}th value, expected all")
        pairs[axis % x.rank] = (first, sizes[axis] - stop)
    _along_space(reading, node, "crop", pairs)


def _slice_arguments(
    reading: Reading, node: onnx.NodeProto
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Starts, ends, axes and steps: attributes before opset 10, inputs since."""
    if reading.opset < 10:
        first, stop = list(attribute(node, "starts")), list(attribute(node, "ends"))
        return first, stop, list(attribute(node, "axes", range(len(first)))), [1] * len(first)
    starts, ends = reading.constant(node, 1, "start"), reading.constant(node, 2, "end")
    axes, steps = reading.constant(node, 3, "list of axes"), reading.constant(node, 4, "list of steps")
    if starts is None or ends is None:
        reading.unsupported(node, "it has no start or no end")
    return (
        starts.tolist(),
        ends.tolist(),
        list(range(starts.size)) if axes is None else axes.tolist(),
        [1] * starts.size if steps is None else steps.tolist(),
    )


def _along_space(
    reading: Reading, node: onnx.NodeProto, kind: str, pairs: Mapping[int, Sequence[int]]
) -> None:
    """A zero_pad or crop of (before, after) for each ONNX axis in ``pairs``."""
    x = reading.tensor(node)
    by_axis = {x.order[axis]: pair for axis, pair in pairs.items() if tuple(pair) != (0, 0)}
    if not by_axis:
        reading.rename(node, x)
        return
    if min(min(pair) for pair in by_axis.values()) < 0:
        reading.unsupported(node, f"its padding is negative ({pairs})")
    if 0 in by_axis or x.rank - 1 in by_axis:
        reading.unsupported(node, "it changes the batch or channel axis, expected only spatial ones")
    padding = tuple(by_axis.get(axis, (0, 0)) for axis in range(1, x.rank - 1))
    reading.emit(node, kind, [x], {"padding": padding})


def _resize(reading: Reading, node: onnx.NodeProto) -> None:
    x = reading.tensor(node)
    sizes = reading.sizes(x)
    factors = _factors(reading, node, sizes)
    by_axis = {x.order[axis]: factor for axis, factor in enumerate(factors)}
    if any(by_axis[axis] != 1 for axis in (0, x.rank - 1)):
        reading.unsupported(node, f"it resizes the batch or channel axis (factors {factors})")
    if any(factor < 1 or factor != int(factor) for factor in factors):
        reading.unsupported(node, f"its factors are {factors}, expected whole numbers")
    mode = attribute(node, "mode", "nearest")
    if node.op_type == "Upsample":
        where, rounding = "asymmetric", "floor"
    else:
        where = attribute(node, "coordinate_transformation_mode", "half_pixel")
        rounding = attribute(node, "nearest_mode", "round_prefer_floor")
    if mode == "nearest" and all(_repeats(where, rounding, int(factor)) for factor in factors):
        interpolation = "nearest"
    elif mode == "linear" and where in ("half_pixel", "pytorch_half_pixel"):
        interpolation = "bilinear"
    else:
        reading.unsupported(
            node,
            f"mode {mode!r} with coordinates {where!r} ({rounding}) is neither repetition "
            "nor half-pixel bilinear",
        )
    size = tuple(int(by_axis[axis]) for axis in range(1, x.rank - 1))
    reading.emit(node, "upsample", [x], {"size": size, "interpolation": interpolation})


def _factors(reading: Reading, node: onnx.NodeProto, sizes: tuple[int, ...]) -> list[float]:
    """The factor of every ONNX axis, from scales or sizes, wherever the opset keeps them."""
    index = 1 if node.op_type == "Upsample" or reading.opset < 11 else 2
    scales, wanted = reading.constant(node, index, "scales"), reading.constant(node, 3, "sizes")
    axes = list(attribute(node, "axes") or range(len(sizes)))
    factors = [1.0] * len(sizes)
    if wanted is not None and wanted.size:
        given = [size / sizes[axis] for size, axis in zip(wanted.tolist(), axes, strict=True)]
    elif scales is not None and scales.size:
        given = scales.tolist()
    else:
        given = list(attribute(node, "scales", ()))
    for axis, factor in zip(axes, given, strict=True):
        factors[axis] = factor
    return factors


def _repeats(where: str, rounding: str, factor: int) -> bool:
    """Whether these nearest-neighbour coordinates repeat every value ``factor`` times.

    Source: ONNX operator Resize-19, ``coordinate_transformation_mode`` and ``nearest_mode``.
    """
    length = 5
    position = np.arange(length * factor, dtype=float)
    coordinates = {
        "asymmetric": position / factor,
        "half_pixel": (position + 0.5) / factor - 0.5,
        "pytorch_half_pixel": (position + 0.5) / factor - 0.5,
        "tf_half_pixel_for_nn": (position + 0.5) / factor,
    }
    roundings: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda values: np.ceil(values - 0.5),
        "round_prefer_ceil": lambda values: np.floor(values + 0.5),
    }
    if where not in coordinates or rounding not in roundings:
        return False
    chosen = np.clip(roundings[rounding](coordinates[where]), 0, length - 1)
    return bool(np.array_equal(chosen, position // factor))


def _concat(reading: Reading, node: onnx.NodeProto) -> None:
    tensors = [reading.tensor(node, index) for index in range(len(node.input))]
    order = tensors[0].order
    axis = order[attribute(node, "axis") % len(order)]
    if axis == 0:
        reading.unsupported(node, "it joins along the batch axis")
    if len(tensors) == 1:
        reading.rename(node, tensors[0])
        return
    aligned = [reading.arranged(node, tensor, order) for tensor in tensors]
    reading.emit(node, "concat", aligned, {"axis": axis - len(order)})


def _shape(reading: Reading, node: onnx.NodeProto) -> None:
    """The shape of a layer's output is known, but for the batch, for which a number stands."""
    sizes = reading.sizes(reading.tensor(node))
    start, end = attribute(node, "start", 0), attribute(node, "end")
    reading.constants[node.output[0]] = np.array(sizes[start:end], np.int64)


def _free(sizes: tuple[int, ...]) -> str:
    """A shape as messages print it."""
    return f"(batch, {', '.join(map(str, sizes[1:]))})"


OPERATORS = {
    "Transpose": _transpose,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Pad": _pad,
    "Slice": _slice,
    "Resize": _resize,
    "Upsample": _resize,
    "Concat": _concat,
    "Shape": _shape,
}
