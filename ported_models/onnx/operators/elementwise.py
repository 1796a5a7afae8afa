"""Operators that act on every value alone, and sums and products of tensors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper

from ported_models.onnx.layout import Order
from ported_models.onnx.operators.kernels import channel_vector, following_bias
from ported_models.onnx.reading import Reading, attribute

#: Defaults of ONNX Selu, which are Klambauer et al. 2017's constants; the graph has no others.
_SELU = (1.67326319217681884765625, 1.05070102214813232421875)


def _function(kind: str, **attributes: float) -> Callable[[Reading, onnx.NodeProto], None]:
    """An activation; ``attributes`` are those it has, with ONNX's defaults."""

    def read(reading: Reading, node: onnx.NodeProto) -> None:
        given = {key: attribute(node, key, default) for key, default in attributes.items()}
        reading.emit(node, kind, [reading.tensor(node)], given)

    return read


def _selu(reading: Reading, node: onnx.NodeProto) -> None:
    found = (attribute(node, "alpha", _SELU[0]), attribute(node, "gamma", _SELU[1]))
    if tuple(map(np.float32, found)) != tuple(map(np.float32, _SELU)):
        reading.unsupported(node, f"its alpha and gamma are {found}, expected the usual {_SELU}")
    reading.emit(node, "selu", [reading.tensor(node)])


def _gelu(reading: Reading, node: onnx.NodeProto) -> None:
    approximate = attribute(node, "approximate", "none")
    reading.emit(node, "gelu", [reading.tensor(node)], {"approximate": approximate})


def _swish(reading: Reading, node: onnx.NodeProto) -> None:
    if attribute(node, "alpha", 1.0) != 1.0:
        reading.unsupported(node, f"its alpha is {attribute(node, 'alpha')}, expected 1")
    reading.emit(node, "swish", [reading.tensor(node)])


def _clip(reading: Reading, node: onnx.NodeProto) -> None:
    bounds = []
    for index, key, default in ((1, "min", -np.inf), (2, "max", np.inf)):
        array = reading.constant(node, index, key)
        bounds.append(attribute(node, key, default) if array is None else float(array))
    # Exporters without infinities write the largest number of the type.
    low, high = bounds[0], np.inf if bounds[1] >= np.finfo(np.float32).max else bounds[1]
    kinds = {(0.0, 6.0): "relu6", (0.0, np.inf): "relu"}
    if (low, high) not in kinds:
        reading.unsupported(node, f"it clips to [{low}, {high}], expected [0, 6] or [0, inf]")
    reading.emit(node, kinds[low, high], [reading.tensor(node)])


def _prelu(reading: Reading, node: onnx.NodeProto) -> None:
    slope = reading.constant(node, 1, "slope")
    if slope is None or np.unique(slope).size != 1:
        reading.unsupported(node, "its slopes differ, expected one for all values")
    reading.emit(node, "leaky_relu", [reading.tensor(node)], {"alpha": float(slope.flat[0])})


def _softmax(reading: Reading, node: onnx.NodeProto) -> None:
    x = reading.tensor(node)
    axis = attribute(node, "axis", -1 if reading.opset >= 13 else 1) % x.rank
    if reading.opset < 13 and axis != x.rank - 1:
        reading.unsupported(node, f"before opset 13 it normalises over axis {axis} and all after it together")
    reading.emit(node, "softmax", [x], {"axis": x.order[axis] - x.rank})


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
    reading.emit(node, "dropout", [reading.tensor(node)], {"rate": rate})


def _identity(reading: Reading, node: onnx.NodeProto) -> None:
    reading.rename(node, reading.tensor(node))


def _cast(reading: Reading, node: onnx.NodeProto) -> None:
    """A cast between the floating types changes no value that the graph, which has no types, keeps."""
    wanted = attribute(node, "to")
    if wanted not in (TensorProto.FLOAT, TensorProto.DOUBLE):
        reading.unsupported(
            node, f"it casts to {helper.tensor_dtype_to_string(wanted)}, expected float or double"
        )
    reading.rename(node, reading.tensor(node))


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


def _difference(reading: Reading, node: onnx.NodeProto) -> None:
    if not any(name in reading.constants for name in node.input):
        reading.unsupported(node, "the graph has no difference or quotient of two layers")
    _affine(reading, node)


def _merge(reading: Reading, node: onnx.NodeProto, kind: str) -> None:
    tensors = [reading.tensor(node, index) for index in range(len(node.input))]
    if len(tensors) == 1:
        reading.rename(node, tensors[0])
        return
    order = tensors[0].order
    if any(tensor.rank != len(order) for tensor in tensors):
        shapes = ", ".join(str(reading.sizes(tensor)[1:]) for tensor in tensors)
        reading.unsupported(node, f"its inputs have different ranks (without batch: {shapes})")
    reading.emit(node, kind, [reading.arranged(node, tensor, order) for tensor in tensors])


def _affine(reading: Reading, node: onnx.NodeProto) -> None:
    """A constant per channel that multiplies, divides, is added or subtracted; and one added after."""
    position = 1 if node.input[0] in reading.tensors else 0
    x = reading.tensor(node, 1 - position)
    array = reading.constants[node.input[position]]
    sizes, axis = reading.sizes(x), _channel_axis(x.order)
    vector = channel_vector(array, sizes, axis)
    if vector is None:
        reading.unsupported(
            node, f"its constant has the shape {array.shape}, expected one value per channel ({sizes[axis]})"
        )
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
        bias, last = following_bias(reading, node, sizes, axis)
    reading.emit(node, "scale", [x], weights={"kernel": kernel, "bias": bias}, last=last)


def _negative(reading: Reading, node: onnx.NodeProto) -> None:
    x = reading.tensor(node)
    channels = reading.sizes(x)[_channel_axis(x.order)]
    reading.emit(node, "scale", [x], weights={"kernel": np.full(channels, -1, np.float32)})


def _channel_axis(order: Order) -> int:
    """The ONNX axis of the canonical last one."""
    return order.index(len(order) - 1)


OPERATORS = {
    "Relu": _function("relu"),
    "LeakyRelu": _function("leaky_relu", alpha=0.01),
    "Elu": _function("elu", alpha=1.0),
    "Sigmoid": _function("sigmoid"),
    "Tanh": _function("tanh"),
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
}
