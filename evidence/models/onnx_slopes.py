"""The slope of an ONNX file along directions, in double precision, by differences of ONNX's reference evaluator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_average_pool import AveragePool_19
from onnx.reference.ops.op_max_pool import MaxPool as ReferenceMaxPool

#: The least step of a difference quotient in double precision, how far a derivative that is measured so may be off,
#: and how much of that rounding may take. Rounding moves a point of size one by 2e-8 of the step; a wider one meets
#: more kinks: with 1e-6 the slope of mtcnn's onet is 3e-4 another than with 1e-7 and 1e-8.
STEP, DIFFERENCE_BOUND, OF_ROUNDING = 1e-8, 1e-5, 0.1
#: How many directions with random signs a derivative is measured along, beside that of the gradient.
SIGNS = 3


def directions(gradient: Any) -> list[Any]:
    """``gradient``, and :data:`SIGNS` times ``|gradient|`` raised by its root mean square with random signs.

    Each is as long as ones are. Along the first the slope is ``|g| |v|``, the most that it can be: a gradient of the
    wrong size is off by as much. Along the others every entry counts by about its own share of ``|g|^2``, whatever
    another takes away, and one that is missing by that of an entry of usual size. Along noise an entry ``e`` would
    count by ``e / |g| sqrt(n)`` alone. All are ones where the gradient is zero.
    """
    ones = np.ones(gradient.shape)
    size = float(np.linalg.norm(gradient) / np.sqrt(gradient.size))
    if not size:
        return [ones] * (1 + SIGNS)
    rng = np.random.default_rng(1)
    raised = [(np.abs(gradient) + size) * rng.choice((-1.0, 1.0), ones.shape) for _ in range(SIGNS)]
    return [each * (np.linalg.norm(ones) / np.linalg.norm(each)) for each in (gradient, *raised)]


def step_for(function: Callable[[Any], float], x: Any, scale: float) -> float:
    """The step of a difference quotient of a number at ``x``; ``scale``: the most that the slope can be.

    It is so wide that what rounding moves the number by, as one unit in the last place of the input does, is
    :data:`OF_ROUNDING` of what the quotient may be off. Of an output that hardly depends on the input, such as that of
    a network whose weights are all one number, a narrower one would give rounding alone.
    """
    eps, own = np.finfo(np.float64).eps, function(x)
    signs = np.random.default_rng(2).choice((-1.0, 1.0), x.shape)
    rounding = max(abs(function(x * (1 + eps * signs)) - own), eps * abs(own))
    return float(max(STEP, rounding / (OF_ROUNDING * DIFFERENCE_BOUND * scale)))


def slopes_along(function: Callable[[Any], float], x: Any, directions: list[Any], step: float) -> list[float]:
    """The derivative of a number along each direction, by a central difference."""
    return [(function(x + step * each) - function(x - step * each)) / (2 * step) for each in directions]


class LRN(OpRun):
    """Local response normalisation as its specification has it.

    That of onnx 1.23.2 sums squares for as many channels as the batch has samples, and none for the others
    (`onnx/reference/ops/op_lrn.py`, ``for c in range(x.shape[0])``).
    """

    op_domain = ""

    def _run(self, x: Any, alpha: float, beta: float, bias: float, size: int) -> Any:
        before, behind = (size - 1) // 2, size // 2  # the rounded-down and rounded-up half of size - 1
        squares = np.pad(x**2, [(0, 0), (before, behind), *[(0, 0)] * (x.ndim - 2)])
        total = sum(squares[:, place : place + x.shape[1]] for place in range(size))
        return ((x / (bias + alpha / size * total) ** beta).astype(x.dtype),)


class MaxPool(ReferenceMaxPool):
    """The reference's own, which visits every window in Python: 22 of 23 seconds of an Inception of 224 pixels.

    Here all windows of a plain one are one view; any other (padded by its size, rounded up, with indices) is its own.
    """

    def _run(self, x: Any, **given: Any) -> Any:
        if not _is_plain(given) or sum(map(bool, self.output)) > 1:
            return super()._run(x, **given)
        windows, axes = _windows(x, given, -np.inf)
        return (windows.max(axis=axes),)


class AveragePool(AveragePool_19):
    """As :class:`MaxPool`."""

    def _run(self, x: Any, **given: Any) -> Any:
        if not _is_plain(given):
            return super()._run(x, **given)
        windows, axes = _windows(x, given, 0.0)
        counted = 1.0 if given.get("count_include_pad") else 0.0
        inside, _ = _windows(np.ones_like(x), given, counted)
        return (windows.sum(axis=axes) / inside.sum(axis=axes),)


def _is_plain(given: dict[str, Any]) -> bool:
    return given.get("auto_pad") in (None, "NOTSET", "VALID") and not given.get("ceil_mode")


def _windows(x: Any, given: dict[str, Any], padding: float) -> tuple[Any, tuple[int, ...]]:
    """The windows of a pooling, (batch, channel, *places, *window), and the axes of the window."""
    kernel = given["kernel_shape"]
    sides = len(kernel)
    pads = given.get("pads") or [0] * 2 * sides
    strides, dilations = given.get("strides") or [1] * sides, given.get("dilations") or [1] * sides
    around = [(0, 0), (0, 0), *zip(pads[:sides], pads[sides:], strict=True)]
    padded = np.pad(x, around, constant_values=padding)
    spans = tuple((size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(padded, spans, tuple(range(2, x.ndim)))
    every = (slice(None), slice(None), *(slice(None, None, each) for each in (*strides, *dilations)))
    return windows[every], tuple(range(-sides, 0))


def evaluator(proto: Any) -> Any:
    """ONNX's reference evaluator of ``proto``, with the operators above."""
    return ReferenceEvaluator(proto, new_ops=[LRN, MaxPool, AveragePool])


def in_double(proto: Any, output: str) -> Any:
    """The file up to ``output`` with every single-precision number in double; sizes of a resizing stay as they are."""
    double = ModelProto()
    double.CopyFrom(proto)
    graph = double.graph
    kept = {name for node in graph.node if node.op_type in ("Resize", "Upsample") for name in node.input[1:]}

    def converted(tensor: Any) -> Any:
        if tensor.data_type != TensorProto.FLOAT:
            return tensor
        return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name)

    for tensor in graph.initializer:
        if tensor.name not in kept:
            tensor.CopyFrom(converted(tensor))
    for node in graph.node:
        if node.op_type == "BatchNormalization":
            # Before opset 14 the evaluator mixes the batch's own statistics in, by the momentum: by none of them.
            kept_attributes = [each for each in node.attribute if each.name != "momentum"]
            del node.attribute[:]
            node.attribute.extend([*kept_attributes, helper.make_attribute("momentum", 1.0)])
        for attribute in node.attribute:
            if attribute.HasField("t") and not kept.intersection(node.output):
                attribute.t.CopyFrom(converted(attribute.t))
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
    for value in graph.input:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    del graph.value_info[:], graph.output[:]
    graph.output.append(helper.make_tensor_value_info(output, TensorProto.DOUBLE, None))
    return double
