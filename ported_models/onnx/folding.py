"""What a file's constants and functions may cost: said before anything is computed or unfolded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import onnx

from ported_models.limits import VARIABLE, trusted

#: The most numbers that one folded constant may have, where it is larger than what it is computed from; the most
#: products that are taken for one; and the most nodes of a file once its functions are inlined.
LARGEST, MOST_PRODUCTS, MOST_NODES = 3 * 2**25, 2**33, 200_000
#: Ends what is said of a constant that is too large.
UNLESS_TRUSTED = f"if you trust the file, set {VARIABLE}=1; else"
#: Operators whose output has no more numbers than their inputs broadcast together.
_BOUNDED = frozenset(
    [
        "Abs",
        "Acos",
        "Acosh",
        "Add",
        "And",
        "ArgMax",
        "ArgMin",
        "Asin",
        "Asinh",
        "Atan",
        "Atanh",
        "BitwiseAnd",
        "BitwiseNot",
        "BitwiseOr",
        "BitwiseXor",
        "Cast",
        "CastLike",
        "Ceil",
        "Celu",
        "Clip",
        "Compress",
        "Concat",
        "Constant",
        "Cos",
        "Cosh",
        "DequantizeLinear",
        "Div",
        "Elu",
        "Equal",
        "Erf",
        "Exp",
        "Flatten",
        "Floor",
        "Gelu",
        "Greater",
        "GreaterOrEqual",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "IsInf",
        "IsNaN",
        "LayerNormalization",
        "LeakyRelu",
        "Less",
        "LessOrEqual",
        "Log",
        "LogSoftmax",
        "Max",
        "Mean",
        "Min",
        "Mish",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Pow",
        "PRelu",
        "QuantizeLinear",
        "Reciprocal",
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "ReduceSumSquare",
        "Relu",
        "Reshape",
        "Round",
        "ScatterElements",
        "ScatterND",
        "Selu",
        "Shape",
        "Sigmoid",
        "Sign",
        "Sin",
        "Sinh",
        "Size",
        "Slice",
        "Softmax",
        "Softplus",
        "Softsign",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Sum",
        "Swish",
        "Tan",
        "Tanh",
        "Transpose",
        "Trilu",
        "Unsqueeze",
        "Where",
        "Xor",
    ]
)


def _broadcast(arrays: Sequence[np.ndarray]) -> int:
    return prod(np.broadcast_shapes(*(array.shape for array in arrays)))


def _sum(arrays: Sequence[np.ndarray]) -> int:
    return sum(array.size for array in arrays)


def _range(arrays: Sequence[np.ndarray]) -> int:
    start, limit, delta = (float(array) for array in arrays[:3])
    return max(0, int((limit - start) / delta) + 1)


def _resized(arrays: Sequence[np.ndarray]) -> int:
    """The last input holds the sizes, or factors of them."""
    *_, sides = arrays
    if sides.dtype.kind == "i":
        return prod(int(side) for side in sides.ravel())
    return int(arrays[0].size * prod(float(side) for side in sides.ravel())) + 1


def _product(arrays: Sequence[np.ndarray]) -> int:
    first, second = arrays[:2]
    return first.size * (second.shape[-1] if second.ndim > 1 else 1) if first.ndim else 0


#: For every other operator that is folded: how many numbers its output has, at most.
_SIZED: dict[str, Callable[[Sequence[np.ndarray]], int]] = {
    "ConstantOfShape": lambda arrays: prod(int(side) for side in arrays[0].ravel()),
    "Expand": lambda arrays: prod(
        np.broadcast_shapes(arrays[0].shape, tuple(int(side) for side in arrays[1].ravel()))
    ),
    "Tile": lambda arrays: arrays[0].size * prod(int(count) for count in arrays[1].ravel()),
    "Range": _range,
    "Gather": lambda arrays: arrays[0].size * arrays[1].size,
    "GatherElements": lambda arrays: arrays[1].size,
    "GatherND": lambda arrays: arrays[0].size * arrays[1].size,
    "MatMul": _product,
    "Gemm": lambda arrays: (
        max(array.shape[0] for array in arrays[:2]) * max(array.shape[-1] for array in arrays[:2])
    ),
    "Concat": _sum,
    "Pad": lambda arrays: prod(side + int(np.abs(arrays[1]).sum()) for side in arrays[0].shape),
    "NonZero": lambda arrays: arrays[0].size * arrays[0].ndim,
    "EyeLike": _sum,
    "Resize": _resized,
    "BatchNormalization": lambda arrays: sum(array.size for array in arrays[:3]),
}
#: By operator, the opset from which on the evaluator of onnx 1.23.2 computes it rightly: before, that of a batch norm
#: mixes the statistics of its input in.
_RIGHT_SINCE = {"BatchNormalization": 14}


def too_large(node: onnx.NodeProto, inputs: Sequence[np.ndarray | None], opset: int) -> str:
    """Why ``node`` is not computed in advance from its constant ``inputs``; "" where it may be."""
    arrays = [array for array in inputs if array is not None]
    if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
        return "it runs a graph of its own, which is not computed in advance"
    if opset < _RIGHT_SINCE.get(node.op_type, 0):
        return (
            f"an operator of this type is not computed in advance before opset {_RIGHT_SINCE[node.op_type]}"
        )
    try:
        if node.op_type in _SIZED:
            size = _SIZED[node.op_type](arrays)
        elif node.op_type in _BOUNDED:
            size = max(_broadcast(arrays) if _broadcasts(arrays) else _sum(arrays), 0)
        else:
            return "an operator of this type is not computed in advance"
    except (ValueError, IndexError, ZeroDivisionError, OverflowError, TypeError) as error:
        return f"they do not fit it ({error})"
    if size > max(LARGEST, _sum(arrays)) and not trusted():
        return f"would have {size} numbers, at most {LARGEST} are computed; {UNLESS_TRUSTED}"
    if (
        node.op_type in ("MatMul", "Gemm")
        and size * min(max(array.shape) for array in arrays[:2]) > MOST_PRODUCTS
        and not trusted()
    ):
        return f"would take more than {MOST_PRODUCTS} products; {UNLESS_TRUSTED}"
    if any(attribute.name == "to" and attribute.i == onnx.TensorProto.STRING for attribute in node.attribute):
        return "text is not computed in advance"
    return ""


def _broadcasts(arrays: Sequence[np.ndarray]) -> bool:
    try:
        np.broadcast_shapes(*(array.shape for array in arrays))
    except ValueError:
        return False
    return True


def inlined_nodes(proto: onnx.ModelProto) -> int:
    """How many nodes the file has once its functions are inlined; more than `MOST_NODES` for functions in a circle."""
    bodies = {(function.domain, function.name): list(function.node) for function in proto.functions}
    counts: dict[tuple[str, str], int] = {}
    open_: set[tuple[str, str]] = set()

    def of(nodes: Sequence[onnx.NodeProto]) -> int:
        return sum(1 + inside(node) for node in nodes)

    def inside(node: onnx.NodeProto) -> int:
        graphs = [each for attribute in node.attribute for each in (attribute.g, *attribute.graphs)]
        own = sum(of(graph.node) for graph in graphs)
        key = (node.domain, node.op_type)
        if key not in bodies:
            return own
        if key in open_:
            return own + MOST_NODES + 1
        if key not in counts:
            open_.add(key)
            counts[key] = of(bodies[key])
            open_.discard(key)
        return own + counts[key]

    return of(proto.graph.node)
