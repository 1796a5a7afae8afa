"""Operations of `keras.ops` in a functional model, and of TensorFlow in one of Keras 2, in the neutral graph's terms.

``ops.mean(x, axis=1)``, ``1 - x``, ``x[:, 2:5]``. Keras keeps what does not change between calls in the configuration
(`keras/src/ops/numpy.py`, ``__init__``), the rest among the arguments. TensorFlow's stand in a model of Keras 2 as
layers of the class TFOpLambda, all that they are given among the arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from harness.errors import UnsupportedLayerError
from ported_models.sources.keras_activations import named_activation
from ported_models.sources.keras_attention import einsum, matmul
from ported_models.sources.keras_calls import Call, Tensor
from ported_models.sources.keras_parameters import Shape, negative_axis, refusal
from ported_models.sources.steps import Step

#: Reads one operation: its parameters by name, the call, and the shapes of its tensors, batch left out.
Read = Callable[[Mapping[str, Any], Call, Sequence[Shape]], list[Step]]


def operation(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """The steps of an operation. Raises UnsupportedLayerError where it is none of those here."""
    names, read = _OPERATIONS[call.class_name]
    return read({**call.config, **_by_name(call, call.arguments, names), **call.keywords}, call, shapes)


def tensorflow_operation(call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """The same of a TFOpLambda, whose function its configuration names, as ``math.add``."""
    function = str(call.config.get("function"))
    if function not in _TENSORFLOW:
        raise refusal(
            call, "the function", f"tf.{function}", f"one of tf.{', tf.'.join(sorted(_TENSORFLOW))}"
        )
    names, read = _TENSORFLOW[function]
    return read({**_by_name(call, call.arguments, names), **call.keywords}, call, shapes)


def _by_name(call: Call, arguments: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    if names == ("*",):  # the tensors of a list, as Keras 2 writes them
        return {"xs": list(arguments)}
    if len(arguments) > len(names):
        raise refusal(call, "the arguments", f"{len(arguments)}", f"at most {', '.join(names)}")
    return dict(zip(names, arguments, strict=False))


# -- arithmetic -------------------------------------------------------------------------------------


def _add(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    first, second = _operands(given)
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return _joined("add", first, second, call, shapes)
    return _line(call, shapes, 1.0, second if isinstance(first, Tensor) else first)


def _subtract(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    first, second = _operands(given)
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        negative = _line(call, [shapes[second.number]], -1.0, 0.0)[0]
        return [
            replace(negative, reads=(second.number,)),
            Step("add", reads=(first.number, len(call.inputs))),
        ]
    if isinstance(first, Tensor):
        return _line(call, shapes, 1.0, -np.asarray(second, np.float64))
    return _line(call, shapes, -1.0, first)


def _multiply(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    first, second = _operands(given)
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return _joined("multiply", first, second, call, shapes)
    return _line(call, shapes, second if isinstance(first, Tensor) else first, 0.0)


def _divide(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    _, second = _operands(given)
    if isinstance(second, Tensor):
        raise refusal(call, "the divisor", "a tensor", "a constant")
    return _line(call, shapes, 1.0 / np.asarray(second, np.float64), 0.0)


def _operands(given: Mapping[str, Any]) -> tuple[Any, Any]:
    first = given["x1"] if "x1" in given else given["x"]
    return first, given["x2"] if "x2" in given else given["y"]


def _joined(kind: str, first: Tensor, second: Tensor, call: Call, shapes: Sequence[Shape]) -> list[Step]:
    ranks = {len(shapes[each.number]) for each in (first, second)}
    if len(ranks) > 1:
        raise refusal(call, "tensors of shapes", tuple(shapes), "the same number of axes; reshape one first")
    return [Step(kind, reads=(first.number, second.number))]


def _line(call: Call, shapes: Sequence[Shape], kernel: Any, bias: Any) -> list[Step]:
    """``kernel * x + bias`` with constants: one for all or one a channel (``scale``), or one a number (``affine``)."""
    shape = shapes[0]
    arrays = {"kernel": np.asarray(kernel, np.float64), "bias": np.asarray(bias, np.float64)}
    try:
        full = {key: np.broadcast_to(array, (1, *shape))[0] for key, array in arrays.items()}
    except ValueError:
        raise refusal(
            call,
            "a constant of shape",
            next(array.shape for array in arrays.values() if array.ndim),
            f"one that makes a tensor of shape (batch, {', '.join(map(str, shape))}) no larger",
        ) from None
    if all(
        array.size in (1, shape[-1]) and array.size == (array.shape or (1,))[-1] for array in arrays.values()
    ):
        return [Step("scale", {}, {key: array.reshape(-1, shape[-1])[0] for key, array in full.items()})]
    return [Step("affine", {}, full)]


def _negative(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    return _line(call, shapes, -1.0, 0.0)


def _square(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    return [Step("multiply", reads=(0, 0))]


def _root(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    return [Step("sqrt")]


def _power(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    first, second = _operands(given)
    powers = set() if isinstance(second, Tensor) else set(np.asarray(second, np.float64).ravel().tolist())
    if not isinstance(first, Tensor) or powers not in ({2.0}, {0.5}):
        raise refusal(call, "the power", second, "a tensor to the power of 2 or 0.5")
    return _square(given, call, shapes) if powers == {2.0} else _root(given, call, shapes)


# -- activations ------------------------------------------------------------------------------------


def _activation(name: str) -> Read:
    def read(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
        step = named_activation(call, name)
        return [] if step is None else [step]

    return read


def _with_slope(kind: str, *names: str) -> Read:
    """A leaky ReLU or ELU, whose slope or alpha has one of these names."""

    def read(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
        alpha = next((given[name] for name in names if given.get(name) is not None), None)
        default = 0.2 if kind == "leaky_relu" else 1.0
        return [Step(kind, {"alpha": default if alpha is None else float(alpha)})]

    return read


def _gelu(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    return [Step("gelu", {"approximate": "tanh" if given.get("approximate") else "none"})]


def _softmax(kind: str) -> Read:
    def read(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
        axis = given.get("axis")
        return [Step(kind, {"axis": negative_axis(call, -1 if axis is None else axis, shapes[0])})]

    return read


def _clip(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    low = given["x_min"] if "x_min" in given else given["clip_value_min"]
    high = given["x_max"] if "x_max" in given else given["clip_value_max"]
    return [Step("clip", {"low": float(low), "high": float(high)})]


# -- over axes --------------------------------------------------------------------------------------


def _axes(call: Call, given: Any, shape: Shape) -> list[int]:
    """The axes that are reduced, from 1 for the first after the batch."""
    if given is None:
        raise refusal(call, "axis", None, "axes other than the batch")
    axes = [given] if isinstance(given, int) else list(given)
    return sorted(negative_axis(call, int(axis), shape) + len(shape) + 1 for axis in axes)


def _reduction(kind: str) -> Read:
    """Mean or maximum over all places of a map, or over one axis alone."""

    def read(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
        shape = shapes[0]
        axes, kept = _axes(call, given.get("axis"), shape), bool(given.get("keepdims"))
        if axes == list(range(1, len(shape))) and 1 <= len(axes) <= 3:
            return [Step(f"global_{kind}_pool", {"keepdims": kept})]
        if kind != "average":
            raise refusal(call, "axis", given.get("axis"), "all axes between batch and channel")
        steps = [
            Step(
                "resample",
                {"axis": axis - len(shape) - 1},
                {"matrix": np.full((1, shape[axis - 1]), 1 / shape[axis - 1])},
            )
            for axis in axes
        ]
        left = tuple(side for place, side in enumerate(shape, start=1) if place not in axes)
        if kept:
            return steps
        if not left:
            raise refusal(call, "axis", given.get("axis"), "some axis besides the batch left")
        return [*steps, Step("reshape", {"target": left})]

    return read


# -- shapes -----------------------------------------------------------------------------------------


def _reshape(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    target = given["newshape"] if "newshape" in given else given["shape"]
    if any(isinstance(side, Tensor) for side in target) or target[0] not in (-1, None):
        raise refusal(call, "the shape", target, "-1 for the batch, then numbers")
    return [Step("reshape", {"target": tuple(int(side) for side in target[1:])})]


def _transpose(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    axes = given["axes"] if "axes" in given else given.get("perm")
    rank = len(shapes[0]) + 1
    if axes is None or axes[0] % rank != 0:
        raise refusal(call, "axes", axes, "the batch axis first")
    return [Step("permute", {"dims": tuple(int(axis) % rank for axis in axes[1:])})]


def _swapaxes(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    shape = shapes[0]
    first, second = (negative_axis(call, given[key], shape) + len(shape) + 1 for key in ("axis1", "axis2"))
    dims = list(range(1, len(shape) + 1))
    dims[first - 1], dims[second - 1] = second, first
    return [Step("permute", {"dims": tuple(dims)})]


def _expand_dims(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    axis, sides = given["axis"], list(shapes[0])
    place = axis if axis >= 0 else axis + len(sides) + 2
    if place == 0:
        raise refusal(call, "axis", axis, "an axis behind the batch")
    sides.insert(place - 1, 1)
    return [Step("reshape", {"target": tuple(sides)})]


def _squeeze(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    shape = shapes[0]
    axes = given.get("axis")
    gone = (
        [place for place, side in enumerate(shape, start=1) if side == 1]
        if axes is None
        else _axes(call, axes, shape)
    )
    left = tuple(side for place, side in enumerate(shape, start=1) if place not in gone)
    if not left or any(shape[place - 1] != 1 for place in gone):
        raise refusal(call, "axis", axes, f"axes of length one of an input of shape {shape}")
    return [Step("reshape", {"target": left})]


def _concatenate(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    xs = given["xs"] if "xs" in given else given["values"]
    if not all(isinstance(x, Tensor) for x in xs):
        raise refusal(call, "a constant among its tensors", "one", "tensors of the network")
    if len(xs) == 1:
        return []
    axis = negative_axis(call, int(given.get("axis", -1)), shapes[0])
    return [Step("concat", {"axis": axis}, reads=tuple(x.number for x in xs))]


def _pad(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    widths = given["pad_width"]
    widths = [widths] * (len(shapes[0]) + 1) if isinstance(widths, int) else list(widths)
    pairs = [(width, width) if isinstance(width, int) else tuple(width) for width in widths]
    pairs = pairs * (len(shapes[0]) + 1) if len(pairs) == 1 else pairs
    if given.get("mode", "constant") != "constant" or any(pairs[0]):
        raise refusal(
            call, "(pad_width, mode)", (widths, given.get("mode")), "constants, none along the batch"
        )
    return [Step("pad", {"padding": tuple(pairs[1:]), "value": float(given.get("constant_values") or 0.0)})]


def _get_item(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    """Slices and numbers, the batch whole: one ``take`` an axis, then numbers' axes go."""
    key = given["key"]
    keys = list(key) if isinstance(key, list | tuple) else [key]
    rank = len(shapes[0]) + 1
    if Ellipsis in keys or None in keys or "..." in keys or len(keys) > rank or keys[0] != slice(None):
        raise refusal(call, "the index", key, "the batch whole, then slices and numbers, one an axis")
    steps, left = [], []
    for place, side in enumerate(shapes[0], start=1):
        chosen = keys[place] if place < len(keys) else slice(None)
        if not isinstance(chosen, int | slice):
            raise refusal(call, "the index", key, "slices and numbers")
        indices = tuple(np.atleast_1d(np.arange(side)[chosen]).tolist())
        if indices != tuple(range(side)):
            steps.append(Step("take", {"axis": place - rank, "indices": indices}))
        if isinstance(chosen, slice):
            left.append(len(indices))
    if len(left) == rank - 1:
        return steps
    if not left:
        raise refusal(call, "the index", key, "some axis besides the batch left")
    return [*steps, Step("reshape", {"target": tuple(left)})]


