"""ONNX files as graphs: this project's own bit for bit, exporters' by reading their operators as layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import onnx
from onnx import inliner

from harness.errors import HarnessError, ModelSourceError, UnsupportedLayerError
from harness.graph import Graph
from ported_models.endings import without_ending
from ported_models.onnx.branches import without_branches
from ported_models.onnx.cones import read_cone
from ported_models.onnx.folding import MOST_NODES, inlined_nodes
from ported_models.onnx.layout import canonical_order, channels_first_order, features_last
from ported_models.onnx.naming import first_output
from ported_models.onnx.neutral import is_neutral, neutral_to_graph, removed_ending
from ported_models.onnx.operators import CHANNELS_FIRST, OPERATORS
from ported_models.onnx.reading import DYNAMIC_BATCH, AxesOfInputs, BatchAxisError, Reading, Sizes, Tensor
from ported_models.onnx.refusals import Refusals, no_layer


@dataclass(frozen=True, eq=False)
class ReadFile:
    """What was read from a file.

    ``graph``: up to the value before its ending. ``ending``: that of the file's own output
    (`ported_models.endings`), taken off here. ``removed``: the same, or what a source of this file had and the file
    says was taken off. ``tensors``: by name of a tensor of the file, the layer that gives it and its axes' order.
    ``output``: the name of the output that was read. ``free``: 1 where the file's first axis is no batch, so that one
    run of it is one sample; else 0. ``assumed``: what was taken for granted of its input's axes, as a sentence.
    ``unfolded``: the file that the tensors are of, where branches of it had to be chosen first; else None. ``held``:
    the bytes of constants that the file itself holds, where it computes others from them; else None.
    """

    graph: Graph
    removed: str | None
    ending: str | None
    tensors: Mapping[str, Tensor]
    output: str
    free: int = 0
    assumed: str = ""
    unfolded: onnx.ModelProto | None = None
    held: int | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What was read otherwise than files are read as a rule."""
        if not self.free:
            return (self.assumed,) if self.assumed else ()
        return (
            "the file mixes the first axis of its input with others, so that it is no batch axis: the whole input is "
            "one sample",
        )


def onnx_to_graph(proto: onnx.ModelProto, name: str | None = None, file: str | None = None) -> Graph:
    """The graph of an ONNX model; ``file`` is what errors call it (default: ``name``).

    A file that `graph_to_onnx` wrote comes back equal, names, attributes and weights. Any other is read
    operator by operator: constants are folded, transpositions between channels-last and channels-first are
    followed and vanish, several operators that make one layer become it, and layers are
    named as `ported_models.onnx.naming` says. The ending stays (see `read_onnx`).

    Raises `UnsupportedLayerError` for what the graph cannot express, `ModelSourceError` for a file with
    more than one output, or without fixed sizes.
    """
    name = name or proto.graph.name or "model"
    return neutral_to_graph(proto, name) if is_neutral(proto) else read_onnx(proto, name, file).graph


def read_onnx(
    proto: onnx.ModelProto,
    name: str | None = None,
    file: str | None = None,
    output: str | int | None = None,
    sizes: Sizes = None,
    axes: AxesOfInputs = None,
) -> ReadFile:
    """An ONNX model without its ending. Raises what `onnx_to_graph` raises.

    ``output``: the name or place of the output that is read, where there are several. ``sizes``: those of an
    example of the input, where the file leaves some open. ``axes``: the names of the input's axes in the file's order.
    Of several inputs both are by name.
    """
    name = name or proto.graph.name or "model"
    if is_neutral(proto):
        graph = neutral_to_graph(proto, name)
        inside = {layer.name: Tensor(layer.name, channels_first_order(len(layer.axes))) for layer in graph}
        given = Tensor(graph.input.name, canonical_order(len(graph.input.axes)))
        tensors = {**inside, proto.graph.input[0].name: given}
        graph, ending = without_ending(graph)
        return ReadFile(graph, ending or removed_ending(proto), ending, tensors, proto.graph.output[0].name)
    if proto.functions:
        nodes = inlined_nodes(proto)
        if nodes > MOST_NODES:
            raise ModelSourceError(
                f"{file or name}: its functions call each other so often that it has more than {MOST_NODES} nodes; "
                "export the model without functions"
            )
        proto = inliner.inline_local_functions(proto)
    straight = without_branches(proto, sizes)
    read = _of_nodes(straight, name, file or name, output, sizes, axes)
    return read if straight is proto else replace(read, unfolded=straight)


