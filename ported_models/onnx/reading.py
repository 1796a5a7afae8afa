"""An ONNX file of any exporter on its way to layers: its constants, its tensors and where their axes lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from harness.errors import HarnessError, ModelSourceError, UnsupportedLayerError
from ported_models.build import Builder
from ported_models.onnx.layout import Order, canonical_order, channels_first_order, compose, inverse
from ported_models.onnx.naming import LayerNames

#: Stands for a batch axis of no fixed size while shapes are computed: a number that no layer has.
DYNAMIC_BATCH = 10007
#: Operators that say nothing about where the channels of their input lie, and keep its axes.
AXIS_BLIND = {
    "Abs", "Add", "Cast", "Clip", "Concat", "Div", "Dropout", "Elu", "Erf", "Gelu", "Identity", "LeakyRelu",
    "LogSoftmax", "Max", "Mul", "Neg", "PRelu", "Pad", "Pow", "Relu", "Resize", "Selu", "Sigmoid", "Slice",
    "Softmax", "Sub", "Sum", "Swish", "Tanh", "Upsample",
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """The output of a layer as the ONNX file has it: ``onnx = canonical.transpose(order)``."""

    layer: str
    order: Order

    @property
    def rank(self) -> int:
        return len(self.order)


class Reading:
    """The state of one reading. ``file`` is what error messages call the source.

    ``channels_first``: the operators that look for the channels at axis 1.
    """

    def __init__(self, proto: onnx.ModelProto, name: str, file: str, channels_first: Set[str]) -> None:
        graph = proto.graph
        self.file = file
        self._channels_first = channels_first
        self.opset = {entry.domain: entry.version for entry in proto.opset_import}.get("", 1)
        self.opsets = list(proto.opset_import)
        self._ir_version = proto.ir_version
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.output = self._single("output", [value.name for value in graph.output])
        self.nodes = _needed(graph.node, self.output)
        weights = set(self.constants)
        inputs = [value for value in graph.input if value.name not in weights]
        self._single("input", [value.name for value in inputs])
        self._uses = Counter(name for node in self.nodes for name in node.input)
        self._uses[self.output] += 1
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for tensor in dict.fromkeys(node.input):
                self._readers.setdefault(tensor, []).append(node)
        self.names = LayerNames(_computing(self.nodes, weights), weights)
        self.tensors: dict[str, Tensor] = {}
        #: By layer, the log-softmax that it was read from, as a softmax.
        self.log_softmax: dict[str, onnx.NodeProto] = {}
        #: Outputs of nodes that an earlier layer has taken in.
        self.done: set[str] = set()
        self._start(name, inputs[0])

    def _start(self, name: str, value: onnx.ValueInfoProto) -> None:
        """Begin the graph with its input layer."""
        dims = value.type.tensor_type.shape.dim
        sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
        if len(sizes) < 2 or any(not size for size in sizes[1:]):
            found = ", ".join(dim.dim_param or str(dim.dim_value or "?") for dim in dims)
            raise ModelSourceError(
                f"{self.file}: the input {value.name!r} has the shape ({found}), expected a batch axis and "
                "fixed sizes for all others; export the model again with a fixed input size"
            )
        self.batch = sizes[0] or DYNAMIC_BATCH
        rank = len(sizes)
        order = channels_first_order(rank) if self.reads_channels_first(value.name) else canonical_order(rank)
        canonical = [sizes[axis] for axis in inverse(order)]
        input_name = self.names.input(value.name)
        self.builder = Builder(name, [int(size or 0) for size in canonical[1:]], input_name=input_name)
        self.tensors[value.name] = Tensor(input_name, order)

    def _single(self, what: str, names: Sequence[str]) -> str:
        if len(names) != 1:
            raise ModelSourceError(
                f"{self.file}: the graph has {len(names)} {what}s ({', '.join(names)}), expected one; "
                f"cut the file to one {what}, e.g. with onnx.utils.extract_model"
            )
        return names[0]

    def unsupported(self, node: onnx.NodeProto, why: str) -> NoReturn:
        """Raise `UnsupportedLayerError` for ``node``."""
        operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise UnsupportedLayerError(
            f"{self.file}: node {node.name or node.output[0]!r} ({operator}): {why}; "
            "express it with supported layers (see `PortedModel`) and export again"
        )

    def constant(self, node: onnx.NodeProto, index: int, what: str) -> np.ndarray | None:
        """The constant that the node reads at ``index``; None where it reads nothing there."""
        if index >= len(node.input) or not node.input[index]:
            return None
        if node.input[index] not in self.constants:
            self.unsupported(node, f"its {what} is computed from the input, expected a constant")
        return self.constants[node.input[index]]

    def tensor(self, node: onnx.NodeProto, index: int = 0) -> Tensor:
        """The layer output that the node reads at ``index``."""
        if index >= len(node.input) or node.input[index] not in self.tensors:
            self.unsupported(node, f"its input {index} is no output of a layer")
        return self.tensors[node.input[index]]

    def sizes(self, tensor: Tensor) -> tuple[int, ...]:
        """The tensor's shape in ONNX's axis order, batch included."""
        canonical = (self.batch, *self.builder[tensor.layer].shape)
        return tuple(canonical[axis] for axis in tensor.order)

    def uses(self, name: str) -> int:
        """How often the tensor is read, by nodes or as the file's output."""
        return self._uses[name]

    def readers(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that read the tensor, in forward order."""
        return self._readers.get(name, [])

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The node that alone, and once, reads the tensor."""
        return self.readers(name)[0] if self.uses(name) == 1 and self.readers(name) else None

    def reads_channels_first(self, name: str) -> bool:
        """Whether the first operator that cares wants the tensor's channels at axis 1."""
        pending, seen = [name], set()
        while pending:
            for node in self.readers(pending.pop(0)):
                if node.op_type in self._channels_first:
                    return True
                if node.op_type in AXIS_BLIND and node.output[0] not in seen:
                    seen.add(node.output[0])
                    pending.append(node.output[0])
        return False

    def arranged(self, node: onnx.NodeProto, tensor: Tensor, order: Order) -> Tensor:
        """The same ONNX tensor with its axes in ``order``: a permute layer where they are not yet so."""
        if tensor.order == order:
            return tensor
        dims = compose(tensor.order, inverse(order))[1:]
        name = self.builder.add(
            "permute", self.names.beside(node, "permute"), tensor.layer, attributes={"dims": dims}
        )
        return Tensor(name, order)

    def channels_first(self, node: onnx.NodeProto, index: int = 0) -> Tensor:
        """The input at ``index``, its channels where convolution and pooling want them."""
        tensor = self.tensor(node, index)
        return self.arranged(node, tensor, channels_first_order(tensor.rank))

    def channels_last(self, node: onnx.NodeProto, index: int = 0) -> Tensor:
        """The input at ``index`` with ONNX's axis order as the canonical one."""
        tensor = self.tensor(node, index)
        return self.arranged(node, tensor, canonical_order(tensor.rank))

    def emit(
        self,
        node: onnx.NodeProto,
        kind: str,
        inputs: Sequence[Tensor],
        attributes: Mapping[str, Any] | None = None,
        weights: Mapping[str, np.ndarray | None] | None = None,
        order: Order | None = None,
        last: onnx.NodeProto | None = None,
    ) -> None:
        """Append the layer that ``node`` (up to ``last``, where it is several) stands for.

        ``order`` is that of the output, by default the first input's.
        """
        given = {
            key: np.ascontiguousarray(array) for key, array in (weights or {}).items() if array is not None
        }
        try:
            name = self.builder.add(
                kind,
                self.names.layer(node, kind),
                [tensor.layer for tensor in inputs],
                attributes=attributes,
                weights=given,
            )
        except HarnessError as error:
            self.unsupported(node, str(error))
        self.tensors[(last or node).output[0]] = Tensor(name, inputs[0].order if order is None else order)

    def rename(self, node: onnx.NodeProto, tensor: Tensor) -> None:
        """Let the node's output be ``tensor``: it changes no value."""
        self.tensors[node.output[0]] = tensor

    def fold(self, node: onnx.NodeProto) -> None:
        """Compute a node that reads only constants."""
        inputs = {name: self.constants[name] for name in node.input if name}
        graph = helper.make_graph(
            [node],
            "constant",
            [helper.make_value_info(name, onnx.TypeProto()) for name in inputs],
            [helper.make_value_info(name, onnx.TypeProto()) for name in node.output if name],
        )
        model = helper.make_model(graph, opset_imports=self.opsets, ir_version=self._ir_version)
        try:
            results = ReferenceEvaluator(model).run(None, inputs)
        except Exception as error:  # the evaluator raises whatever its operators raise
            self.unsupported(node, f"it reads only constants but cannot be computed ({error})")
        self.constants.update(zip((name for name in node.output if name), results, strict=True))


def attribute(node: onnx.NodeProto, key: str, default: Any = None) -> Any:
    """An attribute of the node as Python has it, strings decoded."""
    for entry in node.attribute:
        if entry.name == key:
            value = helper.get_attribute_value(entry)
            return value.decode() if isinstance(value, bytes) else value
    return default


def _needed(nodes: Sequence[onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
    """The nodes that the output depends on, in the file's order."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _computing(nodes: Sequence[onnx.NodeProto], weights: set[str]) -> list[onnx.NodeProto]:
    """The nodes that compute with values, not with constants and shapes alone."""
    known = set(weights) | {""}
    kept = []
    for node in nodes:
        if node.op_type == "Shape" or known.issuperset(node.input):
            known.update(node.output)
        else:
            kept.append(node)
    return kept
