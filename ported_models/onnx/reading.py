"""An ONNX file of any exporter on its way to layers: its constants, its tensors and where their axes lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from math import prod
from typing import Any, NoReturn

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from harness.errors import HarnessError, ModelSourceError, UnsupportedLayerError
from harness.graph import Input, Layer, default_axes, in_words
from harness.graph.inputs import SIDE_BY_SIDE
from ported_models.build import Builder
from ported_models.limits import LARGEST_LAYER, check_layers, trusted
from ported_models.onnx.folding import UNLESS_TRUSTED, too_large
from ported_models.onnx.layout import (
    Order,
    canonical_order,
    channels_first_order,
    compose,
    features_last,
    inverse,
)
from ported_models.onnx.naming import LayerNames, first_output
from ported_models.outputs import place_of

#: Stands for a batch axis of no fixed size while shapes are computed: a number that no layer has.
DYNAMIC_BATCH = 211
#: The most bytes of constants computed from others, beside this many times the bytes of the file.
LARGEST_FOLDED, FOLDED_TIMES = 3 * 2**27, 4
#: Operators that say nothing about where the channels of their input lie, and keep its axes.
AXIS_BLIND = {
    "Abs", "Add", "Cast", "Clip", "Concat", "Div", "Dropout", "Elu", "Erf", "Gelu", "Identity", "LeakyRelu",
    "HardSigmoid", "HardSwish", "LogSoftmax", "Max", "Mish", "Mul", "Neg", "PRelu", "Pad", "Pow", "Relu", "Resize",
    "Selu", "Sigmoid", "Slice", "Softmax", "Split", "Sqrt", "Sub", "Sum", "Swish", "Tanh", "Upsample",
}  # fmt: skip


class BatchAxisError(UnsupportedLayerError):
    """An operator that mixes the first axis of a tensor, the batch, with others."""


@dataclass(frozen=True)
class Tensor:
    """The output of a layer as the ONNX file has it: ``onnx = canonical.transpose(order)``.

    Of a file without a batch axis (`Reading.free`) the ONNX tensor is taken with one in front of its own.

    ``beside``: how many axes before the batch, and how many behind it, the file has in one axis with it, as in
    (batch * head, token, feature).
    """

    layer: str
    order: Order
    beside: tuple[int, int] = (0, 0)

    @property
    def rank(self) -> int:
        """The number of the layer's axes."""
        return len(self.order)

    @property
    def batch_first(self) -> bool:
        """Whether the batch is the first axis, and an axis of its own."""
        return self.order[0] == 0 and self.beside == (0, 0)

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """For each axis of the file the places in ``order`` that it consists of: several for that of the batch."""
        place, (before, behind) = self.order.index(0), self.beside
        together = tuple(range(place - before, place + behind + 1))
        alone = ((each,) for each in range(self.rank))
        return (
            *list(alone)[: place - before],
            together,
            *((each,) for each in range(together[-1] + 1, self.rank)),
        )


#: What is said of an input that cannot be one, in a file of several.
_FIXED_VALUE = (
    "give what is not to be explained a fixed value: append it to graph.initializer, under the input's name, and take "
    "the input out of graph.input"
)
#: The sizes of an example: of the one input, or by name.
Sizes = Sequence[int] | Mapping[str, Sequence[int]] | None
#: The names of axes in the file's order: of the one input, or by name.
AxesOfInputs = Sequence[str] | Mapping[str, Sequence[str]] | None


@dataclass(frozen=True)
class _Started:
    """An input, the order of its axes in the file, its batch (0: open), and what was taken for granted of its axes."""

    input: Input
    order: Order
    batch: int
    assumed: str


