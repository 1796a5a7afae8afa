"""Operators that act on every value alone, and sums and products of tensors."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import onnx
from onnx import TensorProto, helper

from ported_models.onnx.layout import Order
from ported_models.onnx.operators.constants import channel_vector, constant_channels, placed
from ported_models.onnx.operators.kernels import following_bias
from ported_models.onnx.reading import Reading, Tensor, attribute

#: Defaults of ONNX Selu, which are Klambauer et al. 2017's constants; the graph has no others.
_SELU = (1.67326319217681884765625, 1.05070102214813232421875)


def _function(kind: str, **attributes: float) -> Callable[[Reading, onnx.NodeProto], None]:
    """An activation; ``attributes`` are those it has, with ONNX's defaults."""

    def read(reading: Reading, node: onnx.NodeProto) -> None:
        given = {key: attribute(node, key, default) for key, default in attributes.items()}
        reading.emit(node, kind, [reading.tensor(node, anywhere=True)], given)

    return read


def _selu(reading: Reading, node: onnx.NodeProto) -> None:
    constants = (attribute(node, "alpha", _SELU[0]), attribute(node, "gamma", _SELU[1]))
    x = reading.tensor(node, anywhere=True)
    if tuple(map(np.float32, constants)) == tuple(map(np.float32, _SELU)):
        reading.emit(node, "selu", [x])
        return
    x = reading.emit(node, "elu", [x], {"alpha": constants[0]})
    channels = reading.builder[x.layer].shape[-1]
    reading.emit(node, "scale", [x], weights={"kernel": np.full(channels, constants[1], np.float32)})


def _gelu(reading: Reading, node: onnx.NodeProto) -> None:
    approximate = attribute(node, "approximate", "none")
    reading.emit(node, "gelu", [reading.tensor(node, anywhere=True)], {"approximate": approximate})


def _swish(reading: Reading, node: onnx.NodeProto) -> None:
    """``x * sigmoid(alpha * x)``, which is ``swish(alpha * x) / alpha``."""
    x, alpha = reading.tensor(node, anywhere=True), attribute(node, "alpha", 1.0)
    if alpha == 0.0:
        reading.unsupported(node, "its alpha is 0")
    ones = np.ones(reading.builder[x.layer].shape[-1], np.float32)
    if alpha != 1.0:
        x = reading.emit(node, "scale", [x], weights={"kernel": ones * alpha})
    x = reading.emit(node, "swish", [x])
    if alpha != 1.0:
        reading.emit(node, "scale", [x], weights={"kernel": ones / alpha})


def _clip(reading: Reading, node: onnx.NodeProto) -> None:
    bounds = []
    for index, key, default in ((1, "min", -np.inf), (2, "max", np.inf)):
        array = reading.constant(node, index, key)
        bounds.append(attribute(node, key, default) if array is None else float(array))
    # Exporters without infinities write the largest number of the type.
    largest = np.finfo(np.float32).max
    low = -np.inf if bounds[0] <= -largest else bounds[0]
    high = np.inf if bounds[1] >= largest else bounds[1]
    x, kinds = reading.tensor(node, anywhere=True), {(0.0, 6.0): "relu6", (0.0, np.inf): "relu"}
    if (low, high) == (-np.inf, np.inf):
        reading.rename(node, x)
    elif (low, high) in kinds:
        reading.emit(node, kinds[low, high], [x])
    else:
        # ONNX: where the lower bound is the greater, the upper one is the value (operator Clip-13).
        reading.emit(node, "clip", [x], {"low": min(low, high), "high": high})


def _prelu(reading: Reading, node: onnx.NodeProto) -> None:
    slope, x = reading.constant(node, 1, "slope"), reading.tensor(node)
    if slope is None:
        reading.unsupported(node, "it has no slope")
    if np.unique(slope).size == 1:
        reading.emit(node, "leaky_relu", [x], {"alpha": float(slope.flat[0])})
        return
    vector = channel_vector(slope, reading.sizes(x), _channel_axis(x.order))
    if vector is not None:
        reading.emit(node, "prelu", [x], weights={"alpha": vector})
        return
    # A slope for each number: max(x, 0) - slope * max(-x, 0).
    kernel = placed(reading, node, x, slope)
    above = reading.emit(node, "relu", [x])
    channels = np.ones(reading.builder[x.layer].shape[-1], np.float32)
    mirrored = reading.emit(node, "scale", [x], weights={"kernel": -channels})
    below = reading.emit(
        node, "affine", [reading.emit(node, "relu", [mirrored])], weights={"kernel": -kernel}
    )
    reading.emit(node, "add", [above, below])