def _take(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    indices, axis = np.asarray(given["indices"]), negative_axis(call, given["axis"], shapes[0])
    if indices.ndim != 1:
        raise refusal(call, "indices of shape", indices.shape, "one row of them")
    side = shapes[0][axis]
    return [Step("take", {"axis": axis, "indices": tuple(int(index) % side for index in indices)})]


def _flip(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    shape = shapes[0]
    return [
        Step("take", {"axis": axis - len(shape) - 1, "indices": tuple(reversed(range(shape[axis - 1])))})
        for axis in _axes(call, given.get("axis"), shape)
    ]


def _cast(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    dtype = given.get("dtype", "float32")
    dtype = dtype.get("config", dtype) if isinstance(dtype, Mapping) else dtype
    if not isinstance(dtype, str) or dtype not in ("float32", "float64"):
        raise refusal(call, "dtype", dtype, "'float32' or 'float64'")
    return []


def _nothing(given: Mapping[str, Any], call: Call, shapes: Sequence[Shape]) -> list[Step]:
    return []


_ONE, _TWO = ("x",), ("x1", "x2")
_AXIS = ("x", "axis", "keepdims")
#: By class: the names of the arguments in their order, and how it is read.
_OPERATIONS: dict[str, tuple[tuple[str, ...], Read]] = {
    f"ops.{name}": entry
    for name, entry in {
        "Add": (_TWO, _add),
        "Subtract": (_TWO, _subtract),
        "Multiply": (_TWO, _multiply),
        "Divide": (_TWO, _divide),
        "TrueDivide": (_TWO, _divide),
        "Negative": (_ONE, _negative),
        "Square": (_ONE, _square),
        "Power": (_TWO, _power),
        "Sqrt": (_ONE, _root),
        "Relu": (_ONE, _activation("relu")),
        "Relu6": (_ONE, _activation("relu6")),
        "Sigmoid": (_ONE, _activation("sigmoid")),
        "Tanh": (_ONE, _activation("tanh")),
        "Silu": (_ONE, _activation("silu")),
        "Selu": (_ONE, _activation("selu")),
        "HardSilu": (_ONE, _activation("hard_silu")),
        "HardSigmoid": (_ONE, _activation("hard_sigmoid")),
        "HardTanh": (_ONE, _activation("hard_tanh")),
        "LeakyRelu": (_ONE, _with_slope("leaky_relu", "negative_slope")),
        "Elu": (_ONE, _with_slope("elu", "alpha")),
        "Gelu": (_ONE, _gelu),
        "Softmax": (("x", "axis"), _softmax("softmax")),
        "LogSoftmax": (("x", "axis"), _softmax("log_softmax")),
        "Clip": (("x", "x_min", "x_max"), _clip),
        "Mean": (_AXIS, _reduction("average")),
        "Max": (_AXIS, _reduction("max")),
        "Amax": (_AXIS, _reduction("max")),
        "Reshape": (_ONE, _reshape),
        "Transpose": (_ONE, _transpose),
        "ExpandDims": (_ONE, _expand_dims),
        "Squeeze": (_ONE, _squeeze),
        "Concatenate": (("xs",), _concatenate),
        "Pad": (("x", "constant_values"), _pad),
        "GetItem": (("x", "key"), _get_item),
        "Take": (("x", "indices"), _take),
        "Flip": (_ONE, _flip),
        "Swapaxes": (_ONE, _swapaxes),
        "Matmul": (_TWO, matmul),
        "Einsum": (("x1", "x2"), lambda given, call, shapes: einsum(call, shapes)),
        "Cast": (_ONE, _cast),
        "Copy": (_ONE, _nothing),
    }.items()
}
#: By TensorFlow's name.
_TENSORFLOW: dict[str, tuple[tuple[str, ...], Read]] = {
    **dict.fromkeys(("__operators__.add", "math.add", "add"), (("x", "y"), _add)),
    **dict.fromkeys(("math.subtract", "subtract"), (("x", "y"), _subtract)),
    **dict.fromkeys(("math.multiply", "multiply"), (("x", "y"), _multiply)),
    **dict.fromkeys(("math.truediv", "math.divide", "divide"), (("x", "y"), _divide)),
    **dict.fromkeys(("math.negative", "negative"), (_ONE, _negative)),
    **dict.fromkeys(("math.square", "square"), (_ONE, _square)),
    **dict.fromkeys(("math.sqrt", "sqrt"), (_ONE, _root)),
    "nn.relu": (("features",), _activation("relu")),
    "nn.relu6": (("features",), _activation("relu6")),
    "nn.selu": (("features",), _activation("selu")),
    "nn.elu": (("features",), _activation("elu")),
    "nn.leaky_relu": (("features", "alpha"), _with_slope("leaky_relu", "alpha")),
    "nn.gelu": (("features", "approximate"), _gelu),
    **dict.fromkeys(("nn.silu", "nn.swish"), (("features",), _activation("silu"))),
    **dict.fromkeys(("math.sigmoid", "nn.sigmoid", "sigmoid"), (_ONE, _activation("sigmoid"))),
    **dict.fromkeys(("math.tanh", "nn.tanh", "tanh"), (_ONE, _activation("tanh"))),
    "nn.softmax": (("logits", "axis"), _softmax("softmax")),
    "nn.log_softmax": (("logits", "axis"), _softmax("log_softmax")),
    "clip_by_value": (("t", "clip_value_min", "clip_value_max"), _clip),
    "math.reduce_mean": (("input_tensor", "axis", "keepdims"), _reduction("average")),
    "math.reduce_max": (("input_tensor", "axis", "keepdims"), _reduction("max")),
    "reshape": (("tensor", "shape"), _reshape),
    "transpose": (("a", "perm"), _transpose),
    "expand_dims": (("input", "axis"), _expand_dims),
    "squeeze": (("input", "axis"), _squeeze),
    "concat": (("*",), _concatenate),
    "identity": (("input",), _nothing),
}


def known_operations() -> tuple[str, ...]:
    """The classes of `keras.ops` that are read, as calls have them."""
    return tuple(_OPERATIONS)


def require_known(call: Call) -> None:
    """Raise UnsupportedLayerError where the operation is none of those that are read."""
    if call.class_name not in _OPERATIONS:
        raise UnsupportedLayerError(
            f"{call.where} is not supported; supported operations: "
            f"{', '.join(name.removeprefix('ops.') for name in sorted(_OPERATIONS))}"
        )