class Reading:
    """The state of one reading. ``file`` is what error messages call the source.

    ``channels_first``: the operators that look for the channels at axis 1. ``free``: how many axes the graph has in
    front of the file's: 0, or 1 for a file whose first axis is no batch, so that one run of it is one sample.
    ``output``: the name or place of the output that is read, where there are several. ``sizes``: those of an example
    of the input, where the file leaves some open. ``axes``: the names of the input's axes in the file's order. Of
    several inputs both are by name.
    """

    def __init__(
        self,
        proto: onnx.ModelProto,
        name: str,
        file: str,
        channels_first: Set[str],
        free: int = 0,
        output: str | int | None = None,
        sizes: Sizes = None,
        axes: AxesOfInputs = None,
    ) -> None:
        graph = proto.graph
        self.free = free
        self.proto = proto
        self.file = file
        self._channels_first = channels_first
        self.opset = {entry.domain: entry.version for entry in proto.opset_import}.get("", 1)
        self.opsets = list(proto.opset_import)
        self._ir_version = proto.ir_version
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.output = self._output([value.name for value in graph.output], output)
        self.nodes = needed(graph.node, self.output)
        weights = set(self.constants)
        inputs = [value for value in graph.input if value.name not in weights]
        self._uses = Counter(name for node in self.nodes for name in node.input)
        self._uses[self.output] += 1
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for tensor in dict.fromkeys(node.input):
                self._readers.setdefault(tensor, []).append(node)
        self.names = LayerNames(_computing(self.nodes, weights), weights)
        self._layers = 0
        #: The bytes of the constants that the file itself holds.
        self.held = sum(array.nbytes for array in self.constants.values())
        self._folded = 0
        self.tensors: dict[str, Tensor] = {}
        #: What was taken for granted of the input's axes, as a sentence; empty where nothing was.
        self.assumed = ""
        #: By layer, the log-softmax that it was read from, as a softmax.
        self.log_softmax: dict[str, onnx.NodeProto] = {}
        #: Outputs of nodes that an earlier layer has taken in.
        self.done: set[str] = set()
        for node in self.nodes:
            # Before any layer is read, so that a layer of several operators finds all of its constants.
            if self.reads_only_constants(node):
                self.fold(node)
        self._start(name, inputs, sizes, axes)

    def _start(
        self, name: str, values: Sequence[onnx.ValueInfoProto], given: Sizes, axes: AxesOfInputs
    ) -> None:
        """Begin the graph with its input layer, and the layer of each of several inputs."""
        names = [value.name for value in values]
        if not values:
            raise ModelSourceError(f"{self.file}: the graph has no inputs, expected one or more")
        for what, by_name in (("example=", given), ("axes=", axes)):
            by = isinstance(by_name, Mapping)
            if by_name is not None and (not set(by_name) <= set(names) if by else len(names) > 1):
                raise ModelSourceError(
                    f"{self.file}: {what} is not given by the names of its inputs; expected a mapping from "
                    f"{', '.join(map(repr, names))}"
                )
        started = [
            self._input(
                value,
                given.get(value.name) if isinstance(given, Mapping) else given,
                axes.get(value.name) if isinstance(axes, Mapping) else axes,
                len(values) > 1,
            )
            for value in values
        ]
        batches = {one.batch for one in started if one.batch}
        if len(batches) > 1:
            listed = ", ".join(f"{one.input.name!r} {one.batch}" for one in started if one.batch)
            raise ModelSourceError(
                f"{self.file}: its inputs have first axes of different sizes ({listed}), expected the batch of each; "
                f"{_FIXED_VALUE}"
            )
        self.batch = next(iter(batches), DYNAMIC_BATCH)
        if len(started) == 1:
            one = started[0].input
            self.builder = Builder(name, one.shape, one.axes, one.layer)
        else:
            self.builder = Builder.of_several(
                name, [one.input for one in started], self.names.input(SIDE_BY_SIDE)
            )
        if prod(self.builder.layers[0].shape) > LARGEST_LAYER:
            raise ModelSourceError(f"{self.file}: its inputs have too many numbers together to explain")
        self.assumed = "; ".join(one.assumed for one in started if one.assumed)
        #: The layers of the inputs.
        self.given = {one.input.layer for one in started}
        for each in started:
            self.tensors[each.input.name] = Tensor(each.input.layer, each.order)

    def _input(
        self,
        value: onnx.ValueInfoProto,
        given: Sequence[int] | None,
        axes: Sequence[str] | None,
        several: bool,
    ) -> _Started:
        """What is known of one input."""
        dims = value.type.tensor_type.shape.dim
        sizes = [dim.dim_value if dim.dim_value > 0 else None for dim in dims]
        first = not self.free and self.reads_channels_first(value.name)
        if axes is not None and len(axes) >= 3:
            first = axes[1] in ("channel", "feature")
        if given is not None:
            sizes = self._sizes_of_example(value.name, sizes, tuple(given), first)
        if axes is not None and len(axes) != len(sizes):
            raise ModelSourceError(
                f"{self.file}: axes= names {len(axes)} axes ({', '.join(axes)}), the input {value.name!r} "
                f"has {len(sizes)}"
            )
        if self.free:
            sizes, axes = [1, *sizes], None if axes is None else ("batch", *axes)
        if len(sizes) < 2 or any(not size for size in sizes[1:]):
            listed = ", ".join(dim.dim_param or str(dim.dim_value or "?") for dim in dims)
            raise ModelSourceError(
                f"{self.file}: the input {value.name!r} has the shape ({listed}), expected a batch axis and "
                "fixed sizes for all others; "
                + (
                    _FIXED_VALUE
                    if several and len(sizes) < 2
                    else "pass an array of the size that you want with example=, or export the "
                    "model again with a fixed input size"
                )
            )
        rank = len(sizes)
        order = channels_first_order(rank) if first else canonical_order(rank)
        canonical = [sizes[axis] for axis in inverse(order)]
        input_name = self.names.input(value.name)
        shape = [int(size or 0) for size in canonical[1:]]
        if prod(shape) > LARGEST_LAYER:
            raise ModelSourceError(
                f"{self.file}: its input {value.name!r} has {prod(shape)} numbers, too many to explain"
            )
        names = default_axes(shape) if axes is None else tuple(axes[axis] for axis in inverse(order))
        assumed = ""
        if axes is None and not self.free and not first and rank >= 3:
            assumed = (
                f"no operator says which axes the input {value.name!r} has: it is read as "
                f"{in_words(names)}; where that is wrong, name them in the file's order, axes="
            )
        return _Started(
            Input(value.name, input_name, tuple(shape), names), order, int(sizes[0] or 0), assumed
        )

    def _sizes_of_example(
        self, name: str, sizes: list[int | None], given: tuple[int, ...], first: bool
    ) -> list[int | None]:
        """The input's sizes with those of an example where the file leaves them open.

        An example is channels-last, as every array is; where only its sizes as they are fit the file's, it is in the
        file's own order.
        """
        if len(given) == len(sizes):
            moved = tuple(given[axis] for axis in channels_first_order(len(given)))
            for sides in (moved, given) if first else (given,):
                if all(size in (None, side) for size, side in zip(sizes[1:], sides[1:], strict=True)):
                    # The batch of an example is one of many.
                    return [sizes[0], *sides[1:]]
        listed = ", ".join("?" if size is None else str(size) for size in sizes)
        raise ModelSourceError(
            f"{self.file}: example= has the shape {given}, which does not fit the input {name!r} ({listed} in the "
            "file's order)"
        )

    def _output(self, names: Sequence[str], chosen: str | int | None) -> str:
        return names[place_of(names, chosen, self.file, "the graph has")]

    def position(self, axis: int, rank: int) -> int:
        """Where an axis that the file counts stands in the order of a tensor of ``rank``, the free axes included."""
        return int(axis) % (rank - self.free) + self.free

    def place(self, node: onnx.NodeProto, tensor: Tensor, axis: int) -> int:
        """The same of an axis of ``tensor``, wherever the batch stands.

        Raises `BatchAxisError` for an axis that holds more than the batch.
        """
        groups = tensor.groups
        (place, *more) = groups[self.position(axis, len(groups))]
        if more:
            self.mixes_batch(node, f"its axis {axis} holds the batch and more")
        return place

    def mixes_batch(self, node: onnx.NodeProto, why: str) -> NoReturn:
        """Raise `BatchAxisError` for ``node``."""
        try:
            self.unsupported(node, why)
        except UnsupportedLayerError as error:
            raise BatchAxisError(str(error)) from None

    def unsupported(self, node: onnx.NodeProto, why: str) -> NoReturn:
        """Raise `UnsupportedLayerError` for ``node``."""
        operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise UnsupportedLayerError(
            f"{self.file}: node {node.name or first_output(node)!r} ({operator}): {why}; "
            "express it with supported layers (see `PortedModel`) and export again"
        )

    def constant(self, node: onnx.NodeProto, index: int, what: str) -> np.ndarray | None:
        """The constant that the node reads at ``index``; None where it reads nothing there."""
        if index >= len(node.input) or not node.input[index]:
            return None
        if node.input[index] not in self.constants:
            self.unsupported(node, f"its {what} is computed from the input, expected a constant")
        return self.constants[node.input[index]]

    def tensor(self, node: onnx.NodeProto, index: int = 0, anywhere: bool = False) -> Tensor:
        """The layer output that the node reads at ``index``; ``anywhere``: its batch may stand at any axis."""
        if index >= len(node.input) or node.input[index] not in self.tensors:
            self.unsupported(node, f"its input {index} is no output of a layer")
        tensor = self.tensors[node.input[index]]
        if not (anywhere or tensor.batch_first):
            self.mixes_batch(node, "the batch is not the first axis of its input, expected it first")
        return tensor

    def sizes(self, tensor: Tensor) -> tuple[int, ...]:
        """The tensor's shape in ONNX's axis order, batch included; axes in one with the batch by themselves."""
        canonical = (self.batch, *self.builder[tensor.layer].shape)
        return tuple(canonical[axis] for axis in tensor.order)

    def own_sizes(self, tensor: Tensor) -> tuple[int, ...]:
        """The tensor's shape as the file has it."""
        sizes = self.sizes(tensor)
        return tuple(prod(sizes[place] for place in group) for group in tensor.groups)[self.free :]

    def is_room(self, layer: Layer) -> bool:
        """Whether it adds constants to zeros that a ``pad`` put beside a tensor."""
        return layer.kind == "affine" and self.builder[layer.inputs[0]].kind == "pad"

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
                if node.op_type in self._channels_first or self._slopes_of_channels(node):
                    return True
                if node.op_type in AXIS_BLIND or self._keeps_channels(node):
                    pending += [output for output in node.output if output not in seen]
                    seen.update(node.output)
        return False

    def _slopes_of_channels(self, node: onnx.NodeProto) -> bool:
        """Whether it is a PRelu with a slope for each index of axis 1, as exporters write it: (channel, 1, ...)."""
        slope = self.constants.get(node.input[1]) if node.op_type == "PRelu" else None
        return slope is not None and slope.ndim >= 2 and slope.size == slope.shape[0] > 1

    def _keeps_channels(self, node: onnx.NodeProto) -> bool:
        """Whether it adds or drops axes behind axis 1 alone."""
        if node.op_type not in ("Squeeze", "Unsqueeze"):
            return False
        listed = self.constants.get(node.input[1]) if len(node.input) > 1 else None
        axes = attribute(node, "axes", ()) if listed is None else listed.tolist()
        return bool(axes) and min(axes) >= 2

    def arranged(self, node: onnx.NodeProto, tensor: Tensor, order: Order) -> Tensor:
        """The same ONNX tensor with its axes in ``order``: a permute layer where they are not yet so."""
        if tensor.order == order:
            return tensor
        dims = compose(tensor.order, inverse(order))[1:]
        name = self.builder.add(
            "permute", self.names.beside(node, "permute"), tensor.layer, attributes={"dims": dims}
        )
        return Tensor(name, order, tensor.beside)

    def features_last(self, node: onnx.NodeProto, index: int = 0) -> Tensor:
        """The input at ``index`` with its axes as the layer has them, but for the batch, wherever that stands."""
        tensor = self.tensor(node, index, anywhere=True)
        return self.arranged(node, tensor, features_last(tensor.order))

    def channels_first(self, node: onnx.NodeProto, index: int = 0) -> Tensor:
        """The input at ``index``, its channels where convolution and pooling want them."""
        if self.free:
            self.unsupported(node, "it stands in a network that mixes its first axis with others")
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
        output: str | None = None,
    ) -> Tensor:
        """Append the layer that ``node`` (up to ``last``, where it is several) stands for; returns its output.

        ``order`` is that of the output, by default the first input's; ``output``: its name, by default the first of
        the node's. A node that is several layers emits them one after the other.
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
        self._layers += 1
        check_layers(self._layers, self.file)
        size = prod(self.builder[name].shape)
        if size > LARGEST_LAYER:
            self.unsupported(
                node, f"its output has {size} numbers for each sample, at most {LARGEST_LAYER} are read"
            )
        tensor = Tensor(name, inputs[0].order, inputs[0].beside) if order is None else Tensor(name, order)
        self.tensors[output or first_output(last or node)] = tensor
        return tensor

    def rename(self, node: onnx.NodeProto, tensor: Tensor, output: str | None = None) -> None:
        """Let the node's output be ``tensor``: it changes no value."""
        self.tensors[output or first_output(node)] = tensor

    def reads_only_constants(self, node: onnx.NodeProto) -> bool:
        return all(name in self.constants for name in node.input if name)

    def fold(self, node: onnx.NodeProto) -> None:
        """Compute a node that reads only constants."""
        inputs = {name: self.constants[name] for name in node.input if name}
        why = too_large(node, [self.constants[name] if name else None for name in node.input], self.opset)
        if why:
            self.unsupported(node, f"it reads only constants, and {why}")
        try:
            results = computed(node, inputs, self.opsets, self._ir_version)
        except Exception as error:  # the evaluator raises whatever its operators raise
            self.unsupported(node, f"it reads only constants but cannot be computed ({error})")
        size = sum(np.asarray(result).nbytes for result in results)
        if node.op_type == "Constant":
            self.held += size
        else:
            self._folded += size
        limit = LARGEST_FOLDED + FOLDED_TIMES * self.held
        if self._folded > limit and not trusted():
            self.unsupported(
                node,
                f"the constants computed from others take more than {limit >> 20} MiB; {UNLESS_TRUSTED}",
            )
        self.constants.update(zip((name for name in node.output if name), results, strict=True))


def computed(
    node: onnx.NodeProto,
    inputs: Mapping[str, np.ndarray],
    opsets: Sequence[onnx.OperatorSetIdProto],
    ir_version: int,
) -> list[np.ndarray]:
    """The outputs of ``node`` by ONNX's reference; those of a Resize, which that reckons otherwise, by ONNX Runtime."""
    outputs = [name for name in node.output if name]
    types = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in inputs.items()}
    graph = helper.make_graph(
        [node],
        "constant",
        [helper.make_tensor_value_info(name, kind, inputs[name].shape) for name, kind in types.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    model = helper.make_model(graph, opset_imports=opsets, ir_version=max(ir_version, 4))
    if node.op_type != "Resize":
        return ReferenceEvaluator(model).run(None, dict(inputs))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
    return session.run(None, dict(inputs))


def attribute(node: onnx.NodeProto, key: str, default: Any = None) -> Any:
    """An attribute of the node as Python has it, strings decoded."""
    for entry in node.attribute:
        if entry.name == key:
            value = helper.get_attribute_value(entry)
            return value.decode() if isinstance(value, bytes) else value
    return default


def needed(nodes: Sequence[onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
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