def _softmax(reading: Reading, node: onnx.NodeProto) -> None:
    x, axis = reading.tensor(node, anywhere=True), attribute(node, "axis", -1 if reading.opset >= 13 else 1)
    place = reading.place(node, x, axis)
    if reading.opset < 13 and prod(reading.sizes(x)[place + 1 :]) != 1:
        reading.unsupported(node, f"before opset 13 it normalises over axis {axis} and all after it together")
    if x.order[place] == 0:
        reading.mixes_batch(node, f"it normalises over the batch (axis {axis})")
    reading.emit(node, "softmax", [x], {"axis": x.order[place] - x.rank})


def _log_softmax(reading: Reading, node: onnx.NodeProto) -> None:
    """Read as a softmax; only the end of a network, where it is taken off, may be one."""
    _softmax(reading, node)
    reading.log_softmax[reading.tensors[node.output[0]].layer] = node


def _dropout(reading: Reading, node: onnx.NodeProto) -> None:
    training = reading.constant(node, 2, "training mode")
    if training is not None and training.any():
        reading.unsupported(node, "it is in training mode; export the model in inference mode")
    ratio = reading.constant(node, 1, "ratio")
    rate = attribute(node, "ratio", 0.5) if ratio is None else float(ratio)
    reading.emit(node, "dropout", [reading.tensor(node, anywhere=True)], {"rate": rate})


def _identity(reading: Reading, node: onnx.NodeProto) -> None:
    reading.rename(node, reading.tensor(node, anywhere=True))


def _cast(reading: Reading, node: onnx.NodeProto) -> None:
    """A cast between the floating types changes no value that the graph, which has no types, keeps."""
    wanted = attribute(node, "to")
    if wanted not in (TensorProto.FLOAT, TensorProto.DOUBLE):
        reading.unsupported(
            node, f"it casts to {helper.tensor_dtype_to_string(wanted)}, expected float or double"
        )
    reading.rename(node, reading.tensor(node, anywhere=True))


def _sum(reading: Reading, node: onnx.NodeProto) -> None:
    constants = [name for name in node.input if name in reading.constants]
    if not constants:
        _merge(reading, node, "add")
    elif len(node.input) == 2:
        _affine(reading, node)
    else:
        reading.unsupported(node, "it adds several tensors and constants at once")


def _product(reading: Reading, node: onnx.NodeProto) -> None:
    if any(name in reading.constants for name in node.input):
        _affine(reading, node)
    else:
        _merge(reading, node, "multiply")


def _power(reading: Reading, node: onnx.NodeProto) -> None:
    """The square is a product of the tensor with itself; the power of one half a square root."""
    exponent, x = reading.constant(node, 1, "exponent"), reading.tensor(node, anywhere=True)
    if exponent is None or exponent.size != 1 or exponent.ndim > len(x.groups) - reading.free:
        reading.unsupported(node, "it has no exponent, or more than one")
    power = float(exponent.reshape(()))
    if power == 2.0:
        reading.emit(node, "multiply", [x, x])
    elif power == 0.5:
        reading.emit(node, "sqrt", [x])
    elif power == 1.0:
        reading.rename(node, x)
    else:
        reading.unsupported(node, f"its exponent is {power:g}, expected 2, 1 or 0.5")


def _difference(reading: Reading, node: onnx.NodeProto) -> None:
    if any(name in reading.constants for name in node.input):
        _affine(reading, node)
        return
    if node.op_type == "Div":
        reading.unsupported(node, "the graph has no quotient of two layers")
    first, second = (reading.tensor(node, index, anywhere=True) for index in range(2))
    ones = np.ones(reading.builder[second.layer].shape[-1], np.float32)
    minus = reading.emit(node, "scale", [second], weights={"kernel": -ones})
    _join(reading, node, "add", [first, minus])


def _merge(reading: Reading, node: onnx.NodeProto, kind: str) -> None:
    tensors = [reading.tensor(node, index, anywhere=True) for index in range(len(node.input))]
    _join(reading, node, kind, tensors)


def _join(reading: Reading, node: onnx.NodeProto, kind: str, tensors: list[Tensor]) -> None:
    if len(tensors) == 1:
        reading.rename(node, tensors[0])
        return
    order = tensors[0].order
    if len({len(tensor.groups) for tensor in tensors}) > 1:
        shapes = ", ".join(str(reading.sizes(tensor)[1:]) for tensor in tensors)
        reading.unsupported(node, f"its inputs have different ranks (without batch: {shapes})")
    if len({(tensor.beside, tensor.order.index(0)) for tensor in tensors}) > 1:
        reading.mixes_batch(node, "the batch is another axis in each of its inputs")
    reading.emit(node, kind, [reading.arranged(node, tensor, order) for tensor in tensors])


