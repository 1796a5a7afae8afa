"""Functions that exporters spell out: several operators between one tensor and another that are one layer.

GELU, swish, leaky ReLU and layer normalisation come in many spellings (which constant stands where, a square
as Pow or Mul, a division as Reciprocal). So they are not recognised by their spelling but by their values:
operators are gathered from a tensor that is read more than once until a single tensor is left, that cone
is computed in float64 on probe values, and the layer that gives the same values is what it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from ported_models.norms import TOLERANCE, Found, norm_of
from ported_models.onnx.layout import features_last
from ported_models.onnx.reading import Reading

_POINTWISE = {
    "Add", "Sub", "Mul", "Div", "Pow", "Erf", "Tanh", "Sigmoid", "Max", "Sqrt", "Reciprocal", "Neg",
    "Identity",
}  # fmt: skip
_GATHERED = _POINTWISE | {"ReduceMean"}
_MAX_NODES = 16
_PROBES = np.linspace(-6.0, 6.0, 97)


@dataclass
class _Cone:
    """Nodes between the tensor ``entry`` and the last node's output; nothing else leaves them."""

    entry: str
    nodes: list[onnx.NodeProto]
    constants: dict[str, np.ndarray]
    opsets: list[onnx.OperatorSetIdProto]


def read_cone(reading: Reading, node: onnx.NodeProto) -> bool:
    """Append the layer that the cone beginning with ``node`` spells out, the longest if there are several."""
    entries = [name for name in node.input if name in reading.tensors]
    if not entries or reading.uses(entries[0]) < 2 or node.op_type not in _GATHERED:
        return False
    best: tuple[_Cone, Found] | None = None
    for cone in _cones(reading, entries[0]):
        layer = _pointwise(cone) or _norm(cone, reading)
        best = (cone, layer) if layer is not None else best
    if best is None:
        return False
    cone, (kind, attributes, weights) = best
    x = reading.tensors[cone.entry]
    if kind in ("layer_norm", "rms_norm"):
        x = reading.arranged(node, x, features_last(x.order))
    reading.emit(cone.nodes[0], kind, [x], attributes, weights, last=cone.nodes[-1])
    reading.done.update(output for inner in cone.nodes for output in inner.output)
    return True


def _cones(reading: Reading, entry: str) -> Iterator[_Cone]:
    """Every cone from ``entry``, the smallest first."""
    inside, members = {entry}, []
    for node in reading.nodes:
        if node.output[0] in reading.tensors or node.output[0] in reading.done:
            continue  # it belongs to a layer already
        read = [name for name in node.input if name and name not in reading.constants]
        if not read or not inside.issuperset(read) or node.op_type not in _GATHERED:
            continue
        members.append(node)
        inside.add(node.output[0])
        if len(members) > _MAX_NODES:
            return
        within = [name for member in members for name in member.input]
        inner = inside - {entry, node.output[0]}
        if len(members) > 1 and all(within.count(name) == reading.uses(name) for name in inner):
            constants = {name: reading.constants[name] for name in within if name in reading.constants}
            yield _Cone(entry, list(members), constants, reading.opsets)


def _values(cone: _Cone, x: np.ndarray) -> np.ndarray:
    """What the cone makes of ``x``, in float64."""
    wide = {
        name: array.astype(np.float64) if array.dtype.kind == "f" else array
        for name, array in cone.constants.items()
    }
    output = cone.nodes[-1].output[0]
    graph = helper.make_graph(
        cone.nodes,
        "cone",
        [helper.make_tensor_value_info(cone.entry, TensorProto.DOUBLE, x.shape)],
        [helper.make_tensor_value_info(output, TensorProto.DOUBLE, None)],
        [numpy_helper.from_array(array, name) for name, array in wide.items()],
    )
    with np.errstate(all="ignore"):
        return ReferenceEvaluator(helper.make_model(graph, opset_imports=cone.opsets)).run(
            None, {cone.entry: x}
        )[0]


def _pointwise(cone: _Cone) -> Found | None:
    """The activation that has the cone's values on [-6, 6]."""
    if any(array.size != 1 for array in cone.constants.values()) or _has_mean(cone):
        return None
    x = _PROBES
    values = _values(cone, x)
    slope = float(values[0] / x[0])
    candidates: list[tuple[str, dict[str, Any], np.ndarray]] = [
        ("gelu", {"approximate": "none"}, x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))),
        (
            "gelu",
            {"approximate": "tanh"},
            x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        ),
        ("swish", {}, x / (1 + np.exp(-x))),
        ("leaky_relu", {"alpha": slope}, np.where(x > 0, x, slope * x)),
    ]
    for kind, attributes, expected in candidates:
        if np.allclose(values, expected, rtol=0, atol=TOLERANCE * np.abs(x).max()):
            return kind, attributes, {}
    return None


def _norm(cone: _Cone, reading: Reading) -> Found | None:
    """The layer norm or RMS norm that the cone is."""
    if not _has_mean(cone):
        return None
    entry, constants = reading.tensors[cone.entry], list(cone.constants.values())
    behind = entry.rank - 1 - entry.order.index(0) - entry.beside[1]
    epsilons = [float(array.reshape(())) for array in constants if array.size == 1]
    return norm_of(lambda x: _values(cone, x), reading.own_sizes(entry), behind, epsilons, constants)


def _has_mean(cone: _Cone) -> bool:
    return any(node.op_type == "ReduceMean" for node in cone.nodes)