def _of_nodes(
    proto: onnx.ModelProto,
    name: str,
    file: str,
    output: str | int | None,
    sizes: Sizes,
    axes: AxesOfInputs,
) -> ReadFile:
    """A file of operators alone, without functions, as `read_onnx` says."""
    named = list(axes.values()) if isinstance(axes, Mapping) else [] if axes is None else [axes]
    batched = not named or any("batch" in each for each in named)
    for each in named:
        if batched and each[0] != "batch":
            where = list(each).index("batch") if "batch" in each else "no place"
            raise ModelSourceError(f"{file}: axes= has the batch at {where}, expected it first")
    try:
        return _foreign(Reading(proto, name, file, CHANNELS_FIRST, int(not batched), output, sizes, axes))
    except BatchAxisError as error:
        if axes is not None or not _first_axis_is_fixed(proto):
            raise
        try:
            return _foreign(Reading(proto, name, file, CHANNELS_FIRST, 1, output, sizes))
        except HarnessError:
            raise error from None


def _first_axis_is_fixed(proto: onnx.ModelProto) -> bool:
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in weights]
    return all(dim.HasField("dim_value") for value in inputs for dim in value.type.tensor_type.shape.dim)


def _foreign(reading: Reading) -> ReadFile:
    """An exporter's file as a graph without its ending."""
    refusals = Refusals(reading)
    for node in reading.nodes:
        if first_output(node) in reading.done or first_output(node) in reading.constants:
            continue
        if refusals.depends(node):
            refusals.untried(node, _reader_of(node) is None)
            continue
        try:
            if reading.reads_only_constants(node):
                reading.fold(node)
            elif not read_cone(reading, node):
                _read(reading, node)
        except BatchAxisError:
            # Behind a node that could not be read the batch may stand anywhere.
            if not refusals:
                raise
            refusals.untried(node, no_reader=False)
        except UnsupportedLayerError as error:
            refusals.add(node, error)
        except HarnessError:
            raise
        except Exception as error:  # attributes and constants that no operator was written for
            refusals.fails(node, error)
    refusals.check()
    if reading.output not in reading.tensors:
        raise ModelSourceError(f"{reading.file}: the output {reading.output!r} does not depend on the input")
    output = reading.tensors[reading.output]
    if output.beside != (0, 0):
        reading.mixes_batch(reading.nodes[-1], "the output has the batch in one axis with others")
    if not output.batch_first and reading.batch != DYNAMIC_BATCH:
        reading.mixes_batch(reading.nodes[-1], "the batch is not the first axis of the output")
    if output.order not in (canonical_order(output.rank), channels_first_order(output.rank)):
        output = reading.arranged(reading.nodes[-1], output, features_last(output.order))
        reading.tensors[reading.output] = output
    graph, ending = without_ending(reading.builder.graph(output.layer), reading.log_softmax)
    for layer in graph:
        if layer.name in reading.log_softmax:
            reading.unsupported(
                reading.log_softmax[layer.name], "it stands inside the network, expected at the end only"
            )
    return ReadFile(
        graph,
        ending,
        ending,
        reading.tensors,
        reading.output,
        reading.free,
        reading.assumed,
        held=reading.held,
    )


def _reader_of(node: onnx.NodeProto) -> Callable[[Reading, onnx.NodeProto], None] | None:
    return OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None


def _read(reading: Reading, node: onnx.NodeProto) -> None:
    read = _reader_of(node)
    if read is None:
        reading.unsupported(node, no_layer(node))
    read(reading, node)