def _affine(reading: Reading, node: onnx.NodeProto) -> None:
    """A constant per channel that multiplies, divides, is added or subtracted; and one added after."""
    position = 1 if node.input[0] in reading.tensors else 0
    x = reading.tensor(node, 1 - position, anywhere=True)
    array = reading.constants[node.input[position]]
    vector, sizes, axis = constant_channels(reading, x, array)
    if vector is None:
        _placed_affine(reading, node, x, array, position == 0)
        return
    one = np.ones_like(vector)
    constant_first = position == 0
    bias, last = None, node
    if node.op_type in ("Add", "Sum"):
        kernel, bias = one, vector
    elif node.op_type == "Sub":
        kernel, bias = (-one, vector) if constant_first else (one, -vector)
    elif node.op_type == "Div" and constant_first:
        reading.unsupported(node, "it divides a constant by a layer's output")
    else:
        kernel = one / vector if node.op_type == "Div" else vector
        bias, last = (None, node) if axis < 0 else following_bias(reading, node, sizes, axis)
    reading.emit(node, "scale", [x], weights={"kernel": kernel, "bias": bias}, last=last)


def _placed_affine(
    reading: Reading, node: onnx.NodeProto, x: Tensor, array: np.ndarray, constant_first: bool
) -> None:
    """The same of a constant with a number for each place: a position embedding, a mask."""
    full = placed(reading, node, x, array)
    weights: dict[str, np.ndarray] = {
        "Add": {"bias": full},
        "Sum": {"bias": full},
        "Sub": {"kernel": -np.ones_like(full), "bias": full} if constant_first else {"bias": -full},
        "Mul": {"kernel": full},
    }.get(node.op_type, {})
    if node.op_type == "Div":
        if constant_first:
            reading.unsupported(node, "it divides a constant by a layer's output")
        weights = {"kernel": 1 / full}
    below = reading.builder[x.layer]
    if set(weights) == set(below.weights) == {"bias"} and reading.is_room(below):
        # A class token, and the position embeddings added to all tokens: one constant.
        x = Tensor(below.inputs[0], x.order, x.beside)
        weights = {"bias": below.weights["bias"] + weights["bias"]}
    reading.emit(node, "affine", [x], weights=weights)


def _negative(reading: Reading, node: onnx.NodeProto) -> None:
    x = reading.tensor(node, anywhere=True)
    channels = reading.builder[x.layer].shape[-1]
    reading.emit(node, "scale", [x], weights={"kernel": np.full(channels, -1, np.float32)})


def _where(reading: Reading, node: onnx.NodeProto) -> None:
    """A constant condition chooses: each side times 1 where it is chosen and 0 elsewhere, constants added."""
    condition = reading.constant(node, 0, "condition")
    tensors = [index for index in (1, 2) if node.input[index] in reading.tensors]
    if condition is None or not tensors:
        reading.unsupported(node, "it has no condition, or chooses between constants")
    parts = []
    for index in tensors:
        x = reading.tensor(node, index, anywhere=True)
        chosen = placed(reading, node, x, condition if index == 1 else ~condition)
        weights = {"kernel": chosen.astype(np.float32)}
        if len(tensors) == 1:
            other = placed(reading, node, x, reading.constants[node.input[3 - index]])
            weights["bias"] = np.where(chosen, 0, other).astype(other.dtype)
        parts.append(reading.emit(node, "affine", [x], weights=weights))
    _join(reading, node, "add", parts)


def _channel_axis(order: Order) -> int:
    """The ONNX axis of the canonical last one."""
    return order.index(len(order) - 1)


OPERATORS = {
    "Relu": _function("relu"),
    "LeakyRelu": _function("leaky_relu", alpha=0.01),
    "Elu": _function("elu", alpha=1.0),
    "Sigmoid": _function("sigmoid"),
    "Tanh": _function("tanh"),
    "HardSigmoid": _function("hard_sigmoid", alpha=0.2, beta=0.5),
    "HardSwish": _function("hard_swish"),
    "Mish": _function("mish"),
    "Sqrt": _function("sqrt"),
    "Pow": _power,
    "Selu": _selu,
    "Gelu": _gelu,
    "Swish": _swish,
    "Clip": _clip,
    "PRelu": _prelu,
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    "Dropout": _dropout,
    "Identity": _identity,
    "Cast": _cast,
    "Add": _sum,
    "Sum": _sum,
    "Mul": _product,
    "Sub": _difference,
    "Div": _difference,
    "Neg": _negative,
    "Where": _where,
}
