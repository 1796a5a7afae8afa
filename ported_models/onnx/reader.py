"""ONNX files as graphs: this project's own bit for bit, exporters' by reading their operators as layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
from onnx import inliner

from harness.errors import ModelSourceError
from harness.graph import Graph
from ported_models.endings import without_ending
from ported_models.onnx.cones import read_cone
from ported_models.onnx.layout import canonical_order, channels_first_order
from ported_models.onnx.neutral import is_neutral, neutral_to_graph, removed_ending
from ported_models.onnx.operators import CHANNELS_FIRST, OPERATORS
from ported_models.onnx.reading import Reading, Tensor


@dataclass(frozen=True, eq=False)
class ReadFile:
    """What was read from a file.

    ``graph``: up to the value before its ending. ``ending``: that of the file's own output
    (`ported_models.endings`), taken off here. ``removed``: the same, or what a source of this file had and the file
    says was taken off. ``tensors``: by name of a tensor of the file, the layer that gives it and its axes' order.
    """

    graph: Graph
    removed: str | None
    ending: str | None
    tensors: Mapping[str, Tensor]


def onnx_to_graph(proto: onnx.ModelProto, name: str | None = None, file: str | None = None) -> Graph:
    """The graph of an ONNX model; ``file`` is what errors call it (default: ``name``).

    A file that `graph_to_onnx` wrote comes back equal, names, attributes and weights. Any other is read
    operator by operator: constants are folded, transpositions between channels-last and channels-first are
    followed and vanish, several operators that make one layer become it, and layers are
    named as `ported_models.onnx.naming` says. The ending stays (see `read_onnx`).

    Raises `UnsupportedLayerError` for what the graph cannot express, `ModelSourceError` for a file with
    more than one input or output, or without fixed sizes.
    """
    name = name or proto.graph.name or "model"
    return neutral_to_graph(proto, name) if is_neutral(proto) else _foreign(proto, name, file)[0]


def read_onnx(proto: onnx.ModelProto, name: str | None = None, file: str | None = None) -> ReadFile:
    """An ONNX model without its ending. Raises what `onnx_to_graph` raises."""
    name = name or proto.graph.name or "model"
    if is_neutral(proto):
        graph = neutral_to_graph(proto, name)
        inside = {layer.name: Tensor(layer.name, channels_first_order(len(layer.axes))) for layer in graph}
        given = Tensor(graph.input.name, canonical_order(len(graph.input.axes)))
        tensors = {**inside, proto.graph.input[0].name: given}
        graph, ending = without_ending(graph)
        return ReadFile(graph, ending or removed_ending(proto), ending, tensors)
    graph, ending, tensors = _foreign(proto, name, file)
    return ReadFile(graph, ending, ending, tensors)


def _foreign(
    proto: onnx.ModelProto, name: str, file: str | None
) -> tuple[Graph, str | None, dict[str, Tensor]]:
    """An exporter's file as a graph without its ending, the ending, and its tensors."""
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    reading = Reading(proto, name, file or name, CHANNELS_FIRST)
    for node in reading.nodes:
        # Before any layer is read, so that a layer of several operators finds all of its constants.
        if _reads_only_constants(reading, node):
            reading.fold(node)
    for node in reading.nodes:
        if node.output[0] in reading.done or node.output[0] in reading.constants:
            continue
        if _reads_only_constants(reading, node):
            reading.fold(node)
        elif not read_cone(reading, node):
            _read(reading, node)
    if reading.output not in reading.tensors:
        raise ModelSourceError(f"{reading.file}: the output {reading.output!r} does not depend on the input")
    output = reading.tensors[reading.output]
    if output.order not in (canonical_order(output.rank), channels_first_order(output.rank)):
        output = reading.arranged(reading.nodes[-1], output, canonical_order(output.rank))
        reading.tensors[reading.output] = output
    graph, ending = without_ending(reading.builder.graph(output.layer), reading.log_softmax)
    for layer in graph:
        if layer.name in reading.log_softmax:
            reading.unsupported(
                reading.log_softmax[layer.name], "it stands inside the network, expected at the end only"
            )
    return graph, ending, reading.tensors


def _reads_only_constants(reading: Reading, node: onnx.NodeProto) -> bool:
    return all(name in reading.constants for name in node.input if name)


def _read(reading: Reading, node: onnx.NodeProto) -> None:
    read = OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if read is None:
        reading.unsupported(node, "the neutral graph has no layer for this operator")
    read(reading, node)
