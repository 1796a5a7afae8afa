"""Operators that are one matrix along each axis: resizing in every mode, and means over axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from ported_models.onnx.operators.constants import LARGEST
from ported_models.onnx.operators.cutting import taken
from ported_models.onnx.operators.shaping import regroup
from ported_models.onnx.reading import Reading, Tensor, attribute

_COPIED = (
    "mode", "coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a", "exclude_outside", "antialias",
    "extrapolation_value",
)  # fmt: skip


def along(reading: Reading, node: onnx.NodeProto, x: Tensor, place: int, matrix: np.ndarray) -> Tensor:
    """``matrix``, (out, in), times the values of ``x`` along the ONNX axis at ``place``; moved values stay exact."""
    ones = (matrix == 1).sum(axis=1) == 1
    if ones.all() and (np.count_nonzero(matrix, axis=1) == 1).all():
        return taken(reading, node, x, place, matrix.argmax(axis=1).tolist())
    if x.order[place] == 0:
        reading.mixes_batch(node, "it resizes the batch axis, or takes its mean")
    return reading.emit(node, "resample", [x], {"axis": x.order[place] - x.rank}, {"matrix": matrix})


def _resize(reading: Reading, node: onnx.NodeProto) -> None:
    x = reading.tensor(node)
    sizes = reading.sizes(x)
    old = node.op_type == "Upsample" or reading.opset < 11
    factors, lengths = _targets(reading, node, sizes)
    given = {key: value for key in _COPIED if (value := attribute(node, key)) is not None}
    if old:
        given |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    changed = [
        place
        for place, length in enumerate(lengths)
        if length != sizes[place] or factors[place] not in (None, 1.0)
    ]
    where = given.get("coordinate_transformation_mode", "half_pixel")
    if where != "tf_crop_and_resize" and _upsampled(reading, node, x, sizes, lengths, factors, given):
        return
    if where == "align_corners" and any(
        factor is not None and factor * size != length
        for factor, size, length in zip(factors, sizes, lengths, strict=True)
    ):
        reading.unsupported(
            node,
            f"with its factors {factors} and aligned corners ONNX's reference and ONNX Runtime disagree, expected "
            "sizes or whole factors",
        )
    windows = _windows(reading, node, len(sizes)) if where == "tf_crop_and_resize" else {}
    changed = sorted({*changed, *(place for place, window in windows.items() if window != (0.0, 1.0))})
    reading.rename(node, x)
    outside: list[tuple[int, np.ndarray]] = []
    for place in changed:
        if sizes[place] * max(sizes[place], lengths[place]) > LARGEST:
            reading.unsupported(
                node, f"it resizes {sizes[place]} places to {lengths[place]} by a matrix too large"
            )
        window = windows.get(place, (0.0, 1.0))
        matrix, beyond = _matrix(reading, node, sizes[place], lengths[place], factors[place], given, window)
        x = along(reading, node, x, place, matrix)
        outside.append((place, beyond))
    _extrapolate(reading, node, x, outside, float(given.get("extrapolation_value", 0.0)))


def _targets(
    reading: Reading, node: onnx.NodeProto, sizes: tuple[int, ...]
) -> tuple[list[float | None], list[int]]:
    """For each ONNX axis the factor (None where a size is given) and the length that comes out."""
    index = 1 if node.op_type == "Upsample" or reading.opset < 11 else 2
    scales, wanted = reading.constant(node, index, "scales"), reading.constant(node, 3, "sizes")
    listed = attribute(node, "axes")
    own = range(len(sizes) - reading.free) if listed is None else listed
    places = [reading.position(axis, len(sizes)) for axis in own]
    factors: list[float | None] = [1.0] * len(sizes)
    lengths = list(sizes)
    if wanted is not None and wanted.size:
        sides = [int(side) for side in wanted]
        policy = attribute(node, "keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            choose = min if policy == "not_larger" else max
            factor = choose(side / sizes[place] for side, place in zip(sides, places, strict=True))
            sides = [int(np.floor(factor * sizes[place] + 0.5)) for place in places]
        for place, side in zip(places, sides, strict=True):
            lengths[place], factors[place] = side, None
        return factors, lengths
    given = attribute(node, "scales", ()) if scales is None else scales.tolist()
    for place, factor in zip(places, given, strict=True):
        factors[place] = float(factor)
        lengths[place] = int(np.floor(np.float32(sizes[place]) * np.float32(factor)))
    return factors, lengths


def _windows(reading: Reading, node: onnx.NodeProto, rank: int) -> dict[int, tuple[float, float]]:
    """By axis the part that is cropped and resized, in shares of the axis."""
    roi = reading.constant(node, 1, "region")
    if roi is None:
        return {}
    listed = attribute(node, "axes")
    axes = range(roi.size // 2) if listed is None else listed
    starts, ends = roi[: roi.size // 2], roi[roi.size // 2 :]
    return {
        reading.position(axis, rank): (float(start), float(end))
        for axis, start, end in zip(axes, starts, ends, strict=True)
    }


def _upsampled(
    reading: Reading,
    node: onnx.NodeProto,
    x: Tensor,
    sizes: Sequence[int],
    lengths: Sequence[int],
    factors: Sequence[float | None],
    given: dict[str, object],
) -> bool:
    """Whether it is an ``upsample``: repetition, or half-pixel bilinear interpolation, by whole factors."""
    whole = [length / size for length, size in zip(lengths, sizes, strict=True)]
    by_axis = {x.order[place]: factor for place, factor in enumerate(whole)}
    stated = all(factor is None or factor == ratio for factor, ratio in zip(factors, whole, strict=True))
    if not stated or any(factor != int(factor) or factor < 1 for factor in whole) or not 3 <= x.rank <= 4:
        return False
    if by_axis[0] != 1 or by_axis[x.rank - 1] != 1 or given.get("antialias"):
        return False
    mode, where = given.get("mode", "nearest"), str(given.get("coordinate_transformation_mode", "half_pixel"))
    rounding = str(given.get("nearest_mode", "round_prefer_floor"))
    if mode == "nearest" and all(_repeats(where, rounding, int(factor)) for factor in whole):
        interpolation = "nearest"
    elif mode == "linear" and where in ("half_pixel", "pytorch_half_pixel"):
        interpolation = "bilinear"
    else:
        return False
    size = tuple(int(by_axis[axis]) for axis in range(1, x.rank - 1))
    reading.emit(node, "upsample", [x], {"size": size, "interpolation": interpolation})
    return True


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


def _matrix(
    reading: Reading,
    node: onnx.NodeProto,
    size: int,
    length: int,
    factor: float | None,
    given: dict[str, object],
    window: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """The matrix (out, in) of one axis, and which of its rows lie outside of the input.

    ONNX Runtime's Resize, of this axis alone, applied to the unit vectors. Raises `UnsupportedLayerError` where ONNX
    Runtime has no such mode.
    """
    attributes = {**given, "extrapolation_value": 0.0}
    inputs = ["x", "roi", "scales"] if factor is not None else ["x", "roi", "", "sizes"]
    roi = np.array([0, 0, 0, window[0], 1, 1, 1, window[1]], np.float32)
    last = {
        "scales": np.array([1, 1, 1, factor or 1], np.float32),
        "sizes": np.array([1, 1, size, length], np.int64),
    }[inputs[-1]]
    graph = helper.make_graph(
        [helper.make_node("Resize", inputs, ["y"], **attributes)],
        "axis",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 1, size, size))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(roi, "roi"), onnx.numpy_helper.from_array(last, inputs[-1])],
    )

    def run(x: np.ndarray, **changed: object) -> np.ndarray:
        del graph.node[0].attribute[:]
        graph.node[0].attribute.extend(
            helper.make_attribute(key, value) for key, value in {**attributes, **changed}.items()
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return np.asarray(session.run(None, {"x": x.astype(np.float32)[None, None]})[0])[0, 0]

    try:
        matrix = run(np.eye(size)).T
        beyond = run(np.zeros((size, size)), extrapolation_value=1.0)[0] == 1.0
    except Exception as error:  # ONNX Runtime's exceptions share no class of their own
        first = (str(error).strip().splitlines() or [""])[0][:150]
        reading.unsupported(node, f"ONNX Runtime resizes no axis like this ({first})")
    if matrix.shape != (length, size):
        reading.unsupported(node, f"its axis of {size} became {matrix.shape[0]}, expected {length}")
    return np.ascontiguousarray(matrix), beyond


def _extrapolate(
    reading: Reading, node: onnx.NodeProto, x: Tensor, outside: list[tuple[int, np.ndarray]], value: float
) -> None:
    """``value`` where a place lies outside of the input along any axis."""
    if not value or not any(beyond.any() for _, beyond in outside):
        return
    mask = np.zeros(reading.sizes(x)[1:], bool)
    for place, beyond in outside:
        mask |= beyond.reshape(-1, *(1,) * (mask.ndim - place))
    bias = np.where(mask, value, 0.0).astype(np.float32)
    # Along the other axis such a place was interpolated: it is nothing but the value.
    kernel = np.where(mask, 0.0, 1.0).astype(np.float32)
    order = np.argsort([axis - 1 for axis in x.order[1:]])
    reading.emit(
        node, "affine", [x], weights={"kernel": kernel.transpose(order), "bias": bias.transpose(order)}
    )


def _reduce(pool: str | None, mean: bool, share: bool = True) -> Callable[[Reading, onnx.NodeProto], None]:
    """A mean, sum or maximum: global pooling over all spatial axes; else, for mean and sum, a matrix along each.

    ``share``: each of n values counts 1 / n.
    """

    def read(reading: Reading, node: onnx.NodeProto) -> None:
        x = reading.tensor(node)
        array = reading.constant(node, 1, "list of axes")
        given = attribute(node, "axes") if array is None else array.tolist()
        if not given:
            if attribute(node, "noop_with_empty_axes", 0):
                reading.rename(node, x)
                return
            given = range(x.rank - reading.free)
        places = sorted({reading.position(axis, x.rank) for axis in given})
        keepdims = bool(attribute(node, "keepdims", 1))
        canonical = sorted(x.order[place] for place in places)
        if pool and canonical == list(range(1, x.rank - 1)) and 3 <= x.rank <= 5 and not reading.free:
            reading.emit(node, pool, [x], {"keepdims": keepdims}, order=None if keepdims else (0, 1))
            return
        if 0 in places:
            reading.mixes_batch(node, f"it reduces the batch axis (axes {tuple(given)})")
        if not mean:
            reading.unsupported(node, f"it reduces the axes {tuple(given)}, expected all spatial ones")
        sizes = reading.sizes(x)
        for place in places:
            if sizes[place] > 1:
                each = 1 / sizes[place] if share else 1.0
                x = along(reading, node, x, place, np.full((1, sizes[place]), each, np.float32))
        reading.rename(node, x)
        if not keepdims and len(places) == x.rank - 1 and _puts_one_axis_back(reading, node):
            # Nothing but the batch is left, to which the next node gives an axis: the one that is left here.
            (reader,) = reading.readers(node.output[0])
            regroup(reading, reader, x, (1,))
            reading.done.add(reader.output[0])
        elif not keepdims:
            kept = tuple(size for place, size in enumerate(sizes) if place > 0 and place not in places)
            regroup(reading, node, x, kept)

    return read


def _puts_one_axis_back(reading: Reading, node: onnx.NodeProto) -> bool:
    """Whether what is left of ``node`` is read by one Unsqueeze that gives it an axis behind the batch."""
    reader = reading.only_reader(node.output[0])
    if reader is None or reader.op_type != "Unsqueeze":
        return False
    listed = reading.constants.get(reader.input[1]) if len(reader.input) > 1 else attribute(reader, "axes")
    return listed is not None and list(listed) in ([1], [-1])


OPERATORS = {
    "Resize": _resize,
    "Upsample": _resize,
    "ReduceMean": _reduce("global_average_pool", True),
    "ReduceSum": _reduce(None, True, share=False),
    "ReduceMax": _reduce("global_max_pool", False),
}
